// Text files as they are kept: plain, or compressed by gzip (NAME.gz) or Zstandard (NAME.zst).
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace retort {

// The name without the ending that says how the file is compressed.
std::filesystem::path WithoutCompression(const std::filesystem::path& file);

class Decompressor;

// One file or pipe, read once from its beginning to its end. Move-only; a moved-from object may only be
// destroyed. Not thread-safe.
class TextFile {
 public:
  // NOT_FOUND and the like as errno says; INVALID_ARGUMENT for a directory. A pipe that nobody writes to yet
  // is waited for by Read. `stop` outlives this object.
  static absl::StatusOr<TextFile> Open(const std::filesystem::path& path, const std::atomic<bool>& stop);

  TextFile(TextFile&& other) noexcept;
  TextFile& operator=(TextFile&&) = delete;
  ~TextFile();

  // Appends the next part of the text (up to 128 KiB, however well it was compressed) to `text`, of a pipe
  // what has come; false when there is none left. DATA_LOSS, naming file and byte, when a compressed file is
  // cut short or damaged; CANCELLED soon after `stop` is set, also while nothing comes.
  absl::StatusOr<bool> Read(std::string* text);

 private:
  TextFile(std::filesystem::path path, int fd, const std::atomic<bool>& stop,
           std::unique_ptr<Decompressor> decompressor);
  // Empty at the end.
  absl::StatusOr<std::string> ReadBytes();
  absl::StatusOr<bool> ReadCompressed(std::string* text);

  std::filesystem::path path_;
  int fd_;  // -1: moved from
  const std::atomic<bool>* stop_;
  std::unique_ptr<Decompressor> decompressor_;  // null: plain
  std::string input_;                           // compressed, read last
  size_t used_ = 0;                             // of input_
  uint64_t read_bytes_ = 0;                     // of the file
};

}  // namespace retort
