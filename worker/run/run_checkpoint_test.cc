#include "worker/run/run_checkpoint.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/files.h"
#include "train/data/testing_dataset.h"
#include "train/stages/slice.h"
#include "train/stages/testing_tiny.h"

namespace retort {
namespace {

using testing::HasSubstr;

RunState SomeState() {
  return {.identity = {{"threads", 3}},
          .stage = 1,
          .step = 2,
          .seconds = 12.5,
          .stage_seconds = 2.25,
          .metrics_bytes = 345,
          .peak_memory_bytes = 6789,
          .loss_first = 1.5,
          .loss_last = 0.75,
          .result = {{"job", "tiny"}}};
}

// A student two steps into stage 2.
class RunCheckpointTest : public testing::Test {
 protected:
  RunCheckpointTest() {
    for (int64_t step = 0; step < 2; ++step) EXPECT_TRUE(slice_.Step(step, {0, 2, 3}, kGoOn).ok());
    for (const int64_t layer : {0, 2, 3}) optimizers_.push_back(&slice_.trainer(layer).optimizer());
  }
  void Save(const RunState& state) {
    ASSERT_TRUE(SaveCheckpoint(file_, state, teacher_, student_, optimizers_).ok());
  }
  Checkpoint Load() { return std::move(*Checkpoint::Open(file_).value()); }

  const v1::JobSpec job_ = TinyJob();
  const std::filesystem::path file_ = TestPath("checkpoint.safetensors");
  LanguageModel teacher_ = TinyTeacher();
  LanguageModel student_ = TinyStudent(teacher_, job_);
  const Batches batches_ = TinyBatches(job_);
  Slice slice_{TinyPlan(Stage::kHiddenStateAlignment), teacher_, student_, batches_, {0, 2, 3}};
  std::vector<AdamW*> optimizers_;
};

TEST_F(RunCheckpointTest, GivesBackWhereTheRunStood) {
  Save(SomeState());
  const RunState state = Load().state();
  EXPECT_EQ(state.identity, SomeState().identity);
  EXPECT_EQ(state.stage, 1);
  EXPECT_EQ(state.step, 2);
  EXPECT_EQ(state.seconds, 12.5);
  EXPECT_EQ(state.stage_seconds, 2.25);
  EXPECT_EQ(state.metrics_bytes, 345);
  EXPECT_EQ(state.peak_memory_bytes, 6789);
  EXPECT_EQ(state.loss_first, 1.5);
  EXPECT_EQ(state.loss_last, 0.75);
  EXPECT_EQ(state.result, SomeState().result);
}

TEST_F(RunCheckpointTest, GivesBackTheStudentBitForBit) {
  Save(SomeState());
  LanguageModel fresh = TinyStudent(teacher_, job_);
  const std::string moved = "model.layers.2.mamba.D";
  ASSERT_FALSE(SameBits(TensorsOf(fresh).at(moved), Snapshot(student_).at(moved)));
  ASSERT_TRUE(Load().LoadStudent(fresh).ok());
  ExpectSameBits(Snapshot(fresh), Snapshot(student_));
}

TEST_F(RunCheckpointTest, LeavesTheTeachersTensorsToTheTeacher) {
  Save(SomeState());
  const auto file = SafetensorsFile::Open(file_).value();
  LanguageModel fresh = TinyStudent(teacher_, job_);
  ASSERT_TRUE(Load().LoadStudent(fresh).ok());
  const TensorMap teacher = TensorsOf(teacher_);
  for (const auto& [name, tensor] : TensorsOf(fresh)) {
    EXPECT_EQ(file.Has("student/" + name), IsMixerName(name)) << name;
    if (IsMixerName(name)) continue;
    EXPECT_EQ(tensor.data_ptr(), teacher.at(name).data_ptr()) << name;
  }
}

TEST_F(RunCheckpointTest, KeepsATiedHeadTied) {
  student_.embedding_VE = student_.embedding_VE.clone().add_(1.0);
  student_.head_VE = student_.embedding_VE;
  Save(SomeState());
  LanguageModel fresh = TinyStudent(teacher_, job_);
  ASSERT_TRUE(Load().LoadStudent(fresh).ok());
  EXPECT_TRUE(fresh.head_VE.is_same(fresh.embedding_VE));
  EXPECT_TRUE(SameBits(fresh.head_VE, student_.embedding_VE));
}

TEST_F(RunCheckpointTest, GivesBackTheOptimisersMomentsAndCount) {
  Save(SomeState());
  LanguageModel fresh = TinyStudent(teacher_, job_);
  const Checkpoint checkpoint = Load();
  ASSERT_TRUE(checkpoint.LoadStudent(fresh).ok());
  LayerTrainer trainer(TinyPlan(Stage::kHiddenStateAlignment), fresh, 2);
  ASSERT_TRUE(checkpoint.LoadOptimizer(trainer.optimizer()).ok());
  EXPECT_EQ(trainer.optimizer().steps(), 2);
  const auto loaded = trainer.optimizer().moments(), saved = optimizers_[1]->moments();
  ASSERT_EQ(loaded.size(), saved.size());
  for (size_t i = 0; i < saved.size(); ++i) {
    EXPECT_GT(saved[i].second.max().item<double>(), 0.0);
    EXPECT_TRUE(SameBits(loaded[i].first, saved[i].first)) << trainer.optimizer().trainables()[i].name;
    EXPECT_TRUE(SameBits(loaded[i].second, saved[i].second)) << trainer.optimizer().trainables()[i].name;
  }
}

TEST_F(RunCheckpointTest, IsAbsentWhenThereIsNoFile) {
  const auto opened = Checkpoint::Open(TestPath("none"));
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_FALSE(opened->has_value());
}

TEST_F(RunCheckpointTest, CutShortIsDataLoss) {
  Save(SomeState());
  const std::string whole = ReadFile(file_).value();
  for (const size_t size : {whole.size() - 1, whole.size() / 2, size_t{100}, size_t{4}, size_t{0}}) {
    ASSERT_TRUE(WriteFileAtomically(file_, whole.substr(0, size)).ok());
    const absl::Status status = Checkpoint::Open(file_).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << size << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(file_.string()));
  }
}

TEST_F(RunCheckpointTest, WithoutOneOfItsTensorsIsDataLoss) {
  Save(SomeState());
  const auto file = SafetensorsFile::Open(file_).value();
  NamedTensors tensors;
  for (const std::string& name : file.names()) tensors.emplace_back(name, file.Read(name).value());
  tensors.pop_back();
  const std::filesystem::path less = TestPath("less.safetensors");
  ASSERT_TRUE(WriteSafetensors(less, tensors, {{"state", file.metadata().at("state")}}).ok());
  const absl::Status status = Checkpoint::Open(less).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("that were saved"));
}

TEST_F(RunCheckpointTest, OfAnotherFormatVersionIsRefused) {
  ASSERT_TRUE(WriteSafetensors(file_, {}, {{"state", R"({"version": 1})"}}).ok());
  const absl::Status status = Checkpoint::Open(file_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("version 1"));
}

TEST_F(RunCheckpointTest, WithoutItsStateIsDataLoss) {
  for (const char* state : {"{}", "no JSON", R"({"version": 2})", R"({"version": 2, "step": "three"})"}) {
    ASSERT_TRUE(WriteSafetensors(file_, {}, {{"state", state}}).ok());
    EXPECT_EQ(Checkpoint::Open(file_).status().code(), absl::StatusCode::kDataLoss) << state;
  }
  ASSERT_TRUE(WriteSafetensors(file_, {}, {}).ok());
  EXPECT_EQ(Checkpoint::Open(file_).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace retort
