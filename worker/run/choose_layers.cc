#include "worker/run/choose_layers.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/base/clock.h"
#include "core/base/job_work.h"
#include "core/base/status_macros.h"
#include "train/probe/keep_attention.h"

namespace retort {
namespace {

// Where a probe stands, as lines of a log: at each part's first step, and then not too often.
class ProbeLog {
 public:
  ProbeLog(Log& log, LogContext context) : log_(log), context_(context) {}

  ProbeEvents Events() {
    return {.on_step =
                [this](const StagePlan& plan, int64_t step, double loss) {
                  Say(step == 1, absl::StrFormat("%s, step %d of %d, loss %.4g", StageName(plan.stage), step,
                                                 plan.steps, loss));
                },
            .on_comparison =
                [this](int64_t compared, int64_t all) {
                  Say(compared == 1, absl::StrFormat("compared %d of %d models", compared, all));
                }};
  }

 private:
  void Say(bool is_first, const std::string& line) {
    constexpr double kEverySeconds = 15;
    const double now = MonotonicSeconds();
    if (!is_first && now - said_seconds_ < kEverySeconds) return;
    said_seconds_ = now;
    log_.Info(absl::StrCat(kProbeLine, line), context_);
  }

  Log& log_;
  const LogContext context_;
  double said_seconds_ = 0;
};

}  // namespace

absl::StatusOr<v1::ProbedLayers> ChooseLayers(const v1::Slice& slice, const v1::ModelShape& shape,
                                              uint64_t memory_bytes, RunMaterial& material, Log& log,
                                              const std::atomic<bool>& stop) {
  const v1::KeepAttention& asked = slice.job().student().keep_attention();
  ASSIGN_OR_RETURN(const v1::JobSpec job, ProbeJob(slice.job(), asked.probe_steps()));
  const absl::Status fits = CheckProbeFits(job, shape, memory_bytes);
  if (!fits.ok()) return absl::FailedPreconditionError(fits.message());
  const LogContext context = {
      .run_id = slice.run_id(), .stage = v1::STAGE_PREPARE, .token = slice.token(), .step = 0};
  ProbeLog probe_log(log, context);
  ASSIGN_OR_RETURN(const LanguageModel teacher, material.Teacher(int64_t{shape.layers()} + 1));
  ASSIGN_OR_RETURN(const Probed probed, ProbeLayers(job, teacher, *material.batches(), asked.auto_layers(),
                                                    kProbeSequences, probe_log.Events(), stop));
  v1::ProbedLayers chosen;
  for (const int64_t layer : probed.best.layers) chosen.add_layers(static_cast<uint32_t>(layer));
  chosen.set_reason(
      absl::StrFormat("keeps attention in layers %s: KL %.4g after a probe, %.4g with %d evenly "
                      "spaced, %.4g with none",
                      absl::StrJoin(chosen.layers(), ", "), probed.best.kl, probed.evenly.kl,
                      chosen.layers_size(), probed.costs.all));
  log.Info(absl::StrCat(kProbeLine, chosen.reason()), context);
  return chosen;
}

}  // namespace retort
