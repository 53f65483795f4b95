// Lease calls that wait for work: asked again whenever something has changed, answered without a slice
// when they have waited long enough. 2,000 of them cost no threads. Thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <list>

#include "core/base/mutex.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "orchestrator/coordinator/coordinator.h"
#include "orchestrator/service/work_pool.h"

namespace retort::orchestrator {

class LeaseQueue {
 public:
  LeaseQueue(Coordinator& coordinator, WorkPool& pool, std::chrono::milliseconds wait)
      : coordinator_(coordinator), pool_(pool), wait_ms_(wait.count()) {}

  grpc::ServerUnaryReactor* Take(grpc::CallbackServerContext* context, const v1::LeaseRequest* request,
                                 v1::LeaseReply* reply);

  // Has the pool ask again for those to whom something may have changed, and answers those that have waited
  // long enough or are gone.
  void Serve();

  // Answers all, also those that come later, with UNAVAILABLE.
  void Stop();

 private:
  struct Call {
    grpc::CallbackServerContext* context;
    const v1::LeaseRequest* request;
    v1::LeaseReply* reply;
    grpc::ServerUnaryReactor* reactor;
    int64_t deadline_steady_ms;
    uint64_t asked_at_change = 0;
  };

  void Ask(Call call);
  void ServeNow();

  Coordinator& coordinator_;
  WorkPool& pool_;
  const int64_t wait_ms_;
  std::atomic<bool> is_stopping_ = false;
  std::atomic<bool> is_serving_ = false;
  Mutex mutex_;
  std::list<Call> waiting_ ABSL_GUARDED_BY(mutex_);  // longest first
};

}  // namespace retort::orchestrator
