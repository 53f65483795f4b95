#include "core/config/job_file.h"

#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>

#include "core/config/job_fixture.h"
#include "gmock/gmock.h"

namespace retort {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class JobFile : public JobFixture {};

TEST_F(JobFile, FillsInEveryDefault) {
  v1::JobSpec expected;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(R"(
    name: "smollm2-hybrid"
    teacher { path: "models/tiny" }
    student {
      mixer: MIXER_KIND_MAMBA2 state_size: 64 groups: 2
      keep_attention { every: 4 offset: 3 }
      init: STUDENT_INIT_PAPER
    }
    data { train: "corpus/train.bin" eval: "corpus/eval.bin" seq_len: 512 seed: 7 }
    stages {
      matrix_orientation { budget { tokens: 80000000 tokens_per_step: 32768 lr: 1e-4 } }
      hidden_state_alignment {
        budget { tokens: 160000000 tokens_per_step: 16384 lr: 1e-3 }
        target: ALIGNMENT_TARGET_BLOCK train: TRAIN_SCOPE_MIXER
      }
      end_to_end {
        budget { tokens: 2760000000 tokens_per_step: 524288 lr: 1 }
        train: TRAIN_SCOPE_ALL labels: LABELS_TEACHER
      }
    }
    checkpoint { every_steps: 100 }
    evaluation { tokens: 16384 prompts: 8 prompt_tokens: 32 continuation_tokens: 32 }
    micro_batch: 1)",
                                                            &expected));
  const absl::StatusOr<v1::JobSpec> job = Load(kGood);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(*job, expected)) << job->DebugString();
}

TEST_F(JobFile, ReadsHowManyWorkersTrainTogether) {
  const auto spec = [&](const std::string& keys) {
    return Load(Edited("lr: 1}", "lr: 1" + keys + "}")).value().stages().end_to_end();
  };
  EXPECT_EQ(spec("").world_size(), 0u);
  EXPECT_FALSE(spec("").elastic());
  EXPECT_EQ(spec(", world_size: auto").world_size(), 0u);
  EXPECT_EQ(spec(", world_size: 3, elastic: true").world_size(), 3u);
  EXPECT_TRUE(spec(", world_size: 3, elastic: true").elastic());
}

TEST_F(JobFile, NeedsNoMoreThanTheRequiredKeys) {
  const absl::StatusOr<v1::JobSpec> job = Load(R"(
name: a
teacher: {path: models/tiny}
student: {mixer: mamba2}
data: {train: corpus/train.bin, eval: corpus/eval.bin, seq_len: 64}
stages: {end_to_end: {tokens: 1, tokens_per_step: 64, lr: 1}}
)");
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->student().state_size(), 128u);
  EXPECT_EQ(job->student().groups(), 1u);
  EXPECT_EQ(job->student().init(), v1::STUDENT_INIT_QKVO);
  EXPECT_EQ(job->student().keep_attention().every(), 0u);
  EXPECT_EQ(job->data().seed(), 1u);
  EXPECT_THAT(job->data().train(), ElementsAre("corpus/train.bin"));
}

TEST_F(JobFile, GivesEachHeadOfTheDiscreteMixerItsOwnGroupUnlessToldOtherwise) {
  std::string text = kGood;
  text.replace(text.find("mixer: mamba2"), std::string("mixer: mamba2").size(), "mixer: discrete_mamba2");
  EXPECT_EQ(Load(text)->student().groups(), 2u);
  text.erase(text.find("  groups: 2\n"), std::string("  groups: 2\n").size());
  const absl::StatusOr<v1::JobSpec> job = Load(text);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->student().mixer(), v1::MIXER_KIND_DISCRETE_MAMBA2);
  EXPECT_EQ(job->student().groups(), 0u);
}

TEST_F(JobFile, TakesEveryOptionalKey) {
  const absl::StatusOr<v1::JobSpec> job = Load(std::string(kGood) + R"(
checkpoint: {every: 50 steps}
evaluation: {tokens: 1k, prompts: 3, prompt_tokens: 500, continuation_tokens: 12}
micro_batch: 2
)");
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->checkpoint().every_steps(), 50u);
  EXPECT_EQ(job->evaluation().tokens(), 1000u);
  EXPECT_EQ(job->evaluation().prompts(), 3u);
  EXPECT_EQ(job->evaluation().prompt_tokens(), 500u);
  EXPECT_EQ(job->evaluation().continuation_tokens(), 12u);
  EXPECT_EQ(job->micro_batch(), 2u);
}

TEST_F(JobFile, ReadsMixturesAndPhases) {
  const absl::StatusOr<v1::JobSpec> job =
      Load(Edited("  train: [corpus/train.bin]",
                  "  train: [{path: corpus/train.bin, weight: 3}, {weight: 1, path: corpus/more.bin}]\n"
                  "  phases:\n"
                  "    - {stage: matrix_orientation, train: corpus/more.bin}\n"
                  "    - {stage: end_to_end, from: 1.5B, train: [{path: corpus/more.bin, weight: 1_000}]}"));
  ASSERT_TRUE(job.ok()) << job.status();
  v1::DataSpec expected;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(R"(
    train: "corpus/train.bin" train: "corpus/more.bin" train_weights: [3, 1]
    eval: "corpus/eval.bin" seq_len: 512 seed: 7
    phases { stage: STAGE_MATRIX_ORIENTATION train: "corpus/more.bin" }
    phases {
      stage: STAGE_END_TO_END from_tokens: 1500000000
      train: "corpus/more.bin" train_weights: 1000
    })",
                                                            &expected));
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(job->data(), expected))
      << job->DebugString();
}

