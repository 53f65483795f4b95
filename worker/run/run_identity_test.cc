#include "worker/run/run_identity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "train/data/testing_dataset.h"
#include "worker/run/input_hashes.h"

namespace retort {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

const std::atomic<bool> kGoOn = false;

v1::JobSpec SmallJob() {
  v1::JobSpec job;
  job.set_name("small");
  job.mutable_teacher()->set_path("teacher");
  job.mutable_data()->add_train("train.bin");
  job.mutable_data()->set_eval("eval.bin");
  job.mutable_data()->set_seed(7);
  job.mutable_checkpoint()->set_every_steps(8);
  return job;
}

// The tiny teacher and token files in a directory that a test may change.
class RunIdentityTest : public testing::Test {
 protected:
  RunIdentityTest() {
    const std::filesystem::path tiny = std::filesystem::path(RETORT_SOURCE_DIR) / "tests/golden/tiny/teacher";
    std::filesystem::copy(tiny, root_ / "teacher");
    for (const char* name : {"train", "eval"}) WriteDocuments(name, {{1, 2, 3}, {4, 5}});
  }

  json Identity(const v1::JobSpec& job, int threads = 2) {
    v1::Numerics numerics;
    numerics.set_threads(threads);
    numerics.set_compute_path(v1::COMPUTE_PATH_AVX2);
    numerics.set_numerics_id("0123456789ab");
    return RunIdentity(job, InputHasher().Hash(job, ResolveInputs(job, {root_}).value(), kGoOn).value(),
                       numerics);
  }
  json Identity() { return Identity(SmallJob()); }

  // Changes the last byte.
  void Touch(const std::string& file) {
    std::fstream stream(root_ / file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(-1, std::ios::end);
    const char last = static_cast<char>(stream.get());
    stream.seekp(-1, std::ios::end);
    stream.put(static_cast<char>(last ^ 1));
  }

  std::string Refusal(const json& before, const json& after) {
    const absl::Status status = CheckIdentity(before, after, "runs/small");
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    return std::string(status.message());
  }

  const std::filesystem::path root_ = TestPath("x").parent_path();
};

TEST_F(RunIdentityTest, IsTheSameForTheSameInputs) {
  EXPECT_TRUE(CheckIdentity(Identity(), Identity(), "runs/small").ok());
}

TEST_F(RunIdentityTest, LeavesOutTheNameAndHowOftenTheRunIsSaved) {
  v1::JobSpec job = SmallJob();
  job.set_name("other");
  job.mutable_checkpoint()->set_every_steps(1);
  EXPECT_TRUE(CheckIdentity(Identity(), Identity(job), "runs/small").ok());
}

TEST_F(RunIdentityTest, NamesAChangedKeyOfTheJobWithBothValues) {
  v1::JobSpec job = SmallJob();
  job.mutable_data()->set_seed(8);
  EXPECT_THAT(Refusal(Identity(), Identity(job)),
              AllOf(HasSubstr("runs/small"), HasSubstr("job/data/seed was \"7\", is \"8\""),
                    HasSubstr("--out"), Not(HasSubstr("threads"))));
}

TEST_F(RunIdentityTest, NamesAKeyThatWasAbsent) {
  v1::JobSpec job = SmallJob();
  job.set_micro_batch(4);
  EXPECT_THAT(Refusal(Identity(), Identity(job)), HasSubstr("job/microBatch was absent, is 4"));
}

TEST_F(RunIdentityTest, NamesAChangedThreadCount) {
  EXPECT_THAT(Refusal(Identity(SmallJob(), 2), Identity(SmallJob(), 3)), HasSubstr("threads was 2, is 3"));
}

TEST_F(RunIdentityTest, NamesTheTokenFileThatChanged) {
  const json before = Identity();
  Touch("train.bin");
  EXPECT_THAT(Refusal(before, Identity()),
              AllOf(HasSubstr("data_sha256/train.bin was "), Not(HasSubstr("eval.bin"))));
}

TEST_F(RunIdentityTest, WritesPathsAsTheJobDoes) {
  EXPECT_THAT(
      Refusal({{"data_sha256", {{"corpus/a~b.bin", "1"}}}}, {{"data_sha256", {{"corpus/a~b.bin", "2"}}}}),
      HasSubstr("data_sha256/corpus/a~b.bin was \"1\", is \"2\""));
}

TEST_F(RunIdentityTest, SeesAnIndexThatChanged) {
  const json before = Identity();
  Touch("eval.idx");
  EXPECT_THAT(Refusal(before, Identity()), HasSubstr("data_sha256/eval.bin was "));
}

TEST_F(RunIdentityTest, SeesATeacherThatChanged) {
  const json before = Identity();
  Touch("teacher/model.safetensors");
  EXPECT_THAT(Refusal(before, Identity()), HasSubstr("teacher_sha256 was "));
}

TEST_F(RunIdentityTest, OfAMissingFileNamesThePlacesLookedAt) {
  v1::JobSpec job = SmallJob();
  job.mutable_data()->set_eval("absent.bin");
  const absl::Status status = ResolveInputs(job, {root_, root_ / "teacher"}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("absent.bin"), HasSubstr(root_ / "teacher")));
}

}  // namespace
}  // namespace retort
