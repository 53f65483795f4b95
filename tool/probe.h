// Which layers of a job's teacher to keep as attention: `retort probe`.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/progress.h"
#include "core/config/job_schema.h"

namespace retort {

struct ProbeOptions {
  std::filesystem::path job;
  std::vector<std::filesystem::path> roots;  // where the job's inputs lie, after its own directory
  int64_t keep = 0;                          // layers that stay attention; at least 1
  int64_t steps = kProbeSteps;               // of stage 1 and of stage 2, at most
  int64_t sequences = 4;                     // of data.seq_len tokens, to compare distributions on
  int threads = 0;                           // 0: all cores
};

// One object: "keep_attention" (the layers to keep, ascending), "kl" (of the student with every layer
// converted), "layers" (one object per layer: "kl_alone", KL of the teacher with this layer alone converted,
// and "distance", its loss in the last step), "restored" (one object per kept layer, the best first: "layer",
// "kl" of the student with it and those before it as attention), and beside that choice "evenly" and
// "farthest" (as many layers evenly spaced, or with the largest distances: "layers", "kl"). KL is KL(teacher
// || student) in nats per token of the training text.
// INVALID_ARGUMENT for a job that is wrong, has neither stage 1 nor 2, or a teacher of no more layers than
// are to be kept; RESOURCE_EXHAUSTED for a teacher that does not fit; INTERNAL when training fails or a KL is
// not finite; CANCELLED soon after `stop` is set.
absl::StatusOr<nlohmann::json> RunProbe(const ProbeOptions& options, Progress& progress,
                                        const std::atomic<bool>& stop);

}  // namespace retort
