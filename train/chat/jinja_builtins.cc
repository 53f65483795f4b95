#include "train/chat/jinja_builtins.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "core/base/status_macros.h"

namespace retort::jinja {
namespace {

constexpr size_t kMostElements = 100'000;  // of a list that is made
constexpr size_t kMostBytes = 4 << 20;     // of a text that is put together

absl::Status Unfit(const std::string& what, const Value& value) {
  return absl::InvalidArgumentError(absl::StrCat(what, " does not take ", TypeName(value)));
}

absl::StatusOr<std::string> StringOf(const std::string& what, const Value* value) {
  if (value == nullptr) return absl::InvalidArgumentError(absl::StrCat(what, " lacks an argument"));
  if (!value->Is<std::string>()) return Unfit(what, *value);
  return value->As<std::string>();
}

bool ChangesCase(const std::string& name) {
  return name == "lower" || name == "upper" || name == "capitalize" || name == "title";
}

absl::StatusOr<Value> InCase(const std::string& name, const std::string& text) {
  std::string result;
  for (const char c : text) {
    const auto letter = static_cast<unsigned char>(c);
    if (letter >= 0x80) {
      return absl::UnimplementedError(absl::StrCat(name, " of letters beyond ASCII is not supported here"));
    }
    const bool after_letter =
        !result.empty() && absl::ascii_isalpha(static_cast<unsigned char>(result.back()));
    const bool raises =
        name == "upper" || (name == "capitalize" && result.empty()) || (name == "title" && !after_letter);
    result += raises ? absl::ascii_toupper(letter) : absl::ascii_tolower(letter);
  }
  return Value{std::move(result)};
}

// Without `characters` (nullptr: white space) at the ends asked for.
absl::StatusOr<Value> Stripped(const std::string& what, const std::string& text, const Value* characters,
                               bool left, bool right) {
  std::string set = " \t\n\r\f\v";
  if (characters != nullptr && !characters->Is<None>()) {
    ASSIGN_OR_RETURN(set, StringOf(what, characters));
  }
  const size_t begin = left ? text.find_first_not_of(set) : 0;
  if (begin == std::string::npos) return Value{std::string()};
  const size_t end = right ? text.find_last_not_of(set) + 1 : text.size();
  return Value{begin < end ? text.substr(begin, end - begin) : std::string()};
}

absl::StatusOr<Value> Split(const std::string& text, const Arguments& arguments, bool from_right) {
  const Value* const separator = arguments.Get(0, "sep");
  const Value* const limit = arguments.Get(1, "maxsplit");
  int64_t left = limit != nullptr && limit->Is<int64_t>() ? limit->As<int64_t>() : -1;
  List parts;
  if (separator == nullptr || separator->Is<None>()) {
    for (size_t at = 0; (at = text.find_first_not_of(" \t\n\r\f\v", at)) != std::string::npos;) {
      const size_t end = std::min(text.find_first_of(" \t\n\r\f\v", at), text.size());
      parts.push_back({text.substr(at, end - at)});
      at = end;
    }
    return MakeList(std::move(parts));
  }
  ASSIGN_OR_RETURN(const std::string between, StringOf("split", separator));
  if (between.empty()) return absl::InvalidArgumentError("split at an empty text");
  std::string_view rest = text;
  for (; left != 0; --left) {
    const size_t at = from_right ? rest.rfind(between) : rest.find(between);
    if (at == std::string_view::npos) break;
    if (parts.size() == kMostElements) return absl::InvalidArgumentError("a list is too long");
    const std::string_view before = rest.substr(0, at), after = rest.substr(at + between.size());
    parts.push_back({std::string(from_right ? after : before)});
    rest = from_right ? before : after;
  }
  parts.push_back({std::string(rest)});
  if (from_right) std::reverse(parts.begin(), parts.end());
  return MakeList(std::move(parts));
}

absl::StatusOr<Value> Replaced(const std::string& text, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const std::string from, StringOf("replace", arguments.Get(0, "old")));
  ASSIGN_OR_RETURN(const std::string to, StringOf("replace", arguments.Get(1, "new")));
  if (from.empty()) return absl::InvalidArgumentError("replace of an empty text");
  if (text.size() / from.size() * to.size() > kMostBytes)
    return absl::InvalidArgumentError("a text is too long");
  return Value{absl::StrReplaceAll(text, {{from, to}})};
}

// Whether the text begins, or ends, with the argument or one of the arguments.
absl::StatusOr<Value> HasEnd(const std::string& text, const Value* end, bool at_start) {
  const List candidates =
      end != nullptr && end->is_list() ? end->list() : List{end != nullptr ? *end : Value{}};
  for (const Value& candidate : candidates) {
    ASSIGN_OR_RETURN(const std::string part, StringOf(at_start ? "startswith" : "endswith", &candidate));
    if (at_start ? absl::StartsWith(text, part) : absl::EndsWith(text, part)) return Value{true};
  }
  return Value{false};
}

absl::StatusOr<std::string> Joined(const Value& value, const Value* separator) {
  ASSIGN_OR_RETURN(const List elements, ElementsOf(value));
  std::vector<std::string> texts;
  for (const Value& element : elements) {
    ASSIGN_OR_RETURN(texts.emplace_back(), TextOf(element));
  }
  std::string between;
  if (separator != nullptr) {
    ASSIGN_OR_RETURN(between, StringOf("join", separator));
  }
  size_t bytes = 0;
  for (const std::string& text : texts) bytes += text.size() + between.size();
  if (bytes > kMostBytes) return absl::InvalidArgumentError("a text is too long");
  return absl::StrJoin(texts, between);
}

Value Attribute(const Value& value, const std::string& name) {
  const Value* const found = value.is_dict() ? FindKey(value.dict(), name) : nullptr;
  return found != nullptr ? *found : Value{Undefined{name}};
}

List Pairs(const Dict& dict) {
  List pairs;
  for (const auto& [key, value] : dict) pairs.push_back(MakeList({{key}, value}));
  return pairs;
}

// selectattr and rejectattr: those whose attribute passes a test, or is true.
absl::StatusOr<Value> Selected(const Value& value, const Arguments& arguments, bool wanted) {
  ASSIGN_OR_RETURN(const std::string attribute, StringOf("selectattr", arguments.Get(0, "")));
  ASSIGN_OR_RETURN(const List elements, ElementsOf(value));
  List chosen;
  for (const Value& element : elements) {
    const Value found = Attribute(element, attribute);
    bool passes = IsTrue(found);
    if (arguments.positional.size() > 1) {
      ASSIGN_OR_RETURN(const std::string test, StringOf("selectattr", arguments.Get(1, "")));
      ASSIGN_OR_RETURN(
          passes, ApplyTest(test, found, List(arguments.positional.begin() + 2, arguments.positional.end())));
    }
    if (passes == wanted) chosen.push_back(element);
  }
  return MakeList(std::move(chosen));
}

absl::StatusOr<Value> Mapped(const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(List elements, ElementsOf(value));
  const Value* const attribute = arguments.Get(kMostElements, "attribute");
  for (Value& element : elements) {
    if (attribute != nullptr) {
      ASSIGN_OR_RETURN(const std::string name, StringOf("map", attribute));
      element = Attribute(element, name);
    } else {
      ASSIGN_OR_RETURN(const std::string filter, StringOf("map", arguments.Get(0, "")));
      ASSIGN_OR_RETURN(element, ApplyFilter(filter, element, {}));
    }
  }
  return MakeList(std::move(elements));
}

absl::StatusOr<Value> Integer(const Value& value) {
  if (value.is_number() && !value.Is<double>()) return Value{value.integer()};
  int64_t number = 0;
  if (value.Is<double>()) {
    if (!(std::abs(value.As<double>()) <= static_cast<double>(kLargestInteger))) {
      return absl::InvalidArgumentError("a number is too large");
    }
    number = static_cast<int64_t>(value.As<double>());
  }
  if (value.Is<std::string>()) {
    const std::string text(absl::StripAsciiWhitespace(value.As<std::string>()));
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error == std::errc::result_out_of_range || number > kLargestInteger || number < -kLargestInteger) {
      return absl::InvalidArgumentError("a number is too large");
    }
    if (error != std::errc() || end != text.data() + text.size()) number = 0;
  }
  return Value{number};
}

