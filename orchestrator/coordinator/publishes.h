// The publishes under way: at most one for each worker. They live in memory only; what they have written
// counts for nothing before the commit. Thread-safe; two threads may append to different publishes at once.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "core/base/mutex.h"
#include "core/store/checkpoint_writer.h"
#include "retort/v1/worker_service.pb.h"

namespace retort::orchestrator {

struct Publish {
  Publish(v1::BeginPublishRequest begun, std::unique_ptr<CheckpointWriter> its_writer)
      : number(its_writer->publish()), request(std::move(begun)), writer(std::move(its_writer)) {}

  const uint64_t number;
  const v1::BeginPublishRequest request;  // without the tensors: the writer has them
  Mutex mutex;
  const std::unique_ptr<CheckpointWriter> writer ABSL_PT_GUARDED_BY(mutex);
};

class Publishes {
 public:
  // Drops the worker's earlier one.
  void Add(std::shared_ptr<Publish> publish, int64_t now_steady_ms);

  // nullptr: the worker has no such publish under way.
  std::shared_ptr<Publish> Find(uint64_t worker_id, uint64_t number) const;

  // As Find, and a chunk of it came now.
  std::shared_ptr<Publish> Touch(uint64_t worker_id, uint64_t number, int64_t now_steady_ms);

  // As Find, and its stream waits for its turn: not silent until it is touched again.
  std::shared_ptr<Publish> Await(uint64_t worker_id, uint64_t number);

  // Each drops what it names, if it is there. Its bytes go once nobody works on it.
  void Drop(uint64_t worker_id, uint64_t number);
  void DropOfWorker(uint64_t worker_id);
  void DropOfTokens(const std::vector<uint64_t>& tokens);
  void DropSilentSince(int64_t steady_ms);

 private:
  struct Entry {
    std::shared_ptr<Publish> publish;
    int64_t last_chunk_steady_ms;
  };
  template <class Condition>
  void DropIf(const Condition& condition);

  mutable Mutex mutex_;
  std::map<uint64_t, Entry> entries_ ABSL_GUARDED_BY(mutex_);  // by worker_id
};

}  // namespace retort::orchestrator
