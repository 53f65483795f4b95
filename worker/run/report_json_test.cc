#include "worker/run/report_json.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>

#include "train/data/tokenizer.h"
#include "train/stages/testing_tiny.h"

namespace retort {
namespace {

const std::atomic<bool> kNever{false};

// Text in another script is cut inside a character by most prompts.
TEST(SamplesJson, ArePlainTextAlsoWhereTokensEndInsideACharacter) {
  const std::filesystem::path directory = TinyDirectory() / "teacher";
  const auto tokenizer = Tokenizer::Load(directory);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const int32_t half = (*tokenizer)->TokenId("\xc3\x83").value();  // the byte C3 in byte-level spelling
  ASSERT_EQ((*tokenizer)->Decode({half}), "\xc3");
  const FreeRunningReference reference = {at::tensor({int64_t{half}}).view({1, 1}),
                                          at::tensor({int64_t{half}, int64_t{half}}).view({1, 2})};
  const auto report = SamplesJson(TinyTeacher(), reference, directory, kNever);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->at("samples")[0]["prompt"], "\xef\xbf\xbd");
  EXPECT_EQ(report->at("samples")[0]["teacher"], "\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_NO_THROW(report->dump());
}

TEST(SamplesJson, AreNoneForATeacherWithoutATokenizer) {
  const FreeRunningReference reference = {at::zeros({1, 1}, at::kLong), at::zeros({1, 1}, at::kLong)};
  const auto report = SamplesJson(TinyTeacher(), reference, TinyDirectory() / "corpus", kNever);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(*report, nlohmann::json::parse(R"({"samples": []})"));
}

TEST(SamplesJson, SayWhyThereAreNoneForATokenizerThatIsNotRead) {
  const FreeRunningReference reference = {at::zeros({1, 1}, at::kLong), at::zeros({1, 1}, at::kLong)};
  const std::filesystem::path directory = std::filesystem::path(::testing::TempDir()) / "broken_tokenizer";
  std::filesystem::create_directories(directory);
  std::ofstream(directory / "tokenizer.json") << "{\"version\": \"2.0\"}";
  const auto report = SamplesJson(TinyTeacher(), reference, directory, kNever);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_TRUE(report->at("samples").empty());
  EXPECT_EQ(report->at("no_samples"),
            (directory / "tokenizer.json").string() + ": 'version' is \"2.0\"; supported: \"1.0\"");
}

TEST(ShownLayer, IsTheMiddleOneOfThoseConverted) {
  ModelConfig config;
  config.layers = {MixerType::kMamba2, MixerType::kAttention, MixerType::kMamba2, MixerType::kMamba2};
  EXPECT_EQ(ShownLayer(config), 2);
  config.layers = {MixerType::kAttention};
  EXPECT_EQ(ShownLayer(config), std::nullopt);
}

}  // namespace
}  // namespace retort
