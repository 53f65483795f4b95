#include "model/lm/language_model.h"

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "model/layers/norm.h"

namespace retort {
namespace {

// `Model` is LanguageModel or const LanguageModel, `T` at::Tensor with the same constness.
template <typename T, typename Model>
std::vector<ModelTensor<T>> ListTensors(Model& model) {
  using Shape = std::vector<int64_t>;
  std::vector<ModelTensor<T>> tensors;
  int64_t place = -1;
  const auto visit = [&](const std::string& name, T& tensor, Shape shape) {
    const bool is_matrix = shape.size() == 2;
    tensors.push_back({name, place, &tensor, std::move(shape), /*of_mamba2=*/false, is_matrix});
  };
  const ModelConfig& config = model.config;
  const int64_t hidden = config.hidden_size, q_rows = config.heads * config.head_dim;
  const int64_t kv_rows = config.kv_heads * config.head_dim, mlp = config.intermediate_size;
  visit("model.embed_tokens.weight", model.embedding_VE, Shape{config.vocab_size, hidden});
  for (int64_t l = 0; l < config.num_layers(); ++l) {
    auto& block = model.blocks[l];
    const std::string prefix = absl::StrCat("model.layers.", l, ".");
    place = l;
    visit(prefix + "input_layernorm.weight", block.input_norm_E, Shape{hidden});
    if (config.layers[l] == MixerType::kAttention) {
      auto& mixer = std::get<AttentionWeights>(block.mixer);
      visit(prefix + "self_attn.q_proj.weight", mixer.q_proj, Shape{q_rows, hidden});
      visit(prefix + "self_attn.k_proj.weight", mixer.k_proj, Shape{kv_rows, hidden});
      visit(prefix + "self_attn.v_proj.weight", mixer.v_proj, Shape{kv_rows, hidden});
      visit(prefix + "self_attn.o_proj.weight", mixer.o_proj, Shape{hidden, q_rows});
    } else {
      auto& mixer = std::get<Mamba2Weights>(block.mixer);
      for (const Mamba2Tensor& tensor : Mamba2Tensors()) {
        tensors.push_back({prefix + "mamba." + tensor.name, place, &(mixer.*tensor.member),
                           Mamba2TensorShape(tensor, config.mamba2, hidden), /*of_mamba2=*/true,
                           tensor.is_matrix});
      }
    }
    visit(prefix + "post_attention_layernorm.weight", block.post_norm_E, Shape{hidden});
    visit(prefix + "mlp.gate_proj.weight", block.mlp.gate_proj, Shape{mlp, hidden});
    visit(prefix + "mlp.up_proj.weight", block.mlp.up_proj, Shape{mlp, hidden});
    visit(prefix + "mlp.down_proj.weight", block.mlp.down_proj, Shape{hidden, mlp});
  }
  place = config.num_layers();
  visit("model.norm.weight", model.final_norm_E, Shape{hidden});
  if (!config.tied_head) visit("lm_head.weight", model.head_VE, Shape{config.vocab_size, hidden});
  return tensors;
}

}  // namespace

at::Tensor Embed(const LanguageModel& model, const at::Tensor& ids_BT) {
  return at::embedding(model.embedding_VE, ids_BT);
}

RotaryTable RotaryFor(const LanguageModel& model, int64_t tokens) {
  return MakeRotaryTable(0, tokens, model.config.head_dim, model.config.rope_theta);
}

at::Tensor RunMixer(const LanguageModel& model, int64_t layer, const at::Tensor& normed_BTE,
                    const RotaryTable& rotary) {
  const auto& mixer = model.blocks[layer].mixer;
  if (const auto* mamba2 = std::get_if<Mamba2Weights>(&mixer)) {
    return Mamba2(normed_BTE, *mamba2, model.config.mamba2, model.config.rms_eps, nullptr);
  }
  return Attention(normed_BTE, std::get<AttentionWeights>(mixer), model.attention_shape(), rotary, nullptr);
}

at::Tensor FinishBlock(const LanguageModel& model, int64_t layer, const at::Tensor& hidden_BTE,
                       const at::Tensor& mixer_BTE) {
  const BlockWeights& block = model.blocks[layer];
  const at::Tensor middle = hidden_BTE + mixer_BTE;
  return middle + Mlp(RmsNorm(middle, block.post_norm_E, model.config.rms_eps), block.mlp);
}

BlockTaps TapMixer(const LanguageModel& model, int64_t layer, const at::Tensor& hidden_BTE,
                   const RotaryTable& rotary) {
  const BlockWeights& block = model.blocks[layer];
  BlockTaps taps;
  taps.input_BTE = hidden_BTE;
  taps.normed_BTE = RmsNorm(hidden_BTE, block.input_norm_E, model.config.rms_eps);
  const auto* attention = std::get_if<AttentionWeights>(&block.mixer);
  taps.mixer_BTE = attention != nullptr ? Attention(taps.normed_BTE, *attention, model.attention_shape(),
                                                    rotary, &taps.attention)
                                        : RunMixer(model, layer, taps.normed_BTE, rotary);
  return taps;
}

at::Tensor RunBlock(const LanguageModel& model, int64_t layer, const at::Tensor& hidden_BTE,
                    const RotaryTable& rotary, BlockTaps* taps) {
  if (taps == nullptr) {
    const at::Tensor normed = RmsNorm(hidden_BTE, model.blocks[layer].input_norm_E, model.config.rms_eps);
    return FinishBlock(model, layer, hidden_BTE, RunMixer(model, layer, normed, rotary));
  }
  *taps = TapMixer(model, layer, hidden_BTE, rotary);
  taps->output_BTE = FinishBlock(model, layer, hidden_BTE, taps->mixer_BTE);
  return taps->output_BTE;
}

bool SharesBlock(const LanguageModel& a, const LanguageModel& b, int64_t layer) {
  const BlockWeights &x = a.blocks[layer], &y = b.blocks[layer];
  const auto* p = std::get_if<AttentionWeights>(&x.mixer);
  const auto* q = std::get_if<AttentionWeights>(&y.mixer);
  return p != nullptr && q != nullptr && p->q_proj.is_same(q->q_proj) && p->k_proj.is_same(q->k_proj) &&
         p->v_proj.is_same(q->v_proj) && p->o_proj.is_same(q->o_proj) &&
         x.input_norm_E.is_same(y.input_norm_E) && x.post_norm_E.is_same(y.post_norm_E) &&
         x.mlp.gate_proj.is_same(y.mlp.gate_proj) && x.mlp.up_proj.is_same(y.mlp.up_proj) &&
         x.mlp.down_proj.is_same(y.mlp.down_proj);
}

at::Tensor FinalNorm(const LanguageModel& model, const at::Tensor& hidden_BTE) {
  return RmsNorm(hidden_BTE, model.final_norm_E, model.config.rms_eps);
}

at::Tensor Logits(const LanguageModel& model, const at::Tensor& ids_BT) {
  const RotaryTable rotary = RotaryFor(model, ids_BT.size(1));
  at::Tensor hidden = Embed(model, ids_BT);
  for (int64_t l = 0; l < model.config.num_layers(); ++l)
    hidden = RunBlock(model, l, hidden, rotary, nullptr);
  return at::linear(FinalNorm(model, hidden), model.head_VE);
}

LanguageModel EmptyModel(const ModelConfig& config) {
  LanguageModel model;
  model.config = config;
  model.blocks.resize(config.num_layers());
  for (int64_t l = 0; l < config.num_layers(); ++l) {
    if (config.layers[l] == MixerType::kMamba2) model.blocks[l].mixer = Mamba2Weights{};
  }
  return model;
}

std::vector<ModelTensor<at::Tensor>> ModelTensors(LanguageModel& model) {
  return ListTensors<at::Tensor>(model);
}

std::vector<ModelTensor<const at::Tensor>> ModelTensors(const LanguageModel& model) {
  return ListTensors<const at::Tensor>(model);
}

std::unordered_set<const void*> TensorMemory(const LanguageModel& model) {
  std::unordered_set<const void*> memory;
  for (const auto& tensor : ModelTensors(model)) {
    if (tensor.value->defined()) memory.insert(tensor.value->data_ptr());
  }
  return memory;
}

}  // namespace retort
