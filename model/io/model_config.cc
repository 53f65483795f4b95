#include "model/io/model_config.h"

#include <algorithm>
#include <initializer_list>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/files.h"
#include "core/base/json_keys.h"
#include "core/base/json_text.h"
#include "core/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace retort {
namespace {

using nlohmann::json;

constexpr char kStudentType[] = "retort_hybrid";

void ReadTheta(JsonKeys& keys, ModelConfig& config) {
  constexpr double kMostTheta = 1e15;
  config.rope_theta = keys.PositiveOr("rope_theta", config.rope_theta);
  if (config.rope_theta >= 1 && config.rope_theta <= kMostTheta) return;
  keys.Fail("rope_theta", absl::StrCat("is ", config.rope_theta, ", outside 1 to ", kMostTheta));
}

// The object of `rope_scaling` or `rope_parameters`.
void ReadRopeObject(JsonKeys& rope, ModelConfig& config) {
  const json* type = rope.Find("rope_type") != nullptr ? rope.Find("rope_type") : rope.Find("type");
  if (type != nullptr && *type == "llama3") {
    config.rope_scaling = {.factor = rope.Positive("factor"),
                           .low_frequency = rope.Positive("low_freq_factor"),
                           .high_frequency = rope.Positive("high_freq_factor"),
                           .context = rope.Size("original_max_position_embeddings")};
    if (rope.status().ok() && config.rope_scaling->high_frequency <= config.rope_scaling->low_frequency) {
      rope.Fail("high_freq_factor",
                absl::StrCat("is ", config.rope_scaling->high_frequency, ", not above low_freq_factor"));
    }
  } else if (type != nullptr && *type != "default") {
    rope.Fail(rope.Find("rope_type") != nullptr ? "rope_type" : "type",
              absl::StrCat("is ", Brief(*type), "; supported: \"default\", \"llama3\""));
  }
  ReadTheta(rope, config);
  config.rotary_fraction = rope.PositiveOr("partial_rotary_factor", config.rotary_fraction);
}

// transformers 4 writes rope_theta, partial_rotary_factor and rope_scaling; transformers 5 one object,
// rope_parameters.
void ReadRope(JsonKeys& keys, ModelConfig& config) {
  config.rope_theta = 10000.0;
  ReadTheta(keys, config);
  config.rotary_fraction = keys.PositiveOr("partial_rotary_factor", config.family->rotary_fraction);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const json* rope = keys.Find(key);
    if (rope == nullptr) continue;
    std::optional<JsonKeys> inner = keys.Inner(key);
    if (!inner) {
      keys.Fail(key, "is not an object");
      continue;
    }
    ReadRopeObject(*inner, config);
    keys.TakeStatus(*inner);
  }
  const json *scaling = keys.Find("rope_scaling"), *parameters = keys.Find("rope_parameters");
  if (scaling != nullptr && parameters != nullptr && *scaling != *parameters) {
    keys.Fail("rope_scaling",
              "and 'rope_parameters' are both given and differ; remove the one that is wrong");
  }
  if (config.rotary_fraction != 1.0 && config.family->rotary_fraction == 1.0) {
    keys.Fail("partial_rotary_factor",
              absl::StrCat("is ", config.rotary_fraction, "; supported for this model_type: 1"));
  } else if (config.rotary_fraction > 1.0 || config.rotary().width < 2 || config.rotary().width % 2 != 0) {
    keys.Fail(config.rotary_fraction == 1.0 ? "head_dim" : "partial_rotary_factor",
              absl::StrCat("makes ", config.rotary().width, " of the ", config.head_dim,
                           " features of a head turn; rotary positions need an even number of them"));
  }
}

// A window that no sequence within the context exceeds changes nothing.
void CheckWindow(const json& root, JsonKeys& keys, const ModelConfig& config) {
  if (const json* types = keys.Find("layer_types"); types != nullptr) {
    for (const json& type : *types) {
      if (type == "full_attention") continue;
      keys.Fail("layer_types", absl::StrCat("holds ", Brief(type), "; supported: \"full_attention\""));
    }
  }
  int64_t window = config.family->sliding_window;
  if (root.contains("sliding_window")) {
    window = keys.Find("sliding_window") == nullptr ? 0 : keys.Size("sliding_window");
  }
  // Qwen's configurations name a window that they do not use.
  if (!keys.BoolOr("use_sliding_window", config.family->uses_window)) return;
  if (window == 0 || window >= config.context) return;
  keys.Fail("sliding_window",
            absl::StrCat("is ", root.contains("sliding_window") ? "" : "missing, which stands for ", window,
                         ", below the context of ", config.context,
                         " tokens; supported: null. To use the first ", window,
                         " positions alone, where every token sees all before it, set "
                         "'max_position_embeddings' to ",
                         window));
}

void ReadEos(JsonKeys& keys, ModelConfig& config) {
  const json* eos = keys.Find("eos_token_id");
  if (eos == nullptr) return;
  for (const json& id : eos->is_array() ? *eos : json::array({*eos})) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= static_cast<uint64_t>(config.vocab_size)) {
      keys.Fail("eos_token_id",
                absl::StrCat("holds ", Brief(id), ", not a token id from 0 to ", config.vocab_size - 1));
      return;
    }
    config.eos_tokens.push_back(id.get<int64_t>());
  }
}

