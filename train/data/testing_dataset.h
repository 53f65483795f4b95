// Scratch and token files for tests.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "train/data/indexed_dataset_writer.h"

namespace retort {

// A directory that lives as long as the test program.
class ScratchDirectory {
 public:
  ScratchDirectory() : path_(testing::TempDir() + "/retort_test_XXXXXX") {
    EXPECT_NE(mkdtemp(path_.data()), nullptr);
  }
  ~ScratchDirectory() { std::filesystem::remove_all(path_); }
  std::filesystem::path path() const { return path_; }

 private:
  std::string path_;
};

// A path in a directory of the running test's own.
inline std::filesystem::path TestPath(const std::string& name) {
  static const ScratchDirectory scratch;
  const std::filesystem::path directory =
      scratch.path() / testing::UnitTest::GetInstance()->current_test_info()->name();
  std::filesystem::create_directories(directory);
  return directory / name;
}

// Writes `documents` to NAME.bin and NAME.idx and returns the .bin's path.
inline std::filesystem::path WriteDocuments(const std::string& name,
                                            const std::vector<std::vector<int32_t>>& documents,
                                            int32_t vocab_size = 1000) {
  const std::filesystem::path prefix = TestPath(name);
  auto writer = IndexedDatasetWriter::Create(prefix, vocab_size);
  EXPECT_TRUE(writer.ok()) << writer.status();
  for (const auto& document : documents) EXPECT_TRUE(writer->Add(document).ok());
  EXPECT_TRUE(writer->Finish().ok());
  return prefix.string() + ".bin";
}

}  // namespace retort
