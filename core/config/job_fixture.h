// For tests: a directory with a good job file and all that it names.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "core/base/check.h"
#include "core/config/job_file.h"
#include "gtest/gtest.h"

namespace retort {

class JobFixture : public ::testing::Test {
 protected:
  JobFixture() {
    std::string name = (std::filesystem::temp_directory_path() / "retort_job_XXXXXX").string();
    RETORT_CHECK(mkdtemp(name.data()) != nullptr) << name;
    directory_ = name;
    for (const char* file : {"models/tiny/config.json", "corpus/train.bin", "corpus/train.idx",
                             "corpus/more.bin", "corpus/more.idx", "corpus/eval.bin", "corpus/eval.idx"}) {
      Put(file, "");
    }
  }
  ~JobFixture() override { std::filesystem::remove_all(directory_); }

  void Put(const std::string& path, const std::string& contents) {
    std::filesystem::create_directories((directory_ / path).parent_path());
    std::ofstream(directory_ / path, std::ios::binary) << contents;
  }

  absl::StatusOr<v1::JobSpec> Load(const std::string& yaml) {
    Put("job.yaml", yaml);
    return LoadJob(directory_ / "job.yaml", {});
  }

  // The good job with the only occurrence of `before` replaced.
  static std::string Edited(const std::string& before, const std::string& after) {
    std::string yaml = kGood;
    const size_t place = yaml.find(before);
    RETORT_CHECK(place != std::string::npos && yaml.find(before, place + 1) == std::string::npos) << before;
    return yaml.replace(place, before.size(), after);
  }

  // The error's message with the directory removed: "job.yaml:4:10: ..."; empty when there is no error.
  std::string Errors(const std::string& yaml) {
    std::string message(Load(yaml).status().message());
    const std::string prefix = directory_.string() + "/";
    for (size_t at; (at = message.find(prefix)) != std::string::npos;) message.erase(at, prefix.size());
    return message;
  }

  static constexpr const char* kGood = R"(name: smollm2-hybrid
teacher: {path: models/tiny}
student:
  mixer: mamba2
  state_size: 64
  groups: 2
  keep_attention: {every: 4, offset: 3}
  init: paper
data:
  train: [corpus/train.bin]
  eval: corpus/eval.bin
  seq_len: 512
  seed: 7
stages:
  matrix_orientation: {tokens: 80M, tokens_per_step: 32768, lr: 1e-4}
  hidden_state_alignment:
    tokens: 160M
    tokens_per_step: 16_384
    lr: 0.001
  end_to_end: {tokens: 2.76B, tokens_per_step: 524288, lr: 1}
)";

  std::filesystem::path directory_;
};

}  // namespace retort
