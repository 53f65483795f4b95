#include "model/lm/language_model.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "model/layers/linear.h"
#include "model/layers/norm.h"

namespace retort {
namespace {

// Lists tensors with the names and shapes that a model's files have. `T` is at::Tensor or const at::Tensor,
// and whatever is visited has the same constness.
template <typename T>
class TensorList {
 public:
  explicit TensorList(const ModelConfig& config) : config_(config) {}

  template <typename Model>
  void AddAll(Model& model) {
    Add("model.embed_tokens.weight", model.embedding_VE, {config_.vocab_size, config_.hidden_size});
    for (int64_t l = 0; l < config_.num_layers(); ++l) AddBlock(model.blocks[l], l);
    place_ = config_.num_layers();
    const std::string final_norm = absl::StrCat("model.", config_.block().final_norm);
    AddNorm(final_norm, model.final_norm_E, &model.final_norm_bias_E);
    if (!config_.tied_head) Add("lm_head.weight", model.head_VE, {config_.vocab_size, config_.hidden_size});
    if (config_.block().head_bias) Add("lm_head.bias", model.head_bias_V, {config_.vocab_size});
  }

  template <typename Block>
  void AddBlock(Block& block, int64_t layer) {
    place_ = layer;
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    AddNorm(prefix + "input_layernorm", block.input_norm_E, &block.input_norm_bias_E);
    if (config_.layers[layer] == MixerType::kAttention) {
      AddAttention(prefix + "self_attn.", std::get<AttentionWeights>(block.mixer));
    } else {
      AddMamba2(prefix + "mamba.", std::get<Mamba2Weights>(block.mixer));
    }
    if (!config_.block().parallel) {
      AddNorm(prefix + "post_attention_layernorm", block.post_norm_E, nullptr);
    }
    AddMlp(prefix + "mlp.", block.mlp);
  }

  std::vector<ModelTensor<T>> Take() { return std::move(tensors_); }

 private:
  void Add(const std::string& name, T& tensor, std::vector<int64_t> shape) {
    const bool is_matrix = shape.size() == 2;
    tensors_.push_back({name, place_, &tensor, std::move(shape), /*of_student_mixer=*/false,
                        /*in_matrix=*/false, is_matrix});
  }

  // `bias` may be null where no family has one.
  void AddNorm(const std::string& name, T& weight, T* bias) {
    Add(name + ".weight", weight, {config_.hidden_size});
    if (config_.block().layer_norm && bias != nullptr) Add(name + ".bias", *bias, {config_.hidden_size});
  }

  void AddLinear(const std::string& name, T& weight, T& bias, int64_t out, int64_t in, bool has_bias) {
    Add(name + ".weight", weight, {out, in});
    if (has_bias) Add(name + ".bias", bias, {out});
  }

  template <typename Attention>
  void AddAttention(const std::string& prefix, Attention& w) {
    const BlockForm& form = config_.block();
    const int64_t hidden = config_.hidden_size, q_rows = config_.heads * config_.head_dim;
    const int64_t kv_rows = config_.kv_heads * config_.head_dim;
    AddLinear(prefix + "q_proj", w.q_proj, w.q_bias, q_rows, hidden, form.qkv_bias);
    AddLinear(prefix + "k_proj", w.k_proj, w.k_bias, kv_rows, hidden, form.qkv_bias);
    AddLinear(prefix + "v_proj", w.v_proj, w.v_bias, kv_rows, hidden, form.qkv_bias);
    AddLinear(prefix + form.out_proj, w.o_proj, w.o_bias, hidden, q_rows, form.out_bias);
    if (!form.qk_norm) return;
    Add(prefix + "q_norm.weight", w.q_norm, {config_.head_dim});
    Add(prefix + "k_norm.weight", w.k_norm, {config_.head_dim});
  }

  template <typename Mamba2>
  void AddMamba2(const std::string& prefix, Mamba2& w) {
    for (const Mamba2Tensor& tensor : Mamba2Tensors(config_.mamba2.form)) {
      tensors_.push_back({prefix + tensor.name, place_, &(w.*tensor.member),
                          Mamba2TensorShape(tensor, config_.mamba2, config_.hidden_size),
                          /*of_student_mixer=*/true, tensor.in_matrix, tensor.is_matrix});
    }
  }

  template <typename Mlp>
  void AddMlp(const std::string& prefix, Mlp& w) {
    const bool gated = config_.block().gated_mlp;
    const int64_t hidden = config_.hidden_size, width = config_.intermediate_size;
    if (gated) Add(prefix + "gate_proj.weight", w.gate_proj, {width, hidden});
    AddLinear(prefix + (gated ? "up_proj" : "fc1"), w.up_proj, w.up_bias, width, hidden, !gated);
    AddLinear(prefix + (gated ? "down_proj" : "fc2"), w.down_proj, w.down_bias, hidden, width, !gated);
  }

