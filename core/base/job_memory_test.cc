#include "core/base/job_memory.h"

#include "gtest/gtest.h"

namespace retort {
namespace {

class JobMemory : public testing::Test {
 protected:
  JobMemory() {
    job_.set_micro_batch(2);
    job_.mutable_data()->set_seq_len(4);
    job_.mutable_student()->set_groups(1);
    job_.mutable_student()->set_state_size(3);
    shape_.set_layers(2);
    shape_.set_hidden_size(4);
    shape_.set_intermediate_size(8);
    shape_.set_query_heads(2);
    shape_.set_kv_heads(1);
    shape_.set_head_dim(2);
    shape_.set_vocab_size(10);
    shape_.set_tied_head(true);
  }

  static constexpr uint64_t kProcess = uint64_t{160} << 20;
  v1::JobSpec job_;
  v1::ModelShape shape_;
};

TEST_F(JobMemory, CountsParameters) {
  const ModelParameters parameters = CountParameters(job_, shape_);
  EXPECT_EQ(parameters.embedding, 40u);
  EXPECT_EQ(parameters.head, 0u);
  EXPECT_EQ(parameters.mlp, 96u);             // 3 * 4 * 8
  EXPECT_EQ(parameters.teacher_block, 144u);  // 96 + q and o 2 * 4 * 4 + k and v 2 * 4 * 2
  EXPECT_EQ(parameters.mixer_matrix, 32u);    // B, C and dt 4 * (3 + 3 + 2)
  EXPECT_EQ(parameters.mixer, 80u);           // x and z 2 * 4 * 4, 32, out 4 * 4
}

TEST_F(JobMemory, CountsTwoMatricesOfAnMlpWithoutAGate) {
  shape_.set_plain_mlp(true);
  EXPECT_EQ(CountParameters(job_, shape_).mlp, 64u);
  EXPECT_EQ(CountParameters(job_, shape_).teacher_block, 112u);
}

TEST_F(JobMemory, OfASliceIsItsPrefixItsLayersAndOnePass) {
  const MemoryNeed need =
      SliceMemory(job_, shape_, v1::STAGE_MATRIX_ORIENTATION, /*last_layer=*/1, /*layers=*/2);
  EXPECT_EQ(need.process, kProcess);
  EXPECT_EQ(need.teacher, 4u * (40 + 2 * 144));
  EXPECT_EQ(need.student, 4u * 2 * 80);
  EXPECT_EQ(need.optimizer, 4u * 3 * 2 * 32);
  EXPECT_EQ(need.checkpoint, 4u * 2 * (80 + 2 * 32));
  EXPECT_EQ(need.activations, 4u * 8 * (40 + 64 + 36 + 48));
  EXPECT_EQ(need.relay, (2 * 17 + 15) * 2u * 4 * 4 * 4);  // of passes of 2 * 4 * 4 floats
  EXPECT_EQ(need.peak(), kProcess + 1312 + 640 + 768 + 1152 + need.relay + 6016);
}

TEST_F(JobMemory, LayersRunSideBySideWhereThereIsRoomForTwiceTheirPasses) {
  const MemoryNeed need = SliceMemory(job_, shape_, v1::STAGE_MATRIX_ORIENTATION, 1, 2);
  const uint64_t of_two = 1000 + 2 * need.activations;
  EXPECT_EQ(LayersSideBySide(need, /*planned_bytes=*/1000, of_two, /*threads=*/8), 2u);
  EXPECT_EQ(LayersSideBySide(need, 1000, of_two - 1, 8), 1u);
  EXPECT_EQ(LayersSideBySide(need, 1000, 100 * of_two, 8), 8u);
  EXPECT_EQ(LayersSideBySide(need, 1000, 999, 8), 1u) << "which is what the plan counts";
}

TEST_F(JobMemory, ASharedTeacherGoesUpToTheLastConvertedLayer) {
  shape_.set_layers(4);
  EXPECT_EQ(SharedTeacherBytes(job_, shape_), 4u * (40 + 4 * 144));
  job_.mutable_student()->mutable_keep_attention()->add_layers(3);
  EXPECT_EQ(SharedTeacherBytes(job_, shape_), 4u * (40 + 3 * 144));
}

TEST_F(JobMemory, AWorkersPartOfASharedTeacherIsItsPartOfTheMachine) {
  v1::Capabilities worker;
  worker.set_host("one");
  worker.set_memory_bytes(2);
  worker.set_host_memory_bytes(8);
  EXPECT_EQ(TeacherPart(worker), 1) << "it has its own";
  worker.set_shared_weights("/weights");
  EXPECT_EQ(TeacherPart(worker), 0.25);
  EXPECT_EQ(BytesOn(0.25, 40, 100, 70), 80);
  EXPECT_EQ(BytesOn(1, 40, 100, 70), 100);
}

TEST_F(JobMemory, ATeacherThatIsSharedCountsInPart) {
  const MemoryNeed need = EndToEndMemory(job_, shape_, /*ranks=*/1);
  EXPECT_EQ(need.teacher, 4u * (40 + 2 * 144));
  EXPECT_EQ(need.peak() - need.peak(0.25), 3 * 328u);
}

TEST_F(JobMemory, OfASliceHasTheRelaysBuffersOfItsStage) {
  job_.mutable_stages()->mutable_hidden_state_alignment()->mutable_budget()->set_tokens_per_step(3 * 8);
  EXPECT_EQ(SliceMemory(job_, shape_, v1::STAGE_MATRIX_ORIENTATION, 1, 2).relay, (2 * 17 + 15) * 128u);
  EXPECT_EQ(SliceMemory(job_, shape_, v1::STAGE_HIDDEN_STATE_ALIGNMENT, 1, 2).relay,
            (2 * 17 + 15) * 3 * 128u);
  EXPECT_EQ(EndToEndMemory(job_, shape_, 1).relay, 0u);
}

TEST_F(JobMemory, OfStageTwoHasTheMlpsThatItTrains) {
  v1::HiddenStateAlignmentSpec& spec = *job_.mutable_stages()->mutable_hidden_state_alignment();
  const auto student = [&] {
    return SliceMemory(job_, shape_, v1::STAGE_HIDDEN_STATE_ALIGNMENT, 0, 1).student;
  };
  spec.set_train(v1::TRAIN_SCOPE_MIXER);
  EXPECT_EQ(student(), 4u * 80);
  spec.set_train(v1::TRAIN_SCOPE_BLOCK);
  EXPECT_EQ(student(), 4u * (80 + 96));
}

TEST_F(JobMemory, OfEndToEndHasTheWholeStudentOrItsMixers) {
  job_.mutable_student()->mutable_keep_attention()->add_layers(0);
  v1::EndToEndSpec& spec = *job_.mutable_stages()->mutable_end_to_end();
  spec.mutable_budget()->set_tokens_per_step(8);
  spec.set_train(v1::TRAIN_SCOPE_MIXER);
  EXPECT_EQ(EndToEndMemory(job_, shape_, 1).student, 4u * 80);
  EXPECT_EQ(EndToEndMemory(job_, shape_, 1).optimizer, 4u * 3 * 80);
  EXPECT_EQ(EndToEndMemory(job_, shape_, 1).teacher, 4u * (40 + 2 * 144));
  spec.set_train(v1::TRAIN_SCOPE_ALL);
  EXPECT_EQ(EndToEndMemory(job_, shape_, 1).student, 4u * (40 + 144 + 96 + 80));
}

TEST_F(JobMemory, OfEndToEndKeepsEveryLayersPassAndCopiesABiasedHead) {
  v1::EndToEndSpec& spec = *job_.mutable_stages()->mutable_end_to_end();
  spec.mutable_budget()->set_tokens_per_step(8);
  spec.set_train(v1::TRAIN_SCOPE_MIXER);
  const uint64_t kept = 2 * 4 * 8 * (16 + 32 + 18 + 24), pass = 4 * 8 * (40 + 64 + 36 + 48);
  EXPECT_EQ(EndToEndMemory(job_, shape_, 1).activations, kept + pass + 4 * 1536 * 10);
  spec.set_activation_checkpointing(true);
  EXPECT_EQ(EndToEndMemory(job_, shape_, 1).activations, 2 * 4 * 8 * 4 + pass + 4 * 1536 * 10);
  spec.set_activation_checkpointing(false);
  shape_.set_biased_head(true);
  EXPECT_EQ(EndToEndMemory(job_, shape_, 1).activations, kept + pass + 4 * (1536 + 3 * 5) * 10);
}

TEST_F(JobMemory, OfTwoRanksHasHalfAPassEach) {
  v1::EndToEndSpec& spec = *job_.mutable_stages()->mutable_end_to_end();
  spec.mutable_budget()->set_tokens_per_step(8);
  spec.set_train(v1::TRAIN_SCOPE_MIXER);
  const uint64_t kept = 2 * 4 * 4 * (16 + 32 + 18 + 24), pass = 4 * 4 * (40 + 64 + 36 + 48);
  EXPECT_EQ(EndToEndMemory(job_, shape_, 2).activations, kept + pass + 4 * 1536 * 10);
}

TEST_F(JobMemory, OfEndToEndWithoutTrainingHoldsTheResultsBytes) {
  shape_.set_vocab_size(1'000'000);
  const MemoryNeed need = EndToEndMemory(job_, shape_, 1);
  EXPECT_EQ(need.optimizer, 0u);
  EXPECT_GE(need.activations, 4u * 4'000'000);
}

}  // namespace
}  // namespace retort