TEST_F(JobFile, TakesATimeBetweenCheckpoints) {
  const auto checkpoint = [this](const std::string& every) {
    return Load(std::string(kGood) + "checkpoint: {every: " + every + "}\n")->checkpoint();
  };
  EXPECT_EQ(checkpoint("10 minutes").every_seconds(), 600u);
  EXPECT_EQ(checkpoint("10 minutes").every_steps(), 0u);
  EXPECT_EQ(checkpoint("90s").every_seconds(), 90u);
  EXPECT_EQ(checkpoint("250").every_seconds(), 0u);
}

TEST_F(JobFile, KeepsAListOfLayersInItsOrder) {
  const absl::StatusOr<v1::JobSpec> job = Load(Edited("{every: 4, offset: 3}", "[5, 0, 2]"));
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_THAT(job->student().keep_attention().layers(), ElementsAre(5, 0, 2));
}

TEST_F(JobFile, LetsAProbeChooseLayersInItsOwnNumberOfSteps) {
  const auto kept = [this](const std::string& written) {
    return Load(Edited("{every: 4, offset: 3}", written))->student().keep_attention();
  };
  EXPECT_EQ(kept("{auto: 8}").auto_layers(), 8u);
  EXPECT_EQ(kept("{auto: 8}").probe_steps(), 24u);
  EXPECT_EQ(kept("{auto: 8}").every(), 0u);
  EXPECT_EQ(kept("{auto: 8, steps: 90}").probe_steps(), 90u);
  EXPECT_EQ(kept("none").probe_steps(), 0u);
}

TEST_F(JobFile, KeepsNoAttentionForNone) {
  const absl::StatusOr<v1::JobSpec> job = Load(Edited("{every: 4, offset: 3}", "none"));
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_TRUE(job->student().has_keep_attention());
  EXPECT_EQ(job->student().keep_attention().every(), 0u);
}

TEST_F(JobFile, KnowsEveryChoice) {
  EXPECT_EQ(Load(Edited("paper", "qkvo"))->student().init(), v1::STUDENT_INIT_QKVO);
  const auto stage2 = [this](const std::string& keys) {
    return Load(Edited("lr: 0.001", "lr: 0.001\n" + keys))->stages().hidden_state_alignment();
  };
  EXPECT_EQ(stage2("    target: block").target(), v1::ALIGNMENT_TARGET_BLOCK);
  EXPECT_EQ(stage2("    target: mixer").target(), v1::ALIGNMENT_TARGET_MIXER);
  EXPECT_EQ(stage2("    train: mixer").train(), v1::TRAIN_SCOPE_MIXER);
  EXPECT_EQ(stage2("    train: block").train(), v1::TRAIN_SCOPE_BLOCK);
  const auto stage3 = [this](const std::string& key) {
    return Load(Edited("lr: 1}", "lr: 1, " + key + "}"))->stages().end_to_end();
  };
  EXPECT_EQ(stage3("train: mixer").train(), v1::TRAIN_SCOPE_MIXER);
  EXPECT_EQ(stage3("train: all").train(), v1::TRAIN_SCOPE_ALL);
  EXPECT_EQ(stage3("labels: teacher").labels(), v1::LABELS_TEACHER);
  EXPECT_EQ(stage3("labels: text").labels(), v1::LABELS_TEXT);
}

TEST_F(JobFile, SkipsAStageThatIsAbsent) {
  const absl::StatusOr<v1::JobSpec> job =
      Load(Edited("  matrix_orientation: {tokens: 80M, tokens_per_step: 32768, lr: 1e-4}\n", ""));
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_FALSE(job->stages().has_matrix_orientation());
  EXPECT_TRUE(job->stages().has_end_to_end());
}

TEST_F(JobFile, TakesTheLargestSeed) {
  EXPECT_EQ(Load(Edited("seed: 7", "seed: 18446744073709551615"))->data().seed(), UINT64_MAX);
}

TEST_F(JobFile, FindsFilesUnderARootAndKeepsThePathAsWritten) {
  Put("jobs/here.yaml", kGood);
  EXPECT_FALSE(LoadJob(directory_ / "jobs/here.yaml", {}).ok());
  const absl::StatusOr<v1::JobSpec> job = LoadJob(directory_ / "jobs/here.yaml", {directory_});
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->teacher().path(), "models/tiny");
}

TEST_F(JobFile, SaysThatTheJobFileItselfDoesNotExist) {
  const absl::Status status = LoadJob(directory_ / "absent.yaml", {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("job file"), HasSubstr("absent.yaml does not exist")));
}

TEST_F(JobFile, RefusesADirectoryAndAHugeFile) {
  EXPECT_EQ(LoadJob(directory_, {}).status().code(), absl::StatusCode::kInvalidArgument);
  const absl::Status status = Load(std::string((1 << 20) + 1, '#')).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("larger than 1 MiB"));
}

TEST_F(JobFile, ResolvesToTheFirstRootThatHasThePath) {
  Put("b/x", "");
  Put("c/x", "");
  EXPECT_EQ(ResolvePath("x", {directory_ / "a", directory_ / "b", directory_ / "c"}).value(),
            directory_ / "b/x");
}

TEST_F(JobFile, ResolvesAnAbsolutePathToItself) {
  EXPECT_EQ(ResolvePath((directory_ / "corpus").string(), {"/elsewhere"}).value(), directory_ / "corpus");
}

TEST_F(JobFile, NamesAllPlacesLookedAt) {
  const absl::Status status = ResolvePath("x", {"/nonexistent/a", "/nonexistent/b"}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("looked at /nonexistent/a/x, /nonexistent/b/x;"));
}

}  // namespace
}  // namespace retort
