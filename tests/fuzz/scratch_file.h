// A file that a fuzz target writes anew for each input, for parsers that read from the disk.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace retort {

// In a directory of this process's own, which is removed at the end.
class ScratchFiles {
 public:
  ScratchFiles() : directory_((std::filesystem::temp_directory_path() / "retort_fuzz_XXXXXX").string()) {
    if (mkdtemp(directory_.data()) == nullptr) std::abort();
  }
  ~ScratchFiles() { std::filesystem::remove_all(directory_); }
  ScratchFiles(const ScratchFiles&) = delete;
  ScratchFiles& operator=(const ScratchFiles&) = delete;

  std::filesystem::path Write(const std::string& name, std::string_view bytes) const {
    const std::filesystem::path path = std::filesystem::path(directory_) / name;
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
    return path;
  }

 private:
  std::string directory_;
};

}  // namespace retort
