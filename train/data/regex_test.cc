#include "train/data/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace retort {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> FindAll(const std::string& pattern, const std::string& text) {
  const auto regex = Regex::Compile(pattern);
  EXPECT_TRUE(regex.ok()) << regex.status();
  std::vector<std::string> found;
  for (const Regex::Match& match : regex->FindAll(text))
    found.push_back(text.substr(match.begin, match.end - match.begin));
  return found;
}

TEST(Regex, TakesUnicodesWhiteSpaceForSpace) {
  const std::string spaces = "\t\n\v\f\r \u0085\u00a0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000";
  EXPECT_THAT(FindAll("\\s+", "a" + spaces + "b"), ElementsAre(spaces));
  EXPECT_THAT(FindAll("[\\sx]+", "a" + spaces + "x"), ElementsAre(spaces + "x"));
  EXPECT_THAT(FindAll("\\S+", "a" + spaces + "b"), ElementsAre("a", "b"));
}

TEST(Regex, TakesNeitherMongolianVowelSeparatorNorControlsForSpace) {
  EXPECT_THAT(FindAll("\\s", "\u180e\u200b\x1c\x1f\ufeff"), ElementsAre());
}

TEST(Regex, MatchesWithoutCaseInAGroup) {
  EXPECT_THAT(FindAll("(?i:'s)|x", "'S 's X x"), ElementsAre("'S", "'s", "x"));
}

TEST(Regex, MatchesALiteralWithItsSigns) {
  const auto regex = Regex::Literal("a.b");
  ASSERT_TRUE(regex.ok()) << regex.status();
  EXPECT_EQ(regex->FindAll("axb a.b").at(0).begin, 4);
}

TEST(Regex, MatchesWhereTheJitsStackEnds) {
  EXPECT_THAT(FindAll("(?:a|b)+(?!c)", std::string(1'000'000, 'a') + "c"),
              ElementsAre(std::string(999'999, 'a')));
}

TEST(Regex, NamesAMalformedPattern) {
  const absl::Status status = Regex::Compile("a(b").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("regex 'a(b' is malformed: missing closing parenthesis"));
  EXPECT_EQ(Regex::Compile("a\\").status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace retort
