#include "train/chat/jinja_value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace retort::jinja {
namespace {

constexpr size_t kMostJsonBytes = 4 << 20;

void Include(const Value& element, uint64_t own_bytes, Extent* extent) {
  const Extent inner = ExtentOf(element);
  extent->bytes += own_bytes + (element.Is<std::string>() ? inner.bytes : 0);
  extent->elements += 1 + inner.elements;
  extent->depth = std::max(extent->depth, 1 + inner.depth);
  extent->holds_namespace |= inner.holds_namespace || element.is_namespace();
}

// Shortest that reads as the same number, with a point or an exponent.
std::string FloatText(double number) {
  char digits[40];
  std::string text(digits, std::to_chars(digits, std::end(digits), number).ptr);
  if (text.find_first_not_of("-0123456789") == std::string::npos) text += ".0";
  return text;
}

std::string JsonString(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

absl::StatusOr<std::string> JsonAt(const Value& value, std::optional<int> indent, int depth) {
  if (value.Is<std::string>()) return JsonString(value.As<std::string>());
  if (value.Is<None>()) return std::string("null");
  if (value.Is<bool>()) return std::string(value.As<bool>() ? "true" : "false");
  if (value.Is<int64_t>()) return absl::StrCat(value.As<int64_t>());
  if (value.Is<double>()) return FloatText(value.As<double>());
  if (!value.is_list() && !value.is_dict()) {
    return absl::InvalidArgumentError(absl::StrCat(TypeName(value), " has no JSON"));
  }
  std::vector<std::string> items;
  if (value.is_list()) {
    for (const Value& item : value.list()) {
      ASSIGN_OR_RETURN(items.emplace_back(), JsonAt(item, indent, depth + 1));
    }
  } else {
    for (const auto& [key, item] : value.dict()) {
      ASSIGN_OR_RETURN(const std::string text, JsonAt(item, indent, depth + 1));
      items.push_back(absl::StrCat(JsonString(key), ": ", text));
    }
  }
  const char *open = value.is_list() ? "[" : "{", *close = value.is_list() ? "]" : "}";
  if (items.empty()) return absl::StrCat(open, close);
  std::string text = open;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) text += indent ? "," : ", ";
    if (indent) absl::StrAppend(&text, "\n", std::string((depth + 1) * *indent, ' '));
    text += items[i];
    if (text.size() > kMostJsonBytes) return absl::InvalidArgumentError("a text is too long");
  }
  if (indent) absl::StrAppend(&text, "\n", std::string(depth * *indent, ' '));
  return text + close;
}

}  // namespace

Value MakeList(List list) {
  Extent extent = {.bytes = sizeof(Value), .depth = 1};
  for (const Value& element : list) Include(element, sizeof(Value), &extent);
  return {std::make_shared<const Container<List>>(Container<List>{std::move(list), extent})};
}

Value MakeDict(Dict dict) {
  Extent extent = {.bytes = sizeof(Value), .depth = 1};
  for (const auto& [key, element] : dict) Include(element, sizeof(dict[0]) + key.size(), &extent);
  return {std::make_shared<const Container<Dict>>(Container<Dict>{std::move(dict), extent})};
}

Extent ExtentOf(const Value& value) {
  if (value.is_list()) return value.As<std::shared_ptr<const Container<List>>>()->extent;
  if (value.is_dict()) return value.As<std::shared_ptr<const Container<Dict>>>()->extent;
  return {.bytes = sizeof(Value) + (value.Is<std::string>() ? value.As<std::string>().size() : 0)};
}

const Value* FindKey(const Dict& dict, const std::string& key) {
  for (const auto& [name, value] : dict) {
    if (name == key) return &value;
  }
  return nullptr;
}

bool IsTrue(const Value& value) {
  if (value.Is<Undefined>() || value.Is<None>()) return false;
  if (value.is_number()) return value.number() != 0;
  if (value.Is<std::string>()) return !value.As<std::string>().empty();
  if (value.is_list()) return !value.list().empty();
  if (value.is_dict()) return !value.dict().empty();
  return true;
}

bool AreEqual(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return a.number() == b.number();
  if (a.data.index() != b.data.index()) return false;
  if (a.Is<std::string>()) return a.As<std::string>() == b.As<std::string>();
  if (a.is_list()) {
    return std::equal(a.list().begin(), a.list().end(), b.list().begin(), b.list().end(), AreEqual);
  }
  if (a.is_dict()) {
    if (a.dict().size() != b.dict().size()) return false;
    for (const auto& [key, value] : a.dict()) {
      const Value* const other = FindKey(b.dict(), key);
      if (other == nullptr || !AreEqual(value, *other)) return false;
    }
    return true;
  }
  return a.Is<None>() || a.Is<Undefined>();
}

const char* TypeName(const Value& value) {
  constexpr const char* kNames[] = {"an undefined value", "none",     "a boolean",  "a number",
                                    "a number",           "a string", "a list",     "a dict",
                                    "a function",         "a macro",  "a namespace"};
  return kNames[value.data.index()];
}

absl::StatusOr<std::string> TextOf(const Value& value) {
  if (value.Is<std::string>()) return value.As<std::string>();
  if (value.Is<Undefined>()) return std::string();
  if (value.Is<None>()) return std::string("None");
  if (value.Is<bool>()) return std::string(value.As<bool>() ? "True" : "False");
  if (value.Is<int64_t>()) return absl::StrCat(value.As<int64_t>());
  if (value.Is<double>()) return FloatText(value.As<double>());
  return absl::InvalidArgumentError(absl::StrCat(TypeName(value), " is no text"));
}

absl::StatusOr<std::string> JsonOf(const Value& value, std::optional<int> indent) {
  return JsonAt(value, indent, 0);
}

std::vector<std::string> Characters(const std::string& text) {
  std::vector<std::string> characters;
  for (const char byte : text) {
    const bool continues = (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
    if (continues && !characters.empty()) {
      characters.back() += byte;
    } else {
      characters.emplace_back(1, byte);
    }
  }
  return characters;
}

}  // namespace retort::jinja