absl::StatusOr<Value> Json(const Value& value, const Arguments& arguments) {
  for (const auto& [name, argument] : arguments.named) {
    if (name == "indent" || (name == "ensure_ascii" && !IsTrue(argument))) continue;
    return absl::UnimplementedError(absl::StrCat("tojson with ", name, " is not supported here"));
  }
  const Value* const indent = arguments.Get(kMostElements, "indent");
  std::optional<int> spaces;
  if (indent != nullptr && indent->Is<int64_t>()) {
    spaces = static_cast<int>(std::clamp<int64_t>(indent->As<int64_t>(), 0, 16));
  }
  ASSIGN_OR_RETURN(std::string text, JsonOf(value, spaces));
  return Value{std::move(text)};
}

// Filters of texts.
absl::StatusOr<Value> FilterText(const std::string& name, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const std::string text, TextOf(value));
  if (name == "trim") return Stripped(name, text, arguments.Get(0, "chars"), true, true);
  if (ChangesCase(name)) return InCase(name, text);
  if (name == "replace") return Replaced(text, arguments);
  return Value{text};  // string, safe
}

// Filters of lists, dicts and strings.
absl::StatusOr<Value> FilterElements(const std::string& name, const Value& value,
                                     const Arguments& arguments) {
  if (name == "selectattr" || name == "rejectattr") return Selected(value, arguments, name == "selectattr");
  if (name == "map") return Mapped(value, arguments);
  if (name == "items") {
    if (value.Is<Undefined>()) return MakeList({});
    if (!value.is_dict()) return Unfit("the filter items", value);
    return MakeList(Pairs(value.dict()));
  }
  if (name == "join") {
    ASSIGN_OR_RETURN(std::string text, Joined(value, arguments.Get(0, "d")));
    return Value{std::move(text)};
  }
  ASSIGN_OR_RETURN(List elements, ElementsOf(value));
  if (name == "length" || name == "count") return Value{static_cast<int64_t>(elements.size())};
  if (name == "first") return elements.empty() ? Value{Undefined{"the first of nothing"}} : elements.front();
  if (name == "last") return elements.empty() ? Value{Undefined{"the last of nothing"}} : elements.back();
  if (name == "reverse") std::reverse(elements.begin(), elements.end());
  return MakeList(std::move(elements));
}

