// The shape of a language model, as `config.json` of its directory states it. Two kinds of directory exist:
// a Hugging Face teacher of one of the families in model_family.h, and a student of ours (`retort_hybrid`:
// the teacher's keys plus `base_model_type`, `layer_types` and the mixer's sizes; docs/formats.md).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/io/model_family.h"
#include "nlohmann/json_fwd.hpp"

namespace retort {

enum class MixerType { kAttention, kMamba2 };

// kStock: mamba_ssm's Mamba-2. kDiscrete: Phi-Mamba's, without step sizes, activation and norm. The
// equations are in model/layers/mamba2.h.
enum class Mamba2Form { kStock, kDiscrete };

// "mamba2" or "discrete_mamba2", as in config.json and the job file.
const char* Mamba2FormName(Mamba2Form form);

// Sizes of a Mamba-2 mixer. Heads of one group share B and C: head h belongs to group h / (heads / groups).
struct Mamba2Shape {
  int64_t heads = 0;        // H
  int64_t head_dim = 0;     // P
  int64_t state_size = 0;   // N
  int64_t groups = 1;       // G
  int64_t conv_kernel = 4;  // taps of the causal depthwise convolution
  Mamba2Form form = Mamba2Form::kStock;

  int64_t inner() const { return heads * head_dim; }              // M
  int64_t group_channels() const { return groups * state_size; }  // width of B, and of C
};

// Llama 3's stretching of rotary positions: angles that turn slowly within `context` tokens are divided by
// `factor`, fast ones stay, those between pass over from one to the other.
struct Llama3Scaling {
  double factor, low_frequency, high_frequency;
  int64_t context;
};

// Rotary positions: the first `width` features of a head turn.
struct RotaryEncoding {
  int64_t width = 0;
  double theta = 0;
  std::optional<Llama3Scaling> scaling;
};

struct ModelConfig {
  const ModelFamily* family = &LlamaFamily();  // of the teacher; a student keeps its teacher's
  int64_t vocab_size = 0;                      // V
  int64_t hidden_size = 0;                     // E
  int64_t intermediate_size = 0;               // the MLP's width
  int64_t heads = 0;                           // query heads
  int64_t kv_heads = 0;                        // divides heads
  int64_t head_dim = 0;
  int64_t context = 0;  // longest sequence, in tokens
  double norm_eps = 0;
  double rope_theta = 0;
  double rotary_fraction = 1.0;  // of a head's features; they are an even number
  std::optional<Llama3Scaling> rope_scaling;
  bool tied_head = false;           // the head is the embedding
  std::vector<int64_t> eos_tokens;  // generation ends at any of them; may be empty
  std::vector<MixerType> layers;    // one per block
  Mamba2Shape mamba2;               // of every Mamba-2 layer; unset when there is none

  const BlockForm& block() const { return family->block; }
  RotaryEncoding rotary() const {
    return {static_cast<int64_t>(static_cast<double>(head_dim) * rotary_fraction), rope_theta, rope_scaling};
  }
  int64_t num_layers() const { return static_cast<int64_t>(layers.size()); }
  bool is_student() const;
};

// INVALID_ARGUMENT names the key, what was found and what is supported; `origin` names the file in messages.
absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view json, absl::string_view origin);
absl::StatusOr<ModelConfig> ReadModelConfig(const std::filesystem::path& directory);

// The `config.json` of a student.
nlohmann::json StudentConfigJson(const ModelConfig& config);

}  // namespace retort
