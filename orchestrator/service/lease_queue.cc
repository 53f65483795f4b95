#include "orchestrator/service/lease_queue.h"

#include <utility>

#include "core/rpc/status.h"
#include "orchestrator/service/clock.h"
#include "orchestrator/service/unary.h"

namespace retort::orchestrator {

grpc::ServerUnaryReactor* LeaseQueue::Take(grpc::CallbackServerContext* context,
                                           const v1::LeaseRequest* request, v1::LeaseReply* reply) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  if (const absl::Status room = CheckRoom(pool_); !room.ok()) {
    reactor->Finish(ToGrpc(room));
    return reactor;
  }
  const Call call = {context, request, reply, reactor, SteadyMs() + wait_ms_};
  pool_.Add([this, call] { Ask(call); });
  return reactor;
}

void LeaseQueue::Ask(Call call) {
  if (call.context->IsCancelled()) return call.reactor->Finish(grpc::Status::CANCELLED);
  const grpc::Status stops = ToGrpc(absl::UnavailableError("the orchestrator stops; repeat the call"));
  if (is_stopping_) return call.reactor->Finish(stops);
  // Read first: what changes during the decision makes it ask again.
  call.asked_at_change = coordinator_.changes();
  absl::StatusOr<v1::LeaseReply> reply = coordinator_.Lease(*call.request);
  if (reply.ok()) *call.reply = *std::move(reply);
  if (!reply.ok() || call.reply->has_slice() || SteadyMs() >= call.deadline_steady_ms) {
    return call.reactor->Finish(ToGrpc(reply.status()));
  }
  {
    MutexLock lock(mutex_);
    if (!is_stopping_) {
      waiting_.push_back(call);
      return;
    }
  }
  call.reactor->Finish(stops);
}

void LeaseQueue::Serve() {
  if (!is_serving_.exchange(true)) pool_.Add([this] { ServeNow(); });
}

void LeaseQueue::ServeNow() {
  std::list<Call> due;
  const uint64_t changes = coordinator_.changes();
  const int64_t now_ms = SteadyMs();
  {
    MutexLock lock(mutex_);
    for (auto call = waiting_.begin(); call != waiting_.end();) {
      const auto next = std::next(call);
      if (is_stopping_ || call->asked_at_change != changes || call->deadline_steady_ms <= now_ms ||
          call->context->IsCancelled()) {
        due.splice(due.end(), waiting_, call);
      }
      call = next;
    }
  }
  for (const Call& call : due) Ask(call);
  is_serving_ = false;
}

void LeaseQueue::Stop() {
  {
    MutexLock lock(mutex_);
    is_stopping_ = true;
  }
  pool_.Add([this] { ServeNow(); });
}

}  // namespace retort::orchestrator
