// What a person sees of long work, which goes in phases of counted steps: a stage of training, a measurement.
// On a terminal: one line with a bar, redrawn in place at most ten times a second, above which notes scroll.
// Elsewhere (a log file, CI): a plain line every few seconds and at the ends of phases. Time is passed in.
// Used by one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>

namespace retort {

struct ProgressOptions {
  bool redraw = false;                   // the bar; false: plain lines
  std::function<int()> width = nullptr;  // columns, asked at every redraw; used only with `redraw`
  double plain_interval_seconds = 10;    // at most one plain line in this time, besides the ends of phases
};

// Fits what stderr is.
ProgressOptions ProgressOptionsForStderr();

struct PhaseStep {
  int64_t step = 0;                                        // steps of the phase finished so far
  std::optional<double> loss = std::nullopt;               // nothing: not shown
  std::optional<double> tokens_per_second = std::nullopt;  // nothing: not shown
  std::string extra = {};                                  // free text at the end of the line
};

class Progress {
 public:
  // `out` outlives this object; `now` gives seconds.
  Progress(std::ostream& out, ProgressOptions options, std::function<double()> now);
  ~Progress();  // leaves the cursor on a fresh line
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // A phase of `total_steps` begins with `done_steps` of them done by an earlier process. Ends the phase
  // before it. `step_noun`: what a plain line calls a step.
  void StartPhase(std::string_view name, int64_t done_steps, int64_t total_steps,
                  std::string_view step_noun = "step");

  // Between StartPhase and EndPhase.
  void Step(const PhaseStep& report);

  // Says how far the phase came, which is short of its total after an interruption, and how long it took.
  void EndPhase();

  // A line of its own, above the bar. At any time; `text` without a newline at its end.
  void Note(std::string_view text);

 private:
  std::string StepText() const;  // "step 3/100"
  // Further parts of a line, each with two blanks before it or empty.
  std::string Figures() const;  // "loss 2.1  380 tok/s"
  std::string Eta() const;
  std::string Extra() const;
  void DrawLive();
  void ClearLive();

  std::ostream& out_;
  const ProgressOptions options_;
  const std::function<double()> now_;
  bool in_phase_ = false;
  bool live_line_ = false;  // the cursor stands at the end of a drawn bar
  std::string phase_, step_noun_;
  int64_t first_step_ = 0;
  int64_t total_steps_ = 0;
  double phase_start_ = 0;
  double last_output_ = 0;
  PhaseStep last_;
};

// Seconds that `steps_left` steps will take if they go as the `steps_done` of this process went in `elapsed`
// seconds; nothing before the first step.
std::optional<double> RemainingSeconds(double elapsed, int64_t steps_done, int64_t steps_left);

std::string FormatDuration(double seconds);  // "8s", "3m12s", "2h05m", "3d04h"; not negative
std::string FormatTokenRate(
    double tokens_per_second);  // "7.3 tok/s", "380 tok/s", "12.4k tok/s", "1.2M tok/s"

// "[=====>    ]" of `width` characters in all, at least 3.
std::string FormatBar(int64_t done, int64_t total, int width);

}  // namespace retort
