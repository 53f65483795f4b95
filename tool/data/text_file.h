// Text files as they are kept: plain, or compressed by gzip (NAME.gz) or Zstandard (NAME.zst).
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace retort {

// The name without the ending that says how the file is compressed.
std::filesystem::path WithoutCompression(const std::filesystem::path& file);

class Decompressor;

// One file, read once from its beginning to its end. Move-only; not thread-safe.
class TextFile {
 public:
  // NOT_FOUND and the like as errno says; INVALID_ARGUMENT for what is no regular file.
  static absl::StatusOr<TextFile> Open(const std::filesystem::path& path);

  TextFile(TextFile&&) noexcept;
  TextFile& operator=(TextFile&&) noexcept;
  ~TextFile();

  // Appends the next part of the text (up to some MB) to `text`; false when there is none left. DATA_LOSS,
  // naming file and byte, when a compressed file is cut short or damaged.
  absl::StatusOr<bool> Read(std::string* text);

 private:
  TextFile(std::filesystem::path path, std::ifstream stream, std::unique_ptr<Decompressor> decompressor);

  std::filesystem::path path_;
  std::ifstream stream_;
  std::unique_ptr<Decompressor> decompressor_;  // null: plain
  uint64_t read_bytes_ = 0;                     // of the file
};

}  // namespace retort
