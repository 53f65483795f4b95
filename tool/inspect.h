// What a model directory holds, or what a job would make: `retort inspect`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/status/statusor.h"

namespace retort {

struct ModelConfig;

struct InspectOptions {
  std::filesystem::path model;               // a teacher's or a student's directory, or a job file
  std::vector<std::filesystem::path> roots;  // of a job: where its teacher is looked for, after its directory
  uint64_t memory_bytes = 0;                 // of a job: what a worker may take
  int sharing = 1;                           // so many workers have the teacher's weights in memory once
};

// One object: "kind" ("teacher" or "student"), "config" (flat: name to number, text or bool), "layers" (one
// object per layer in order: "mixer", "parameters") and "parameters" (part to count, with "total"). Of a job
// only its teacher's config.json and the headers of its weights are read; "kind" is "job", "name" the job's,
// "has_weights" whether the teacher has weights beside its config.json, the student is described,
// "teacher_parameters" is a number, and "stages" holds "name", "tokens", "steps", "tokens_per_step",
// "accumulation" and "lr" of each. "memory" holds, for each stage and END_TO_END in any case, the bytes that
// a worker needs at least, for one layer of stages 1 and 2: "stage", what MemoryNeed has, "peak", in which of
// weights that are shared its part counts, and "fits", whether it may take as many; "worker_memory" is what
// it may take, "sharing" as in the options. NOT_FOUND for a missing directory; INVALID_ARGUMENT for one that
// holds no model we know, and for a job that does not fit its teacher; DATA_LOSS for weights that are cut short.
absl::StatusOr<nlohmann::json> RunInspect(const InspectOptions& options);

// "config", "layers" and "parameters" of a model of this shape.
nlohmann::json DescribeModel(const ModelConfig& config);

}  // namespace retort
