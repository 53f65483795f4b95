// A server stream that is read with a limit of time for each message, so that its reader can look at other
// things in between: Ctrl-C, children, the screen.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "core/rpc/status.h"
#include "grpcpp/client_context.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/support/async_stream.h"

namespace retort {

// Used by one thread.
template <class Reply>
class ServerStream {
 public:
  // `start` is the stub's Async method with its request and a tag of nullptr bound:
  // [&](auto* context, auto* queue) { return stub.AsyncWatch(context, request, queue, nullptr); }
  using Start = std::function<std::unique_ptr<grpc::ClientAsyncReader<Reply>>(grpc::ClientContext*,
                                                                              grpc::CompletionQueue*)>;

  explicit ServerStream(const Start& start) : reader_(start(&context_, &queue_)) {}

  ~ServerStream() {
    context_.TryCancel();
    if (!finished_) {
      void* tag;
      bool ok;
      if (pending_) queue_.Next(&tag, &ok);
      grpc::Status ignored;
      reader_->Finish(&ignored, nullptr);
      queue_.Next(&tag, &ok);
    }
    queue_.Shutdown();
  }
  ServerStream(const ServerStream&) = delete;
  ServerStream& operator=(const ServerStream&) = delete;

  enum class Step { kMessage, kNothingYet, kEnd };

  // kMessage: `reply` holds the next one. kNothingYet: call again. kEnd: call Finish, and Read no more.
  Step Read(Reply& reply, std::chrono::milliseconds limit) {
    void* tag;
    bool ok = false;
    if (queue_.AsyncNext(&tag, &ok, std::chrono::system_clock::now() + limit) !=
        grpc::CompletionQueue::GOT_EVENT)
      return Step::kNothingYet;
    pending_ = false;
    if (!ok) return Step::kEnd;
    const bool was_start = !started_;
    started_ = true;
    if (!was_start) reply = std::move(message_);
    message_ = Reply();
    reader_->Read(&message_, nullptr);
    pending_ = true;
    return was_start ? Step::kNothingYet : Step::kMessage;
  }

  // Reads to the stream's end: its status. Or nothing, once `go_on`, which gets each message, and null where
  // none came within `tick`, has returned false.
  std::optional<absl::Status> ReadAll(std::chrono::milliseconds tick,
                                      const std::function<bool(const Reply*)>& go_on) {
    Reply reply;
    while (true) {
      const Step step = Read(reply, tick);
      if (step == Step::kEnd) return Finish();
      if (!go_on(step == Step::kMessage ? &reply : nullptr)) return std::nullopt;
    }
  }

  absl::Status Finish() {
    grpc::Status status;
    reader_->Finish(&status, nullptr);
    void* tag;
    bool ok;
    queue_.Next(&tag, &ok);
    finished_ = true;
    return FromGrpc(status);
  }

 private:
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::ClientAsyncReader<Reply>> reader_;
  Reply message_;
  bool pending_ = true;  // an operation is under way: the start, or a Read
  bool started_ = false;
  bool finished_ = false;
};

}  // namespace retort
