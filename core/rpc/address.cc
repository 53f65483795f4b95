#include "core/rpc/address.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>

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

absl::StatusOr<std::string> HostTowards(const std::string& address) {
  const auto fail = [&](const char* why) {
    return absl::UnavailableError(absl::StrCat("no way to ", address, ": ", why));
  };
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return fail("it is no HOST:PORT");
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  addrinfo hints = {};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), address.substr(colon + 1).c_str(), &hints, &found);
  if (error != 0) return fail(gai_strerror(error));
  // Connecting a datagram socket sends nothing; it makes the system choose this end's address.
  std::string here;
  for (const addrinfo* to = found; to != nullptr && here.empty(); to = to->ai_next) {
    const int fd = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) continue;
    sockaddr_storage own = {};
    socklen_t length = sizeof own;
    std::array<char, NI_MAXHOST> name = {};
    auto* const own_address = reinterpret_cast<sockaddr*>(&own);
    const bool is_found =
        connect(fd, to->ai_addr, to->ai_addrlen) == 0 && getsockname(fd, own_address, &length) == 0 &&
        getnameinfo(own_address, length, name.data(), name.size(), nullptr, 0, NI_NUMERICHOST) == 0;
    if (is_found) here = name.data();
    close(fd);
  }
  freeaddrinfo(found);
  if (here.empty()) return fail("no address of this machine leads there");
  return here;
}

}  // namespace retort
