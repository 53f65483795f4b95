#include "worker/relay/activation_server.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/rpc/channel.h"
#include "core/rpc/status.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "worker/relay/boundary_wire.h"

namespace retort {
namespace {

constexpr int64_t kSayWaitingMs = 1'000;
constexpr int64_t kPollMs = 100;  // for calls that were broken off
constexpr std::chrono::milliseconds kShutdown{500};

absl::Status CheckBatch(const ServedRun& run, const v1::BatchRef& batch) {
  const StagePlan* const plan = run.PlanOf(batch.stage());
  const bool is_layers_stage =
      batch.stage() == v1::STAGE_MATRIX_ORIENTATION || batch.stage() == v1::STAGE_HIDDEN_STATE_ALIGNMENT;
  const int64_t boundary = batch.boundary();
  if (plan == nullptr || !is_layers_stage || batch.step() >= static_cast<uint64_t>(plan->steps) ||
      batch.micro_batch() >= plan->micro_batches || boundary < 1 ||
      boundary > run.teacher.config.num_layers()) {
    return absl::InvalidArgumentError(absl::StrCat("the run has no ", BatchText(batch)));
  }
  if (boundary > run.blocks) {
    return absl::OutOfRangeError(
        absl::StrCat("only ", run.blocks, " teacher blocks are loaded here; asked for ", BatchText(batch)));
  }
  return absl::OkStatus();
}

}  // namespace

// Says that the answer is being worked on: at once, then when it is time to, and when it is there.
class ActivationServer::Waiting {
 public:
  Waiting(const v1::PullRequest& request, Writer& writer) : writer_(writer) {
    *reply_.mutable_batch() = request.batch();
    reply_.set_teacher_sha256(request.teacher_sha256());
    reply_.mutable_waiting();
  }
  // False: nobody listens.
  bool Say() {
    if (RelayNowMs() - said_ms_ < kSayWaitingMs) return true;
    said_ms_ = RelayNowMs();
    return writer_.Write(reply_);
  }
  bool SayAtHand() { return said_ms_ == kNever || writer_.Write(reply_); }

 private:
  static constexpr int64_t kNever = -kSayWaitingMs;

  Writer& writer_;
  v1::PullReply reply_;
  int64_t said_ms_ = kNever;
};

absl::StatusOr<std::unique_ptr<ActivationServer>> ActivationServer::Start(const std::string& host,
                                                                          RelayState& state,
                                                                          TeacherService& teacher) {
  auto server = std::unique_ptr<ActivationServer>(new ActivationServer(state, teacher));
  grpc::ServerBuilder builder;
  SetServerArguments(builder);
  int port = 0;
  const bool is_ipv6 = host.find(':') != std::string::npos;
  const std::string shown = is_ipv6 ? absl::StrCat("[", host, "]") : host;
  builder.AddListeningPort(absl::StrCat(shown, ":0"), grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(server.get());
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr || port == 0) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", host, " for other workers' Pulls"));
  }
  server->address_ = absl::StrCat(shown, ":", port);
  return server;
}

ActivationServer::~ActivationServer() {
  is_ending_ = true;
  if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now() + kShutdown);
}

grpc::Status ActivationServer::Pull(grpc::ServerContext* context, const v1::PullRequest* request,
                                    Writer* writer) {
  return ToGrpc(Answer(*context, *request, *writer));
}

absl::Status ActivationServer::Answer(const grpc::ServerContext& context, const v1::PullRequest& request,
                                      Writer& writer) {
  Waiting waiting(request, writer);
  while (!IsOver(context)) {
    const RelayState::Found found = state_.Find(request, RelayNowMs());
    if (found.run != nullptr) RETURN_IF_ERROR(CheckBatch(*found.run, request.batch()));
    switch (found.finding) {
      case RelayState::Finding::kNotServed:
        return absl::FailedPreconditionError(
            absl::StrCat("not loaded here, or from other inputs: ", BatchText(request.batch())));
      case RelayState::Finding::kAtHand:
        if (!waiting.SayAtHand()) return absl::CancelledError("nobody reads the answer");
        return Send(request, found.hidden_BTE, writer);
      case RelayState::Finding::kTeacher:
        return AnswerByTeacher(context, request, found.run, waiting, writer);
      case RelayState::Finding::kLoading:
      case RelayState::Finding::kTrainingComes:
        if (!waiting.Say()) return absl::CancelledError("nobody reads the answer");
        state_.AwaitChange(found.changes, kPollMs);
    }
  }
  return absl::UnavailableError("this worker ends, or the call was broken off");
}

absl::Status ActivationServer::AnswerByTeacher(const grpc::ServerContext& context,
                                               const v1::PullRequest& request,
                                               const std::shared_ptr<const ServedRun>& run, Waiting& waiting,
                                               Writer& writer) {
  const std::shared_ptr<TeacherService::Wish> wish = teacher_.Ask(run, request.batch(), request.token());
  // Before the first wait: what the teacher takes is no part of the hop, however short it is.
  while (!IsOver(context) && waiting.Say()) {
    const std::optional<absl::StatusOr<at::Tensor>> answer = teacher_.Await(*wish, kPollMs);
    if (!answer) continue;
    if (!answer->ok()) return answer->status();
    if (!waiting.SayAtHand()) break;
    return Send(request, **answer, writer);
  }
  teacher_.GiveUp(*wish);
  return absl::UnavailableError("this worker ends, or the call was broken off");
}

absl::Status ActivationServer::Send(const v1::PullRequest& request, const at::Tensor& hidden_BTE,
                                    Writer& writer) {
  const bool is_sent = SendBoundary({request.batch(), request.teacher_sha256()}, hidden_BTE,
                                    [&](const v1::PullReply& reply) { return writer.Write(reply); });
  if (!is_sent) return absl::CancelledError("nobody reads the answer");
  state_.counts().sent += 1;
  state_.counts().sent_bytes += hidden_BTE.nbytes();
  return absl::OkStatus();
}

}  // namespace retort
