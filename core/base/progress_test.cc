#include "core/base/progress.h"

#include <cmath>
#include <limits>
#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

// A progress display on a clock that the test moves.
class Display {
 public:
  explicit Display(bool redraw, int width = 100)
      : progress(out_, {.redraw = redraw, .width = [width] { return width; }}, [this] { return now_; }) {}

  void Advance(double seconds) { now_ += seconds; }

  // What was written since the last call.
  std::string Written() {
    const std::string text = out_.str();
    out_.str("");
    return text;
  }

 private:
  std::ostringstream out_;
  double now_ = 1000;

 public:
  Progress progress;
};

TEST(RemainingSeconds, ScalesTheTimeOfThisProcess) {
  EXPECT_EQ(RemainingSeconds(20, 4, 10), 50);
  EXPECT_EQ(RemainingSeconds(20, 4, 0), 0);
}

TEST(RemainingSeconds, IsUnknownBeforeTheFirstStep) { EXPECT_EQ(RemainingSeconds(20, 0, 10), std::nullopt); }

TEST(FormatDuration, ShowsTwoUnits) {
  EXPECT_EQ(FormatDuration(0.2), "0s");
  EXPECT_EQ(FormatDuration(59.4), "59s");
  EXPECT_EQ(FormatDuration(59.6), "1m00s");
  EXPECT_EQ(FormatDuration(192), "3m12s");
  EXPECT_EQ(FormatDuration(7505), "2h05m");
  EXPECT_EQ(FormatDuration(3 * 86400 + 4 * 3600 + 59), "3d04h");
}

TEST(FormatTokenRate, KeepsTwoOrThreeDigits) {
  EXPECT_EQ(FormatTokenRate(7.34), "7.3 tok/s");
  EXPECT_EQ(FormatTokenRate(9.96), "10 tok/s");
  EXPECT_EQ(FormatTokenRate(379.6), "380 tok/s");
  EXPECT_EQ(FormatTokenRate(999.7), "1.0k tok/s");
  EXPECT_EQ(FormatTokenRate(12350), "12.3k tok/s");
  EXPECT_EQ(FormatTokenRate(1.24e6), "1.2M tok/s");
}

TEST(FormatBar, FillsWithTheWork) {
  EXPECT_EQ(FormatBar(0, 10, 12), "[>         ]");
  EXPECT_EQ(FormatBar(5, 10, 12), "[=====>    ]");
  EXPECT_EQ(FormatBar(10, 10, 12), "[==========]");
  EXPECT_EQ(FormatBar(12, 10, 12), "[==========]");
}

TEST(PlainProgress, CountsWithoutANounToo) {
  Display display(/*redraw=*/false);
  display.progress.StartPhase("download, MiB", 1, 9, "");
  EXPECT_EQ(display.Written(), "download, MiB  resumes at 1/9\n");
}

TEST(PlainProgress, WritesAtMostOneLineAnInterval) {
  Display display(/*redraw=*/false);
  display.progress.StartPhase("end_to_end", 0, 100);
  EXPECT_EQ(display.Written(), "end_to_end  starts at step 0/100\n");
  display.Advance(9.9);
  display.progress.Step({.step = 4, .loss = 2.5});
  EXPECT_EQ(display.Written(), "");
  display.Advance(0.1);
  display.progress.Step({.step = 5, .loss = 2.25, .tokens_per_second = 380, .extra = "layers 22"});
  EXPECT_EQ(display.Written(), "end_to_end  step 5/100  loss 2.25  380 tok/s  ETA 3m10s  layers 22\n");
  display.Advance(9.9);
  display.progress.Step({.step = 9});
  EXPECT_EQ(display.Written(), "");
}

TEST(PlainProgress, SaysHowAPhaseEnded) {
  Display display(/*redraw=*/false);
  display.progress.StartPhase("end_to_end", 0, 8);
  display.Written();
  display.Advance(5);
  display.progress.Step({.step = 8, .loss = 1.5});
  display.progress.EndPhase();
  EXPECT_EQ(display.Written(), "end_to_end  step 8/8  loss 1.5  done in 5s\n");
}

TEST(PlainProgress, SaysThatAPhaseStoppedShort) {
  Display display(/*redraw=*/false);
  display.progress.StartPhase("end_to_end", 0, 8);
  display.Written();
  display.progress.Step({.step = 3});
  display.progress.EndPhase();
  EXPECT_EQ(display.Written(), "end_to_end  step 3/8  stopped after 0s\n");
}

