// Stands between one worker and the orchestrator and passes every call on, but for the first CommitPublish of
// stage 2, which it holds back: that write comes as late as a test wants.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "retort/v1/worker_service.pb.h"

namespace retort {

// Not thread-safe. The destructor lets go of what is held.
class CommitHolder {
 public:
  explicit CommitHolder(const std::string& orchestrator);
  ~CommitHolder();

  const std::string& address() const { return address_; }  // for the worker

  // What is held, and the BeginPublish before it. `commit` may be asked for once the commit is here.
  bool HasCommit() const;
  v1::CommitPublishRequest commit() const;
  v1::BeginPublishRequest begun() const;

  // Passes it on, though nobody may wait for it any more: what the orchestrator answers. Call once.
  absl::Status LetGo();

 private:
  class Relay;
  std::unique_ptr<Relay> relay_;
  std::string address_;
};

}  // namespace retort
