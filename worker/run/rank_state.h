// What all ranks of a gang have alike between two steps, and how one takes it over from another.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "train/optim/adamw.h"
#include "train/parallel/rank_group.h"
#include "worker/run/saved_tensors.h"

namespace retort {

// Between two steps.
struct RankState {
  std::vector<at::Tensor> tensors;  // trained ones, then their moments
  StepHistory history;
  uint64_t generation = 0;  // the last one that began with all its ranks in one state; 0: from a checkpoint
};

// What a rank of an elastic gang had come to when it was asked back: its worker may be the last that has it.
struct LeftRank {
  uint64_t run_id;
  std::string identity_sha256;
  RankState state;
};

// Without copying: the optimizer is not to step afterwards.
RankState StateOf(const AdamW& optimizer, const StepHistory& history, uint64_t generation);

// Of a rank of the same run, into this one's optimizer.
void TakeState(const RankState& state, AdamW& optimizer, StepHistory& history);

// Compares the ranks' states, and gives those that are behind the state of the one that is furthest: the
// trained tensors, their moments, the history; whether this rank took another's. Every rank of the group
// calls it before its first step. After an error this rank's state is what it was.
//
// The bytes of an elastic gang depend on who took its steps. So where `is_elastic` two ranks at one step may
// have come there by different ways: one that was left out, or lost with its orchestrator's memory of it,
// comes back when the others have begun again from a checkpoint. The lowest rank's state counts then. Ranks
// of one `generation` have gone one way.
//   UNAVAILABLE  a rank has gone meanwhile
//   DATA_LOSS    at one step a rank has other bytes than the one whose state counts, with which it went one
//                way; names both
absl::StatusOr<bool> TakeOverState(RankGroup& group, bool is_elastic, uint64_t generation, AdamW& optimizer,
                                   StepHistory& history);

}  // namespace retort
