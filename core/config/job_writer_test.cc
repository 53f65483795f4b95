#include "core/config/job_writer.h"

#include <google/protobuf/util/message_differencer.h>

#include "core/config/job_fixture.h"
#include "gmock/gmock.h"

namespace retort {
namespace {

class JobWriter : public JobFixture {
 protected:
  void ExpectReadsAsItself(const std::string& yaml) {
    const absl::StatusOr<v1::JobSpec> job = Load(yaml);
    ASSERT_TRUE(job.ok()) << job.status();
    const std::string written = WriteJob(*job);
    const absl::StatusOr<v1::JobSpec> again = Load(written);
    ASSERT_TRUE(again.ok()) << again.status() << written;
    EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(*job, *again)) << written;
  }
};

TEST_F(JobWriter, WritesWhatReadsAsTheSameJob) {
  ExpectReadsAsItself(kGood);
  ExpectReadsAsItself(Edited("{every: 4, offset: 3}", "[3, 7, 1]"));
  ExpectReadsAsItself(Edited("{every: 4, offset: 3}", "none"));
  ExpectReadsAsItself(Edited("seed: 7", "seed: 0"));
  ExpectReadsAsItself(Edited("lr: 1e-4}", "lr: 0.30000000000000004}"));
  ExpectReadsAsItself(std::string(kGood) + "checkpoint: {every: 90 s}\n");
  ExpectReadsAsItself(
      Edited("train: [corpus/train.bin]",
             "train: [{path: corpus/train.bin, weight: 3}, {path: corpus/more.bin, weight: 2}]\n"
             "  phases: [{stage: end_to_end, train: corpus/more.bin}, {stage: end_to_end, from: "
             "1B, train: [{path: corpus/train.bin, weight: 3}]}]"));
  Put("corpus/a: b #c.bin", "");
  Put("corpus/a: b #c.idx", "");
  ExpectReadsAsItself(Edited("train: [corpus/train.bin]", "train: ['corpus/a: b #c.bin', corpus/more.bin]"));
}

TEST_F(JobWriter, WritesAsAPersonWould) {
  const absl::StatusOr<v1::JobSpec> job = Load(R"(
name: a
teacher: {path: models/tiny}
student: {mixer: mamba2, keep_attention: [0, 2]}
data: {train: corpus/train.bin, eval: corpus/eval.bin, seq_len: 64}
stages: {end_to_end: {tokens: 2k, tokens_per_step: 64, lr: 7.5e-4}}
)");
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(WriteJob(*job), R"(name: a
teacher:
  path: models/tiny
student:
  mixer: mamba2
  state_size: 128
  groups: 1
  keep_attention: [0, 2]
  init: qkvo
data:
  train: [corpus/train.bin]
  eval: corpus/eval.bin
  seq_len: 64
  seed: 1
stages:
  end_to_end:
    tokens: 2000
    tokens_per_step: 64
    lr: 0.00075
    train: all
    labels: teacher
    world_size: auto
    elastic: false
    activation_checkpointing: false
checkpoint:
  every: 100
evaluation:
  tokens: 16384
  prompts: 8
  prompt_tokens: 32
  continuation_tokens: 32
micro_batch: 1
)");
}

TEST_F(JobWriter, WritesWhatAProbeChoseOrElseItsOrder) {
  ExpectReadsAsItself(Edited("{every: 4, offset: 3}", "{auto: 3, steps: 7}"));
  v1::JobSpec job;
  v1::KeepAttention& keep = *job.mutable_student()->mutable_keep_attention();
  keep.set_auto_layers(2);
  keep.set_probe_steps(24);
  EXPECT_EQ(WriteJob(job), "student:\n  keep_attention: {auto: 2, steps: 24}\n");
  keep.add_layers(4);
  keep.add_layers(7);
  EXPECT_EQ(WriteJob(job), "student:\n  keep_attention: [4, 7]\n");
}

TEST_F(JobWriter, WritesMixturesPhasesAndTimesInOneLineEach) {
  v1::JobSpec job;
  job.mutable_data()->add_train("a.bin");
  job.mutable_data()->add_train_weights(3);
  v1::DataPhase& phase = *job.mutable_data()->add_phases();
  phase.set_stage(v1::STAGE_END_TO_END);
  phase.set_from_tokens(4000);
  phase.add_train("b.bin");
  job.mutable_checkpoint()->set_every_seconds(600);
  EXPECT_EQ(WriteJob(job), R"(data:
  train: [{path: a.bin, weight: 3}]
  seed: 0
  phases: [{stage: end_to_end, from: 4000, train: [b.bin]}]
checkpoint:
  every: 10m
)");
}

TEST_F(JobWriter, LeavesOutWhatAMessageLacks) {
  v1::JobSpec job;
  job.mutable_teacher()->set_path("models/tiny");
  EXPECT_EQ(WriteJob(job), "teacher:\n  path: models/tiny\n");
}

}  // namespace
}  // namespace retort
