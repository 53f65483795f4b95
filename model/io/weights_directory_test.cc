#include "model/io/weights_directory.h"

#include <ATen/ATen.h>

#include <cmath>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace retort {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A model directory without config.json, in two shards: x and y in a, z in b.
class WeightsDirectoryTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = testing::TempDir() + "/weights_directory_test_" +
                 testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::create_directories(directory_);
    Write("a.safetensors", {{"x", x_}, {"y", at::ones({3}).to(at::kBFloat16)}});
    Write("b.safetensors", {{"z", at::full({1}, 0.5).to(at::kHalf)}});
    WriteIndex({{"x", "a.safetensors"}, {"y", "a.safetensors"}, {"z", "b.safetensors"}});
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void Write(const std::string& name, const NamedTensors& tensors) {
    ASSERT_TRUE(WriteSafetensors(directory_ / name, tensors, {}).ok());
  }
  void WriteIndex(const nlohmann::json& weight_map) {
    WriteText(nlohmann::json{{"weight_map", weight_map}}.dump());
  }
  void WriteText(const std::string& index) {
    std::ofstream(directory_ / "model.safetensors.index.json") << index;
  }
  absl::Status Open() { return WeightsDirectory::Open(directory_).status(); }

  const at::Tensor x_ = at::arange(6, at::kFloat).view({2, 3});
  std::filesystem::path directory_;
};

TEST_F(WeightsDirectoryTest, ReadsEveryShardAsFloats) {
  const auto weights = WeightsDirectory::Open(directory_);
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_TRUE(at::equal(*weights->Read("x", {2, 3}), x_));
  EXPECT_TRUE(at::equal(*weights->Read("y", {3}), at::ones({3})));
  EXPECT_TRUE(at::equal(*weights->Read("z", {1}), at::full({1}, 0.5)));
  EXPECT_THAT(weights->files(), ElementsAre(directory_ / "a.safetensors", directory_ / "b.safetensors"));
}

TEST_F(WeightsDirectoryTest, PrefersTheSingleFile) {
  Write("model.safetensors", {{"x", x_ + 1}});
  const auto weights = WeightsDirectory::Open(directory_);
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_TRUE(at::equal(*weights->Read("x", {2, 3}), x_ + 1));
  EXPECT_THAT(weights->files(), ElementsAre(directory_ / "model.safetensors"));
}

TEST_F(WeightsDirectoryTest, NamesAMissingTensor) {
  const auto weights = WeightsDirectory::Open(directory_);
  ASSERT_TRUE(weights.ok()) << weights.status();
  const absl::Status status = weights->Read("lm_head.weight", {1}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no tensor lm_head.weight among its 3"));
}

TEST_F(WeightsDirectoryTest, RefusesAnotherShape) {
  const auto weights = WeightsDirectory::Open(directory_);
  ASSERT_TRUE(weights.ok()) << weights.status();
  const absl::Status status = weights->Read("x", {3, 2}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("tensor x has shape [2, 3], config.json asks for [3, 2]"));
}

TEST_F(WeightsDirectoryTest, RefusesNumbersThatAreNotFinite) {
  for (double value : {double{NAN}, double{INFINITY}}) {
    at::Tensor x = at::zeros({2, 3});
    x[1][2] = value;
    Write("a.safetensors", {{"x", x}});
    const absl::Status status = WeightsDirectory::Open(directory_)->Read("x", {2, 3}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("tensor x holds a NaN or an infinity"));
  }
}

TEST_F(WeightsDirectoryTest, RefusesIntegersForWeights) {
  Write("a.safetensors", {{"x", at::ones({2, 3}, at::kByte)}});
  const absl::Status status = WeightsDirectory::Open(directory_)->Read("x", {2, 3}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("tensor x is of type Byte, not floating point"));
}

TEST_F(WeightsDirectoryTest, NamesAMissingShard) {
  std::filesystem::remove(directory_ / "b.safetensors");
  const absl::Status status = Open();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("b.safetensors"));
}

TEST_F(WeightsDirectoryTest, NamesAShardCutShort) {
  std::filesystem::resize_file(directory_ / "b.safetensors",
                               std::filesystem::file_size(directory_ / "b.safetensors") - 1);
  const absl::Status status = Open();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("b.safetensors"));
}

TEST_F(WeightsDirectoryTest, RefusesAnIndexThatPointsElsewhere) {
  for (const char* file : {"../a.safetensors", "/a.safetensors", "deeper/a.safetensors"}) {
    WriteIndex({{"x", file}});
    const absl::Status status = Open();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << file;
    EXPECT_THAT(std::string(status.message()), HasSubstr("tensor x names no file beside it")) << file;
  }
  for (const char* file : {"..", ".", ""}) {
    WriteIndex({{"x", file}});
    EXPECT_FALSE(Open().ok()) << file;
  }
}

TEST_F(WeightsDirectoryTest, RefusesABrokenIndex) {
  for (const char* index : {"", "[]", "{}", R"({"weight_map": []})", R"({"weight_map": {"x": 1}})",
                            R"({"weight_map": {"x": null}})"}) {
    WriteText(index);
    EXPECT_EQ(Open().code(), absl::StatusCode::kDataLoss) << index;
    EXPECT_THAT(std::string(Open().message()), HasSubstr("; fetch the index again")) << index;
  }
}

TEST_F(WeightsDirectoryTest, RefusesATensorInTwoShards) {
  Write("b.safetensors", {{"z", x_}, {"y", x_}});
  const absl::Status status = Open();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("b.safetensors: tensor y is also in "));
}

TEST_F(WeightsDirectoryTest, SaysThatADirectoryHasNoWeights) {
  for (const std::filesystem::path& place : {directory_ / "nowhere", directory_ / std::string(300, 'x')}) {
    const absl::Status status = WeightsDirectory::Open(place).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(std::string(status.message()), HasSubstr("has neither model.safetensors nor"));
  }
}

}  // namespace
}  // namespace retort
