#include "model/io/model_family.h"

#include "absl/strings/str_cat.h"

namespace retort {
namespace {

constexpr BlockForm kLlamaBlock = {.layer_norm = false,
                                   .parallel = false,
                                   .gated_mlp = true,
                                   .qkv_bias = false,
                                   .out_bias = false,
                                   .qk_norm = false,
                                   .head_bias = false,
                                   .out_proj = "o_proj",
                                   .final_norm = "norm"};

constexpr BlockForm WithQkvBias(BlockForm form) {
  form.qkv_bias = true;
  return form;
}

constexpr BlockForm WithQkNorm(BlockForm form) {
  form.qk_norm = true;
  return form;
}

constexpr BlockForm kPhiBlock = {.layer_norm = true,
                                 .parallel = true,
                                 .gated_mlp = false,
                                 .qkv_bias = true,
                                 .out_bias = true,
                                 .qk_norm = false,
                                 .head_bias = true,
                                 .out_proj = "dense",
                                 .final_norm = "final_layernorm"};

// Defaults: those of transformers' configuration classes (5.23).
constexpr ModelFamily kFamilies[] = {
    {.model_type = "llama",
     .block = kLlamaBlock,
     .activation = "silu",
     .eps_key = "rms_norm_eps",
     .eps = 1e-6,
     .context = 2048,
     .rotary_fraction = 1.0},
    {.model_type = "mistral",
     .block = kLlamaBlock,
     .activation = "silu",
     .eps_key = "rms_norm_eps",
     .eps = 1e-6,
     .context = 131072,
     .rotary_fraction = 1.0,
     .needs_kv_heads = true,  // 8, of the 7B model
     .sliding_window = 4096,
     .uses_window = true},
    {.model_type = "qwen2",
     .block = WithQkvBias(kLlamaBlock),
     .activation = "silu",
     .eps_key = "rms_norm_eps",
     .eps = 1e-6,
     .context = 32768,
     .rotary_fraction = 1.0,
     .needs_kv_heads = true,  // 32
     .sliding_window = 4096},
    {.model_type = "qwen3",
     .block = WithQkNorm(kLlamaBlock),
     .activation = "silu",
     .eps_key = "rms_norm_eps",
     .eps = 1e-6,
     .context = 32768,
     .head_dim = 128,
     .rotary_fraction = 1.0,
     .needs_kv_heads = true,  // 32
     .sliding_window = 4096},
    {.model_type = "phi",
     .block = kPhiBlock,
     .activation = "gelu_new",
     .eps_key = "layer_norm_eps",
     .eps = 1e-5,
     .context = 2048,
     .rotary_fraction = 0.5},
};

}  // namespace

const ModelFamily* FindModelFamily(absl::string_view model_type) {
  for (const ModelFamily& family : kFamilies) {
    if (family.model_type == model_type) return &family;
  }
  return nullptr;
}

const ModelFamily& LlamaFamily() { return kFamilies[0]; }

std::string ModelFamilyNames() {
  std::string names;
  for (const ModelFamily& family : kFamilies) {
    absl::StrAppend(&names, names.empty() ? "\"" : ", \"", family.model_type, "\"");
  }
  return names;
}

}  // namespace retort
