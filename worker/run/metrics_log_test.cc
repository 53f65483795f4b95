#include "worker/run/metrics_log.h"

#include <gtest/gtest.h>

#include "core/base/files.h"
#include "train/data/testing_dataset.h"

namespace retort {
namespace {

std::string Text(const std::filesystem::path& file) { return ReadFile(file).value(); }

TEST(MetricsLog, WritesOneObjectALineAndCountsTheBytes) {
  const auto file = TestPath("metrics.jsonl");
  auto log = MetricsLog::Open(file, 0).value();
  ASSERT_TRUE(log.Append({{"step", 1}}).ok());
  ASSERT_TRUE(log.Append({{"step", 2}, {"layer", nullptr}}).ok());
  EXPECT_EQ(Text(file), "{\"step\":1}\n{\"layer\":null,\"step\":2}\n");
  EXPECT_EQ(log.bytes(), 11 + 24);
}

TEST(MetricsLog, CutsLinesThatWillBeRepeatedAndGoesOn) {
  const auto file = TestPath("metrics.jsonl");
  ASSERT_TRUE(WriteFileAtomically(file, "{\"step\":1}\n{\"step\":2}\n{\"st").ok());
  auto log = MetricsLog::Open(file, 11).value();
  EXPECT_EQ(Text(file), "{\"step\":1}\n");
  ASSERT_TRUE(log.Append({{"step", 9}}).ok());
  EXPECT_EQ(Text(file), "{\"step\":1}\n{\"step\":9}\n");
  EXPECT_EQ(log.bytes(), 22);
}

TEST(MetricsLog, OfANewRunForgetsWhatLayThere) {
  const auto file = TestPath("metrics.jsonl");
  ASSERT_TRUE(WriteFileAtomically(file, "{\"step\":1}\n").ok());
  const auto log = MetricsLog::Open(file, 0).value();
  EXPECT_EQ(Text(file), "");
  EXPECT_EQ(log.bytes(), 0);
}

TEST(MetricsLog, CountsFromTheFilesOwnEndWhenItIsShorterThanTold) {
  const auto file = TestPath("metrics.jsonl");
  ASSERT_TRUE(WriteFileAtomically(file, "{\"step\":1}\n").ok());
  auto log = MetricsLog::Open(file, 100).value();
  ASSERT_TRUE(log.Append({{"step", 9}}).ok());
  EXPECT_EQ(log.bytes(), 22);
}

TEST(MetricsLog, SaysWhatItCannotWrite) {
  const auto status = MetricsLog::Open(TestPath("absent") / "metrics.jsonl", 0).status();
  EXPECT_FALSE(status.ok());
  EXPECT_NE(std::string(status.message()).find("absent/metrics.jsonl"), std::string::npos) << status;
}

}  // namespace
}  // namespace retort