TEST(PlainProgress, CountsOnlyItsOwnStepsForTheEtaAfterAResume) {
  Display display(/*redraw=*/false);
  display.progress.StartPhase("end_to_end", 90, 100);
  EXPECT_EQ(display.Written(), "end_to_end  resumes at step 90/100\n");
  display.Advance(20);
  display.progress.Step({.step = 92});
  EXPECT_EQ(display.Written(), "end_to_end  step 92/100  ETA 1m20s\n");
}

TEST(PlainProgress, CallsAStepWhatThePhaseCallsIt) {
  Display display(/*redraw=*/false);
  display.progress.StartPhase("measuring", 0, 40, "window");
  display.Advance(10);
  display.progress.Step({.step = 8});
  display.progress.EndPhase();
  EXPECT_EQ(display.Written(),
            "measuring  starts at window 0/40\n"
            "measuring  window 8/40  ETA 40s\n"
            "measuring  window 8/40  stopped after 10s\n");
}

TEST(PlainProgress, NeverMovesTheCursor) {
  Display display(/*redraw=*/false);
  display.progress.StartPhase("end_to_end", 0, 2);
  display.progress.Note("a note");
  display.Advance(60);
  display.progress.Step({.step = 1, .loss = std::numeric_limits<double>::quiet_NaN()});
  display.progress.EndPhase();
  EXPECT_THAT(display.Written(), AllOf(Not(HasSubstr("\r")), Not(HasSubstr("\033")), HasSubstr("a note\n"),
                                       HasSubstr("loss nan")));
}

TEST(LiveProgress, RedrawsAtMostTenTimesASecond) {
  Display display(/*redraw=*/true);
  display.progress.StartPhase("end_to_end", 0, 100);
  EXPECT_EQ(display.Written(), "\rend_to_end [>                     ] 0/100\033[K");
  display.Advance(0.06);
  display.progress.Step({.step = 1});
  EXPECT_EQ(display.Written(), "");
  display.Advance(0.06);
  display.progress.Step({.step = 50, .loss = 2});
  EXPECT_EQ(display.Written(), "\rend_to_end [===========>          ] 50/100  loss 2  ETA 0s\033[K");
}

TEST(LiveProgress, ShortensTheBarBeforeTheNumbers) {
  Display display(/*redraw=*/true, /*width=*/40);
  display.progress.StartPhase("end_to_end", 0, 100);
  display.Advance(1);
  display.Written();
  display.progress.Step({.step = 50, .loss = 2});
  EXPECT_EQ(display.Written(), "\rend_to_end [=> ] 50/100  loss 2  ETA 1s\033[K");
}

TEST(LiveProgress, DropsTheBarAndTheEndInANarrowTerminal) {
  Display display(/*redraw=*/true, /*width=*/31);
  display.progress.StartPhase("end_to_end", 0, 100);
  display.Advance(1);
  display.Written();
  display.progress.Step({.step = 50, .loss = 2, .extra = "layers 22"});
  EXPECT_EQ(display.Written(), "\rend_to_end 50/100  loss 2  ETA\033[K");
}

TEST(LiveProgress, PutsNotesAboveTheBar) {
  Display display(/*redraw=*/true);
  display.progress.StartPhase("s", 0, 10);
  display.Written();
  display.progress.Note("saved");
  EXPECT_EQ(display.Written(), "\r\033[Ksaved\n\rs [>                     ] 0/10\033[K");
}

TEST(LiveProgress, ReplacesTheBarByTheResultOfThePhase) {
  Display display(/*redraw=*/true);
  display.progress.StartPhase("s", 0, 1);
  display.progress.Step({.step = 1, .loss = 3});
  display.Written();
  display.progress.EndPhase();
  EXPECT_EQ(display.Written(), "\r\033[Ks  step 1/1  loss 3  done in 0s\n");
}

TEST(LiveProgress, LeavesAFreshLineWhenItsWorkFailsInAPhase) {
  std::ostringstream out;
  {
    Progress progress(out, {.redraw = true, .width = [] { return 80; }}, [] { return 0.0; });
    progress.StartPhase("s", 0, 10);
  }
  EXPECT_THAT(out.str(), EndsWith("\n"));
}

}  // namespace
}  // namespace retort
