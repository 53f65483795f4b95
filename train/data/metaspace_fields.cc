#include "train/data/metaspace_fields.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "core/base/json_keys.h"
#include "core/base/status_macros.h"
#include "train/data/utf8.h"

namespace retort {

absl::StatusOr<MetaspaceFields> ReadMetaspace(const std::string& key, const nlohmann::json& object) {
  RETURN_IF_ERROR(CheckMembers(
      key, object, {"type", "replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"}));
  MetaspaceFields fields;
  ASSIGN_OR_RETURN(fields.replacement, StringField(object, "replacement", ""));
  std::string_view rest = fields.replacement;
  if (!rest.empty()) TakeCharacter(&rest);
  if (fields.replacement.empty() || !rest.empty()) {
    return Unsupported(absl::StrCat(key, " replacement"), Field(object, "replacement"), "one character");
  }
  ASSIGN_OR_RETURN(fields.prepend_scheme, StringField(object, "prepend_scheme", "always"));
  constexpr std::string_view kSchemes[] = {"always", "first", "never"};
  if (std::find(std::begin(kSchemes), std::end(kSchemes), fields.prepend_scheme) == std::end(kSchemes)) {
    return Unsupported(absl::StrCat(key, " prepend_scheme"), fields.prepend_scheme, "always, first, never");
  }
  // Older files have this member instead of, or beside, the scheme.
  ASSIGN_OR_RETURN(const bool add_prefix_space, BoolField(object, "add_prefix_space", true));
  if (!add_prefix_space && fields.prepend_scheme != "never") {
    return Unsupported(absl::StrCat(key, " add_prefix_space"), false, R"(true, or prepend_scheme "never")");
  }
  ASSIGN_OR_RETURN(fields.split, BoolField(object, "split", true));
  return fields;
}

}  // namespace retort
