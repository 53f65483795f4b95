#include "model/io/model_config.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/files.h"
#include "core/base/json_text.h"
#include "core/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace retort {
namespace {

using nlohmann::json;

constexpr char kStudentType[] = "retort_hybrid";
constexpr int64_t kSizeLimit = int64_t{1} << 31;

// Reads typed keys out of one JSON object and remembers the first thing that was wrong.
class Reader {
 public:
  Reader(const json& object, std::string origin) : object_(object), origin_(std::move(origin)) {}

  int64_t Size(const char* key) { return SizeOr(key, -1); }

  int64_t SizeOr(const char* key, int64_t fallback) {
    const json* value = Find(key);
    if (value == nullptr) {
      if (fallback < 0) Fail(key, "is missing");
      return fallback;
    }
    if (!value->is_number_integer()) {
      Fail(key, absl::StrCat("is ", value->dump(), ", not an integer"));
      return 0;
    }
    const int64_t number = value->get<int64_t>();
    if (number < 1 || number > kSizeLimit) {
      Fail(key, absl::StrCat("is ", value->dump(), ", outside 1 to ", kSizeLimit));
    }
    return number;
  }

  double PositiveOr(const char* key, double fallback) {
    const json* value = Find(key);
    if (value == nullptr) return fallback;
    if (!value->is_number() || !(value->get<double>() > 0)) {
      Fail(key, absl::StrCat("is ", value->dump(), ", not a positive number"));
      return fallback;
    }
    return value->get<double>();
  }

  bool BoolOr(const char* key, bool fallback) {
    const json* value = Find(key);
    if (value == nullptr) return fallback;
    if (!value->is_boolean()) {
      Fail(key, absl::StrCat("is ", value->dump(), ", neither true nor false"));
      return fallback;
    }
    return value->get<bool>();
  }

  // Refuses a key whose value changes the mathematics into something this version does not compute.
  void Require(const char* key, const json& supported) {
    const json* value = Find(key);
    if (value != nullptr && *value != supported) {
      Fail(key, absl::StrCat("is ", value->dump(), "; supported: ", supported.dump()));
    }
  }

  // A null counts as absent, as transformers writes unset keys.
  const json* Find(const char* key) const {
    const auto it = object_.find(key);
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }

  void Fail(absl::string_view key, absl::string_view what) {
    if (status_.ok()) {
      status_ = absl::InvalidArgumentError(absl::StrCat(origin_, ": \"", key, "\" ", what));
    }
  }
  const absl::Status& status() const { return status_; }

 private:
  const json& object_;
  std::string origin_;
  absl::Status status_;
};

// transformers 4 writes rope_theta and rope_scaling; transformers 5 one object, rope_parameters.
void ReadRope(Reader& reader, ModelConfig& config) {
  constexpr double kDefaultTheta = 10000.0;
  config.rope_theta = reader.PositiveOr("rope_theta", kDefaultTheta);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const json* rope = reader.Find(key);
    if (rope == nullptr) continue;
    if (!rope->is_object()) {
      reader.Fail(key, "is not an object");
      continue;
    }
    Reader inner(*rope, key);
    const json* type = inner.Find("rope_type") != nullptr ? inner.Find("rope_type") : inner.Find("type");
    if (type != nullptr && *type != "default") {
      reader.Fail(key, absl::StrCat("asks for rotary scaling ", type->dump(), "; supported: \"default\""));
    }
    config.rope_theta = inner.PositiveOr("rope_theta", config.rope_theta);
    if (!inner.status().ok()) reader.Fail(key, inner.status().message());
  }
}

void ReadEos(Reader& reader, ModelConfig& config) {
  const json* eos = reader.Find("eos_token_id");
  if (eos == nullptr) return;
  for (const json& id : eos->is_array() ? *eos : json::array({*eos})) {
    if (!id.is_number_integer()) {
      reader.Fail("eos_token_id", absl::StrCat("holds ", id.dump(), ", not a token id"));
      return;
    }
    config.eos_tokens.push_back(id.get<int64_t>());
  }
}

void ReadStudentLayers(Reader& reader, ModelConfig& config) {
  const json* types = reader.Find("layer_types");
  if (types == nullptr || !types->is_array() || types->size() != config.layers.size()) {
    reader.Fail("layer_types", absl::StrCat("must list ", config.layers.size(), " layers"));
    return;
  }
  for (size_t l = 0; l < types->size(); ++l) {
    const json& type = (*types)[l];
    if (type == "mamba2") {
      config.layers[l] = MixerType::kMamba2;
    } else if (type != "attention") {
      reader.Fail("layer_types", absl::StrCat("holds ", type.dump(), "; supported: attention, mamba2"));
    }
  }
  const json* mamba2 = reader.Find("mamba2");
  if (mamba2 == nullptr || !mamba2->is_object()) {
    reader.Fail("mamba2", "must be an object with the mixer's sizes");
    return;
  }
  Reader inner(*mamba2, "mamba2");
  config.mamba2 = {.heads = inner.Size("heads"),
                   .head_dim = inner.Size("head_dim"),
                   .state_size = inner.Size("state_size"),
                   .groups = inner.Size("groups"),
                   .conv_kernel = inner.Size("conv_kernel")};
  if (!inner.status().ok()) {
    reader.Fail("mamba2", inner.status().message());
  } else if (config.mamba2.heads % config.mamba2.groups != 0) {
    reader.Fail("mamba2", absl::StrCat("has ", config.mamba2.heads, " heads, which ", config.mamba2.groups,
                                       " groups do not divide"));
  }
}

