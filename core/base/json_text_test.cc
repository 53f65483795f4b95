#include "core/base/json_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace retort {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Refusal(const std::string& text) {
  const absl::Status status = ParseJson(text).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text.substr(0, 100);
  return std::string(status.message());
}

std::string Nested(int depth) { return std::string(depth, '[') + std::string(depth, ']'); }

TEST(ParseJson, ReadsOneValue) {
  EXPECT_EQ(*ParseJson(R"({"a": [1, {"b": null}], "b": {"a": "x"}})"),
            nlohmann::json({{"a", {1, {{"b", nullptr}}}}, {"b", {{"a", "x"}}}}));
  EXPECT_EQ(*ParseJson(" 7 "), 7);
}

TEST(ParseJson, SaysWhereTextIsNoJson) {
  EXPECT_THAT(Refusal("{\n\"a\": }"), HasSubstr("line 2, column 6"));
  EXPECT_THAT(Refusal("{} {}"), HasSubstr("column 4"));
  EXPECT_THAT(Refusal(""), HasSubstr("not JSON"));
  EXPECT_THAT(Refusal("\"\xff\""), HasSubstr("ill-formed UTF-8"));
  EXPECT_THAT(Refusal("1e999"), HasSubstr("1e999"));
}

TEST(ParseJson, ComplainsBrieflyInPlainWords) {
  EXPECT_EQ(
      Refusal("{]"),
      "not JSON: parse error at line 1, column 2: syntax error while parsing object key - unexpected ']'; "
      "expected string literal");
  EXPECT_LT(Refusal("[\"" + std::string(1'000'000, 'a')).size(), 300u);
  EXPECT_THAT(Refusal("[\"\033[2J\xff"), Not(HasSubstr("\033")));
}

TEST(ParseJson, RefusesAMemberGivenTwice) {
  EXPECT_THAT(Refusal(R"({"a": 1, "b": {"x": 1, "y": 2, "x": 3}})"), HasSubstr("member 'x' stands twice"));
  EXPECT_THAT(Refusal(R"({"a": 1, "\u0061": 2})"), HasSubstr("member 'a' stands twice"));
}

TEST(ParseJson, RefusesDeepNesting) {
  EXPECT_TRUE(ParseJson(Nested(64)).ok());
  EXPECT_THAT(Refusal(Nested(65)), HasSubstr("more than 64 deep"));
  EXPECT_THAT(Refusal(std::string(10'000'000, '[')), HasSubstr("more than 64 deep"));
}

}  // namespace
}  // namespace retort
