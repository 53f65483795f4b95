#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/config/job_fixture.h"
#include "core/config/job_schema.h"
#include "gmock/gmock.h"

namespace retort {
namespace {

using ::testing::HasSubstr;

// The key's line in the reference.
std::string Row(const JobKey& key) {
  const std::string otherwise = !key.fallback           ? "required"
                                : key.fallback->empty() ? "absent"
                                                        : absl::StrCat("`", *key.fallback, "`");
  return absl::StrCat("| `", key.path, "` | ", ExpectedValue(key), " | ", otherwise, " | ", key.help, " |");
}

TEST(JobDocs, DescribeEveryKeyAsTheTableDoes) {
  const absl::StatusOr<std::string> docs = ReadFile(RETORT_SOURCE_DIR "/docs/job.md");
  ASSERT_TRUE(docs.ok()) << docs.status();
  for (const JobKey& key : JobKeys()) EXPECT_THAT(*docs, HasSubstr("\n" + Row(key) + "\n"));
}

TEST_F(JobFixture, TakesTheExampleOfTheDocs) {
  const std::string docs = ReadFile(RETORT_SOURCE_DIR "/docs/job.md").value();
  const std::string fence = "```yaml\n";
  const size_t start = docs.find(fence) + fence.size();
  Put("models/smollm2/config.json", "");
  EXPECT_EQ(Errors(docs.substr(start, docs.find("```", start) - start)), "");
}

TEST(JobDocs, DescribeNoKeyThatIsGone) {
  std::istringstream lines(ReadFile(RETORT_SOURCE_DIR "/docs/job.md").value());
  size_t rows = 0;
  for (std::string line; std::getline(lines, line);) rows += line.starts_with("| `");
  EXPECT_EQ(rows, JobKeys().size());
}

}  // namespace
}  // namespace retort
