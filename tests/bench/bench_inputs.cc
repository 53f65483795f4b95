#include "tests/bench/bench_inputs.h"

#include <ATen/ATen.h>
#include <stdlib.h>

#include <vector>

#include "core/base/check.h"
#include "core/base/files.h"
#include "model/io/safetensors.h"
#include "nlohmann/json.hpp"
#include "tests/bench/step_models.h"
#include "train/data/indexed_dataset_writer.h"

namespace retort {
namespace {

constexpr int kVocabulary = 4096;

}  // namespace

BenchInputs::BenchInputs(int layers, int64_t seq_len) {
  std::string path = std::filesystem::temp_directory_path() / "retort_bench_XXXXXX";
  RETORT_CHECK(mkdtemp(path.data()) != nullptr) << path;
  directory_ = path;
  ModelConfig config = SmolLmConfig();
  config.vocab_size = kVocabulary;
  config.layers.resize(layers);
  WriteTeacher(config);
  WriteTokens("train", 64 * seq_len);
  WriteTokens("eval", seq_len);
}

BenchInputs::~BenchInputs() { std::filesystem::remove_all(directory_); }

void BenchInputs::WriteTeacher(const ModelConfig& config) {
  const std::filesystem::path teacher = directory_ / "teacher";
  std::filesystem::create_directory(teacher);
  const nlohmann::json description = {{"model_type", "llama"},
                                      {"vocab_size", config.vocab_size},
                                      {"hidden_size", config.hidden_size},
                                      {"intermediate_size", config.intermediate_size},
                                      {"num_hidden_layers", config.num_layers()},
                                      {"num_attention_heads", config.heads},
                                      {"num_key_value_heads", config.kv_heads},
                                      {"head_dim", config.head_dim},
                                      {"max_position_embeddings", config.context},
                                      {"rms_norm_eps", config.norm_eps},
                                      {"rope_theta", config.rope_theta},
                                      {"tie_word_embeddings", true},
                                      {"hidden_act", "silu"}};
  RETORT_CHECK(WriteFileAtomically(teacher / "config.json", description.dump()).ok());
  LanguageModel model = RandomTeacher(config);
  NamedTensors tensors;
  for (const auto& tensor : ModelTensors(model)) tensors.emplace_back(tensor.name, *tensor.value);
  RETORT_CHECK(WriteSafetensors(teacher / "model.safetensors", tensors, {}).ok());
}

void BenchInputs::WriteTokens(const std::string& name, int64_t count) {
  const at::Tensor ids = at::randint(kVocabulary, {count}, at::kInt);
  const std::vector<int32_t> document(ids.data_ptr<int32_t>(), ids.data_ptr<int32_t>() + ids.numel());
  auto writer = IndexedDatasetWriter::Create(directory_ / name, kVocabulary);
  RETORT_CHECK(writer.ok() && writer->Add(document).ok() && writer->Finish().ok()) << name;
}

v1::JobSpec BenchJob(int64_t seq_len) {
  v1::JobSpec job;
  job.set_name("bench");
  job.mutable_teacher()->set_path("teacher");
  v1::StudentSpec& student = *job.mutable_student();
  student.set_mixer(v1::MIXER_KIND_MAMBA2);
  student.set_state_size(128);
  student.set_groups(1);
  student.set_init(v1::STUDENT_INIT_QKVO);
  job.mutable_data()->add_train("train.bin");
  job.mutable_data()->set_eval("eval.bin");
  job.mutable_data()->set_seq_len(static_cast<uint32_t>(seq_len));
  job.mutable_data()->set_seed(7);
  job.set_micro_batch(4);
  job.mutable_evaluation()->set_tokens(static_cast<uint32_t>(seq_len));
  return job;
}

void SetSteps(uint64_t steps, const v1::JobSpec& job, v1::StageBudget& budget) {
  const uint64_t step_tokens = uint64_t{job.micro_batch()} * job.data().seq_len();
  budget.set_tokens(steps * step_tokens);
  budget.set_tokens_per_step(step_tokens);
  budget.set_lr(1e-4);
}

}  // namespace retort