bool IsOneOf(const std::string& name, std::initializer_list<const char*> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

absl::StatusOr<Value> Range(const Arguments& arguments) {
  int64_t numbers[3] = {0, 0, 1};
  const List& given = arguments.positional;
  if (given.empty() || given.size() > 3) return absl::InvalidArgumentError("range takes 1 to 3 numbers");
  for (size_t i = 0; i < given.size(); ++i) {
    if (!given[i].Is<int64_t>()) return Unfit("range", given[i]);
    numbers[given.size() == 1 ? 1 : i] = given[i].As<int64_t>();
  }
  const auto [begin, end, step] = numbers;
  if (step == 0) return absl::InvalidArgumentError("range with a step of 0");
  List list;
  for (int64_t i = begin; step > 0 ? i < end : i > end; i += step) {
    if (list.size() == kMostElements) return absl::InvalidArgumentError("range is too long");
    list.push_back({i});
  }
  return MakeList(std::move(list));
}

absl::StatusOr<Value> MakeNamespace(const Arguments& arguments) {
  for (const auto& [field, value] : arguments.named) {
    if (value.is_namespace()) return absl::InvalidArgumentError("a namespace cannot be within another");
  }
  return Value{std::make_shared<Namespace>(Namespace{arguments.named})};
}

}  // namespace

const Value* Arguments::Get(size_t i, const std::string& name) const {
  return i < positional.size() ? &positional[i] : FindKey(named, name);
}

bool Searches(const std::string& operation) {
  return IsOneOf(operation,
                 {"in", "not in", "replace", "split", "rsplit", "strip", "lstrip", "rstrip", "trim"});
}

bool Compares(const std::string& operation) {
  return IsOneOf(operation, {"==", "!=", "equalto", "eq", "ne", "in", "not in", "selectattr", "rejectattr"});
}

bool TakesApart(const std::string& operation) {
  return IsOneOf(operation, {"selectattr", "rejectattr", "map", "items", "join", "length", "count", "first",
                             "last", "list", "reverse"});
}

absl::StatusOr<Value> ApplyFilter(const std::string& name, const Value& value, const Arguments& arguments) {
  if (name == "default" || name == "d") {
    const Value* const otherwise = arguments.Get(0, "default_value");
    const Value* const also_false = arguments.Get(1, "boolean");
    const bool keeps =
        !value.Is<Undefined>() && (also_false == nullptr || !IsTrue(*also_false) || IsTrue(value));
    return keeps ? value : otherwise != nullptr ? *otherwise : Value{std::string()};
  }
  if (name == "tojson") return Json(value, arguments);
  if (name == "int") return Integer(value);
  if (IsOneOf(name, {"trim", "lower", "upper", "capitalize", "title", "replace", "string", "safe"})) {
    return FilterText(name, value, arguments);
  }
  if (TakesApart(name)) return FilterElements(name, value, arguments);
  return absl::UnimplementedError(absl::StrCat("the filter ", name, " is not supported here"));
}

