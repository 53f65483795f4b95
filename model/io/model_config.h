// The shape of a language model, as `config.json` of its directory states it. Two kinds of directory exist:
// a Hugging Face teacher of the Llama family (`model_type: llama`) and a student of ours (`retort_hybrid`:
// the teacher's keys plus `layer_types` and `mamba2`; docs/formats.md).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"

namespace retort {

enum class MixerType { kAttention, kMamba2 };

// Sizes of a Mamba-2 mixer. Heads of one group share B and C: head h belongs to group h / (heads / groups).
struct Mamba2Shape {
  int64_t heads = 0;        // H
  int64_t head_dim = 0;     // P
  int64_t state_size = 0;   // N
  int64_t groups = 1;       // G
  int64_t conv_kernel = 4;  // taps of the causal depthwise convolution

  int64_t inner() const { return heads * head_dim; }              // M
  int64_t group_channels() const { return groups * state_size; }  // width of B, and of C
};

struct ModelConfig {
  int64_t vocab_size = 0;         // V
  int64_t hidden_size = 0;        // E
  int64_t intermediate_size = 0;  // the MLP's width
  int64_t heads = 0;              // query heads
  int64_t kv_heads = 0;           // divides heads
  int64_t head_dim = 0;           // even: rotary pairs
  int64_t context = 0;            // longest sequence, in tokens
  double rms_eps = 0;
  double rope_theta = 0;
  bool tied_head = false;           // the head is the embedding
  std::vector<int64_t> eos_tokens;  // generation ends at any of them; may be empty
  std::vector<MixerType> layers;    // one per block
  Mamba2Shape mamba2;               // of every Mamba-2 layer; unset when there is none

  int64_t num_layers() const { return static_cast<int64_t>(layers.size()); }
  bool is_student() const;
};

// INVALID_ARGUMENT names the key, what was found and what is supported; `origin` names the file in messages.
absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view json, absl::string_view origin);
absl::StatusOr<ModelConfig> ReadModelConfig(const std::filesystem::path& directory);

// The `config.json` of a student.
nlohmann::json StudentConfigJson(const ModelConfig& config);

}  // namespace retort
