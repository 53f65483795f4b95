#include "tool/data/json_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace retort {
namespace {

using ::testing::HasSubstr;

std::string Refusal(const std::string& line) {
  const absl::Status status = TextOfLine(line, "text").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << line.substr(0, 100);
  return std::string(status.message());
}

TEST(JsonLine, GivesTheMembersText) {
  EXPECT_EQ(
      *TextOfLine(R"({"a": {"text": "no"}, "b": ["text", {"text": 1}], "text": "y\u00e9s\n", "c": null})",
                  "text"),
      "y\u00e9s\n");
  EXPECT_EQ(*TextOfLine(R"({"text": "a", "body": ""})", "body"), "");
}

TEST(JsonLine, LooksAtNothingElse) {
  const std::string deep = std::string(1'000'000, '[') + std::string(1'000'000, ']');
  EXPECT_EQ(*TextOfLine("{\"a\": " + deep + ", \"b\": 1, \"b\": 2, \"text\": \"x\"}", "text"), "x");
}

TEST(JsonLine, RefusesALineWithoutTheText) {
  EXPECT_THAT(Refusal(R"({"meta": {"text": "x"}})"), HasSubstr("member 'text' is missing in"));
  EXPECT_THAT(Refusal(R"(["text"])"), HasSubstr("member 'text' is missing in"));
  EXPECT_THAT(Refusal(R"("text")"), HasSubstr("member 'text' is missing in"));
  EXPECT_THAT(Refusal(R"({"text": ["x"]})"), HasSubstr("member 'text' is no string in"));
  EXPECT_THAT(Refusal(R"({"text": null})"), HasSubstr("member 'text' is no string in"));
  EXPECT_THAT(Refusal(R"({"text": "x", "text": "y"})"), HasSubstr("member 'text' is given twice in"));
}

TEST(JsonLine, RefusesALineThatIsNoJson) {
  EXPECT_THAT(Refusal(R"({"text": "x"} {})"), HasSubstr("not JSON"));
  EXPECT_THAT(Refusal("{\"text\": \"\xff\"}"), HasSubstr("not JSON"));
  EXPECT_THAT(Refusal("{\"text\": \"a\nb\"}"), HasSubstr("not JSON"));
  EXPECT_THAT(Refusal(std::string(1'000'000, '[')), HasSubstr("not JSON"));
}

}  // namespace
}  // namespace retort
