#include "model/lm/decoding.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "core/base/check.h"

namespace retort {
namespace {

at::Tensor LastLogits(const LanguageModel& model, const at::Tensor& hidden_BTE) {
  const at::Tensor last_BE = hidden_BTE.select(1, hidden_BTE.size(1) - 1);
  return HeadLogits(model, FinalNorm(model, last_BE));
}

// One block over new tokens, from and into the layer's state.
at::Tensor Advance(const LanguageModel& model, int64_t layer, const at::Tensor& hidden_BTE,
                   const RotaryTable& rotary, DecodeState& state) {
  const BlockWeights& block = model.blocks[layer];
  const double eps = model.config.norm_eps;
  const at::Tensor normed = InputNorm(model, layer, hidden_BTE);
  at::Tensor mixed;
  if (auto* cache = std::get_if<KvCache>(&state.layers[layer])) {
    mixed = AttentionWithCache(normed, std::get<AttentionWeights>(block.mixer), model.attention_shape(),
                               rotary, state.position, *cache);
  } else {
    auto& recurrent = std::get<Mamba2State>(state.layers[layer]);
    const auto& weights = std::get<Mamba2Weights>(block.mixer);
    mixed = state.position == 0 ? Mamba2(normed, weights, model.config.mamba2, eps, &recurrent)
                                : Mamba2Step(normed, weights, model.config.mamba2, eps, recurrent);
  }
  return FinishBlock(model, layer, hidden_BTE, normed, mixed);
}

at::Tensor AdvanceAll(const LanguageModel& model, const at::Tensor& ids_BT, DecodeState& state) {
  const RotaryTable rotary = MakeRotaryTable(state.position, ids_BT.size(1), model.config.rotary());
  at::Tensor hidden = Embed(model, ids_BT);
  for (int64_t l = 0; l < model.config.num_layers(); ++l) hidden = Advance(model, l, hidden, rotary, state);
  state.position += ids_BT.size(1);
  return LastLogits(model, hidden);
}

}  // namespace

at::Tensor Prefill(const LanguageModel& model, const at::Tensor& ids_BT, int64_t capacity,
                   DecodeState& state) {
  RETORT_CHECK(ids_BT.size(1) >= 1 && ids_BT.size(1) <= capacity) << ids_BT.size(1) << " of " << capacity;
  const c10::NoGradGuard no_grad;
  state = DecodeState{};
  for (MixerType type : model.config.layers) {
    if (type == MixerType::kMamba2) {
      state.layers.emplace_back(Mamba2State{});
      continue;
    }
    const std::vector<int64_t> shape = {ids_BT.size(0), model.config.kv_heads, capacity,
                                        model.config.head_dim};
    state.layers.emplace_back(KvCache{at::zeros(shape), at::zeros(shape)});
  }
  return AdvanceAll(model, ids_BT, state);
}

at::Tensor DecodeStep(const LanguageModel& model, const at::Tensor& ids_B, DecodeState& state) {
  const c10::NoGradGuard no_grad;
  return AdvanceAll(model, ids_B.unsqueeze(1), state);
}

absl::StatusOr<at::Tensor> GreedyContinuation(const LanguageModel& model, const at::Tensor& ids_BT,
                                              int64_t tokens, const std::atomic<bool>& stop) {
  DecodeState state;
  at::Tensor logits_BV = Prefill(model, ids_BT, ids_BT.size(1) + tokens, state);
  std::vector<at::Tensor> continuation;
  for (int64_t i = 0; i < tokens; ++i) {
    if (stop.load()) return absl::CancelledError("generation stopped");
    continuation.push_back(logits_BV.argmax(-1));
    if (i + 1 < tokens) logits_BV = DecodeStep(model, continuation.back(), state);
  }
  return at::stack(continuation, 1);
}

}  // namespace retort
