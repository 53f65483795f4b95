// Token-by-token use of a language model: a key/value cache for each attention layer, the recurrent state for
// each Mamba-2 layer. No gradients.
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "model/lm/language_model.h"

namespace retort {

struct DecodeState {
  int64_t position = 0;  // tokens seen
  std::vector<std::variant<KvCache, Mamba2State>> layers;
};

// Reads the prompt, ids_BT [B, T] with T <= capacity. Returns the last position's logits, [B, V].
// `capacity`: tokens the caches can hold in all.
at::Tensor Prefill(const LanguageModel& model, const at::Tensor& ids_BT, int64_t capacity,
                   DecodeState& state);

// Feeds one token per sequence, ids_B. Returns its logits, [B, V]. The caller keeps position < capacity.
at::Tensor DecodeStep(const LanguageModel& model, const at::Tensor& ids_B, DecodeState& state);

// The `tokens` most likely next tokens, one after the other; ids_BT is the prompt. Returns [B, tokens], or
// CANCELLED soon after `stop` is set.
absl::StatusOr<at::Tensor> GreedyContinuation(const LanguageModel& model, const at::Tensor& ids_BT,
                                              int64_t tokens, const std::atomic<bool>& stop);

}  // namespace retort
