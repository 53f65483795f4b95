#include "cli/show/words.h"

#include <google/protobuf/descriptor.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "core/base/progress.h"

namespace retort {
namespace {

// "RUN_STATE_", as the first value, X_UNSPECIFIED, shows it.
size_t PrefixLength(const google::protobuf::EnumDescriptor& type) {
  return type.value(0)->name().size() - std::string_view("UNSPECIFIED").size();
}

std::string FormatTime(const char* format, int64_t unix_ms) {
  return absl::FormatTime(format, absl::FromUnixMillis(unix_ms), absl::UTCTimeZone());
}

}  // namespace

std::string EnumWord(const google::protobuf::EnumDescriptor& type, int value) {
  if (value == 0) return "";
  const google::protobuf::EnumValueDescriptor* found = type.FindValueByNumber(value);
  return found == nullptr ? absl::StrCat(value)
                          : absl::AsciiStrToLower(found->name().substr(PrefixLength(type)));
}

std::vector<std::string> EnumWords(const google::protobuf::EnumDescriptor& type) {
  std::vector<std::string> words;
  for (int i = 1; i < type.value_count(); ++i) words.push_back(EnumWord(type, type.value(i)->number()));
  return words;
}

std::optional<int> EnumValue(const google::protobuf::EnumDescriptor& type, std::string_view word) {
  for (int i = 1; i < type.value_count(); ++i) {
    const int value = type.value(i)->number();
    if (EnumWord(type, value) == word) return value;
  }
  return std::nullopt;
}

bool HasEnded(v1::RunState state) {
  return state == v1::RUN_STATE_CANCELLED || state == v1::RUN_STATE_SUCCEEDED ||
         state == v1::RUN_STATE_FAILED;
}

std::string FormatUtc(int64_t unix_ms) { return FormatTime("%Y-%m-%dT%H:%M:%SZ", unix_ms); }

std::string FormatUtcTime(int64_t unix_ms) { return FormatTime("%H:%M:%S", unix_ms); }

std::string FormatUtcMillis(int64_t unix_ms) { return FormatTime("%Y-%m-%dT%H:%M:%E3SZ", unix_ms); }

std::string FormatBytes(double bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes >= 1023.5 && unit + 1 < std::size(kUnits)) {
    bytes /= 1024;
    ++unit;
  }
  return unit > 0 && bytes < 9.95 ? absl::StrFormat("%.1f %s", bytes, kUnits[unit])
                                  : absl::StrFormat("%.0f %s", bytes, kUnits[unit]);
}

std::string FormatPreciseDuration(double seconds) {
  if (seconds < 0.00995) return absl::StrFormat("%.1fms", 1000 * seconds);
  if (seconds < 0.9995) return absl::StrFormat("%.0fms", 1000 * seconds);
  if (seconds < 9.95) return absl::StrFormat("%.1fs", seconds);
  return FormatDuration(seconds);
}

std::string FormatAge(int64_t unix_ms, int64_t now_unix_ms) {
  return unix_ms == 0 ? "" : FormatDuration(static_cast<double>(now_unix_ms - unix_ms) / 1000);
}

}  // namespace retort
