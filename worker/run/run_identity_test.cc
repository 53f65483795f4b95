#include "worker/run/run_identity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>

#include "train/data/testing_dataset.h"
#include "worker/run/input_hashes.h"

namespace retort {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

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

  const std::filesystem::path root_ = TestPath("x").parent_path();
};

TEST_F(RunIdentityTest, IsTheSameForTheSameInputs) { EXPECT_EQ(Identity(), Identity()); }

TEST_F(RunIdentityTest, LeavesOutTheNameAndHowOftenTheRunIsSaved) {
  v1::JobSpec job = SmallJob();
  job.set_name("other");
  job.mutable_checkpoint()->set_every_steps(1);
  EXPECT_EQ(Identity(), Identity(job));
}

TEST_F(RunIdentityTest, SaysWhatDecidesTheNumbers) {
  const json identity = Identity(SmallJob(), 3);
  EXPECT_EQ(identity["job"]["data"]["seed"], "7");
  EXPECT_EQ(identity["threads"], 3);
  EXPECT_EQ(identity["compute_path"], "avx2");
  EXPECT_THAT(std::string(identity["version"]), testing::EndsWith("+0123456789ab"));
  EXPECT_EQ(std::string(identity["teacher_sha256"]).size(), 64u);
  EXPECT_TRUE(identity["data_sha256"].contains("train.bin"));
}

TEST_F(RunIdentityTest, SeesTheTokenFileThatChanged) {
  const json before = Identity();
  Touch("train.bin");
  EXPECT_NE(Identity()["data_sha256"]["train.bin"], before["data_sha256"]["train.bin"]);
  EXPECT_EQ(Identity()["data_sha256"]["eval.bin"], before["data_sha256"]["eval.bin"]);
}

TEST_F(RunIdentityTest, SeesAnIndexThatChanged) {
  const json before = Identity();
  Touch("eval.idx");
  EXPECT_NE(Identity()["data_sha256"]["eval.bin"], before["data_sha256"]["eval.bin"]);
}

TEST_F(RunIdentityTest, SeesATeacherThatChanged) {
  const json before = Identity();
  Touch("teacher/model.safetensors");
  EXPECT_NE(Identity()["teacher_sha256"], before["teacher_sha256"]);
}

TEST_F(RunIdentityTest, OfAMissingFileNamesThePlacesLookedAt) {
  v1::JobSpec job = SmallJob();
  job.mutable_data()->set_eval("absent.bin");
  const absl::Status status = ResolveInputs(job, {root_, root_ / "teacher"}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("absent.bin"), HasSubstr(root_ / "teacher")));
}

// The second hash of an unchanged file is the first one's, though the bytes are others now.
TEST_F(RunIdentityTest, HashesAFileAgainOnlyWhenItsTimeOrSizeHasChanged) {
  InputHasher hasher;
  const RunInputs inputs = ResolveInputs(SmallJob(), {root_}).value();
  const auto train_hash = [&] { return hasher.Hash(SmallJob(), inputs, kGoOn)->data(0).sha256(); };
  const std::string before = train_hash();
  const auto time = std::filesystem::last_write_time(root_ / "train.bin");
  Touch("train.bin");
  std::filesystem::last_write_time(root_ / "train.bin", time);
  EXPECT_EQ(train_hash(), before);
  std::filesystem::last_write_time(root_ / "train.bin", time + std::chrono::seconds(1));
  EXPECT_NE(train_hash(), before);
}

TEST_F(RunIdentityTest, HashingStopsWhenItIsTold) {
  const std::atomic<bool> stop = true;
  EXPECT_EQ(InputHasher().Hash(SmallJob(), ResolveInputs(SmallJob(), {root_}).value(), stop).status().code(),
            absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace retort
