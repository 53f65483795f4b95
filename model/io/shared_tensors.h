// Float32 tensors in files of one directory, for the processes of one machine that need the same: each maps
// the file, so that its bytes are in memory once.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace retort {

// Not thread-safe; any number of processes may share a directory.
class SharedTensors {
 public:
  // Files go to `directory`, which is made when the first one is; what lies there is believed, so its name
  // must say what made it.
  explicit SharedTensors(std::filesystem::path directory) : directory_(std::move(directory)) {}

  // The tensor in file `name`, which `make` fills (contiguous float32 of `shape`) where it is not there yet.
  // Errors are those of `make`. Aligned to a page, and not to be written to. Where the file cannot be written
  // or mapped it is what `make` gave, this process's own, and `failure` says why.
  absl::StatusOr<at::Tensor> Get(const std::string& name, const std::vector<int64_t>& shape,
                                 const std::function<absl::StatusOr<at::Tensor>()>& make);

  const absl::Status& failure() const { return failure_; }  // the first one
  uint64_t mapped_bytes() const { return mapped_bytes_; }   // given out so far
  // Whether the last tensor of this name that was given out is the process's own.
  bool IsOwn(const std::string& name) const { return own_.contains(name); }

 private:
  std::filesystem::path directory_;
  absl::Status failure_;
  uint64_t mapped_bytes_ = 0;
  std::set<std::string> own_;
};

}  // namespace retort
