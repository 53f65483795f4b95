// The tiny teacher of tests/golden, a student and a job for it, for tests.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "model/student/make_student.h"
#include "model/teacher/teacher.h"
#include "train/data/batches.h"
#include "train/stages/stage_plan.h"

namespace retort {

inline std::filesystem::path TinyDirectory() {
  return std::filesystem::path(RETORT_SOURCE_DIR) / "tests/golden/tiny";
}

inline LanguageModel TinyTeacher() { return LoadTeacher(TinyDirectory() / "teacher").value(); }

// As core/config would fill it in, three stages of ten steps.
inline v1::JobSpec TinyJob() {
  v1::JobSpec job;
  job.set_name("tiny");
  job.mutable_teacher()->set_path("teacher");
  v1::StudentSpec& student = *job.mutable_student();
  student.set_mixer(v1::MIXER_KIND_MAMBA2);
  student.set_state_size(16);
  student.set_groups(1);
  student.mutable_keep_attention()->add_layers(1);
  student.set_init(v1::STUDENT_INIT_QKVO);
  job.mutable_data()->add_train("corpus/train.bin");
  job.mutable_data()->set_eval("corpus/eval.bin");
  job.mutable_data()->set_seq_len(32);
  job.mutable_data()->set_seed(7);
  job.set_micro_batch(2);
  v1::StagesSpec& stages = *job.mutable_stages();
  for (v1::StageBudget* budget : {stages.mutable_matrix_orientation()->mutable_budget(),
                                  stages.mutable_hidden_state_alignment()->mutable_budget(),
                                  stages.mutable_end_to_end()->mutable_budget()}) {
    budget->set_tokens(1280);
    budget->set_tokens_per_step(128);
    budget->set_lr(3e-3);
  }
  stages.mutable_hidden_state_alignment()->set_target(v1::ALIGNMENT_TARGET_BLOCK);
  stages.mutable_hidden_state_alignment()->set_train(v1::TRAIN_SCOPE_MIXER);
  stages.mutable_end_to_end()->set_train(v1::TRAIN_SCOPE_MIXER);
  stages.mutable_end_to_end()->set_labels(v1::LABELS_TEACHER);
  return job;
}

inline StagePlan TinyPlan(Stage stage) { return PlanStages(TinyJob())[static_cast<int>(stage) - 1]; }

inline Batches TinyBatches(const v1::JobSpec& job) {
  return Batches::Open(job.data(), {TinyDirectory() / "corpus/train.bin"}, /*vocab_size=*/512)
      .value();
}

inline LanguageModel TinyStudent(const LanguageModel& teacher, const v1::JobSpec& job) {
  const ModelConfig config = StudentConfig(teacher.config, job.student()).value();
  return MakeStudent(teacher, config, job.student().init(), job.data().seed());
}

// A stop flag that nobody sets.
inline const std::atomic<bool> kGoOn = false;

using TensorMap = std::map<std::string, at::Tensor>;

// The model's tensors by name, sharing its memory.
inline TensorMap TensorsOf(LanguageModel& model) {
  TensorMap tensors;
  for (const auto& tensor : ModelTensors(model)) tensors[tensor.name] = *tensor.value;
  return tensors;
}

inline TensorMap Snapshot(LanguageModel& model) {
  TensorMap tensors = TensorsOf(model);
  for (auto& [name, tensor] : tensors) tensor = tensor.detach().clone();
  return tensors;
}

inline bool SameBits(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.contiguous(), y = b.contiguous();
  return x.sizes() == y.sizes() && x.scalar_type() == y.scalar_type() &&
         std::memcmp(x.data_ptr(), y.data_ptr(), x.nbytes()) == 0;
}

inline void ExpectSameBits(const TensorMap& a, const TensorMap& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) EXPECT_TRUE(SameBits(tensor, b.at(name))) << name;
}

inline bool IsMixerName(const std::string& name) { return name.find(".mamba.") != std::string::npos; }

}  // namespace retort
