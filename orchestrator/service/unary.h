// The shape of a unary call that is answered by a pool.
#pragma once

#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "core/rpc/status.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "orchestrator/service/work_pool.h"

namespace retort::orchestrator {

// Beyond so many calls that wait for a thread the next ones are refused.
inline constexpr size_t kMaxWaitingCalls = 20'000;

// RESOURCE_EXHAUSTED when a call more would be too many.
inline absl::Status CheckRoom(const WorkPool& pool) {
  const size_t waiting = pool.waiting();
  if (waiting < kMaxWaitingCalls) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat(waiting, " calls wait for the orchestrator; repeat this one later"));
}

// Answers with what `function`, an absl::StatusOr<Reply>(), returns in a thread of the pool. A caller that
// has gone meanwhile costs nothing.
template <class Reply, class Function>
grpc::ServerUnaryReactor* AnswerOn(WorkPool& pool, grpc::CallbackServerContext* context, Reply* reply,
                                   Function function) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  if (const absl::Status room = CheckRoom(pool); !room.ok()) {
    reactor->Finish(ToGrpc(room));
    return reactor;
  }
  pool.Add([=, function = std::move(function)] {
    if (context->IsCancelled()) {
      reactor->Finish(grpc::Status::CANCELLED);
      return;
    }
    absl::StatusOr<Reply> answer = function();
    if (answer.ok()) *reply = *std::move(answer);
    reactor->Finish(ToGrpc(answer.status()));
  });
  return reactor;
}

}  // namespace retort::orchestrator
