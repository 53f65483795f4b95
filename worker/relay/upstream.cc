#include "worker/relay/upstream.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/rpc/channel.h"
#include "core/rpc/status.h"
#include "grpcpp/client_context.h"
#include "grpcpp/completion_queue.h"
#include "worker/relay/boundary_wire.h"

namespace retort {
namespace {

constexpr std::chrono::milliseconds kPoll{20};  // for `go_on` and the silence

// One call, driven by the thread that waits for it: a blocking Read could not be given up.
class PullCall {
 public:
  PullCall(v1::ActivationService::Stub& stub, const v1::PullRequest& request) {
    reader_ = stub.PrepareAsyncPull(&context_, request, &queue_);
    reader_->StartCall(Tag());
  }
  ~PullCall() {
    context_.TryCancel();
    grpc::Status ignored;  // filled in while the queue is emptied
    if (!is_over_) reader_->Finish(&ignored, Tag());
    queue_.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
    }
  }
  PullCall(const PullCall&) = delete;
  PullCall& operator=(const PullCall&) = delete;

  enum class Event { kMessage, kEnd, kNothing };
  // The next message in `reply`, the end, or nothing within a short while.
  Event Next(v1::PullReply& reply) {
    if (!is_begun_ || is_reading_) {
      const std::optional<bool> ok = Await();
      if (!ok) return Event::kNothing;
      const bool was_begun = std::exchange(is_begun_, true);
      if (!was_begun) begun_seconds_ = MonotonicSeconds();
      is_reading_ = false;
      if (!*ok) return Event::kEnd;
      if (was_begun) {
        reply = std::move(message_);
        return Event::kMessage;
      }
    }
    message_.Clear();
    reader_->Read(&message_, Tag());
    is_reading_ = true;
    return Event::kNothing;
  }

  // By the clock: when it began, so that a connection being made is no part of it. 0: not yet.
  double begun_seconds() const { return begun_seconds_; }

  // After kEnd.
  absl::Status Finish() {
    grpc::Status status;
    reader_->Finish(&status, Tag());
    is_over_ = true;
    while (!Await()) {
    }
    return FromGrpc(status);
  }

  void Cancel() { context_.TryCancel(); }

 private:
  void* Tag() { return this; }
  std::optional<bool> Await() {
    void* tag = nullptr;
    bool ok = false;
    const auto got = queue_.AsyncNext(&tag, &ok, std::chrono::system_clock::now() + kPoll);
    if (got != grpc::CompletionQueue::GOT_EVENT) return std::nullopt;
    return ok;
  }

  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::ClientAsyncReader<v1::PullReply>> reader_;
  v1::PullReply message_;
  bool is_begun_ = false, is_reading_ = false, is_over_ = false;
  double begun_seconds_ = 0;
};

}  // namespace

std::string Upstream::address() const {
  const std::optional<v1::RelayUpstream> upstream = state_.upstream();
  return upstream ? upstream->address() : "";
}

std::shared_ptr<v1::ActivationService::Stub> Upstream::StubOf(const std::string& address) {
  MutexLock lock(mutex_);
  if (stub_ == nullptr || address_ != address) {
    address_ = address;
    stub_ = v1::ActivationService::NewStub(MakeChannel(address));
  }
  return stub_;
}

absl::StatusOr<Boundary> Upstream::Pull(const ServedRun& run, v1::Stage stage, int64_t step, int64_t pass,
                                        int64_t highest, uint64_t token, std::optional<uint64_t> low_step,
                                        const std::function<bool()>& go_on,
                                        const std::function<void()>& on_heard) {
  const std::optional<v1::RelayUpstream> upstream = state_.upstream();
  if (!upstream) return absl::UnavailableError("nobody has the layers below");
  const StagePlan* const plan = run.PlanOf(stage);
  RETORT_CHECK(plan != nullptr) << "stage " << stage;
  v1::PullRequest request;
  v1::BatchRef& batch = *request.mutable_batch();
  batch.set_run_id(run.run_id);
  batch.set_stage(stage);
  batch.set_step(static_cast<uint64_t>(step));
  batch.set_micro_batch(static_cast<uint32_t>(pass));
  batch.set_boundary(std::min(upstream->boundary(), static_cast<uint32_t>(highest)));
  request.set_identity_sha256(run.identity_sha256);
  request.set_teacher_sha256(run.teacher_sha256);
  request.set_token(token);
  if (low_step) request.set_low_step(*low_step);

  const std::shared_ptr<v1::ActivationService::Stub> stub = StubOf(upstream->address());
  BoundaryAssembly assembly({batch, run.teacher_sha256},
                            {plan->micro_batch, plan->seq_len, run.teacher.config.hidden_size});
  PullCall call(*stub, request);
  int64_t heard_ms = RelayNowMs();
  double waited_until_seconds = 0;
  v1::PullReply reply;
  while (true) {
    if (!go_on()) return absl::CancelledError("no longer wanted");
    const PullCall::Event event = call.Next(reply);
    if (event == PullCall::Event::kMessage) {
      if (const absl::Status status = assembly.Add(reply); !status.ok()) return status;
      heard_ms = RelayNowMs();
      if (reply.has_waiting()) waited_until_seconds = MonotonicSeconds();
      on_heard();
    } else if (event == PullCall::Event::kEnd) {
      break;
    } else if (RelayNowMs() - heard_ms > kUpstreamSilenceMs) {
      return absl::UnavailableError(absl::StrCat("worker ", upstream->worker_name(), " at ",
                                                 upstream->address(), " has said nothing for ",
                                                 kUpstreamSilenceMs, " ms"));
    }
  }
  if (const absl::Status status = call.Finish(); !status.ok()) return status;
  absl::StatusOr<at::Tensor> hidden_BTE = assembly.Finish();
  if (!hidden_BTE.ok()) return hidden_BTE.status();
  const double hop_seconds = MonotonicSeconds() - std::max(call.begun_seconds(), waited_until_seconds);
  state_.counts().AddReceived(hidden_BTE->nbytes(), hop_seconds);
  return Boundary{batch.boundary(), *std::move(hidden_BTE)};
}

}  // namespace retort
