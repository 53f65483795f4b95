#include "worker/run/rank_state.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/crc32c.h"
#include "core/base/status_macros.h"

namespace retort {
namespace {

std::vector<at::Tensor> TensorsOf(const AdamW& optimizer) {
  std::vector<at::Tensor> tensors;
  for (const Trainable& trainable : optimizer.trainables()) tensors.push_back(trainable.value.detach());
  for (const auto& [first, second] : optimizer.moments()) {
    tensors.push_back(first);
    tensors.push_back(second);
  }
  return tensors;
}

int64_t DigestOf(const std::vector<at::Tensor>& tensors) {
  uint64_t digest = 0;
  for (const at::Tensor& tensor : tensors) {
    const std::string_view bytes(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
    digest = (digest << 7 | digest >> 57) ^ Crc32c(bytes);
  }
  return static_cast<int64_t>(digest);
}

// Empty ones, to receive: what fails on the way leaves the state alone.
std::vector<at::Tensor> Emptied(std::vector<at::Tensor> tensors) {
  for (at::Tensor& tensor : tensors) tensor = at::empty_like(tensor);
  return tensors;
}

std::vector<at::Tensor> NumbersOf(const StepHistory& history) {
  const auto steps = static_cast<int64_t>(history.steps());
  const at::Tensor numbers = at::empty({2, steps}, at::kDouble);
  std::copy(history.losses.begin(), history.losses.end(), numbers.mutable_data_ptr<double>());
  std::copy(history.seconds.begin(), history.seconds.end(), numbers.mutable_data_ptr<double>() + steps);
  return {numbers};
}

}  // namespace

RankState StateOf(const AdamW& optimizer, const StepHistory& history, uint64_t generation) {
  return {TensorsOf(optimizer), history, generation};
}

void TakeState(const RankState& state, AdamW& optimizer, StepHistory& history) {
  const c10::NoGradGuard no_grad;
  const std::vector<at::Tensor> own = TensorsOf(optimizer);
  for (size_t i = 0; i < own.size(); ++i) own[i].copy_(state.tensors[i]);
  history = state.history;
  optimizer.set_steps(static_cast<int64_t>(history.steps()));
}

absl::StatusOr<bool> TakeOverState(RankGroup& group, bool is_elastic, uint64_t generation, AdamW& optimizer,
                                   StepHistory& history) {
  const c10::NoGradGuard no_grad;
  const std::vector<at::Tensor> own = TensorsOf(optimizer);
  ASSIGN_OR_RETURN(const auto ranks, group.Gather({static_cast<int64_t>(history.steps()), DigestOf(own),
                                                   static_cast<int64_t>(generation)}));
  const auto furthest =
      std::max_element(ranks.begin(), ranks.end(), [](const auto& a, const auto& b) { return a[0] < b[0]; });
  const auto source = static_cast<int>(furthest - ranks.begin());
  const int64_t steps = (*furthest)[0];
  std::vector<bool> takes;
  for (const auto& rank : ranks) {
    takes.push_back(rank[0] < steps || rank[1] != (*furthest)[1]);
    const bool went_one_way = !is_elastic || rank[2] == (*furthest)[2];
    if (rank[0] < steps || !takes.back() || !went_one_way) continue;
    return absl::DataLossError(absl::StrCat("ranks ", source, " and ", takes.size() - 1, " are at step ",
                                            steps,
                                            " with different bytes: one of their machines computes wrongly"));
  }
  if (std::find(takes.begin(), takes.end(), true) == takes.end()) return false;
  const bool gives = group.rank() == source;
  const std::vector<at::Tensor> tensors = gives ? own : Emptied(own);
  const std::vector<at::Tensor> numbers =
      gives ? NumbersOf(history) : std::vector<at::Tensor>{at::empty({2, steps}, at::kDouble)};
  RETURN_IF_ERROR(group.Broadcast(tensors, source));
  RETURN_IF_ERROR(group.Broadcast(numbers, source));
  if (!takes[group.rank()]) return false;
  const double* const first = numbers[0].const_data_ptr<double>();
  TakeState({tensors, {.losses = {first, first + steps}, .seconds = {first + steps, first + 2 * steps}}},
            optimizer, history);
  return true;
}

}  // namespace retort
