// A random teacher of SmolLM2's width and random text, as a job's files in a directory of their own.
#pragma once

#include <ATen/ATen.h>
#include <stdlib.h>

#include <filesystem>
#include <string>
#include <vector>

#include "core/base/check.h"
#include "core/base/files.h"
#include "model/io/safetensors.h"
#include "nlohmann/json.hpp"
#include "retort/v1/job.pb.h"
#include "tests/bench/step_models.h"
#include "train/data/indexed_dataset_writer.h"

namespace retort {

class BenchInputs {
 public:
  BenchInputs(int layers, int vocabulary, int64_t train_tokens, int64_t eval_tokens) {
    std::string path = std::filesystem::temp_directory_path() / "retort_bench_XXXXXX";
    RETORT_CHECK(mkdtemp(path.data()) != nullptr) << path;
    directory_ = path;
    ModelConfig config = SmolLmConfig();
    config.vocab_size = vocabulary;
    config.layers.resize(layers);
    WriteTeacher(config);
    WriteTokens("train", train_tokens, vocabulary);
    WriteTokens("eval", eval_tokens, vocabulary);
  }
  ~BenchInputs() { std::filesystem::remove_all(directory_); }
  const std::filesystem::path& directory() const { return directory_; }

 private:
  void WriteTeacher(const ModelConfig& config) {
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
  void WriteTokens(const std::string& name, int64_t count, int vocabulary) {
    const at::Tensor ids = at::randint(vocabulary, {count}, at::kInt);
    const std::vector<int32_t> document(ids.data_ptr<int32_t>(), ids.data_ptr<int32_t>() + ids.numel());
    auto writer = IndexedDatasetWriter::Create(directory_ / name, vocabulary);
    RETORT_CHECK(writer.ok() && writer->Add(document).ok() && writer->Finish().ok()) << name;
  }

  std::filesystem::path directory_;
};

// What jobs over such inputs have in common; stages and checkpoints are the caller's.
inline v1::JobSpec JobOverInputs(const std::string& name, int64_t seq_len, uint32_t micro_batch) {
  v1::JobSpec job;
  job.set_name(name);
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
  job.set_micro_batch(micro_batch);
  job.mutable_evaluation()->set_tokens(static_cast<uint64_t>(seq_len));
  return job;
}

}  // namespace retort
