#include "core/config/quantity.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace retort {
namespace {

absl::Status NotA(const char* kind) { return absl::InvalidArgumentError(absl::StrCat("is not ", kind)); }

// The digits without their underscores; none when `text` is anything but digits and single underscores
// between.
std::optional<std::string> Digits(const std::string& text) {
  std::string digits;
  bool after_digit = false;
  for (const char c : text) {
    if (absl::ascii_isdigit(static_cast<unsigned char>(c))) {
      digits += c;
    } else if (c != '_' || !after_digit) {
      return std::nullopt;
    }
    after_digit = c != '_';
  }
  if (!after_digit) return std::nullopt;
  return digits;
}

absl::StatusOr<uint64_t> ValueOf(const std::string& digits) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc()) return absl::OutOfRangeError("is too large");
  return value;
}

}  // namespace

absl::StatusOr<uint64_t> ParseInteger(const std::string& text) {
  const std::optional<std::string> digits = Digits(text);
  if (!digits) return NotA("a whole number");
  return ValueOf(*digits);
}

absl::StatusOr<uint64_t> ParseTokenCount(const std::string& text) {
  constexpr const char* kKind = "a number of tokens";
  std::string number = text;
  size_t zeros = 0;
  if (!number.empty()) {
    const char suffix = absl::ascii_toupper(static_cast<unsigned char>(number.back()));
    zeros = suffix == 'K' ? 3 : suffix == 'M' ? 6 : suffix == 'B' ? 9 : 0;
    if (zeros > 0) number.pop_back();
  }
  const size_t point = number.find('.');
  const std::optional<std::string> whole = Digits(number.substr(0, point));
  if (!whole) return NotA(kKind);
  std::string fraction;
  if (point != std::string::npos) {
    const std::optional<std::string> digits = Digits(number.substr(point + 1));
    if (!digits) return NotA(kKind);
    fraction = digits->substr(0, digits->find_last_not_of('0') + 1);
  }
  if (fraction.size() > zeros) return NotA("a whole number of tokens");
  return ValueOf(absl::StrCat(*whole, fraction, std::string(zeros - fraction.size(), '0')));
}

absl::StatusOr<uint64_t> ParseSteps(const std::string& text) {
  std::string number = text;
  for (const std::string unit : {" steps", " step"}) {
    if (number.ends_with(unit)) {
      number.resize(number.size() - unit.size());
      break;
    }
  }
  const std::optional<std::string> digits = Digits(number);
  if (!digits) return NotA("a number of steps");
  return ValueOf(*digits);
}

absl::StatusOr<uint64_t> ParseDuration(const std::string& text) {
  struct Unit {
    const char* name;
    uint64_t seconds;
  };
  constexpr Unit kUnits[] = {{"s", 1},       {"second", 1},  {"seconds", 1},  {"m", 60},
                             {"min", 60},    {"minute", 60}, {"minutes", 60}, {"h", 3600},
                             {"hour", 3600}, {"hours", 3600}};
  const size_t number_end = text.find_first_not_of("0123456789_");
  const std::optional<std::string> digits = Digits(text.substr(0, number_end));
  if (!digits || number_end == std::string::npos) return NotA("a time");
  const std::string unit(absl::StripLeadingAsciiWhitespace(text.substr(number_end)));
  for (const Unit& known : kUnits) {
    if (unit != known.name) continue;
    ASSIGN_OR_RETURN(const uint64_t count, ValueOf(*digits));
    if (count > std::numeric_limits<uint64_t>::max() / known.seconds)
      return absl::OutOfRangeError("is too large");
    return count * known.seconds;
  }
  return NotA("a time");
}

absl::StatusOr<double> ParseNumber(const std::string& text) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || !std::isfinite(value)) return NotA("a number");
  return value;
}

}  // namespace retort
