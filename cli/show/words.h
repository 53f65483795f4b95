// How the client writes what the protocol says: enum values, times, sizes, ranges of layers. Thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "google/protobuf/generated_enum_reflection.h"
#include "retort/v1/run_service.pb.h"

namespace retort {

// The value's name without its type's prefix, in lower case: "matrix_orientation". UNSPECIFIED is empty; a
// number that this program does not know is written as such.
std::string EnumWord(const google::protobuf::EnumDescriptor& type, int value);

template <class Enum>
std::string Word(Enum value) {
  return EnumWord(*google::protobuf::GetEnumDescriptor<Enum>(), value);
}

// Every word of the type but that of UNSPECIFIED, by number.
std::vector<std::string> EnumWords(const google::protobuf::EnumDescriptor& type);

// The value with this word; nothing when there is none.
std::optional<int> EnumValue(const google::protobuf::EnumDescriptor& type, std::string_view word);

template <class Enum>
std::optional<Enum> FromWord(std::string_view word) {
  const std::optional<int> value = EnumValue(*google::protobuf::GetEnumDescriptor<Enum>(), word);
  return value ? std::optional(static_cast<Enum>(*value)) : std::nullopt;
}

// Whether a run in this state has ended.
bool HasEnded(v1::RunState state);

std::string FormatUtc(int64_t unix_ms);        // "2026-11-25T22:31:05Z"
std::string FormatUtcTime(int64_t unix_ms);    // "22:31:05"
std::string FormatUtcMillis(int64_t unix_ms);  // "2026-11-25T22:31:05.123Z"
std::string FormatBytes(double bytes);         // "512 B", "1.5 KiB", "12 MiB", "3.2 GiB"

// "0.4ms", "250ms", "3.2s", from 10 s on as FormatDuration has it; not negative.
std::string FormatPreciseDuration(double seconds);

// What passed from `unix_ms` to `now_unix_ms`; empty when unix_ms is 0.
std::string FormatAge(int64_t unix_ms, int64_t now_unix_ms);

// "4-6,9" of ascending numbers.
template <class Numbers>
std::string FormatRanges(const Numbers& numbers) {
  std::string text;
  for (auto first = numbers.begin(); first != numbers.end();) {
    auto last = first, next = first;
    for (++next; next != numbers.end() && *next == *last + 1; ++next) last = next;
    text += (text.empty() ? "" : ",") + std::to_string(*first);
    if (last != first) text += "-" + std::to_string(*last);
    first = next;
  }
  return text;
}

}  // namespace retort
