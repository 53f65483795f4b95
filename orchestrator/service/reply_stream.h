// A stream of replies that a source makes one after another, each when the one before has been handed to the
// network: one reply in memory.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <set>
#include <utility>

#include "absl/status/statusor.h"
#include "core/base/mutex.h"
#include "core/rpc/status.h"
#include "grpcpp/support/server_callback.h"
#include "orchestrator/service/slots.h"
#include "orchestrator/service/work_pool.h"

namespace retort::orchestrator {

enum class Next {
  kReply,  // there is one
  kLater,  // not now; ask again when something may have changed
  kEnd,    // no more, and all is well
};

// Fills in the next reply. Called by one thread at a time, and destroyed by the last of them.
template <class Reply>
using ReplySource = std::function<absl::StatusOr<Next>(Reply& reply)>;

// What all streams have in common, so that a list can hold them.
class Stream {
 public:
  virtual ~Stream() = default;
  // Asks the source again if it had nothing.
  virtual void Wake() = 0;
};

// The streams that are open. Thread-safe.
class OpenStreams {
 public:
  void Add(Stream* stream) {
    MutexLock lock(mutex_);
    streams_.insert(stream);
  }
  void Remove(Stream* stream) {
    MutexLock lock(mutex_);
    streams_.erase(stream);
  }
  void WakeAll() {
    MutexLock lock(mutex_);
    for (Stream* stream : streams_) stream->Wake();
  }
  // Each ends with UNAVAILABLE before its next reply, also those that come later.
  void StopAll() {
    is_stopping_ = true;
    WakeAll();
  }
  bool is_stopping() const { return is_stopping_; }

 private:
  std::atomic<bool> is_stopping_ = false;
  Mutex mutex_;
  std::set<Stream*> streams_ ABSL_GUARDED_BY(mutex_);
};

// Owns itself: deleted when the call is over.
template <class Reply>
class ReplyStream final : public grpc::ServerWriteReactor<Reply>, public Stream {
 public:
  // `slots`: nullptr, or those of which it takes one for as long as it lives.
  ReplyStream(OpenStreams& streams, WorkPool& pool, Slots* slots, ReplySource<Reply> source)
      : streams_(streams), pool_(pool), slots_(slots), source_(std::move(source)) {
    streams_.Add(this);
    if (slots_ == nullptr) {
      Begin();
    } else {
      slots_->Acquire([this] { Begin(); });
    }
  }

  void Wake() override {
    {
      MutexLock lock(mutex_);
      if (!is_idle_) return;
      is_idle_ = false;
    }
    Begin();
  }

  void OnCancel() override {
    is_cancelled_ = true;
    Wake();
  }

  void OnWriteDone(bool ok) override {
    if (!ok) is_cancelled_ = true;
    Begin();
  }

  void OnDone() override {
    streams_.Remove(this);
    if (slots_ != nullptr) slots_->Release();
    delete this;
  }

 private:
  void Begin() {
    pool_.Add([this] { Work(); });
  }

  // Calls Finish, after which `this` may be gone, or something that leads to another Work.
  void Work() {
    if (is_cancelled_) return this->Finish(grpc::Status::CANCELLED);
    if (streams_.is_stopping()) {
      return this->Finish(ToGrpc(absl::UnavailableError("the orchestrator stops; repeat the call")));
    }
    const absl::StatusOr<Next> next = source_(reply_);
    if (!next.ok()) return this->Finish(ToGrpc(next.status()));
    switch (*next) {
      case Next::kReply:
        return this->StartWrite(&reply_);
      case Next::kEnd:
        return this->Finish(grpc::Status::OK);
      case Next::kLater:
        MutexLock lock(mutex_);
        is_idle_ = true;
    }
  }

  OpenStreams& streams_;
  WorkPool& pool_;
  Slots* const slots_;
  ReplySource<Reply> source_;
  Reply reply_;
  std::atomic<bool> is_cancelled_ = false;
  Mutex mutex_;
  bool is_idle_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace retort::orchestrator
