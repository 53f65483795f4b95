// What all ranks of a gang have alike between two steps, and how one takes it over from another.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "train/optim/adamw.h"
#include "train/parallel/rank_group.h"
#include "worker/run/saved_tensors.h"

namespace retort {

// Between two steps.
struct RankState {
  std::vector<at::Tensor> tensors;  // trained ones, then their moments
  StepHistory history;
};

// What a rank of an elastic gang had come to when it was asked back: its worker may be the last that has it.
struct LeftRank {
  uint64_t run_id;
  std::string identity_sha256;
  RankState state;
};

// Without copying: the optimizer is not to step afterwards.
RankState StateOf(const AdamW& optimizer, const StepHistory& history);

// Of a rank of the same run, into this one's optimizer.
void TakeState(const RankState& state, AdamW& optimizer, StepHistory& history);

// Compares the ranks' states, and gives those that are behind the state of the one that is furthest: the
// trained tensors, their moments, the history. Every rank of the group calls it before its first step. After
// an error this rank's state is what it was.
//   UNAVAILABLE  a rank has gone meanwhile
//   DATA_LOSS    two ranks at the same step have different bytes; names both
absl::Status TakeOverState(RankGroup& group, AdamW& optimizer, StepHistory& history);

}  // namespace retort
