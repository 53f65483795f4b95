// The teacher-only service: makes boundaries that nobody has at hand, on a thread of its own, one after the
// other. Its input comes from the worker below where one answers.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "absl/status/statusor.h"
#include "core/base/mutex.h"
#include "retort/v1/activation_service.pb.h"
#include "worker/relay/relay_state.h"
#include "worker/relay/upstream.h"

namespace retort {

// Thread-safe. The destructor breaks off what is under way.
class TeacherService {
 public:
  // `begin_thread` is called on the thread before it computes. `state` and `upstream` outlive it.
  TeacherService(RelayState& state, Upstream& upstream, std::function<void()> begin_thread);
  ~TeacherService();

  // One boundary that somebody asked for.
  struct Wish {
    std::shared_ptr<const ServedRun> run;
    v1::BatchRef batch;
    uint64_t token = 0;
    bool is_given_up = false;
    std::optional<absl::StatusOr<at::Tensor>> answer = std::nullopt;
  };
  std::shared_ptr<Wish> Ask(std::shared_ptr<const ServedRun> run, const v1::BatchRef& batch, uint64_t token);
  // The answer, once it is there within `wait_ms`. UNAVAILABLE: the service ends.
  std::optional<absl::StatusOr<at::Tensor>> Await(Wish& wish, int64_t wait_ms);
  void GiveUp(Wish& wish);

 private:
  void Serve();
  absl::StatusOr<at::Tensor> Make(Wish& wish);
  absl::StatusOr<Boundary> Input(Wish& wish, const StagePlan& plan);
  bool IsWanted(const Wish& wish) const;

  RelayState& state_;
  Upstream& upstream_;
  const std::function<void()> begin_thread_;
  int64_t ask_upstream_from_ms_ = 0;  // of the thread
  mutable Mutex mutex_;
  std::condition_variable_any changed_;
  bool is_ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<std::shared_ptr<Wish>> wishes_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace retort
