#include "train/data/normalizer.h"

#include <utility>

#include "core/base/json_keys.h"
#include "core/base/status_macros.h"
#include "train/data/nfc.h"

namespace retort {
namespace {

constexpr char kSupported[] = "null, or NFC, Prepend and Replace, alone or in a Sequence";

// `text` with every match of `pattern` replaced; empty when there is none.
absl::StatusOr<std::string> ReplaceMatches(std::string_view text, const Regex& pattern,
                                           std::string_view content) {
  std::string replaced;
  size_t end = 0;
  ASSIGN_OR_RETURN(const std::vector<Regex::Match> matches, pattern.FindAll(text));
  for (const Regex::Match& match : matches) {
    replaced.append(text.substr(end, match.begin - end)).append(content);
    end = match.end;
  }
  if (end > 0) replaced.append(text.substr(end));
  return replaced;
}

}  // namespace

absl::StatusOr<Normalizer> Normalizer::FromJson(const nlohmann::json& normalizer) {
  Normalizer result;
  if (normalizer.is_null()) return result;
  if (Field(normalizer, "type") != "Sequence") {
    RETURN_IF_ERROR(result.AddStep(normalizer));
    return result;
  }
  RETURN_IF_ERROR(CheckMembers("normalizer", normalizer, {"type", "normalizers"}));
  const nlohmann::json& members = Field(normalizer, "normalizers");
  if (!members.is_array()) return Unsupported("normalizer", normalizer, kSupported);
  for (const nlohmann::json& member : members) RETURN_IF_ERROR(result.AddStep(member));
  return result;
}

absl::Status Normalizer::AddStep(const nlohmann::json& object) {
  const nlohmann::json& type = Field(object, "type");
  if (type == "NFC") {
    RETURN_IF_ERROR(CheckMembers("normalizer NFC", object, {"type"}));
    steps_.push_back(Nfc{});
    return absl::OkStatus();
  }
  if (type == "Prepend") {
    RETURN_IF_ERROR(CheckMembers("normalizer Prepend", object, {"type", "prepend"}));
    ASSIGN_OR_RETURN(std::string content, StringField(object, "prepend", ""));
    if (!content.empty()) steps_.push_back(Prepend{std::move(content)});
    return absl::OkStatus();
  }
  if (type == "Replace") {
    RETURN_IF_ERROR(CheckMembers("normalizer Replace", object, {"type", "pattern", "content"}));
    ASSIGN_OR_RETURN(Regex pattern, PatternField(object, "normalizer Replace pattern"));
    ASSIGN_OR_RETURN(std::string content, StringField(object, "content", ""));
    // A text could vanish, and with it what it means to stand at the start.
    if (content.empty()) return Unsupported("normalizer Replace content", content, "one that is not empty");
    ASSIGN_OR_RETURN(const std::string literal, StringField(Field(object, "pattern"), "String", ""));
    RETURN_IF_ERROR(growth_.Add("normalizer Replace content", literal.size(), content.size()));
    steps_.push_back(Replace{std::move(pattern), std::move(content)});
    return absl::OkStatus();
  }
  return Unsupported("normalizer", object, kSupported);
}

absl::StatusOr<std::string_view> Normalizer::Apply(std::string_view text,
                                                   std::deque<std::string>* storage) const {
  if (text.empty()) return text;
  for (const auto& step : steps_) {
    std::string respelled;
    if (const auto* prepend = std::get_if<Prepend>(&step)) {
      respelled.append(prepend->content).append(text);
    } else if (const auto* replace = std::get_if<Replace>(&step)) {
      ASSIGN_OR_RETURN(respelled, ReplaceMatches(text, replace->pattern, replace->content));
    } else {
      respelled = ComposeWhereNeeded(text);
    }
    if (!respelled.empty()) text = storage->emplace_back(std::move(respelled));
  }
  return text;
}

}  // namespace retort
