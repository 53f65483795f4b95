#include "core/base/progress.h"

#include <algorithm>
#include <cmath>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/check.h"
#include "core/base/terminal.h"

namespace retort {
namespace {

constexpr double kRedrawSeconds = 0.1;
constexpr int kWidestBar = 24;
constexpr int kNarrowestBar = 5;
constexpr int kStderr = 2;

}  // namespace

ProgressOptions ProgressOptionsForStderr() {
  return {.redraw = CanRedraw(kStderr), .width = [] { return TerminalWidth(kStderr); }};
}

Progress::Progress(std::ostream& out, ProgressOptions options, std::function<double()> now)
    : out_(out), options_(std::move(options)), now_(std::move(now)) {
  RETORT_CHECK(!options_.redraw || options_.width) << "a bar needs a width";
}

Progress::~Progress() {
  if (live_line_) {
    out_ << std::endl;
  }
}

void Progress::StartPhase(std::string_view name, int64_t done_steps, int64_t total_steps,
                          std::string_view step_noun) {
  EndPhase();
  in_phase_ = true;
  phase_ = name;
  step_noun_ = step_noun;
  first_step_ = done_steps;
  total_steps_ = total_steps;
  phase_start_ = last_output_ = now_();
  last_ = {.step = done_steps};
  if (options_.redraw) {
    DrawLive();
  } else {
    out_ << phase_ << "  " << (done_steps > 0 ? "resumes at " : "starts at ") << StepText() << std::endl;
  }
}

void Progress::Step(const PhaseStep& report) {
  RETORT_CHECK(in_phase_) << "step " << report.step << " outside a phase";
  last_ = report;
  const double now = now_();
  if (now - last_output_ < (options_.redraw ? kRedrawSeconds : options_.plain_interval_seconds)) {
    return;
  }
  last_output_ = now;
  if (options_.redraw) {
    DrawLive();
  } else {
    out_ << phase_ << "  " << StepText() << Figures() << Eta() << Extra() << std::endl;
  }
}

void Progress::EndPhase() {
  if (!in_phase_) {
    return;
  }
  in_phase_ = false;
  ClearLive();
  const std::string end = last_.step >= total_steps_ ? "  done in " : "  stopped after ";
  out_ << phase_ << "  " << StepText() << Figures() << end << FormatDuration(now_() - phase_start_) << Extra()
       << std::endl;
}

void Progress::Note(std::string_view text) {
  ClearLive();
  out_ << text << std::endl;
  if (in_phase_ && options_.redraw) {
    DrawLive();
  }
}

std::string Progress::StepText() const {
  return absl::StrCat(step_noun_, step_noun_.empty() ? "" : " ", last_.step, "/", total_steps_);
}

std::string Progress::Figures() const {
  std::string text;
  if (last_.loss) {
    absl::StrAppendFormat(&text, "  loss %.4g", *last_.loss);
  }
  if (last_.tokens_per_second) {
    absl::StrAppend(&text, "  ", FormatTokenRate(*last_.tokens_per_second));
  }
  return text;
}

std::string Progress::Extra() const { return last_.extra.empty() ? "" : "  " + last_.extra; }

std::string Progress::Eta() const {
  const std::optional<double> seconds =
      RemainingSeconds(now_() - phase_start_, last_.step - first_step_, total_steps_ - last_.step);
  return seconds ? absl::StrCat("  ETA ", FormatDuration(*seconds)) : "";
}

void Progress::DrawLive() {
  // A line as wide as the terminal would wrap, and a wrapped line cannot be redrawn in place.
  const int room = std::max(options_.width() - 1, 1);
  const std::string numbers = absl::StrCat(last_.step, "/", total_steps_, Figures(), Eta(), Extra());
  const int bar_width = std::min(room - static_cast<int>(phase_.size() + numbers.size()) - 2, kWidestBar);
  std::string line = phase_ + " ";
  if (bar_width >= kNarrowestBar) {
    absl::StrAppend(&line, FormatBar(last_.step, total_steps_, bar_width), " ");
  }
  absl::StrAppend(&line, numbers);
  out_ << "\r" << line.substr(0, room) << "\033[K" << std::flush;
  live_line_ = true;
}

void Progress::ClearLive() {
  if (live_line_) {
    out_ << "\r\033[K";
    live_line_ = false;
  }
}

std::optional<double> RemainingSeconds(double elapsed, int64_t steps_done, int64_t steps_left) {
  if (steps_done <= 0) {
    return std::nullopt;
  }
  return elapsed / static_cast<double>(steps_done) * static_cast<double>(std::max<int64_t>(steps_left, 0));
}

std::string FormatDuration(double seconds) {
  const int64_t whole = std::llround(std::max(seconds, 0.0));
  constexpr int64_t kMinute = 60, kHour = 60 * kMinute, kDay = 24 * kHour;
  if (whole < kMinute) {
    return absl::StrFormat("%ds", whole);
  }
  if (whole < kHour) {
    return absl::StrFormat("%dm%02ds", whole / kMinute, whole % kMinute);
  }
  if (whole < kDay) {
    return absl::StrFormat("%dh%02dm", whole / kHour, whole % kHour / kMinute);
  }
  return absl::StrFormat("%dd%02dh", whole / kDay, whole % kDay / kHour);
}

std::string FormatTokenRate(double tokens_per_second) {
  if (tokens_per_second < 9.95) {
    return absl::StrFormat("%.1f tok/s", tokens_per_second);
  }
  if (tokens_per_second < 999.5) {
    return absl::StrFormat("%.0f tok/s", tokens_per_second);
  }
  if (tokens_per_second < 999.95e3) {
    return absl::StrFormat("%.1fk tok/s", tokens_per_second / 1e3);
  }
  return absl::StrFormat("%.1fM tok/s", tokens_per_second / 1e6);
}

std::string FormatBar(int64_t done, int64_t total, int width) {
  const int inner = std::max(width, 3) - 2;
  const double part =
      total <= 0 ? 1.0 : std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0);
  const int filled = static_cast<int>(part * inner);
  std::string bar(filled, '=');
  if (filled < inner) {
    bar += '>';
  }
  bar.resize(inner, ' ');
  return absl::StrCat("[", bar, "]");
}

}  // namespace retort
