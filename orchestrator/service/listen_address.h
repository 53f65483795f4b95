// Where the server is to listen, checked before it takes the store: a start that fails for its address shall
// not have counted as one.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace retort::orchestrator {

// Binds the address and lets it go again, since gRPC binds by itself and serves at once.
//   INVALID_ARGUMENT  `listen` is no HOST:PORT
//   UNAVAILABLE       it cannot be listened on: the port is taken, or the host is none of this machine's
absl::Status CheckListenAddress(const std::string& listen);

// What to say when that, or gRPC, cannot listen.
absl::Status CannotListen(const std::string& listen);

}  // namespace retort::orchestrator
