#include "cli/client/follow_run.h"

#include "cli/client/server_stream.h"
#include "cli/show/words.h"
#include "core/base/clock.h"

namespace retort {
namespace {

constexpr std::chrono::milliseconds kTick{100};

absl::Status Stopped() { return absl::CancelledError("the watch was ended; the run goes on"); }

// One run followed over any number of streams.
class Following {
 public:
  Following(Orchestrator& orchestrator, const FollowOptions& options, const OnWatchPart& on_part)
      : orchestrator_(orchestrator), options_(options), on_part_(on_part) {
    *request_.mutable_run() = options.run;
    request_.set_after_sequence(options.after_sequence);
  }

  absl::StatusOr<v1::RunStatus> Run() {
    double silent_since = MonotonicSeconds();
    Repeats first(silent_since, options_.first_patience_seconds);
    Repeats later(silent_since, options_.patience_seconds);
    while (true) {
      heard_ = false;
      const absl::Status status = ReadStream();
      if (stopped_) return Stopped();
      if (status.ok() && HasEnded(last_.summary().state())) return last_;
      if (absl::IsOutOfRange(status)) {
        request_.set_after_sequence(0);
        continue;
      }
      if (!status.ok() && !StreamMayPass(status)) return status;
      const double now = MonotonicSeconds();
      if (heard_) {
        silent_since = now;
        later.Succeeded(now);
      }
      Repeats& repeats = last_.has_summary() ? later : first;
      const double wait = repeats.AfterFailure(now, DrawRandom());
      if (wait < 0) return Unreachable(orchestrator_.address(), Reason(status), now - silent_since);
      if (!orchestrator_.WaitToRepeat(wait, [this] { return on_part_(nullptr); })) return Stopped();
    }
  }

 private:
  static absl::Status Reason(const absl::Status& status) {
    return status.ok() || !MayPass(status)
               ? absl::UnavailableError(status.ok() ? "its stream ended early" : status.message())
               : status;
  }

  absl::Status ReadStream() {
    ServerStream<v1::WatchReply> stream([this](grpc::ClientContext* context, grpc::CompletionQueue* queue) {
      return orchestrator_.stub().AsyncWatch(context, request_, queue, nullptr);
    });
    const std::optional<absl::Status> end = stream.ReadAll(kTick, [this](const v1::WatchReply* part) {
      if (part != nullptr) Take(*part);
      return on_part_(part);
    });
    stopped_ = !end;
    return end.value_or(absl::OkStatus());
  }

  void Take(const v1::WatchReply& part) {
    heard_ = true;
    if (part.has_event()) request_.set_after_sequence(part.event().sequence());
    if (!part.has_snapshot()) return;
    last_ = part.snapshot();
    request_.mutable_run()->set_id(last_.summary().run_id());
  }

  Orchestrator& orchestrator_;
  const FollowOptions& options_;
  const OnWatchPart& on_part_;
  v1::WatchRequest request_;
  v1::RunStatus last_;
  bool heard_ = false;
  bool stopped_ = false;
};

}  // namespace

bool StreamMayPass(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kUnimplemented:
    case absl::StatusCode::kDataLoss:
      return false;
    default:
      return true;
  }
}

absl::StatusOr<v1::RunStatus> FollowRun(Orchestrator& orchestrator, const FollowOptions& options,
                                        const OnWatchPart& on_part) {
  return Following(orchestrator, options, on_part).Run();
}

}  // namespace retort
