// A worker's part in the relay, for as long as its process lives: what serves others, and where its slices
// get their input.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "core/base/log.h"
#include "worker/relay/activation_server.h"
#include "worker/relay/relay_state.h"
#include "worker/relay/teacher_service.h"
#include "worker/relay/upstream.h"

namespace retort {

// Thread-safe.
class Relay {
 public:
  // Serves at `host`, an address of this machine. `begin_thread` is called on each thread before it computes.
  // `log` outlives it. UNAVAILABLE when it cannot listen.
  static absl::StatusOr<std::unique_ptr<Relay>> Start(const std::string& host,
                                                      std::function<void()> begin_thread, Log& log);

  // Breaks off what is under way, and says in the log what was done.
  ~Relay();

  const std::string& address() const { return server_->address(); }
  RelayState& state() { return state_; }
  Upstream& upstream() { return upstream_; }
  Log& log() { return log_; }

 private:
  Relay(std::function<void()> begin_thread, Log& log)
      : log_(log), teacher_(state_, upstream_, std::move(begin_thread)) {}

  Log& log_;
  RelayState state_;
  Upstream upstream_{state_};
  TeacherService teacher_;
  std::unique_ptr<ActivationServer> server_;
};

}  // namespace retort
