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
    {"llama", kLlamaBlock, "silu", "rms_norm_eps", 1e-6, 2048, 0, 1.0, false, 0},
    {"mistral", kLlamaBlock, "silu", "rms_norm_eps", 1e-6, 131072, 0, 1.0, true, 4096},
    {"qwen2", WithQkvBias(kLlamaBlock), "silu", "rms_norm_eps", 1e-6, 32768, 0, 1.0, true, 0},
    {"qwen3", WithQkNorm(kLlamaBlock), "silu", "rms_norm_eps", 1e-6, 32768, 128, 1.0, true, 0},
    {"phi", kPhiBlock, "gelu_new", "layer_norm_eps", 1e-5, 2048, 0, 0.5, false, 0},
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
