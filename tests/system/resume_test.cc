// A run that is killed or interrupted goes on with the same command and ends in the bytes of an undisturbed
// one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/system/tiny_run.h"
#include "train/data/testing_dataset.h"

namespace retort {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr int kSteps = 20;

// Starts or goes on with the tiny run in `out` and sends `signal` once step `step` of `stage` is logged.
ProgramEnd Disturb(const std::filesystem::path& out, const std::string& stage, int step, int signal) {
  ChildProcess run(Retort(TinyRunArguments(out)));
  const bool reached = Eventually(kDeadlineSeconds, [&] {
    const std::vector<json> lines = Metrics(out);
    const bool there = !lines.empty() && lines.back()["stage"] == stage && lines.back()["step"] >= step;
    return there || !run.running();
  });
  EXPECT_TRUE(reached && run.running());
  if (run.running()) run.Signal(signal);
  return run.Wait(kDeadlineSeconds);
}

std::vector<json> MetricsWithoutTimes(const std::filesystem::path& out) {
  std::vector<json> lines = Metrics(out);
  for (json& line : lines) line.erase("step_seconds");
  return lines;
}

json StagesWithoutTimes(const std::filesystem::path& out) {
  json stages = Result(out)["stages"];
  for (json& stage : stages) stage.erase("seconds");
  return stages;
}

void ExpectGoesOnToTheSameBytes(const std::filesystem::path& out) {
  const ProgramEnd end = RunRetort(TinyRunArguments(out));
  ASSERT_EQ(end.exit_code, 0) << end.err;
  EXPECT_THAT(end.err, HasSubstr("going on from"));
  EXPECT_TRUE(StudentWeights(out) == StudentWeights(UndisturbedRun()));
  EXPECT_EQ(MetricsWithoutTimes(out), MetricsWithoutTimes(UndisturbedRun()));
  EXPECT_EQ(StagesWithoutTimes(out), StagesWithoutTimes(UndisturbedRun()));
  EXPECT_EQ(Result(out)["off_domain"], Result(UndisturbedRun())["off_domain"]);
}

TEST(Resume, AfterAKillInStageTwoEndsInTheSameBytes) {
  const std::filesystem::path out = TestPath("run");
  const ProgramEnd end = Disturb(out, "hidden_state_alignment", 10, SIGKILL);
  EXPECT_EQ(end.signal, SIGKILL);
  const json last = Metrics(out).back(), checkpoint = CheckpointState(out);
  ASSERT_EQ(last["stage"], "hidden_state_alignment");
  ASSERT_LT(last["step"], kSteps);
  ASSERT_EQ(checkpoint["stage"], 1);  // counted from 0
  ASSERT_EQ(checkpoint["step"].get<int>() % 8, 0);
  ASSERT_GT(checkpoint["step"], 0);
  ASSERT_LE(checkpoint["step"], last["step"]);
  ExpectGoesOnToTheSameBytes(out);
}

TEST(Resume, AfterCtrlCInStagesTwoAndThreeEndsInTheSameBytes) {
  const std::filesystem::path out = TestPath("run");
  const std::pair<std::string, int> places[] = {{"hidden_state_alignment", 3}, {"end_to_end", 11}};
  for (const auto& [stage, step] : places) {
    const ProgramEnd end = Disturb(out, stage, step, SIGINT);
    EXPECT_EQ(end.exit_code, 12) << end.err;
    EXPECT_THAT(end.err, HasSubstr("interrupted; saved in " + out.string()));
    EXPECT_THAT(end.err, HasSubstr("run the same command again"));
    const json last = Metrics(out).back();
    EXPECT_EQ(last["stage"], stage);
    EXPECT_LT(last["step"], kSteps);
    EXPECT_EQ(CheckpointState(out)["step"], last["step"]);  // no step is repeated
  }
  ExpectGoesOnToTheSameBytes(out);
}

TEST(Resume, AfterAKillInStageOneEndsInTheSameBytes) {
  const std::filesystem::path out = TestPath("run");
  EXPECT_EQ(Disturb(out, "matrix_orientation", 9, SIGKILL).signal, SIGKILL);
  ASSERT_EQ(Metrics(out).back()["stage"], "matrix_orientation");
  ExpectGoesOnToTheSameBytes(out);
}

}  // namespace
}  // namespace retort
