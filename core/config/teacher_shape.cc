#include "core/config/teacher_shape.h"

#include <cstdint>
#include <limits>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/json_text.h"
#include "core/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace retort {
namespace {

using nlohmann::json;

class ShapeReader {
 public:
  ShapeReader(const json& config, const std::string& origin) : config_(config), origin_(origin) {}

  // `fallback` where the key is absent or null; 0: it is required.
  uint32_t Size(const char* key, uint32_t fallback = 0) {
    const bool absent = !config_.contains(key) || config_[key].is_null();
    if (absent && fallback > 0) return fallback;
    const bool good = !absent && config_[key].is_number_unsigned() && config_[key].get<uint64_t>() > 0 &&
                      config_[key].get<uint64_t>() <= std::numeric_limits<int32_t>::max();
    if (good) return static_cast<uint32_t>(config_[key].get<uint64_t>());
    if (error_.ok()) {
      error_ = absl::InvalidArgumentError(absl::StrCat(origin_, ": ", key, " is ",
                                                       absent ? "missing" : config_[key].dump(),
                                                       "; a whole number above 0 is needed"));
    }
    return 1;
  }

  const absl::Status& error() const { return error_; }

 private:
  const json& config_;
  const std::string& origin_;
  absl::Status error_;
};

}  // namespace

absl::StatusOr<v1::ModelShape> ReadTeacherShape(const std::filesystem::path& teacher) {
  const std::string origin = (teacher / "config.json").string();
  ASSIGN_OR_RETURN(const std::string text, ReadFile(origin));
  const absl::StatusOr<json> parsed = ParseJson(text);
  if (!parsed.ok()) return absl::InvalidArgumentError(absl::StrCat(origin, ": ", parsed.status().message()));
  const json& config = *parsed;
  if (!config.is_object()) return absl::InvalidArgumentError(absl::StrCat(origin, " is not a JSON object"));
  ShapeReader reader(config, origin);
  v1::ModelShape shape;
  shape.set_layers(reader.Size("num_hidden_layers"));
  shape.set_hidden_size(reader.Size("hidden_size"));
  shape.set_intermediate_size(reader.Size("intermediate_size"));
  shape.set_query_heads(reader.Size("num_attention_heads"));
  shape.set_kv_heads(reader.Size("num_key_value_heads", shape.query_heads()));
  shape.set_head_dim(reader.Size("head_dim", std::max(shape.hidden_size() / shape.query_heads(), 1u)));
  shape.set_vocab_size(reader.Size("vocab_size"));
  RETURN_IF_ERROR(reader.error());
  shape.set_tied_head(config.contains("tie_word_embeddings") && config["tie_word_embeddings"] == true);
  const bool is_phi = config.contains("model_type") && config["model_type"] == "phi";
  shape.set_plain_mlp(is_phi);
  shape.set_biased_head(is_phi);
  return shape;
}

}  // namespace retort
