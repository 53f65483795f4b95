// Random models and tokens of true sizes for the benchmarks of whole steps.
#pragma once

#include <filesystem>
#include <optional>

#include "model/lm/language_model.h"
#include "train/data/batches.h"
#include "train/stages/stage_plan.h"

namespace retort {

// SmolLM2-135M: 30 layers, width 576, 9 heads of 64 with 3 key/value heads, MLP 1536, vocabulary 49,152, the
// head tied to the embedding.
ModelConfig SmolLmConfig();

// One attention layer of Phi-1.5: width 2048, 32 heads of 64. MLP, embedding and head have token sizes, and
// nothing may run them.
ModelConfig PhiLayerConfig();

// All layers converted to mamba2.
ModelConfig ConvertedConfig(const ModelConfig& teacher, int groups, int state_size);

// Matrices uniform with variance 1 / inputs, norms 1.
LanguageModel RandomTeacher(const ModelConfig& config);

// Random tokens in a file of their own, which goes with this.
class RandomTokens {
 public:
  RandomTokens(int64_t seq_len, int64_t vocab_size);
  ~RandomTokens();
  RandomTokens(const RandomTokens&) = delete;
  RandomTokens& operator=(const RandomTokens&) = delete;

  const Batches& batches() const { return *batches_; }

 private:
  std::filesystem::path directory_;
  std::optional<Batches> batches_;
};

}  // namespace retort