absl::StatusOr<bool> ApplyTest(const std::string& name, const Value& value, const List& arguments) {
  if (name == "defined") return !value.Is<Undefined>();
  if (name == "undefined") return value.Is<Undefined>();
  if (name == "none") return value.Is<None>();
  if (name == "string") return value.Is<std::string>();
  if (name == "mapping") return value.is_dict();
  if (name == "iterable" || name == "sequence") {
    return value.is_list() || value.is_dict() || value.Is<std::string>() || value.Is<Undefined>();
  }
  if (name == "number") return value.is_number();
  if (name == "integer") return value.Is<int64_t>();
  if (name == "boolean") return value.Is<bool>();
  if (name == "true") return value.Is<bool>() && value.As<bool>();
  if (name == "false") return value.Is<bool>() && !value.As<bool>();
  if (name == "odd" || name == "even") {
    if (!value.Is<int64_t>()) return Unfit("the test " + name, value);
    return (value.As<int64_t>() % 2 != 0) == (name == "odd");
  }
  if (IsOneOf(name, {"equalto", "eq", "ne", "in"})) {
    if (arguments.size() != 1)
      return absl::InvalidArgumentError(absl::StrCat("the test ", name, " takes one value"));
    if (name == "in") return Contains(arguments[0], value);
    return AreEqual(value, arguments[0]) == (name != "ne");
  }
  return absl::UnimplementedError(absl::StrCat("the test ", name, " is not supported here"));
}

absl::StatusOr<Value> CallMethod(const Value& value, const std::string& name, const Arguments& arguments) {
  if (value.Is<std::string>()) {
    const std::string& text = value.As<std::string>();
    if (name == "strip") return Stripped(name, text, arguments.Get(0, ""), true, true);
    if (name == "lstrip") return Stripped(name, text, arguments.Get(0, ""), true, false);
    if (name == "rstrip") return Stripped(name, text, arguments.Get(0, ""), false, true);
    if (name == "split" || name == "rsplit") return Split(text, arguments, name == "rsplit");
    if (name == "startswith" || name == "endswith")
      return HasEnd(text, arguments.Get(0, ""), name == "startswith");
    if (ChangesCase(name)) return InCase(name, text);
    if (name == "replace") return Replaced(text, arguments);
    if (name == "join" && arguments.Get(0, "") != nullptr) {
      ASSIGN_OR_RETURN(std::string joined, Joined(*arguments.Get(0, ""), &value));
      return Value{std::move(joined)};
    }
  }
  if (value.is_dict()) {
    if (name == "items") return MakeList(Pairs(value.dict()));
    if (name == "get") {
      ASSIGN_OR_RETURN(const std::string key, StringOf("get", arguments.Get(0, "")));
      const Value* const found = FindKey(value.dict(), key);
      const Value* const otherwise = arguments.Get(1, "");
      return found != nullptr ? *found : otherwise != nullptr ? *otherwise : Value{None{}};
    }
    if (name == "keys" || name == "values") {
      List list;
      for (const auto& [key, item] : value.dict()) list.push_back(name == "keys" ? Value{key} : item);
      return MakeList(std::move(list));
    }
  }
  return absl::UnimplementedError(
      absl::StrCat("the method ", name, " of ", TypeName(value), " is not supported here"));
}

bool IsFunction(const std::string& name) {
  return IsOneOf(name, {"raise_exception", "namespace", "dict", "range", "strftime_now"});
}

absl::StatusOr<Value> CallFunction(const std::string& name, const Arguments& arguments, absl::Time now) {
  if (name == "range") return Range(arguments);
  if (name == "dict") return MakeDict(arguments.named);
  if (name == "namespace") return MakeNamespace(arguments);
  const Value* const argument = arguments.Get(0, "");
  if (name == "strftime_now") {
    ASSIGN_OR_RETURN(const std::string format, StringOf(name, argument));
    return Value{absl::FormatTime(format, now, absl::LocalTimeZone())};
  }
  const absl::StatusOr<std::string> text = TextOf(argument != nullptr ? *argument : Value{});
  return absl::FailedPreconditionError(text.value_or("raise_exception"));
}

absl::StatusOr<bool> Contains(const Value& container, const Value& value) {
  if (container.Is<std::string>()) {
    if (!value.Is<std::string>()) return Unfit("in a string", value);
    return absl::StrContains(container.As<std::string>(), value.As<std::string>());
  }
  ASSIGN_OR_RETURN(const List elements, ElementsOf(container));
  return std::any_of(elements.begin(), elements.end(),
                     [&value](const Value& e) { return AreEqual(e, value); });
}

absl::StatusOr<List> ElementsOf(const Value& value) {
  if (value.is_list()) return value.list();
  List elements;
  if (value.Is<Undefined>()) return elements;
  if (value.is_dict()) {
    for (const auto& [key, item] : value.dict()) elements.push_back({key});
    return elements;
  }
  if (!value.Is<std::string>())
    return absl::InvalidArgumentError(absl::StrCat(TypeName(value), " has no elements"));
  for (std::string& character : Characters(value.As<std::string>()))
    elements.push_back({std::move(character)});
  return elements;
}

}  // namespace retort::jinja
