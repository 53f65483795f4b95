#include "core/rpc/address.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace retort {
namespace {

bool IsHost(absl::string_view host) {
  if (absl::StartsWith(host, "[") && absl::EndsWith(host, "]")) {
    host = host.substr(1, host.size() - 2);
    return !host.empty() && std::all_of(host.begin(), host.end(), [](char c) {
      return absl::ascii_isxdigit(c) || c == ':' || c == '.' || c == '%';
    });
  }
  return !host.empty() && std::all_of(host.begin(), host.end(), [](char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '-' || c == '_';
  });
}

bool IsPort(absl::string_view port) {
  uint32_t number = 0;
  return std::all_of(port.begin(), port.end(), absl::ascii_isdigit) && absl::SimpleAtoi(port, &number) &&
         number > 0 && number <= 65'535;
}

}  // namespace

absl::Status CheckAddress(absl::string_view address) {
  const size_t colon = address.rfind(':');
  const bool has_port = colon != absl::string_view::npos && IsPort(address.substr(colon + 1));
  if (has_port && IsHost(address.substr(0, colon))) return absl::OkStatus();
  const std::string advice =
      IsHost(address) ? absl::StrCat(address, ":7077") : "HOST:PORT, such as head:7077";
  return absl::InvalidArgumentError(
      absl::StrCat("'", address, "' is no address of an orchestrator; write ", advice));
}

}  // namespace retort
