// The values of a Jinja template, as Python has them.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"

namespace retort::jinja {

struct Statement;
struct Value;

struct Undefined {
  std::string name;  // what was looked for
};
struct None {};
// Something to call by its name: `range`, `raise_exception`.
struct Function {
  std::string name;
};
using List = std::vector<Value>;
using Dict = std::vector<std::pair<std::string, Value>>;  // keeps its order

struct Value {
  // Lists, dicts and namespaces are shared; only a namespace (a Dict too) changes after it was made.
  std::variant<Undefined, None, bool, int64_t, double, std::string, std::shared_ptr<List>,
               std::shared_ptr<Dict>, Function, const Statement*>
      data;

  template <class T>
  bool Is() const {
    return std::holds_alternative<T>(data);
  }
  template <class T>
  const T& As() const {
    return std::get<T>(data);
  }
  bool is_list() const { return Is<std::shared_ptr<List>>(); }
  bool is_dict() const { return Is<std::shared_ptr<Dict>>(); }
  bool is_number() const { return Is<bool>() || Is<int64_t>() || Is<double>(); }
  const List& list() const { return *As<std::shared_ptr<List>>(); }
  const Dict& dict() const { return *As<std::shared_ptr<Dict>>(); }
  int64_t integer() const { return Is<bool>() ? static_cast<int64_t>(As<bool>()) : As<int64_t>(); }
  double number() const { return Is<double>() ? As<double>() : static_cast<double>(integer()); }
};

Value MakeList(List list);
Value MakeDict(Dict dict);
Value FromJson(const nlohmann::ordered_json& json);

// The key's value; nullptr: there is none.
const Value* FindKey(const Dict& dict, const std::string& key);

bool IsTrue(const Value& value);
bool AreEqual(const Value& a, const Value& b);
const char* TypeName(const Value& value);

// As `{{ value }}` shows it. INVALID_ARGUMENT for what has no short text: lists, dicts, functions.
absl::StatusOr<std::string> TextOf(const Value& value);

// As Python's json.dumps(value, ensure_ascii=False, indent=indent) writes it. INVALID_ARGUMENT for what JSON
// lacks.
absl::StatusOr<std::string> JsonOf(const Value& value, std::optional<int> indent);

// The text's characters, for lengths, indices and slices.
std::vector<std::string> Characters(const std::string& text);

}  // namespace retort::jinja
