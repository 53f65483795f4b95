// Sums the gradients of a group's ranks while the last backward pass of a step still computes: c10d's Reducer
// with buckets that are fixed, in reverse order of the parameters.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "train/parallel/rank_group.h"

namespace retort {

// Not thread-safe. From its construction on the values' gradients are zeros in the buckets' memory, and stay
// there: set them to zero in place, do not forget them. Its end leaves them where they are.
class GradientReducer {
 public:
  // `values`: leaves in the parameters' order, all of which every backward pass reaches; `group` outlives
  // this.
  GradientReducer(RankGroup& group, const std::vector<at::Tensor>& values);
  ~GradientReducer();
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;

  // Before the last backward pass of a step. That pass returns when the sums over all ranks are in the
  // gradients, or throws (a LibTorch exception) when a collective fails: `has_failed` then says so.
  void ExpectLastPass();
  bool has_failed() const;

 private:
  struct Parts;
  const std::unique_ptr<Parts> parts_;
};

}  // namespace retort
