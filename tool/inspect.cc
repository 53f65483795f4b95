#include "tool/inspect.h"

#include <numeric>

#include "core/base/status_macros.h"
#include "model/lm/language_model.h"

namespace retort {
namespace {

int64_t Elements(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

const char* Part(const std::string& name) {
  if (name.find("embed_tokens") != std::string::npos) return "embedding";
  if (name.find("lm_head") != std::string::npos) return "head";
  if (name.find(".mamba.") != std::string::npos) return "mamba2";
  if (name.find(".self_attn.") != std::string::npos) return "attention";
  return name.find(".mlp.") != std::string::npos ? "mlp" : "norms";
}

}  // namespace

absl::StatusOr<nlohmann::json> RunInspect(const InspectOptions& options) {
  using nlohmann::json;
  ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(options.model));
  json layers = json::array();
  for (MixerType type : config.layers) {
    layers.push_back({{"mixer", type == MixerType::kMamba2 ? "mamba2" : "attention"}, {"parameters", 0}});
  }
  json parameters = {{"total", 0}};
  const std::string layer_prefix = "model.layers.";
  const LanguageModel empty = EmptyModel(config);
  for (const auto& tensor : ModelTensors(empty)) {
    const std::string& name = tensor.name;
    const int64_t count = Elements(tensor.shape);
    parameters["total"] = parameters["total"].get<int64_t>() + count;
    parameters[Part(name)] = parameters.value(Part(name), int64_t{0}) + count;
    if (name.rfind(layer_prefix, 0) == 0) {
      json& layer = layers[std::stoul(name.substr(layer_prefix.size()))]["parameters"];
      layer = layer.get<int64_t>() + count;
    }
  }
  json shape = {{"vocab_size", config.vocab_size},
                {"hidden_size", config.hidden_size},
                {"mlp_size", config.intermediate_size},
                {"heads", config.heads},
                {"kv_heads", config.kv_heads},
                {"head_dim", config.head_dim},
                {"context", config.context},
                {"tied_head", config.tied_head}};
  if (config.is_student()) {
    shape["mamba2_state_size"] = config.mamba2.state_size;
    shape["mamba2_groups"] = config.mamba2.groups;
  }
  return json{{"kind", config.is_student() ? "student" : "teacher"},
              {"config", shape},
              {"layers", layers},
              {"parameters", parameters}};
}

}  // namespace retort
