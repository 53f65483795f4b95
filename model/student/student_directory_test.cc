#include "model/student/student_directory.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <string>

#include "core/base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/io/safetensors.h"
#include "model/student/make_student.h"
#include "model/teacher/teacher.h"

namespace retort {
namespace {

using ::testing::HasSubstr;

constexpr char kTeacher[] = RETORT_SOURCE_DIR "/tests/golden/tiny/teacher";

LanguageModel MakeFrom(const std::string& teacher_directory, uint32_t state_size) {
  const auto teacher = LoadTeacher(teacher_directory);
  EXPECT_TRUE(teacher.ok()) << teacher.status();
  v1::StudentSpec spec;
  spec.set_groups(2);
  spec.set_state_size(state_size);
  spec.mutable_keep_attention()->add_layers(1);
  return MakeStudent(*teacher, *StudentConfig(teacher->config, spec), v1::STUDENT_INIT_QKVO, 3);
}

at::Tensor LogitsOf(const LanguageModel& model) {
  const c10::NoGradGuard no_grad;
  return Logits(model, (at::arange(40, at::kLong) * 7 % 64).view({2, 20}));
}

class StudentDirectory : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::remove_all(directory_); }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void Write(const LanguageModel& student, const std::string& teacher) {
    std::filesystem::create_directories(directory_);
    const std::vector<StudentFile> files = StudentFiles(student, teacher).value();
    for (const StudentFile& file : files) {
      ASSERT_TRUE(WriteFileAtomically(directory_ / file.name, file.contents).ok());
    }
  }

  const std::filesystem::path directory_ = testing::TempDir() + "/student_directory_test_" +
                                           testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(StudentDirectory, GivesBackTheSameStudentBitForBit) {
  LanguageModel student = MakeFrom(kTeacher, 16);
  Write(student, kTeacher);
  auto loaded = LoadModel(directory_);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->config.layers, student.config.layers);
  EXPECT_TRUE(loaded->head_VE.is_same(loaded->embedding_VE));
  const auto before = ModelTensors(student), after = ModelTensors(*loaded);
  ASSERT_EQ(before.size(), after.size());
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_TRUE(at::equal(*before[i].value, *after[i].value)) << before[i].name;
  }
  EXPECT_TRUE(at::equal(LogitsOf(student), LogitsOf(*loaded)));
}

TEST_F(StudentDirectory, KeepsAnUntiedHead) {
  const std::string teacher = RETORT_SOURCE_DIR "/tests/golden/llama/untied_mha";
  const LanguageModel student = MakeFrom(teacher, 4);
  Write(student, teacher);
  const auto loaded = LoadModel(directory_);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(at::equal(loaded->head_VE, student.head_VE));
  EXPECT_TRUE(at::equal(LogitsOf(student), LogitsOf(*loaded)));
  EXPECT_FALSE(std::filesystem::exists(directory_ / "tokenizer.json"));  // this teacher has none
}

TEST_F(StudentDirectory, KeepsADiscreteStudentOfEachFamily) {
  for (const char* family : {"phi", "qwen2", "qwen3", "llama3", "mistral"}) {
    const std::string teacher_directory = std::string(RETORT_SOURCE_DIR "/tests/golden/teachers/") + family;
    const LanguageModel teacher = LoadTeacher(teacher_directory).value();
    v1::StudentSpec spec;
    spec.set_mixer(v1::MIXER_KIND_DISCRETE_MAMBA2);
    spec.set_state_size(16);
    spec.mutable_keep_attention()->add_layers(0);
    const LanguageModel student =
        MakeStudent(teacher, *StudentConfig(teacher.config, spec), v1::STUDENT_INIT_QKVO, 3);
    Write(student, teacher_directory);
    const auto loaded = LoadModel(directory_);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(loaded->config.mamba2.form, Mamba2Form::kDiscrete);
    EXPECT_TRUE(at::equal(LogitsOf(student), LogitsOf(*loaded))) << family;
  }
}

TEST_F(StudentDirectory, SavesTensorsThatTrain) {
  LanguageModel student = MakeFrom(kTeacher, 16);
  auto& mixer = std::get<Mamba2Weights>(student.blocks[0].mixer);
  mixer.b_proj = mixer.b_proj.clone().requires_grad_();
  Write(student, kTeacher);
  const auto loaded = LoadModel(directory_);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const at::Tensor& b_proj = std::get<Mamba2Weights>(loaded->blocks[0].mixer).b_proj;
  EXPECT_TRUE(at::equal(b_proj, mixer.b_proj));
  EXPECT_FALSE(b_proj.requires_grad());
}

TEST_F(StudentDirectory, HoldsTheTeachersTokenizer) {
  Write(MakeFrom(kTeacher, 16), kTeacher);
  EXPECT_EQ(*ReadFile(directory_ / "tokenizer.json"), *ReadFile(kTeacher + std::string("/tokenizer.json")));
}

TEST_F(StudentDirectory, SaysThatItsTensorsAreForTorch) {
  Write(MakeFrom(kTeacher, 16), kTeacher);
  EXPECT_THAT(*ReadFile(directory_ / "model.safetensors"), HasSubstr(R"("__metadata__":{"format":"pt"})"));
}

TEST_F(StudentDirectory, ReplacesAnEarlierStudent) {
  Write(MakeFrom(kTeacher, 16), kTeacher);
  const LanguageModel second = MakeFrom(kTeacher, 8);
  Write(second, kTeacher);
  const auto loaded = LoadModel(directory_);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(at::equal(LogitsOf(second), LogitsOf(*loaded)));
}

TEST_F(StudentDirectory, RefusesWeightsCutShort) {
  Write(MakeFrom(kTeacher, 16), kTeacher);
  const std::filesystem::path weights = directory_ / "model.safetensors";
  std::filesystem::resize_file(weights, std::filesystem::file_size(weights) - 4);
  const absl::Status status = LoadModel(directory_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("model.safetensors"));
}

TEST_F(StudentDirectory, RefusesADirectoryWithoutWeights) {
  Write(MakeFrom(kTeacher, 16), kTeacher);
  std::filesystem::remove(directory_ / "model.safetensors");
  EXPECT_EQ(LoadModel(directory_).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(StudentDirectory, IsNoTeacher) {
  Write(MakeFrom(kTeacher, 16), kTeacher);
  const absl::Status status = LoadTeacher(directory_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("is a student"));
}

TEST_F(StudentDirectory, HasItsWeightsLast) {
  EXPECT_EQ(StudentFiles(MakeFrom(kTeacher, 16), kTeacher)->back().name, "model.safetensors");
}

TEST(LoadModel, ReadsATeacherToo) {
  const auto teacher = LoadModel(kTeacher);
  ASSERT_TRUE(teacher.ok()) << teacher.status();
  EXPECT_FALSE(teacher->config.is_student());
}

}  // namespace
}  // namespace retort
