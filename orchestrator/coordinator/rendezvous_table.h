// What the ranks of each run's last generation have told each other: in memory, bounded, gone with the
// generation. Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "core/base/mutex.h"
#include "retort/v1/worker_service.pb.h"

namespace retort::orchestrator {

class RendezvousTable {
 public:
  // Of a member of the generation. A later generation drops the one before.
  //   RESOURCE_EXHAUSTED  the generation has all the keys or bytes that it may have
  //   INVALID_ARGUMENT    no operation, a key or value over its limit, a sum of what is no number
  //   FAILED_PRECONDITION a later generation has been here
  absl::StatusOr<v1::RendezvousReply> Do(uint64_t run_id, const v1::RendezvousRequest& request);

  // Drops what is of runs that `is_wanted` says no of.
  void Keep(absl::FunctionRef<bool(uint64_t run_id)> is_wanted);

 private:
  struct Generation {
    uint64_t number = 0;
    size_t bytes = 0;
    std::map<std::string, std::string> values;
  };
  static absl::Status Put(const std::string& key, const std::string& value, Generation& generation);

  Mutex mutex_;
  std::map<uint64_t, Generation> of_run_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace retort::orchestrator
