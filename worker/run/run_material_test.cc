#include "worker/run/run_material.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "absl/strings/escaping.h"
#include "worker/run/testing_workshop.h"

namespace retort {
namespace {

class RunMaterialTest : public testing::Test {
 protected:
  const v1::JobSpec job_ = TinyJobFile();
  const RunInputs inputs_ = ResolveInputs(job_, {kTinyJobDirectory}).value();
  const v1::InputHashes hashes_ = InputHasher().Hash(job_, inputs_, WorkshopRun::kNever).value();
  RunMaterial material_ = RunMaterial::Open(job_, inputs_, hashes_).value();
};

// Of the teacher's tensors at places below `blocks`.
uint64_t TeacherBytes(const ModelConfig& config, int64_t blocks) {
  uint64_t bytes = 0;
  LanguageModel model = EmptyModel(config);
  for (const auto& tensor : ModelTensors(model)) {
    uint64_t size = sizeof(float);
    for (const int64_t extent : tensor.shape) size *= static_cast<uint64_t>(extent);
    if (tensor.place < blocks) bytes += size;
  }
  return bytes;
}

TEST_F(RunMaterialTest, ReadsTheTeacherAsFarUpAsItIsNeededAndOnce) {
  const LanguageModel two = material_.Teacher(2).value();
  EXPECT_TRUE(two.blocks[1].post_norm_E.defined());
  EXPECT_FALSE(two.blocks[2].post_norm_E.defined());
  EXPECT_EQ(material_.teacher_bytes(), TeacherBytes(two.config, 2));
  const LanguageModel whole = material_.Teacher(5).value();
  EXPECT_TRUE(whole.blocks[1].mlp.up_proj.is_same(two.blocks[1].mlp.up_proj));
  EXPECT_EQ(material_.teacher_bytes(), TeacherBytes(two.config, 5));
  EXPECT_TRUE(material_.Teacher(1).value().blocks[3].post_norm_E.defined());
  material_.ReleaseTeacherFrom(1);
  EXPECT_EQ(material_.teacher_bytes(), TeacherBytes(two.config, 1));
}

TEST_F(RunMaterialTest, IsOfItsJobWhateverTheNameAndOfNoOther) {
  v1::JobSpec job = job_;
  job.set_name("other");
  EXPECT_TRUE(material_.IsOf(job, inputs_, hashes_));
  job.mutable_data()->set_seed(8);
  EXPECT_FALSE(material_.IsOf(job, inputs_, hashes_));
  v1::InputHashes hashes = hashes_;
  hashes.set_teacher_sha256("another");
  EXPECT_FALSE(material_.IsOf(job_, inputs_, hashes));
}

TEST_F(RunMaterialTest, SharesTheTeacherWithAnotherProcesssMaterial) {
  const std::filesystem::path directory =
      std::filesystem::path(testing::TempDir()) / "retort_run_material_test";
  std::filesystem::remove_all(directory);
  const LanguageModel own = material_.Teacher(5).value();
  RunMaterial first = RunMaterial::Open(job_, inputs_, hashes_, directory).value();
  RunMaterial second = RunMaterial::Open(job_, inputs_, hashes_, directory).value();
  LanguageModel lower = first.Teacher(2).value(), whole = second.Teacher(5).value();
  EXPECT_EQ(first.shared_weights()->mapped_bytes(), TeacherBytes(own.config, 2));
  EXPECT_EQ(second.shared_weights()->mapped_bytes(), TeacherBytes(own.config, 5));
  const auto expected = ModelTensors(own);
  const auto shared = ModelTensors(whole);
  ASSERT_EQ(shared.size(), expected.size());
  for (size_t i = 0; i < shared.size(); ++i) {
    EXPECT_TRUE(shared[i].value->equal(*expected[i].value)) << shared[i].name;
  }
  std::ifstream maps("/proc/self/maps");
  const std::string text((std::istreambuf_iterator<char>(maps)), {});
  size_t mappings = 0;
  const std::string file =
      (directory / absl::BytesToHexString(hashes_.teacher_sha256()) / "model.norm.weight");
  for (size_t at = text.find(file); at != std::string::npos; at = text.find(file, at + 1)) ++mappings;
  EXPECT_EQ(mappings, 1U);
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace retort
