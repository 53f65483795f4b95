// What a job amounts to, as arithmetic over its description: for the trainer, which does it, and for the
// orchestrator, which counts and plans it. Thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "retort/v1/job.pb.h"

namespace retort {

// Optimiser steps of a stage: ceil(tokens / tokens_per_step), which must not be 0.
uint64_t StageSteps(const v1::StageBudget& budget);

// All token files that are trained on: data.train, then each phase's; a file named twice is there twice.
std::vector<std::string> TrainFiles(const v1::DataSpec& data);

// Sequences of one step of END_TO_END, and so at most as many ranks; 1 where the job takes no step of it.
uint64_t EndToEndSequences(const v1::JobSpec& job);

// How many sequences a pass has when `ranks` ranks share out a step of `sequences`: the most, up to `most`,
// with which every rank has a pass, and all have equally many where that can be. At most one rank a sequence.
uint64_t PassSequences(uint64_t sequences, uint64_t most, uint64_t ranks);

// Groups of heads that share B and C, of a teacher with `query_heads`; 0 where the job names none although
// its mixer needs some.
uint32_t StudentGroups(const v1::StudentSpec& student, uint32_t query_heads);

// How the lines of a probe begin in a worker's log.
inline constexpr char kProbeLine[] = "probe of layers: ";

// Whether a probe has still to choose the layers that stay attention.
bool AwaitsProbe(const v1::KeepAttention& keep);

// The layers of a teacher with `layers` layers that do not stay attention, ascending. While they await a
// probe: all but the first ones, which is as many and needs the most memory, since a layer needs the teacher
// below it. INVALID_ARGUMENT when `keep` names a layer that does not exist or keeps all.
absl::StatusOr<std::vector<uint32_t>> ConvertedLayers(uint32_t layers, const v1::KeepAttention& keep);

}  // namespace retort
