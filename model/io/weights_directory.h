// The weights of a model directory: `model.safetensors`, or several files named by
// `model.safetensors.index.json`.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/io/safetensors.h"

namespace retort {

class WeightsDirectory {
 public:
  // NOT_FOUND when the directory has no weights or lacks a file that the index names, DATA_LOSS when a file
  // is cut short or the index is broken.
  static absl::StatusOr<WeightsDirectory> Open(const std::filesystem::path& directory);

  std::vector<std::string> names() const;

  // The tensor as contiguous float32. NOT_FOUND when missing; INVALID_ARGUMENT when its shape is not `shape`,
  // its stored type is not floating point, or it holds a NaN or an infinity.
  absl::StatusOr<at::Tensor> Read(const std::string& name, const std::vector<int64_t>& shape) const;

  const std::string& directory() const { return directory_; }

  // The files that hold the weights, for hashing.
  const std::vector<std::filesystem::path>& files() const { return paths_; }

 private:
  std::string directory_;
  std::vector<std::filesystem::path> paths_;
  std::vector<std::shared_ptr<SafetensorsFile>> files_;
  std::map<std::string, size_t> file_of_;
};

}  // namespace retort
