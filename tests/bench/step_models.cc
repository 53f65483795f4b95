#include "tests/bench/step_models.h"

#include <ATen/ATen.h>
#include <stdlib.h>

#include <cmath>
#include <vector>

#include "core/base/check.h"
#include "model/student/make_student.h"
#include "train/data/indexed_dataset_writer.h"

namespace retort {

ModelConfig SmolLmConfig() {
  ModelConfig config;
  config.vocab_size = 49152;
  config.hidden_size = 576;
  config.intermediate_size = 1536;
  config.heads = 9;
  config.kv_heads = 3;
  config.head_dim = 64;
  config.context = 8192;
  config.norm_eps = 1e-5;
  config.rope_theta = 1e5;
  config.tied_head = true;
  config.layers.assign(30, MixerType::kAttention);
  return config;
}

ModelConfig PhiLayerConfig() {
  ModelConfig config = SmolLmConfig();
  config.vocab_size = 16;
  config.hidden_size = 2048;
  config.intermediate_size = 16;
  config.heads = config.kv_heads = 32;
  config.context = 2048;
  config.layers.resize(1);
  return config;
}

ModelConfig ConvertedConfig(const ModelConfig& teacher, int groups, int state_size) {
  v1::StudentSpec spec;
  spec.set_mixer(v1::MIXER_KIND_MAMBA2);
  spec.set_groups(groups);
  spec.set_state_size(state_size);
  return StudentConfig(teacher, spec).value();
}

LanguageModel RandomTeacher(const ModelConfig& config) {
  LanguageModel model = EmptyModel(config);
  for (const auto& tensor : ModelTensors(model)) {
    const double bound = std::sqrt(3.0 / static_cast<double>(tensor.shape.back()));
    *tensor.value =
        tensor.is_matrix ? at::empty(tensor.shape).uniform_(-bound, bound) : at::ones(tensor.shape);
  }
  model.head_VE = model.embedding_VE;
  return model;
}

RandomTokens::RandomTokens(int64_t seq_len, int64_t vocab_size) {
  std::string path = std::filesystem::temp_directory_path() / "retort_bench_XXXXXX";
  RETORT_CHECK(mkdtemp(path.data()) != nullptr) << path;
  directory_ = path;
  const at::Tensor ids = at::randint(vocab_size, {16 * seq_len}, at::kInt);
  const std::vector<int32_t> document(ids.data_ptr<int32_t>(), ids.data_ptr<int32_t>() + ids.numel());
  auto writer = IndexedDatasetWriter::Create(directory_ / "tokens", static_cast<int32_t>(vocab_size));
  RETORT_CHECK(writer.ok() && writer->Add(document).ok() && writer->Finish().ok()) << path;
  v1::DataSpec data;
  data.add_train("tokens.bin");
  data.set_seq_len(static_cast<uint32_t>(seq_len));
  data.set_seed(7);
  auto batches = Batches::Open(data, {directory_ / "tokens.bin"}, static_cast<int>(vocab_size));
  RETORT_CHECK(batches.ok()) << batches.status().ToString();
  batches_ = std::move(*batches);
}

RandomTokens::~RandomTokens() { std::filesystem::remove_all(directory_); }

}  // namespace retort
