// A job of SmolLM2-135M's layers, fewer of them and with fewer words, for benchmarks of the service.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "model/io/model_config.h"
#include "retort/v1/job.pb.h"

namespace retort {

// A random teacher and text, in a directory of their own, which goes with this.
class BenchInputs {
 public:
  BenchInputs(int layers, int64_t seq_len);
  ~BenchInputs();
  BenchInputs(const BenchInputs&) = delete;
  BenchInputs& operator=(const BenchInputs&) = delete;
  const std::filesystem::path& directory() const { return directory_; }

 private:
  void WriteTeacher(const ModelConfig& config);
  void WriteTokens(const std::string& name, int64_t count);

  std::filesystem::path directory_;
};

// On such inputs, all layers to be converted, without a stage.
v1::JobSpec BenchJob(int64_t seq_len);
// One micro-batch a step.
void SetSteps(uint64_t steps, const v1::JobSpec& job, v1::StageBudget& budget);

}  // namespace retort
