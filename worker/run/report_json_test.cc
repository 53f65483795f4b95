#include "worker/run/report_json.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

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
  const auto samples = SamplesJson(TinyTeacher(), reference, directory, kNever);
  ASSERT_TRUE(samples.ok()) << samples.status();
  EXPECT_EQ(samples->at(0)["prompt"], "\xef\xbf\xbd");
  EXPECT_EQ(samples->at(0)["teacher"], "\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_NO_THROW(samples->dump());
}

TEST(SamplesJson, AreNoneForATeacherWithoutATokenizer) {
  const FreeRunningReference reference = {at::zeros({1, 1}, at::kLong), at::zeros({1, 1}, at::kLong)};
  const auto samples = SamplesJson(TinyTeacher(), reference, TinyDirectory() / "corpus", kNever);
  ASSERT_TRUE(samples.ok()) << samples.status();
  EXPECT_TRUE(samples->empty());
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
