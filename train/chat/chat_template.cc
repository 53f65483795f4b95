#include "train/chat/chat_template.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/json_keys.h"
#include "core/base/status_macros.h"
#include "train/chat/jinja_interpreter.h"
#include "train/chat/jinja_parser.h"

namespace retort {
namespace {

using nlohmann::json;

// An absent file counts as an empty object.
absl::StatusOr<json> ReadObject(const std::filesystem::path& file) {
  const absl::StatusOr<std::string> text = ReadFile(file);
  if (absl::IsNotFound(text.status())) return json::object();
  RETURN_IF_ERROR(text.status());
  absl::StatusOr<json> object = ParseJson(*text);
  if (!object.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(file.string(), ": ", object.status().message()));
  }
  if (!object->is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(file.string(), " is not a JSON object"));
  }
  return object;
}

// Empty: there is none.
absl::StatusOr<std::string> TemplateOf(const json& config, const std::filesystem::path& file) {
  const json& found = Field(config, "chat_template");
  if (found.is_null()) return std::string();
  if (found.is_string()) return found.get<std::string>();
  for (const json& named : found.is_array() ? found : json::array()) {
    const json& source = Field(named, "template");
    if (Field(named, "name") == "default" && source.is_string()) return source.get<std::string>();
  }
  return absl::InvalidArgumentError(
      absl::StrCat(file.string(), ": chat_template is neither a text nor a list with one named default"));
}

// "bos_token": "<s>", or {"content": "<s>", ...}.
jinja::Dict TokensOf(const json& config) {
  jinja::Dict tokens;
  for (const auto& [key, value] : config.items()) {
    if (!absl::EndsWith(key, "_token")) continue;
    const json& text = value.is_object() ? Field(value, "content") : value;
    if (text.is_string()) tokens.push_back({key, jinja::Value{text.get<std::string>()}});
  }
  return tokens;
}

}  // namespace

absl::StatusOr<std::optional<ChatTemplate>> ChatTemplate::Load(const std::filesystem::path& model) {
  const std::filesystem::path file = model / "chat_template.jinja",
                              config_file = model / "tokenizer_config.json";
  ASSIGN_OR_RETURN(const json config, ReadObject(config_file));
  ChatTemplate result;
  absl::StatusOr<std::string> source = ReadFile(file);
  result.origin_ = file.string();
  if (absl::IsNotFound(source.status())) {
    source = TemplateOf(config, config_file);
    result.origin_ = absl::StrCat("the chat template in ", config_file.string());
  }
  RETURN_IF_ERROR(source.status());
  if (source->empty()) return std::optional<ChatTemplate>();
  absl::StatusOr<std::vector<jinja::Statement>> body = jinja::Parse(*source);
  if (!body.ok()) {
    return absl::Status(body.status().code(), absl::StrCat(result.origin_, ", ", body.status().message()));
  }
  result.body_ = *std::move(body);
  result.tokens_ = TokensOf(config);
  return std::optional<ChatTemplate>(std::move(result));
}

absl::StatusOr<std::string> ChatTemplate::Render(const std::vector<ChatMessage>& chat, bool answers,
                                                 absl::Time now) const {
  jinja::List messages;
  for (const ChatMessage& message : chat) {
    messages.push_back(jinja::MakeDict({{"role", {message.role}}, {"content", {message.content}}}));
  }
  jinja::Dict globals = tokens_;
  globals.push_back({"messages", jinja::MakeList(std::move(messages))});
  globals.push_back({"tools", jinja::Value{jinja::None{}}});
  globals.push_back({"documents", jinja::Value{jinja::None{}}});
  globals.push_back({"add_generation_prompt", jinja::Value{answers}});
  absl::StatusOr<std::string> text = jinja::Render(body_, globals, now);
  if (text.ok()) return text;
  const std::string what(text.status().message());
  if (absl::IsFailedPrecondition(text.status())) {
    return absl::InvalidArgumentError(absl::StrCat(origin_, " refuses the chat: ", what));
  }
  return absl::Status(text.status().code(), absl::StrCat(origin_, ", ", what));
}

}  // namespace retort
