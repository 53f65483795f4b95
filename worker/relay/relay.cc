#include "worker/relay/relay.h"

#include <utility>

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

}  // namespace retort
