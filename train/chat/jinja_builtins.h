// The filters, tests, methods and functions that chat templates use. What is missing is UNIMPLEMENTED by its
// name; a value that one of them cannot take is INVALID_ARGUMENT.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "train/chat/jinja_value.h"

namespace retort::jinja {

struct Arguments {
  List positional;
  Dict named;

  // The i-th, or the one of this name; nullptr when neither is given.
  const Value* Get(size_t i, const std::string& name) const;
};

// Whether the filter, test, method or operator looks for one text in another, or for characters in a text;
// for the entries of one dict in another; for all characters of a text, each as a value.
bool Searches(const std::string& operation);
bool Compares(const std::string& operation);
bool TakesApart(const std::string& operation);

absl::StatusOr<Value> ApplyFilter(const std::string& name, const Value& value, const Arguments& arguments);
absl::StatusOr<bool> ApplyTest(const std::string& name, const Value& value, const List& arguments);
absl::StatusOr<Value> CallMethod(const Value& value, const std::string& name, const Arguments& arguments);

bool IsFunction(const std::string& name);
// `now`: what strftime_now shows, in local time. FAILED_PRECONDITION for raise_exception, with its text.
absl::StatusOr<Value> CallFunction(const std::string& name, const Arguments& arguments, absl::Time now);

// Whether `container` has `value`, as `in` asks.
absl::StatusOr<bool> Contains(const Value& container, const Value& value);

// The elements of a list, the keys of a dict, the characters of a string, nothing of an undefined value.
absl::StatusOr<List> ElementsOf(const Value& value);

}  // namespace retort::jinja
