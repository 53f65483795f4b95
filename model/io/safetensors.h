// The safetensors file format (8-byte little-endian header length, JSON header, raw tensors), read and
// written whole-tensor at a time. Types: F32, F16, BF16, and for the counters and generator states of
// checkpoints I64 and U8.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/files.h"
#include "nlohmann/json_fwd.hpp"

namespace retort {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

// A mapped file. Thread-safe for reading. Opening checks the whole header: no tensor named twice, every range
// inside the file, every byte in exactly one, each as long as its shape and type say; DATA_LOSS names the
// file and the tensor otherwise, INVALID_ARGUMENT a type that is not read.
class SafetensorsFile {
 public:
  static absl::StatusOr<SafetensorsFile> Open(const std::filesystem::path& path);

  std::vector<std::string> names() const;

  // A fresh tensor in the stored type, in LibTorch's 64-byte-aligned memory (the bits of MKL's products
  // depend on alignment). NOT_FOUND when there is no such tensor.
  absl::StatusOr<at::Tensor> Read(const std::string& name) const;

 private:
  struct Entry {
    at::ScalarType type;
    std::vector<int64_t> shape;
    uint64_t begin;  // from the start of the file
    uint64_t bytes;
  };
  SafetensorsFile(MappedFile file, std::string path) : file_(std::move(file)), path_(std::move(path)) {}
  absl::Status ParseHeader();
  absl::Status CheckMetadata(const nlohmann::json& metadata) const;
  absl::Status ParseEntry(const std::string& name, const nlohmann::json& description, uint64_t data_begin);
  absl::Status CheckEveryByteIsOwned(uint64_t data_begin) const;

  MappedFile file_;
  std::string path_;
  std::map<std::string, Entry> entries_;
};

// Replaces `path` atomically: after a crash or a full disk the old file is still there, whole.
absl::Status WriteSafetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                              const std::map<std::string, std::string>& metadata);

// The bytes of that file.
std::string SafetensorsBytes(const NamedTensors& tensors, const std::map<std::string, std::string>& metadata);

}  // namespace retort
