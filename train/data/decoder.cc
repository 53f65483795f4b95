#include "train/data/decoder.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/str_replace.h"
#include "core/base/json_keys.h"
#include "core/base/status_macros.h"
#include "train/data/metaspace_fields.h"

namespace retort {
namespace {

constexpr char kSupported[] =
    "Metaspace, Replace (pattern String), ByteFallback, Fuse and Strip (stop 0), alone or in a Sequence; "
    "ByteLevel where "
    "'pre_tokenizer' ends in it";

// The byte of a token "<0x0A>".
std::optional<char> ByteOf(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with('>')) return std::nullopt;
  uint8_t byte = 0;
  const auto [end, error] = std::from_chars(token.data() + 3, token.data() + 5, byte, 16);
  if (error != std::errc() || end != token.data() + 5) return std::nullopt;
  return static_cast<char>(byte);
}

}  // namespace

absl::StatusOr<Decoder> Decoder::FromJson(const nlohmann::json& decoder, bool byte_level) {
  Decoder result;
  const nlohmann::json& type = Field(decoder, "type");
  if (byte_level) {
    if (type != "ByteLevel") {
      return Unsupported("decoder", decoder, "ByteLevel, where 'pre_tokenizer' ends in that");
    }
    RETURN_IF_ERROR(CheckMembers("decoder ByteLevel", decoder,
                                 {"type", "add_prefix_space", "trim_offsets", "use_regex"}));
    return result;
  }
  if (type != "Sequence") {
    RETURN_IF_ERROR(result.AddStep(decoder));
    return result;
  }
  RETURN_IF_ERROR(CheckMembers("decoder", decoder, {"type", "decoders"}));
  const nlohmann::json& members = Field(decoder, "decoders");
  if (!members.is_array()) return Unsupported("decoder", decoder, kSupported);
  for (const nlohmann::json& member : members) RETURN_IF_ERROR(result.AddStep(member));
  return result;
}

absl::Status Decoder::AddStep(const nlohmann::json& object) {
  const nlohmann::json& type = Field(object, "type");
  if (type == "Metaspace") {
    ASSIGN_OR_RETURN(MetaspaceFields fields, ReadMetaspace("decoder Metaspace", object));
    steps_.push_back(Metaspace{std::move(fields.replacement), fields.prepend_scheme != "never"});
    return absl::OkStatus();
  }
  if (type == "ByteFallback" || type == "Fuse") {
    RETURN_IF_ERROR(CheckMembers("decoder ByteFallback or Fuse", object, {"type"}));
    if (type == "Fuse") {
      steps_.push_back(Fuse{});
    } else {
      steps_.push_back(ByteFallback{});
    }
    return absl::OkStatus();
  }
  if (type == "Replace") {
    RETURN_IF_ERROR(CheckMembers("decoder Replace", object, {"type", "pattern", "content"}));
    const nlohmann::json& pattern = Field(object, "pattern");
    ASSIGN_OR_RETURN(std::string text, StringField(pattern, "String", ""));
    if (text.empty()) return Unsupported("decoder Replace pattern", pattern, R"({"String": "..."})");
    ASSIGN_OR_RETURN(std::string content, StringField(object, "content", ""));
    RETURN_IF_ERROR(growth_.Add("decoder Replace content", text.size(), content.size()));
    steps_.push_back(Replace{std::move(text), std::move(content)});
    return absl::OkStatus();
  }
  if (type == "Strip") {
    RETURN_IF_ERROR(CheckMembers("decoder Strip", object, {"type", "content", "start", "stop"}));
    ASSIGN_OR_RETURN(std::string content, StringField(object, "content", ""));
    const nlohmann::json& start = Field(object, "start");
    const nlohmann::json& stop = Field(object, "stop");
    // Taking characters off the end would make the text of some tokens depend on those that follow.
    if (content.size() != 1 || !start.is_number_unsigned() || stop != 0) {
      return Unsupported("decoder Strip", object, "one ASCII character as content, start from 0, stop 0");
    }
    steps_.push_back(Strip{std::move(content), start.get<size_t>()});
    return absl::OkStatus();
  }
  return Unsupported("decoder", object, kSupported);
}

std::string Decoder::Decode(std::vector<std::string> tokens) const {
  for (const auto& step : steps_) std::visit([&tokens](const auto& s) { Apply(s, &tokens); }, step);
  std::string text;
  for (const std::string& token : tokens) text.append(token);
  return text;
}

void Decoder::Apply(const Metaspace& step, std::vector<std::string>* tokens) {
  for (size_t i = 0; i < tokens->size(); ++i) {
    const char* space = i == 0 && step.drop_first ? "" : " ";
    (*tokens)[i] = absl::StrReplaceAll((*tokens)[i], {{step.replacement, space}});
  }
}

void Decoder::Apply(const Replace& step, std::vector<std::string>* tokens) {
  for (std::string& token : *tokens) absl::StrReplaceAll({{step.pattern, step.content}}, &token);
}

void Decoder::Apply(const ByteFallback&, std::vector<std::string>* tokens) {
  for (std::string& token : *tokens) {
    if (const std::optional<char> byte = ByteOf(token); byte.has_value()) token.assign(1, *byte);
  }
}

void Decoder::Apply(const Fuse&, std::vector<std::string>* tokens) {
  std::string all;
  for (const std::string& token : *tokens) all.append(token);
  tokens->assign(1, std::move(all));
}

void Decoder::Apply(const Strip& step, std::vector<std::string>* tokens) {
  for (std::string& token : *tokens) {
    const size_t run = std::min(token.find_first_not_of(step.content), token.size());
    token.erase(0, std::min(run, step.start));
  }
}

}  // namespace retort
