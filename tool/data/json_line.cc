#include "tool/data/json_line.h"

#include <cstddef>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/base/json_text.h"
#include "core/base/plain_text.h"
#include "core/base/status_macros.h"
#include "nlohmann/json.hpp"
#include "train/data/utf8.h"

namespace retort {
namespace {

// More than any template writes, even where each of its letters is an escape. Numbers in a list take eight
// times the bytes of their line.
constexpr size_t kLongestChatBytes = 32 << 20;

// Keeps one member's text and builds nothing, so neither depth nor size of the rest matters.
class TextReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit TextReader(const std::string& field) : field_(field) {}

  int found() const { return found_; }
  bool is_text() const { return is_text_; }
  std::string& text() { return text_; }
  const std::string& error() const { return error_; }

  bool null() override { return Take(nullptr); }
  bool boolean(bool) override { return Take(nullptr); }
  bool number_integer(number_integer_t) override { return Take(nullptr); }
  bool number_unsigned(number_unsigned_t) override { return Take(nullptr); }
  bool number_float(number_float_t, const string_t&) override { return Take(nullptr); }
  bool string(string_t& value) override { return Take(&value); }
  bool binary(binary_t&) override { return Take(nullptr); }
  bool start_object(std::size_t) override { return Open(); }
  bool start_array(std::size_t) override { return Open(); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }
  bool key(string_t& name) override {
    is_next_ = depth_ == 1 && name == field_;
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception& error) override {
    error_ = JsonComplaint(error);
    return false;
  }

 private:
  bool Take(std::string* value) {
    if (!is_next_) return true;
    is_next_ = false;
    ++found_;
    is_text_ = value != nullptr;
    if (is_text_) text_ = std::move(*value);
    return true;
  }
  bool Open() {
    ++depth_;
    return Take(nullptr);
  }
  bool Close() {
    --depth_;
    return true;
  }

  const std::string& field_;
  int depth_ = 0;
  bool is_next_ = false;  // the next value is the field's
  int found_ = 0;
  bool is_text_ = false;
  std::string text_;
  std::string error_;
};

// The UTF-16 unit that `text` begins with as \uXXXX, or nothing.
std::optional<uint32_t> EscapedUnit(std::string_view text) {
  constexpr size_t kEscapeBytes = 6;
  uint32_t unit = 0;
  if (text.size() < kEscapeBytes || !text.starts_with("\\u")) return std::nullopt;
  if (!absl::SimpleHexAtoi(std::string(text.substr(2, 4)), &unit)) return std::nullopt;
  return unit;
}

// Overwrites each escape of half a character, which no UTF-8 text can hold, with one of U+FFFD.
uint64_t ReplaceLoneSurrogates(std::string* json) {
  const auto is_high = [](uint32_t unit) { return unit >= 0xd800 && unit <= 0xdbff; };
  const auto is_low = [](uint32_t unit) { return unit >= 0xdc00 && unit <= 0xdfff; };
  uint64_t replaced = 0;
  for (size_t at = json->find('\\'); at != std::string::npos; at = json->find('\\', at)) {
    const std::string_view rest = std::string_view(*json).substr(at);
    const std::optional<uint32_t> unit = EscapedUnit(rest);
    if (!unit) {
      at += 2;
    } else if (is_high(*unit) && is_low(EscapedUnit(rest.substr(6)).value_or(0))) {
      at += 12;
    } else {
      if (is_high(*unit) || is_low(*unit)) {
        json->replace(at, 6, "\\ufffd");
        ++replaced;
      }
      at += 6;
    }
  }
  return replaced;
}

// Of a text, or of a list of {"type": "text", "text": ...}, which are joined. Nothing: it is neither.
std::optional<std::string> TextIn(const nlohmann::json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return std::nullopt;
  std::string text;
  for (const nlohmann::json& part : value) {
    if (!part.is_object() || part.value("type", nlohmann::json()) != "text" || !part.contains("text") ||
        !part["text"].is_string()) {
      return std::nullopt;
    }
    text += part["text"].get<std::string>();
  }
  return text;
}

// The text of the first of the members that has one.
std::optional<std::string> Member(const nlohmann::json& message, const char* name, const char* other) {
  for (const char* member : {name, other}) {
    if (!message.is_object() || !message.contains(member)) continue;
    if (std::optional<std::string> text = TextIn(message[member])) return text;
  }
  return std::nullopt;
}

}  // namespace

std::string_view RepairLine(std::string_view line, std::string* storage, uint64_t* replaced) {
  *replaced = CountIllFormed(line);
  std::string valid;
  line = ToValidUtf8(line, &valid);
  if (*replaced == 0 && line.find("\\u") == std::string_view::npos) return line;
  *storage = std::string(line);
  *replaced += ReplaceLoneSurrogates(storage);
  return *storage;
}

absl::StatusOr<std::string> TextOfLine(std::string_view line, const std::string& field) {
  TextReader reader(field);
  if (!nlohmann::json::sax_parse(line, &reader)) {
    return absl::InvalidArgumentError(absl::StrCat("not JSON: ", reader.error()));
  }
  if (reader.found() == 1 && reader.is_text()) return std::move(reader.text());
  const char* wrong = reader.found() == 0 ? "missing" : reader.found() == 1 ? "no string" : "given twice";
  return absl::InvalidArgumentError(absl::StrCat("member '", field, "' is ", wrong, " in ", Shown(line),
                                                 "; --text-field names the text's member"));
}

absl::StatusOr<std::vector<ChatMessage>> ChatOfLine(std::string_view line, const std::string& field) {
  if (line.size() > kLongestChatBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a chat of ", line.size(), " bytes, and ", kLongestChatBytes >> 20,
                     " MiB are the most; cut it into several, or leave it out"));
  }
  ASSIGN_OR_RETURN(const nlohmann::json object, ParseJson(line));
  if (!object.is_object() || !object.contains(field) || !object[field].is_array()) {
    return absl::InvalidArgumentError(absl::StrCat("member '", field, "' is no list of messages in ",
                                                   Shown(line), "; --text-field names the messages' member"));
  }
  std::vector<ChatMessage> chat;
  for (const nlohmann::json& message : object[field]) {
    std::optional<std::string> role = Member(message, "role", "from");
    std::optional<std::string> content = Member(message, "content", "value");
    if (!role || role->empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("a message in '", field,
                       "' is neither {\"role\", \"content\"} nor {\"from\", \"value\"}: ", Brief(message)));
    }
    if (!content) {
      return absl::InvalidArgumentError(absl::StrCat("the content of message ", chat.size() + 1, " in '",
                                                     field, "' is missing or no text: ", Brief(message),
                                                     "; give a text, or leave the message out"));
    }
    ChatMessage said = {*std::move(role), *std::move(content)};
    if (said.role == "human") said.role = "user";
    if (said.role == "gpt") said.role = "assistant";
    chat.push_back(std::move(said));
  }
  return chat;
}

}  // namespace retort
