#include "orchestrator/service/listen_address.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace retort::orchestrator {
namespace {

bool CanBind(const addrinfo& address) {
  const int fd = socket(address.ai_family, address.ai_socktype | SOCK_CLOEXEC, address.ai_protocol);
  if (fd < 0) return false;
  const int on = 1;  // as gRPC sets it: connections of the process before may linger
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  // SO_REUSEADDR lets two sockets bind one port; only one of them can listen.
  const bool bound = bind(fd, address.ai_addr, address.ai_addrlen) == 0 && listen(fd, 1) == 0;
  close(fd);
  return bound;
}

}  // namespace

absl::Status CheckListenAddress(const std::string& listen) {
  const size_t colon = listen.rfind(':');
  uint32_t port = 0;
  if (colon == std::string::npos || !absl::SimpleAtoi(listen.substr(colon + 1), &port) || port > 65'535) {
    return absl::InvalidArgumentError(absl::StrCat("'", listen, "' is no HOST:PORT"));
  }
  std::string host = listen.substr(0, colon);
  if (absl::StartsWith(host, "[") && absl::EndsWith(host, "]")) host = host.substr(1, host.size() - 2);
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const std::string service = absl::StrCat(port);
  if (getaddrinfo(host.empty() ? nullptr : host.c_str(), service.c_str(), &hints, &found) != 0) {
    return CannotListen(listen);
  }
  bool can_bind = false;
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    can_bind = can_bind || CanBind(*address);
  }
  freeaddrinfo(found);
  return can_bind ? absl::OkStatus() : CannotListen(listen);
}

absl::Status CannotListen(const std::string& listen) {
  return absl::UnavailableError(absl::StrCat(
      "cannot listen on ", listen,
      ": another program has the port, or it is no address of this machine; choose another with --listen"));
}

}  // namespace retort::orchestrator
