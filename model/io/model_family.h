// The families of teachers that are read: how their blocks compute, what their tensors are called, and what
// their config.json leaves unsaid. One forward pass (model/lm) follows these descriptions.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace retort {

struct BlockForm {
  bool layer_norm;  // norms subtract the mean and have a bias; else root-mean-square norms
  bool parallel;    // mixer and MLP read one norm's output, and both are added to the block's input
  bool gated_mlp;   // down(SiLU(gate) * up) without biases; else fc2(GELU(fc1)) with biases
  bool qkv_bias, out_bias;
  bool qk_norm;                       // each head's q and k pass an RMS norm before rotary
  bool head_bias;                     // of the language model's head
  const char *out_proj, *final_norm;  // names of tensors that differ
};

struct ModelFamily {
  const char* model_type;
  BlockForm block;
  const char* activation;  // the MLP's, as config.json calls it
  const char* eps_key;
  // The rest holds where config.json leaves it unsaid.
  double eps;
  int64_t context;              // max_position_embeddings
  int64_t head_dim = 0;         // 0: hidden_size / heads
  double rotary_fraction;       // of a head's features that turn; others than 1 are read for Phi only
  bool needs_kv_heads = false;  // num_key_value_heads has a default that fits no other model
  int64_t sliding_window = 0;   // in tokens; 0: none
  bool uses_window = false;     // use_sliding_window
};

// null when it is not read.
const ModelFamily* FindModelFamily(absl::string_view model_type);
const ModelFamily& LlamaFamily();

// "\"llama\", \"mistral\", ...".
std::string ModelFamilyNames();

}  // namespace retort
