// The values of a Jinja template, as Python has them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"

namespace retort::jinja {

struct Statement;
struct Value;
struct DictEntry;
struct Namespace;
template <class Elements>
struct Container;

// Integers beyond this are refused where they are made, so that sums of two fit int64_t.
constexpr int64_t kLargestInteger = int64_t{1} << 53;

struct Undefined {
  std::string name;  // what was looked for
};
struct None {};
// Something to call by its name: `range`, `raise_exception`.
struct Function {
  std::string name;
};
using List = std::vector<Value>;
using Dict = std::vector<DictEntry>;  // keeps its order

struct Value {
  // Lists, dicts and namespaces are shared; only a namespace changes after it was made.
  std::variant<Undefined, None, bool, int64_t, double, std::string, std::shared_ptr<const Container<List>>,
               std::shared_ptr<const Container<Dict>>, Function, const Statement*, std::shared_ptr<Namespace>>
      data;

  template <class T>
  bool Is() const {
    return std::holds_alternative<T>(data);
  }
  template <class T>
  const T& As() const {
    return std::get<T>(data);
  }
  bool is_list() const { return Is<std::shared_ptr<const Container<List>>>(); }
  bool is_dict() const { return Is<std::shared_ptr<const Container<Dict>>>(); }
  bool is_namespace() const { return Is<std::shared_ptr<Namespace>>(); }
  bool is_number() const { return Is<bool>() || Is<int64_t>() || Is<double>(); }
  const List& list() const;
  const Dict& dict() const;
  int64_t integer() const { return Is<bool>() ? static_cast<int64_t>(As<bool>()) : As<int64_t>(); }
  double number() const { return Is<double>() ? As<double>() : static_cast<double>(integer()); }
};

// (clang refuses a pair here, whose members it needs while it works out those of Value.)
struct DictEntry {
  std::string key;
  Value value;
};

// What a value takes.
struct Extent {
  uint64_t bytes = 0;     // its own: what it shares with others counts as a pointer
  uint64_t elements = 0;  // at every depth, each as often as a walk through it meets it
  int depth = 0;          // of lists and dicts
  bool holds_namespace = false;
};

template <class Elements>
struct Container {
  Elements elements;
  Extent extent;
};

// Holds no other namespace at any depth, so nothing can hold itself or grow deeper after it was made.
struct Namespace {
  Dict fields;
};

inline const List& Value::list() const { return As<std::shared_ptr<const Container<List>>>()->elements; }
inline const Dict& Value::dict() const { return As<std::shared_ptr<const Container<Dict>>>()->elements; }

Value MakeList(List list);
Value MakeDict(Dict dict);

Extent ExtentOf(const Value& value);

// The key's value; nullptr: there is none.
const Value* FindKey(const Dict& dict, const std::string& key);

bool IsTrue(const Value& value);
bool AreEqual(const Value& a, const Value& b);
const char* TypeName(const Value& value);

// As `{{ value }}` shows it. INVALID_ARGUMENT for what has no short text: lists, dicts, functions.
absl::StatusOr<std::string> TextOf(const Value& value);

// As Python's json.dumps(value, ensure_ascii=False, indent=indent) writes it. INVALID_ARGUMENT for what JSON
// lacks or is too long.
absl::StatusOr<std::string> JsonOf(const Value& value, std::optional<int> indent);

// The text's characters, for lengths, indices and slices.
std::vector<std::string> Characters(const std::string& text);

}  // namespace retort::jinja
