// A decoder-only language model: embedding, blocks, final norm, head. A block is norm, mixer, residual, norm,
// MLP, residual, or in its parallel form norm, mixer and MLP side by side, residual; BlockForm says which,
// and what else differs between families. A teacher's mixers are all attention; a student's are attention or
// Mamba-2. Tensors are float32; those that the family does not have are undefined.
// B batch, T tokens, E hidden width, V vocabulary.
//
// hidden_states[l] is the input of block l: [0] the embedding's output, [l+1] block l's output, un-normed for
// the last block too (transformers puts the normed one there).
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <unordered_set>
#include <variant>
#include <vector>

#include "model/io/model_config.h"
#include "model/layers/attention.h"
#include "model/layers/mamba2.h"
#include "model/layers/mlp.h"

namespace retort {

struct BlockWeights {
  at::Tensor input_norm_E, input_norm_bias_E;
  std::variant<AttentionWeights, Mamba2Weights> mixer;
  at::Tensor post_norm_E;  // undefined in a parallel block
  MlpWeights mlp;
};

// Plain data; copies share tensors. A student shares with its teacher whatever it does not train.
struct LanguageModel {
  ModelConfig config;
  at::Tensor embedding_VE;
  std::vector<BlockWeights> blocks;
  at::Tensor final_norm_E, final_norm_bias_E;
  at::Tensor head_VE;  // the embedding itself when config.tied_head
  at::Tensor head_bias_V;

  AttentionShape attention_shape() const {
    return {config.heads, config.kv_heads, config.head_dim, config.norm_eps};
  }
  bool converted(int64_t layer) const { return config.layers[layer] == MixerType::kMamba2; }
};

// What one block shows on a forward pass, for the layer that learns from it.
struct BlockTaps {
  at::Tensor input_BTE;     // hidden_states[l]
  at::Tensor normed_BTE;    // the mixer's input
  AttentionTaps attention;  // empty for a Mamba-2 mixer
  at::Tensor mixer_BTE;     // the mixer's output before the residual
  at::Tensor output_BTE;    // hidden_states[l + 1]
};

// ids_BT: int64. The caller keeps ids below vocab_size.
at::Tensor Embed(const LanguageModel& model, const at::Tensor& ids_BT);

// The rotary angles of a pass over positions 0 .. tokens-1.
RotaryTable RotaryFor(const LanguageModel& model, int64_t tokens);

// What the mixer of block `layer` reads.
at::Tensor InputNorm(const LanguageModel& model, int64_t layer, const at::Tensor& hidden_BTE);

// The mixer alone, on the normed input.
at::Tensor RunMixer(const LanguageModel& model, int64_t layer, const at::Tensor& normed_BTE,
                    const RotaryTable& rotary);

// The output of block `layer`, given what its mixer read and made of it.
at::Tensor FinishBlock(const LanguageModel& model, int64_t layer, const at::Tensor& hidden_BTE,
                       const at::Tensor& normed_BTE, const at::Tensor& mixer_BTE);

// One block; `taps` may be null.
at::Tensor RunBlock(const LanguageModel& model, int64_t layer, const at::Tensor& hidden_BTE,
                    const RotaryTable& rotary, BlockTaps* taps);

// The part of a block that ends with its mixer: all taps but the block's output.
BlockTaps TapMixer(const LanguageModel& model, int64_t layer, const at::Tensor& hidden_BTE,
                   const RotaryTable& rotary);

// Whether the two models hold the very same memory in block `layer`, and so compute the same there.
bool SharesBlock(const LanguageModel& a, const LanguageModel& b, int64_t layer);

// What the head multiplies: the final norm of the last block's output.
at::Tensor FinalNorm(const LanguageModel& model, const at::Tensor& hidden_BTE);

// Logits of normed hidden states [..., E].
at::Tensor HeadLogits(const LanguageModel& model, const at::Tensor& normed);

// Logits of every position. For short inputs and tests: [B, T, V] is large.
at::Tensor Logits(const LanguageModel& model, const at::Tensor& ids_BT);

// A model of this shape whose tensors are all undefined, each mixer already of its kind.
LanguageModel EmptyModel(const ModelConfig& config);

// One tensor of a model. `T` is at::Tensor or const at::Tensor.
template <typename T>
struct ModelTensor {
  std::string name;  // in the model's files
  int64_t place;     // number of its block; -1: the embedding; the number of layers: final norm and head
  T* value;
  std::vector<int64_t> shape;  // that it must have
  bool of_student_mixer;       // belongs to a converted layer's mixer
  bool in_matrix;              // of those, enters the mixing matrix: stage 1 trains it
  bool is_matrix;              // projections, embedding and head: weight decay applies to these alone
};

// Every tensor in file order, whether defined or not; a tied head is not listed. The pointers are into
// `model`.
std::vector<ModelTensor<at::Tensor>> ModelTensors(LanguageModel& model);
std::vector<ModelTensor<const at::Tensor>> ModelTensors(const LanguageModel& model);
// Those of one block.
std::vector<ModelTensor<at::Tensor>> BlockTensors(LanguageModel& model, int64_t layer);
std::vector<ModelTensor<const at::Tensor>> BlockTensors(const LanguageModel& model, int64_t layer);

// Where those of the model's tensors lie that are there. A student's tensor whose data_ptr() is among its
// teacher's is not its own.
std::unordered_set<const void*> TensorMemory(const LanguageModel& model);

}  // namespace retort