  const ModelConfig& config_;
  int64_t place_ = -1;
  std::vector<ModelTensor<T>> tensors_;
};

template <typename T, typename Model>
std::vector<ModelTensor<T>> ListTensors(Model& model) {
  TensorList<T> list(model.config);
  list.AddAll(model);
  return list.Take();
}

template <typename T, typename Model>
std::vector<ModelTensor<T>> ListBlock(Model& model, int64_t layer) {
  TensorList<T> list(model.config);
  list.AddBlock(model.blocks[layer], layer);
  return list.Take();
}

at::Tensor Norm(const ModelConfig& config, const at::Tensor& x, const at::Tensor& weight_E,
                const at::Tensor& bias_E) {
  return config.block().layer_norm ? LayerNorm(x, weight_E, bias_E, config.norm_eps)
                                   : RmsNorm(x, weight_E, config.norm_eps);
}

}  // namespace

at::Tensor Embed(const LanguageModel& model, const at::Tensor& ids_BT) {
  return at::embedding(model.embedding_VE, ids_BT);
}

RotaryTable RotaryFor(const LanguageModel& model, int64_t tokens) {
  return MakeRotaryTable(0, tokens, model.config.rotary());
}

at::Tensor InputNorm(const LanguageModel& model, int64_t layer, const at::Tensor& hidden_BTE) {
  const BlockWeights& block = model.blocks[layer];
  return Norm(model.config, hidden_BTE, block.input_norm_E, block.input_norm_bias_E);
}

at::Tensor RunMixer(const LanguageModel& model, int64_t layer, const at::Tensor& normed_BTE,
                    const RotaryTable& rotary) {
  const auto& mixer = model.blocks[layer].mixer;
  if (const auto* mamba2 = std::get_if<Mamba2Weights>(&mixer)) {
    return Mamba2(normed_BTE, *mamba2, model.config.mamba2, model.config.norm_eps, nullptr);
  }
  return Attention(normed_BTE, std::get<AttentionWeights>(mixer), model.attention_shape(), rotary, nullptr);
}

at::Tensor FinishBlock(const LanguageModel& model, int64_t layer, const at::Tensor& hidden_BTE,
                       const at::Tensor& normed_BTE, const at::Tensor& mixer_BTE) {
  const BlockWeights& block = model.blocks[layer];
  const at::Tensor middle = hidden_BTE + mixer_BTE;
  const at::Tensor mlp_BTE =
      model.config.block().parallel
          ? Mlp(normed_BTE, block.mlp)
          : Mlp(Norm(model.config, middle, block.post_norm_E, at::Tensor()), block.mlp);
  return middle.requires_grad() || mlp_BTE.requires_grad() ? middle + mlp_BTE : middle.add_(mlp_BTE);
}

BlockTaps TapMixer(const LanguageModel& model, int64_t layer, const at::Tensor& hidden_BTE,
                   const RotaryTable& rotary) {
  const BlockWeights& block = model.blocks[layer];
  BlockTaps taps;
  taps.input_BTE = hidden_BTE;
  taps.normed_BTE = InputNorm(model, layer, hidden_BTE);
  const auto* attention = std::get_if<AttentionWeights>(&block.mixer);
  taps.mixer_BTE = attention != nullptr ? Attention(taps.normed_BTE, *attention, model.attention_shape(),
                                                    rotary, &taps.attention)
                                        : RunMixer(model, layer, taps.normed_BTE, rotary);
  return taps;
}

at::Tensor RunBlock(const LanguageModel& model, int64_t layer, const at::Tensor& hidden_BTE,
                    const RotaryTable& rotary, BlockTaps* taps) {
  if (taps == nullptr) {
    const at::Tensor normed = InputNorm(model, layer, hidden_BTE);
    return FinishBlock(model, layer, hidden_BTE, normed, RunMixer(model, layer, normed, rotary));
  }
  *taps = TapMixer(model, layer, hidden_BTE, rotary);
  taps->output_BTE = FinishBlock(model, layer, hidden_BTE, taps->normed_BTE, taps->mixer_BTE);
  return taps->output_BTE;
}

bool SharesBlock(const LanguageModel& a, const LanguageModel& b, int64_t layer) {
  if (a.converted(layer) || b.converted(layer)) return false;
  const auto x = BlockTensors(a, layer), y = BlockTensors(b, layer);
  return std::equal(x.begin(), x.end(), y.begin(), y.end(), [](const auto& left, const auto& right) {
    return left.name == right.name && left.value->is_same(*right.value);
  });
}

at::Tensor FinalNorm(const LanguageModel& model, const at::Tensor& hidden_BTE) {
  return Norm(model.config, hidden_BTE, model.final_norm_E, model.final_norm_bias_E);
}

at::Tensor HeadLogits(const LanguageModel& model, const at::Tensor& normed) {
  return Linear(normed, model.head_VE, model.head_bias_V);
}

at::Tensor Logits(const LanguageModel& model, const at::Tensor& ids_BT) {
  const RotaryTable rotary = RotaryFor(model, ids_BT.size(1));
  at::Tensor hidden = Embed(model, ids_BT);
  for (int64_t l = 0; l < model.config.num_layers(); ++l)
    hidden = RunBlock(model, l, hidden, rotary, nullptr);
  return HeadLogits(model, FinalNorm(model, hidden));
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

std::vector<ModelTensor<at::Tensor>> BlockTensors(LanguageModel& model, int64_t layer) {
  return ListBlock<at::Tensor>(model, layer);
}

std::vector<ModelTensor<const at::Tensor>> BlockTensors(const LanguageModel& model, int64_t layer) {
  return ListBlock<const at::Tensor>(model, layer);
}

std::unordered_set<const void*> TensorMemory(const LanguageModel& model) {
  std::unordered_set<const void*> memory;
  for (const auto& tensor : ModelTensors(model)) {
    if (tensor.value->defined()) memory.insert(tensor.value->data_ptr());
  }
  return memory;
}

}  // namespace retort
