#include "train/data/post_processor.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "core/base/json_keys.h"
#include "core/base/status_macros.h"
#include "train/data/bpe_model.h"

namespace retort {
namespace {

constexpr char kSupported[] = "null, or ByteLevel and TemplateProcessing, alone or in a Sequence";

// The ids that `special_tokens` of a template gives for the token `name`.
absl::StatusOr<std::vector<int32_t>> IdsOf(const nlohmann::json& special_tokens, const std::string& name) {
  const nlohmann::json& listed = Field(Field(special_tokens, name.c_str()), "ids");
  std::vector<int32_t> ids;
  for (const nlohmann::json& id : listed) {
    if (!id.is_number_unsigned() || id > BpeModel::kMaxId) break;
    ids.push_back(id.get<int32_t>());
  }
  if (!listed.is_array() || ids.size() != listed.size()) {
    return absl::InvalidArgumentError(absl::StrCat("'post_processor TemplateProcessing' has a token '", name,
                                                   "' whose ids in 'special_tokens' are ", Brief(listed),
                                                   ", not numbers from 0 to ", BpeModel::kMaxId));
  }
  return ids;
}

}  // namespace

absl::StatusOr<PostProcessor> PostProcessor::FromJson(const nlohmann::json& post_processor) {
  PostProcessor result;
  if (post_processor.is_null()) return result;
  if (Field(post_processor, "type") != "Sequence") {
    RETURN_IF_ERROR(result.AddStep(post_processor));
    return result;
  }
  RETURN_IF_ERROR(CheckMembers("post_processor", post_processor, {"type", "processors"}));
  const nlohmann::json& members = Field(post_processor, "processors");
  if (!members.is_array()) return Unsupported("post_processor", post_processor, kSupported);
  for (const nlohmann::json& member : members) RETURN_IF_ERROR(result.AddStep(member));
  return result;
}

absl::Status PostProcessor::AddStep(const nlohmann::json& object) {
  const nlohmann::json& type = Field(object, "type");
  if (type == "ByteLevel") {
    return CheckMembers("post_processor ByteLevel", object,
                        {"type", "add_prefix_space", "trim_offsets", "use_regex"});
  }
  if (type == "TemplateProcessing") return AddTemplate(object);
  return Unsupported("post_processor", object, kSupported);
}

absl::Status PostProcessor::AddTemplate(const nlohmann::json& object) {
  RETURN_IF_ERROR(CheckMembers("post_processor TemplateProcessing", object,
                               {"type", "single", "pair", "special_tokens"}));
  const nlohmann::json& single = Field(object, "single");
  const absl::Status unsupported =
      Unsupported("post_processor TemplateProcessing single", single, "SpecialTokens around one Sequence A");
  if (!single.is_array()) return unsupported;
  std::vector<int32_t> before, after;
  bool seen_text = false;
  for (const nlohmann::json& item : single) {
    if (const nlohmann::json& special = Field(item, "SpecialToken"); special.is_object()) {
      ASSIGN_OR_RETURN(const std::string name, StringField(special, "id", ""));
      ASSIGN_OR_RETURN(const std::vector<int32_t> ids, IdsOf(Field(object, "special_tokens"), name));
      std::vector<int32_t>& side = seen_text ? after : before;
      side.insert(side.end(), ids.begin(), ids.end());
    } else if (Field(Field(item, "Sequence"), "id") == "A" && !seen_text) {
      seen_text = true;
    } else {
      return unsupported;
    }
  }
  if (!seen_text) return unsupported;
  // A later step's tokens go around what the earlier ones have made.
  before_.insert(before_.begin(), before.begin(), before.end());
  after_.insert(after_.end(), after.begin(), after.end());
  return absl::OkStatus();
}

}  // namespace retort
