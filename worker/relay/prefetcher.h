// The boundaries that a slice trains on, pulled ahead of time on a thread of its own: the pass of batch after
// batch, up to a number of micro-batches. Where the upstream does not answer the slice recomputes, and this
// one goes on asking.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "core/base/log.h"
#include "core/base/mutex.h"
#include "worker/relay/relay_state.h"
#include "worker/relay/upstream.h"

namespace retort {

// Of one slice. `Get` is called by the thread that trains; the destructor breaks a Pull off.
class Prefetcher {
 public:
  // `upstream` and `log` outlive it.
  Prefetcher(Upstream& upstream, std::shared_ptr<const ServedRun> run, const RelayedSlice& slice, Log& log);
  ~Prefetcher();

  // Where the slice goes on: batch `step`, from its first micro-batch. `highest`: its lowest layer, above
  // which no boundary is of use.
  void StartAt(int64_t step, int64_t highest);

  // The micro-batch, when it comes; micro-batches before it are not asked for again. Nothing: `stop`, or no
  // upstream answers, so it is to be recomputed.
  std::optional<Boundary> Get(int64_t step, int64_t pass, const std::atomic<bool>& stop);

 private:
  // The n-th micro-batch of the stage.
  int64_t Number(int64_t step, int64_t pass) const { return step * micro_batches_ + pass; }
  void Write(v1::LogLevel level, const std::string& text, int64_t step);
  void Fetch();
  bool IsFull() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Rest(int failures, uint64_t draw, const std::string& asked);
  void SkipTo(int64_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void BeginToAsk(const std::string& address) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnSignOfLife();
  void OnAnswer(int64_t number, Boundary boundary);
  void OnError(const absl::Status& error);
  void Regain() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Upstream& upstream_;
  const std::shared_ptr<const ServedRun> run_;
  const RelayedSlice slice_;
  const int64_t micro_batches_;
  const int64_t end_;  // number of micro-batches in the stage
  Log& log_;

  struct Fetched {
    int64_t number;
    Boundary boundary;
  };
  Mutex mutex_;
  std::condition_variable_any changed_;
  bool is_ending_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t next_ ABSL_GUARDED_BY(mutex_) = 0;      // that is to be pulled
  int64_t wanted_ ABSL_GUARDED_BY(mutex_) = 0;    // that training wants next
  int64_t low_step_ ABSL_GUARDED_BY(mutex_) = 0;  // that training is at
  int64_t highest_ ABSL_GUARDED_BY(mutex_) = 0;
  std::string asked_ ABSL_GUARDED_BY(mutex_);  // who
  int64_t asked_since_ms_ ABSL_GUARDED_BY(mutex_);
  bool has_failed_ ABSL_GUARDED_BY(mutex_) = false;  // who is asked, since its last answer
  bool is_lost_ ABSL_GUARDED_BY(mutex_) = false;     // the slice recomputes
  std::deque<Fetched> fetched_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace retort