// Refuses sizes whose tensor, of `sizes` multiplied, no arithmetic on 64 bits could handle safely.
void BoundTensor(JsonKeys& keys, const char* key, std::initializer_list<int64_t> sizes) {
  constexpr int64_t kMostElements = int64_t{1} << 40;
  if (!keys.status().ok()) return;  // a size may be anything
  int64_t product = 1;
  for (const int64_t size : sizes) {
    if (size > kMostElements / product) {
      keys.Fail(key, absl::StrCat("makes a tensor of ", absl::StrJoin(sizes, " x "),
                                  " numbers; supported: at most 2^40"));
      return;
    }
    product *= size;
  }
}

// "attention", or the name of the mixer, which is the same in all converted layers.
void ReadLayerTypes(JsonKeys& keys, ModelConfig& config) {
  const json* types = keys.Find("layer_types");
  if (types == nullptr || !types->is_array() || types->size() != config.layers.size()) {
    keys.Fail("layer_types", absl::StrCat("must list ", config.layers.size(), " layers"));
    return;
  }
  for (size_t l = 0; l < types->size(); ++l) {
    const json& type = (*types)[l];
    if (type == "attention") continue;
    const bool discrete = type == Mamba2FormName(Mamba2Form::kDiscrete);
    if (!discrete && type != Mamba2FormName(Mamba2Form::kStock)) {
      keys.Fail("layer_types",
                absl::StrCat("holds ", Brief(type), "; supported: attention, mamba2, discrete_mamba2"));
      return;
    }
    const Mamba2Form form = discrete ? Mamba2Form::kDiscrete : Mamba2Form::kStock;
    if (config.is_student() && form != config.mamba2.form) {
      keys.Fail("layer_types", "holds both mamba2 and discrete_mamba2; supported: one of them in a student");
      return;
    }
    config.layers[l] = MixerType::kMamba2;
    config.mamba2.form = form;
  }
}

void ReadStudentLayers(JsonKeys& keys, ModelConfig& config) {
  ReadLayerTypes(keys, config);
  const char* const name = Mamba2FormName(config.mamba2.form);
  std::optional<JsonKeys> inner = keys.Inner(name);
  if (!inner) {
    keys.Fail(name, "must be an object with the mixer's sizes");
    return;
  }
  Mamba2Shape& shape = config.mamba2;
  shape.heads = inner->Size("heads");
  shape.head_dim = inner->Size("head_dim");
  shape.state_size = inner->Size("state_size");
  shape.groups = inner->Size("groups");
  shape.conv_kernel = inner->Size("conv_kernel");
  BoundTensor(*inner, "heads", {shape.heads, shape.head_dim, config.hidden_size});
  BoundTensor(*inner, "state_size", {shape.groups, shape.state_size, config.hidden_size});
  BoundTensor(*inner, "state_size", {shape.heads, shape.head_dim, shape.state_size});
  BoundTensor(*inner, "conv_kernel", {shape.heads, shape.head_dim, shape.conv_kernel});
  BoundTensor(*inner, "conv_kernel", {shape.groups, shape.state_size, shape.conv_kernel});
  keys.TakeStatus(*inner);
  if (keys.status().ok() && shape.heads % shape.groups != 0) {
    keys.Fail(name,
              absl::StrCat("has ", shape.heads, " heads, which ", shape.groups, " groups do not divide"));
  }
}

void ReadSizes(JsonKeys& keys, ModelConfig& config) {
  const ModelFamily& family = *config.family;
  config.vocab_size = keys.Size("vocab_size");
  config.hidden_size = keys.Size("hidden_size");
  config.intermediate_size = keys.Size("intermediate_size");
  config.heads = keys.Size("num_attention_heads");
  const int64_t heads = std::max<int64_t>(config.heads, 1);
  config.kv_heads = keys.SizeOr("num_key_value_heads", family.needs_kv_heads ? -1 : heads);
  config.head_dim = keys.SizeOr(
      "head_dim", family.head_dim != 0 ? family.head_dim : std::max<int64_t>(config.hidden_size / heads, 1));
  config.context = keys.SizeOr("max_position_embeddings", family.context);
  if (config.context < 2 || config.context >= JsonKeys::kSizeLimit) {
    keys.Fail("max_position_embeddings",
              absl::StrCat("is ", config.context, "; supported: 2 to ", JsonKeys::kSizeLimit - 1));
  }
  config.norm_eps = keys.PositiveOr(family.eps_key, family.eps);
  config.tied_head = keys.BoolOr("tie_word_embeddings", false);
  if (config.kv_heads > 0 && config.heads % config.kv_heads != 0) {
    keys.Fail("num_key_value_heads", absl::StrCat("is ", config.kv_heads, ", which does not divide the ",
                                                  config.heads, " query heads"));
  }
  BoundTensor(keys, "vocab_size", {config.vocab_size, config.hidden_size});
  BoundTensor(keys, "intermediate_size", {config.intermediate_size, config.hidden_size});
  BoundTensor(keys, "num_attention_heads", {config.heads, config.head_dim, config.hidden_size});
  constexpr int64_t kLayerLimit = 10000;
  const int64_t num_layers = keys.Size("num_hidden_layers");
  if (num_layers > kLayerLimit) {
    keys.Fail("num_hidden_layers", absl::StrCat("is ", num_layers, "; supported: 1 to ", kLayerLimit));
  }
  if (keys.status().ok()) config.layers.assign(num_layers, MixerType::kAttention);
}

