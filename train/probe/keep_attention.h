// Which layers a hybrid does best to keep as attention, measured. Every layer is converted by a short run of
// stages 1 and 2; then attention is put back one layer at a time, each time where it brings the student's
// distribution nearest to the teacher's (KL-guided layer selection, arXiv 2512.20569).
//
// The remaining distance of a layer is no guide: SmolLM2's layer 0 keeps the smallest of all and costs the
// most, since the first token's huge state, where later attention rests, grows from what it writes there.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "model/lm/language_model.h"
#include "retort/v1/job.pb.h"
#include "train/data/batches.h"
#include "train/stages/stage_plan.h"

namespace retort {

// A student with every layer converted, as stages 1 and 2 of `job` leave it; of its stage 3 and of
// keep_attention nothing is read. `on_step` gets the stage, the steps done and the layers' mean loss. Errors
// are those of Slice; CANCELLED soon after `stop` is set.
absl::StatusOr<LanguageModel> ConvertEveryLayer(
    const v1::JobSpec& job, const LanguageModel& teacher, const Batches& batches,
    const std::function<void(const StagePlan&, int64_t, double)>& on_step, const std::atomic<bool>& stop);

struct LayerCosts {
  // Each layer's own: KL(teacher || teacher with this layer alone converted), nats per token.
  std::vector<double> alone;
  double all = 0;  // KL of the student with every layer converted
  struct Restored {
    int64_t layer;
    double kl;  // of the student with attention in this layer and in those before it in the list
  };
  std::vector<Restored> restored;  // the best first
};

// How many models MeasureLayerCosts compares with the teacher.
int64_t ComparisonsFor(int64_t layers, int64_t keep);

// Restores `keep` layers, fewer than there are, of a student whose layers are all converted. Text: sequences
// 0 .. `sequences` - 1 of a stage of its own. `on_comparison` is called after each of ComparisonsFor.
absl::StatusOr<LayerCosts> MeasureLayerCosts(const LanguageModel& teacher, const LanguageModel& student,
                                             const Batches& batches, int64_t sequences, int64_t keep,
                                             const std::function<void()>& on_comparison,
                                             const std::atomic<bool>& stop);

}  // namespace retort
