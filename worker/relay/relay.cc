#include "worker/relay/relay.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace retort {

absl::StatusOr<std::unique_ptr<Relay>> Relay::Start(const std::string& host,
                                                    std::function<void()> begin_thread, Log& log) {
  auto relay = std::unique_ptr<Relay>(new Relay(std::move(begin_thread), log));
  ASSIGN_OR_RETURN(relay->server_, ActivationServer::Start(host, relay->state_, relay->teacher_));
  return relay;
}

Relay::~Relay() {
  server_.reset();
  log_.Info(state_.counts().Text());
}

absl::StatusOr<std::string> HostTowards(const std::string& orchestrator) {
  const auto fail = [&](const char* why) {
    return absl::UnavailableError(absl::StrCat("no way to ", orchestrator, ": ", why));
  };
  const size_t colon = orchestrator.rfind(':');
  if (colon == std::string::npos) return fail("it is no HOST:PORT");
  std::string host = orchestrator.substr(0, colon);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  addrinfo hints = {};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), orchestrator.substr(colon + 1).c_str(), &hints, &found);
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