// The family that `key` names; students written before there were several have none.
absl::StatusOr<const ModelFamily*> FamilyOf(const json& root, absl::string_view origin, const char* key) {
  const bool of_student = key != std::string("model_type");
  if (of_student && !root.contains(key)) return &LlamaFamily();
  const json type = root.value(key, json());
  const ModelFamily* family = type.is_string() ? FindModelFamily(type.get<std::string>()) : nullptr;
  if (family != nullptr) return family;
  return absl::InvalidArgumentError(absl::StrCat(
      origin, ": '", key, "' is ", type.is_null() ? "missing" : Brief(type), "; supported: ",
      ModelFamilyNames(), of_student ? "" : absl::StrCat(" (teachers), \"", kStudentType, "\" (students)")));
}

}  // namespace

bool ModelConfig::is_student() const {
  return std::find(layers.begin(), layers.end(), MixerType::kMamba2) != layers.end();
}

const char* Mamba2FormName(Mamba2Form form) {
  return form == Mamba2Form::kStock ? "mamba2" : "discrete_mamba2";
}

absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view text, absl::string_view origin) {
  const absl::StatusOr<json> parsed = ParseJson(std::string_view(text.data(), text.size()));
  if (!parsed.ok()) return absl::InvalidArgumentError(absl::StrCat(origin, ": ", parsed.status().message()));
  const json& root = *parsed;
  if (!root.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(origin, ": not a JSON object"));
  }
  JsonKeys keys(root, std::string(origin));
  const json* type = keys.Find("model_type");
  const bool of_student = type != nullptr && *type == kStudentType;
  ModelConfig config;
  ASSIGN_OR_RETURN(config.family, FamilyOf(root, origin, of_student ? "base_model_type" : "model_type"));
  ReadSizes(keys, config);
  ReadRope(keys, config);
  ReadEos(keys, config);
  keys.Require("hidden_act", config.family->activation);
  for (const char* key : {"attention_bias", "mlp_bias", "qk_layernorm"}) keys.Require(key, false);
  RETURN_IF_ERROR(keys.status());
  if (of_student) {
    ReadStudentLayers(keys, config);
  } else {
    CheckWindow(root, keys, config);
  }
  RETURN_IF_ERROR(keys.status());
  return config;
}

absl::StatusOr<ModelConfig> ReadModelConfig(const std::filesystem::path& directory) {
  const std::filesystem::path file = directory / "config.json";
  std::error_code unreadable;  // such a path counts as missing
  if (!std::filesystem::exists(file, unreadable)) {
    return absl::NotFoundError(
        absl::StrCat(directory.string(), " is not a model directory: it has no config.json"));
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile(file));
  return ParseModelConfig(text, file.string());
}

json StudentConfigJson(const ModelConfig& config) {
  const char* const mixer = Mamba2FormName(config.mamba2.form);
  json layer_types = json::array();
  for (MixerType type : config.layers) {
    layer_types.push_back(type == MixerType::kMamba2 ? mixer : "attention");
  }
  json written = {{"model_type", kStudentType},
                  {"base_model_type", config.family->model_type},
                  {"vocab_size", config.vocab_size},
                  {"hidden_size", config.hidden_size},
                  {"intermediate_size", config.intermediate_size},
                  {"num_hidden_layers", config.num_layers()},
                  {"num_attention_heads", config.heads},
                  {"num_key_value_heads", config.kv_heads},
                  {"head_dim", config.head_dim},
                  {"max_position_embeddings", config.context},
                  {config.family->eps_key, config.norm_eps},
                  {"rope_theta", config.rope_theta},
                  {"partial_rotary_factor", config.rotary_fraction},
                  {"tie_word_embeddings", config.tied_head},
                  {"eos_token_id", config.eos_tokens},
                  {"hidden_act", config.family->activation},
                  {"layer_types", layer_types},
                  {mixer,
                   {{"heads", config.mamba2.heads},
                    {"head_dim", config.mamba2.head_dim},
                    {"state_size", config.mamba2.state_size},
                    {"groups", config.mamba2.groups},
                    {"conv_kernel", config.mamba2.conv_kernel}}}};
  if (config.rope_scaling.has_value()) {
    written["rope_scaling"] = {{"rope_type", "llama3"},
                               {"factor", config.rope_scaling->factor},
                               {"low_freq_factor", config.rope_scaling->low_frequency},
                               {"high_freq_factor", config.rope_scaling->high_frequency},
                               {"original_max_position_embeddings", config.rope_scaling->context}};
  }
  return written;
}

}  // namespace retort
