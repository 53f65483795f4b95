#include "orchestrator/state/model_work.h"

#include "gtest/gtest.h"

namespace retort::orchestrator {
namespace {

class ModelWork : public testing::Test {
 protected:
  ModelWork() {
    job_.set_micro_batch(1);
    job_.mutable_data()->set_seq_len(4);
    job_.mutable_student()->set_groups(1);
    job_.mutable_student()->set_state_size(3);
    job_.mutable_stages()->mutable_matrix_orientation()->mutable_budget()->set_tokens_per_step(8);
    job_.mutable_stages()->mutable_hidden_state_alignment()->mutable_budget()->set_tokens_per_step(8);
    shape_.set_layers(2);
    shape_.set_hidden_size(4);
    shape_.set_intermediate_size(8);
    shape_.set_query_heads(2);
    shape_.set_kv_heads(1);
    shape_.set_head_dim(2);
    shape_.set_vocab_size(10);
    shape_.set_tied_head(true);
  }

  v1::JobSpec job_;
  v1::ModelShape shape_;
};

TEST_F(ModelWork, CountsATeacherBlock) {
  // 8 tokens, each 2 * 144 and attention over 2 positions on average: 4 * 2 * 4.
  EXPECT_EQ(CountStepFlops(job_, shape_, v1::STAGE_MATRIX_ORIENTATION).teacher_block, 8 * (288 + 32));
}

TEST_F(ModelWork, CountsStageOneByItsMatrices) {
  // B, C, dt: 2 * 32; two matrices: 2 * 2 * 2 heads * (2 + 3); forward and backward.
  EXPECT_EQ(CountStepFlops(job_, shape_, v1::STAGE_MATRIX_ORIENTATION).train, 8 * 3 * (64 + 40));
}

TEST_F(ModelWork, CountsStageTwoByWhatItComparesAndTrains) {
  v1::HiddenStateAlignmentSpec& spec = *job_.mutable_stages()->mutable_hidden_state_alignment();
  const auto train = [&] { return CountStepFlops(job_, shape_, v1::STAGE_HIDDEN_STATE_ALIGNMENT).train; };
  constexpr int kMixer = 3 * (2 * 80 + 48);  // 48: the scan, 4 * 4 * 3
  spec.set_target(v1::ALIGNMENT_TARGET_MIXER);
  spec.set_train(v1::TRAIN_SCOPE_MIXER);
  EXPECT_EQ(train(), 8 * kMixer);
  spec.set_target(v1::ALIGNMENT_TARGET_BLOCK);
  EXPECT_EQ(train(), 8 * (kMixer + 2 * 2 * 96));
  spec.set_train(v1::TRAIN_SCOPE_BLOCK);
  EXPECT_EQ(train(), 8 * (kMixer + 3 * 2 * 96));
}

TEST_F(ModelWork, CountsStageThreeByWhatTrainsAndWhatItLearnsFrom) {
  job_.mutable_student()->mutable_keep_attention()->add_layers(0);
  v1::EndToEndSpec& spec = *job_.mutable_stages()->mutable_end_to_end();
  spec.mutable_budget()->set_tokens_per_step(8);
  const auto train = [&] { return CountStepFlops(job_, shape_, v1::STAGE_END_TO_END).train; };
  // A token: mixer 2 * 80 + 48, MLP 2 * 96, head 2 * 40, attention 2 * 48 + 32.
  constexpr int kMixer = 208, kMlp = 192, kHead = 80, kAttention = 128;
  constexpr int kTeacher = 2 * (kMlp + kAttention) + kHead;
  spec.set_train(v1::TRAIN_SCOPE_MIXER);
  spec.set_labels(v1::LABELS_TEACHER);
  // The student's layer 0 is the teacher's, layer 1 is converted.
  EXPECT_EQ(train(), 8 * (3 * kMixer + 2 * (kMlp + kHead) + kTeacher));
  spec.set_labels(v1::LABELS_TEXT);
  EXPECT_EQ(train(), 8 * (3 * kMixer + 2 * (kMlp + kHead) + kMlp + kAttention));
  spec.set_train(v1::TRAIN_SCOPE_ALL);
  EXPECT_EQ(train(), 8 * 3 * (kMixer + 2 * kMlp + kAttention + kHead));
}

TEST_F(ModelWork, CountsWhatARelayWouldSend) {
  EXPECT_EQ(BoundaryBytesPerStep(job_, shape_, v1::STAGE_MATRIX_ORIENTATION), 8 * 4 * 4);
}

}  // namespace
}  // namespace retort::orchestrator
