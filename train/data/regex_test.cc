#include "train/data/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace retort {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> FindAll(const std::string& pattern, const std::string& text) {
  const auto regex = Regex::Compile(pattern);
  EXPECT_TRUE(regex.ok()) << regex.status();
  std::vector<std::string> found;
  const std::vector<Regex::Match> matches = regex->FindAll(text).value();
  for (const Regex::Match& match : matches)
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
  EXPECT_EQ(regex->FindAll("axb a.b")->at(0).begin, 4);
}

TEST(Regex, MatchesWhereTheJitsStackEnds) {
  EXPECT_THAT(FindAll("(?:a|b)+(?!c)", std::string(1'000'000, 'a') + "c"),
              ElementsAre(std::string(999'999, 'a')));
}

TEST(Regex, GivesUpOnAPatternThatTriesTooMuch) {
  const std::string text = "some text, " + std::string(45, 'a');
  EXPECT_EQ(
      Regex::Compile("(?:a|aa)+[bc]")->FindAll(text).status(),
      absl::InvalidArgumentError("regex '(?:a|aa)+[bc]' gave up at byte 0 of a text of 56 bytes: match limit "
                                 "exceeded (10000000 tries from one place, 256 MiB). It tries too many ways "
                                 "to match; use a tokenizer with a simpler one, or cut the text"));
}

TEST(Regex, GivesUpOnAPatternThatLooksAtTheRestFromEveryPlace) {
  const std::string text = std::string(100'000, 'x') + "y";
  for (const char* pattern : {"\\p{L}+(?=z)|.", "(?:x|z)+y(?=y)"}) {
    const absl::Status status = Regex::Compile(pattern)->FindAll(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << pattern;
    EXPECT_THAT(status.message(), HasSubstr("it took more than 1.5")) << pattern;
  }
}

TEST(Regex, FindsWhatIsFarAway) {
  for (const char* character : {"é", "x"}) {
    std::string before;
    for (int i = 0; i < 100; ++i, before += character) {
      EXPECT_THAT(FindAll("[abé](?=b)|a", before + "ab"), ElementsAre("a")) << before;
    }
  }
  EXPECT_THAT(FindAll("é+a", std::string(1000, 'x') + "éééaé"), ElementsAre("éééa"));
}

TEST(Regex, GivesUpOnAPatternThatTakesTooMuchMemory) {
  const absl::Status status =
      Regex::Compile("(?:(?:a|b)+?c?)+?d")->FindAll(std::string(40 << 20, 'a')).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("heap limit exceeded"));
}

TEST(Regex, TakesAClassOfWhatIsNoSpace) {
  EXPECT_THAT(FindAll("[^\\S\\r\\n]+", "a \u180e\t\nb  c"), ElementsAre(" ", "\t", "  "));
  EXPECT_THAT(FindAll("[\\S\\r]+", "a \rb\u180e c"), ElementsAre("a", "\rb\u180e", "c"));
}

TEST(Regex, RefusesWhatTheEnginesReadDifferently) {
  for (const char* pattern : {"a{2}?", "(?i:\\p{Lu})", "(?i:a[^\\p{Ll}])", "(?i:(x)\\P{Lt})"}) {
    EXPECT_EQ(Regex::Compile(pattern).status().code(), absl::StatusCode::kUnimplemented) << pattern;
  }
  EXPECT_THAT(FindAll("a{1,2}?", "aaa"), ElementsAre("a", "a", "a"));
  EXPECT_THAT(FindAll("(?i:x)\\p{Lu}", "xAXaXA"), ElementsAre("xA", "XA"));
}

TEST(Regex, NamesAMalformedPattern) {
  const absl::Status status = Regex::Compile("a(b").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("regex 'a(b' is malformed: missing closing parenthesis"));
  EXPECT_EQ(Regex::Compile("a\\").status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace retort
