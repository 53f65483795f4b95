#include "core/config/teacher_shape.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/json_keys.h"
#include "core/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace retort {
absl::StatusOr<v1::ModelShape> ReadTeacherShape(const std::filesystem::path& teacher) {
  const std::string origin = (teacher / "config.json").string();
  ASSIGN_OR_RETURN(const std::string text, ReadFile(origin));
  const absl::StatusOr<nlohmann::json> parsed = ParseJson(text);
  if (!parsed.ok()) return absl::InvalidArgumentError(absl::StrCat(origin, ": ", parsed.status().message()));
  const nlohmann::json& config = *parsed;
  if (!config.is_object()) return absl::InvalidArgumentError(absl::StrCat(origin, " is not a JSON object"));
  JsonKeys keys(config, origin);
  v1::ModelShape shape;
  shape.set_layers(static_cast<uint32_t>(keys.Size("num_hidden_layers")));
  shape.set_hidden_size(static_cast<uint32_t>(keys.Size("hidden_size")));
  shape.set_intermediate_size(static_cast<uint32_t>(keys.Size("intermediate_size")));
  shape.set_query_heads(static_cast<uint32_t>(keys.Size("num_attention_heads")));
  RETURN_IF_ERROR(keys.status());
  shape.set_kv_heads(static_cast<uint32_t>(keys.SizeOr("num_key_value_heads", shape.query_heads())));
  const uint32_t head_dim = std::max(shape.hidden_size() / shape.query_heads(), 1u);
  shape.set_head_dim(static_cast<uint32_t>(keys.SizeOr("head_dim", head_dim)));
  shape.set_vocab_size(static_cast<uint32_t>(keys.Size("vocab_size")));
  RETURN_IF_ERROR(keys.status());
  shape.set_tied_head(Field(config, "tie_word_embeddings") == true);
  const bool is_phi = Field(config, "model_type") == "phi";
  shape.set_plain_mlp(is_phi);
  shape.set_biased_head(is_phi);
  return shape;
}

}  // namespace retort