void CheckHeads(Reader& reader, const ModelConfig& config) {
  if (config.kv_heads > 0 && config.heads % config.kv_heads != 0) {
    reader.Fail("num_key_value_heads", absl::StrCat("is ", config.kv_heads, ", which does not divide the ",
                                                    config.heads, " query heads"));
  }
  if (config.head_dim % 2 != 0) {
    reader.Fail("head_dim", absl::StrCat("is ", config.head_dim, "; rotary positions need an even one"));
  }
}

}  // namespace

bool ModelConfig::is_student() const {
  return std::find(layers.begin(), layers.end(), MixerType::kMamba2) != layers.end();
}

absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view text, absl::string_view origin) {
  const absl::StatusOr<json> parsed = ParseJson(std::string_view(text.data(), text.size()));
  if (!parsed.ok()) return absl::InvalidArgumentError(absl::StrCat(origin, ": ", parsed.status().message()));
  const json& root = *parsed;
  if (!root.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(origin, ": not a JSON object"));
  }
  Reader reader(root, std::string(origin));
  const json* type = reader.Find("model_type");
  if (type == nullptr || (*type != "llama" && *type != kStudentType)) {
    return absl::InvalidArgumentError(
        absl::StrCat(origin, ": \"model_type\" is ", type == nullptr ? "missing" : type->dump(),
                     "; supported: \"llama\" (teachers), \"", kStudentType, "\" (students)"));
  }
  ModelConfig config;
  config.vocab_size = reader.Size("vocab_size");
  config.hidden_size = reader.Size("hidden_size");
  config.intermediate_size = reader.Size("intermediate_size");
  config.heads = reader.Size("num_attention_heads");
  config.kv_heads = reader.SizeOr("num_key_value_heads", std::max<int64_t>(config.heads, 1));
  config.head_dim = reader.SizeOr(
      "head_dim", std::max<int64_t>(config.hidden_size / std::max<int64_t>(config.heads, 1), 1));
  config.context = reader.SizeOr("max_position_embeddings", 2048);
  if (config.context < 2 || config.context >= kSizeLimit) {
    reader.Fail("max_position_embeddings",
                absl::StrCat("is ", config.context, "; supported: 2 to ", kSizeLimit - 1));
  }
  config.rms_eps = reader.PositiveOr("rms_norm_eps", 1e-6);
  config.tied_head = reader.BoolOr("tie_word_embeddings", false);
  const int64_t num_layers = reader.Size("num_hidden_layers");
  ReadRope(reader, config);
  ReadEos(reader, config);
  reader.Require("hidden_act", "silu");
  reader.Require("attention_bias", false);
  reader.Require("mlp_bias", false);
  CheckHeads(reader, config);
  constexpr int64_t kLayerLimit = 10000;
  if (num_layers > kLayerLimit) reader.Fail("num_hidden_layers", absl::StrCat("is ", num_layers));
  RETURN_IF_ERROR(reader.status());
  config.layers.assign(num_layers, MixerType::kAttention);
  if (*type == kStudentType) ReadStudentLayers(reader, config);
  RETURN_IF_ERROR(reader.status());
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
  json layer_types = json::array();
  for (MixerType type : config.layers) {
    layer_types.push_back(type == MixerType::kMamba2 ? "mamba2" : "attention");
  }
  return {{"model_type", kStudentType},
          {"vocab_size", config.vocab_size},
          {"hidden_size", config.hidden_size},
          {"intermediate_size", config.intermediate_size},
          {"num_hidden_layers", config.num_layers()},
          {"num_attention_heads", config.heads},
          {"num_key_value_heads", config.kv_heads},
          {"head_dim", config.head_dim},
          {"max_position_embeddings", config.context},
          {"rms_norm_eps", config.rms_eps},
          {"rope_theta", config.rope_theta},
          {"tie_word_embeddings", config.tied_head},
          {"eos_token_id", config.eos_tokens},
          {"hidden_act", "silu"},
          {"layer_types", layer_types},
          {"mamba2",
           {{"heads", config.mamba2.heads},
            {"head_dim", config.mamba2.head_dim},
            {"state_size", config.mamba2.state_size},
            {"groups", config.mamba2.groups},
            {"conv_kernel", config.mamba2.conv_kernel}}}};
}

}  // namespace retort
