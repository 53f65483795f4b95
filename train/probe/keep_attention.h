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
#include "core/base/job_memory.h"
#include "model/lm/language_model.h"
#include "retort/v1/job.pb.h"
#include "train/data/batches.h"
#include "train/stages/stage_plan.h"

namespace retort {

inline constexpr int64_t kProbeSequences = 4;  // to compare distributions on, where nobody names a number

// What a probe trains: `job` with at most `steps` steps in each of stages 1 and 2 and without a stage 3.
// INVALID_ARGUMENT when that leaves no stage.
absl::StatusOr<v1::JobSpec> ProbeJob(v1::JobSpec job, uint64_t steps);

// To train every layer of such a teacher at once.
MemoryNeed ProbeMemory(const v1::JobSpec& job, const v1::ModelShape& shape);

// RESOURCE_EXHAUSTED when that is more than `memory_bytes`.
absl::Status CheckProbeFits(const v1::JobSpec& job, const v1::ModelShape& shape, uint64_t memory_bytes);

struct ConvertedModel {
  LanguageModel student;
  std::vector<double> distances;  // each layer's loss in the last step
};

// A student with every layer converted, as stages 1 and 2 of `job` leave it; of its stage 3 and of
// keep_attention nothing is read. `on_step` gets the stage, the steps done and the layers' mean loss. Errors
// are those of Slice; CANCELLED soon after `stop` is set.
absl::StatusOr<ConvertedModel> ConvertEveryLayer(
    const v1::JobSpec& job, const LanguageModel& teacher, const Batches& batches,
    const std::function<void(const StagePlan&, int64_t, double)>& on_step, const std::atomic<bool>& stop);

struct LayerCosts {
  // Each layer's own: KL(teacher || teacher with this layer alone converted), nats per token.
  std::vector<double> alone;
  double all = 0;                  // KL of the student with every layer converted
  std::vector<double> of_choices;  // of the student with attention in the layers of each choice
  struct Restored {
    int64_t layer;
    double kl;  // of the student with attention in this layer and in those before it in the list
  };
  std::vector<Restored> restored;  // the best first
};

// Restores `keep` layers, fewer than there are, of a student whose layers are all converted, and measures
// the `choices`. Text: sequences 0 .. `sequences` - 1 of a stage of its own. `on_comparison` gets how many
// models were compared with the teacher, and how many will be. INTERNAL when a KL is not finite.
absl::StatusOr<LayerCosts> MeasureLayerCosts(const LanguageModel& teacher, const LanguageModel& student,
                                             const Batches& batches, int64_t sequences, int64_t keep,
                                             const std::vector<std::vector<int64_t>>& choices,
                                             const std::function<void(int64_t, int64_t)>& on_comparison,
                                             const std::atomic<bool>& stop);

struct LayerChoice {
  std::vector<int64_t> layers;  // ascending
  double kl = 0;                // of the student with attention in them
};

struct Probed {
  LayerCosts costs;
  std::vector<double> distances;  // of ConvertedModel
  LayerChoice best;               // restored one by one
  LayerChoice evenly, farthest;   // beside it: evenly spaced from layer 0; those with the largest distances
};

struct ProbeEvents {
  std::function<void(const StagePlan&, int64_t step, double loss)> on_step;
  std::function<void(int64_t compared, int64_t all)> on_comparison;
};

// Both parts for ProbeJob's `job`: equal inputs give equal results on one machine with one number of threads.
absl::StatusOr<Probed> ProbeLayers(const v1::JobSpec& job, const LanguageModel& teacher,
                                   const Batches& batches, int64_t keep, int64_t sequences,
                                   const ProbeEvents& events, const std::atomic<bool>& stop);

}  // namespace retort
