#include "core/base/job_work.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort {
namespace {

using testing::ElementsAre;

TEST(StageSteps, CoversTheWholeBudget) {
  v1::StageBudget budget;
  budget.set_tokens_per_step(512);
  budget.set_tokens(1024);
  EXPECT_EQ(StageSteps(budget), 2);
  budget.set_tokens(1025);
  EXPECT_EQ(StageSteps(budget), 3);
}

TEST(StudentGroups, AreOnePerHeadWhereTheDiscreteMixerNamesNone) {
  v1::StudentSpec student;
  student.set_mixer(v1::MIXER_KIND_DISCRETE_MAMBA2);
  EXPECT_EQ(StudentGroups(student, 9), 9u);
  student.set_groups(3);
  EXPECT_EQ(StudentGroups(student, 9), 3u);
  student.set_groups(0);
  student.set_mixer(v1::MIXER_KIND_MAMBA2);
  EXPECT_EQ(StudentGroups(student, 9), 0u);
}

TEST(ConvertedLayers, LeavesOutEveryNth) {
  v1::KeepAttention keep;
  keep.set_every(4);
  keep.set_offset(3);
  EXPECT_THAT(*ConvertedLayers(9, keep), ElementsAre(0, 1, 2, 4, 5, 6, 8));
}

TEST(ConvertedLayers, LeavesOutThoseNamed) {
  v1::KeepAttention keep;
  keep.add_layers(0);
  keep.add_layers(2);
  keep.set_every(1);  // a list counts alone
  EXPECT_THAT(*ConvertedLayers(4, keep), ElementsAre(1, 3));
}

TEST(ConvertedLayers, RefusesALayerThatDoesNotExist) {
  v1::KeepAttention keep;
  keep.add_layers(4);
  EXPECT_EQ(ConvertedLayers(4, keep).status(),
            absl::InvalidArgumentError(
                "student.keep_attention names layer 4, but the teacher's layers are 0 to 3"));
}

TEST(ConvertedLayers, RefusesToKeepAll) {
  v1::KeepAttention keep;
  keep.set_every(1);
  EXPECT_EQ(
      ConvertedLayers(4, keep).status(),
      absl::InvalidArgumentError("student.keep_attention keeps all 4 layers: nothing is left to convert"));
}

TEST(ConvertedLayers, AreTheLastOnesUntilAProbeHasChosen) {
  v1::KeepAttention keep;
  keep.set_auto_layers(2);
  EXPECT_TRUE(AwaitsProbe(keep));
  EXPECT_EQ(ConvertedLayers(5, keep).value(), (std::vector<uint32_t>{2, 3, 4}));
  EXPECT_EQ(ConvertedLayers(2, keep).status().code(), absl::StatusCode::kInvalidArgument);
  keep.add_layers(1);
  keep.add_layers(4);
  EXPECT_FALSE(AwaitsProbe(keep));
  EXPECT_EQ(ConvertedLayers(5, keep).value(), (std::vector<uint32_t>{0, 2, 3}));
}

TEST(TrainFiles, AreThoseOfAllPhasesInOrder) {
  v1::DataSpec data;
  data.add_train("b.bin");
  data.add_train("a.bin");
  data.add_phases()->add_train("c.bin");
  data.add_phases()->add_train("a.bin");
  EXPECT_EQ(TrainFiles(data), (std::vector<std::string>{"b.bin", "a.bin", "c.bin", "a.bin"}));
}

}  // namespace
}  // namespace retort
