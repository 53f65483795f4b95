// What all ranks of a gang have alike between two steps, and how one takes it over from another.
#pragma once

#include "absl/status/status.h"
#include "train/optim/adamw.h"
#include "train/parallel/rank_group.h"
#include "worker/run/saved_tensors.h"

namespace retort {

// Compares the ranks' states, and gives those that are behind the state of the one that is furthest: the
// trained tensors, their moments, the history. Every rank of the group calls it before its first step. After
// an error this rank's state is what it was.
//   UNAVAILABLE  a rank has gone meanwhile
//   DATA_LOSS    two ranks at the same step have different bytes; names both
absl::Status TakeOverState(RankGroup& group, AdamW& optimizer, StepHistory& history);

}  // namespace retort
