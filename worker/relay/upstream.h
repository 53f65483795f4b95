// The worker below, as a client of its ActivationService.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "core/base/mutex.h"
#include "retort/v1/activation_service.grpc.pb.h"
#include "train/stages/teacher_pass.h"
#include "worker/relay/relay_state.h"

namespace retort {

// Silence after which an upstream counts as gone.
inline constexpr int64_t kUpstreamSilenceMs = 5'000;

// Thread-safe.
class Upstream {
 public:
  // `state`, which knows whom to ask, outlives it.
  explicit Upstream(RelayState& state) : state_(state) {}

  std::string address() const;  // of whoever is to be asked; empty: nobody

  // One Pull: the micro-batch `pass` of batch `step` of the run's `stage`, at the upstream's boundary, or at
  // `highest` where that is lower. `go_on` is asked all the time; `on_heard` is called at each sign of life.
  //   UNAVAILABLE, FAILED_PRECONDITION, OUT_OF_RANGE, RESOURCE_EXHAUSTED, DATA_LOSS
  //              nobody answers, or not with what was asked for: recompute
  //   CANCELLED  `go_on` said no
  absl::StatusOr<Boundary> Pull(const ServedRun& run, v1::Stage stage, int64_t step, int64_t pass,
                                int64_t highest, uint64_t token, std::optional<uint64_t> low_step,
                                const std::function<bool()>& go_on, const std::function<void()>& on_heard);

 private:
  std::shared_ptr<v1::ActivationService::Stub> StubOf(const std::string& address);

  RelayState& state_;
  Mutex mutex_;
  std::string address_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<v1::ActivationService::Stub> stub_ ABSL_GUARDED_BY(mutex_);  // of that address
};

}  // namespace retort
