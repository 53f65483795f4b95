// A succeeded run's files as Download streams them: the list, then the bytes. One chunk in memory. Not
// thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/store/checkpoint_reader.h"
#include "retort/v1/run_service.pb.h"

namespace retort::orchestrator {

class ResultReader {
 public:
  // From `file` (empty: the first one) and `offset_bytes` on. NOT_FOUND: no such file; OUT_OF_RANGE: the
  // offset is no multiple of 1 MiB within it.
  static absl::StatusOr<std::unique_ptr<ResultReader>> Open(std::unique_ptr<CheckpointReader> checkpoint,
                                                            const std::string& file, uint64_t offset_bytes);

  // By name, but result.json last: a directory that holds it is complete.
  const v1::FileList& files() const { return files_; }

  // Nothing after the last. DATA_LOSS names the chunk or the file.
  absl::StatusOr<std::optional<v1::FileChunk>> Next();

 private:
  explicit ResultReader(std::unique_ptr<CheckpointReader> checkpoint) : checkpoint_(std::move(checkpoint)) {}

  std::unique_ptr<CheckpointReader> checkpoint_;
  v1::FileList files_;
  std::vector<uint32_t> tensor_of_file_;  // the index among checkpoint_'s tensors
  uint32_t file_ = 0;                     // the one that is being read
  uint64_t offset_bytes_ = 0;             // of what comes next in it
};

}  // namespace retort::orchestrator
