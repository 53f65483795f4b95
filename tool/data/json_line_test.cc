#include "tool/data/json_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"

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

TEST(JsonLine, IsRepairedWhereItIsNotUtf8) {
  std::string storage;
  uint64_t replaced = 0;
  const std::string_view line = RepairLine("{\"text\": \"a\xff\xe2\x82z\"}", &storage, &replaced);
  EXPECT_EQ(*TextOfLine(line, "text"), "a\ufffd\ufffdz");
  EXPECT_EQ(replaced, 2);
}

TEST(JsonLine, IsRepairedWhereItEscapesHalfACharacter) {
  std::string storage;
  uint64_t replaced = 0;
  const std::string_view line =
      RepairLine(R"({"text": "\ud800 \uDFFF \ud83d\ude42 \ud83d\ud83d\ude42 \\ud800 \ud800\u0041 \ud800\n"})",
                 &storage, &replaced);
  EXPECT_EQ(*TextOfLine(line, "text"), "\ufffd \ufffd \U0001f642 \ufffd\U0001f642 \\ud800 \ufffdA \ufffd\n");
  EXPECT_EQ(replaced, 5);
  RepairLine(R"({"text": "\u00e9 \ud83d\ude42"})", &storage, &replaced);
  EXPECT_EQ(replaced, 0);
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

std::string ChatRefusal(const std::string& messages) {
  return std::string(ChatOfLine(R"({"messages": )" + messages + "}", "messages").status().message());
}

TEST(ChatOfLine, JoinsPartsThatAreText) {
  const auto chat = ChatOfLine(
      R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                       {"role": "assistant", "content": ""}]})",
      "messages");
  ASSERT_TRUE(chat.ok()) << chat.status();
  EXPECT_EQ(chat->at(0).content, "ab");
  EXPECT_EQ(chat->at(1).content, "");
}

TEST(ChatOfLine, RefusesALineThatWouldFillTheMemory) {
  const std::string zeros(32 << 20, '0');
  EXPECT_EQ(
      ChatOfLine("{\"messages\": [" + zeros + "]}", "messages").status(),
      absl::InvalidArgumentError("a chat of 33554448 bytes, and 32 MiB are the most; cut it into several, "
                                 "or leave it out"));
}

TEST(ChatOfLine, RefusesAMessageWithoutText) {
  EXPECT_EQ(ChatRefusal(R"([{"role": "user", "content": "a"}, {"role": "assistant"}])"),
            "the content of message 2 in 'messages' is missing or no text: {\"role\":\"assistant\"}; give a "
            "text, or leave the message out");
  for (const char* content : {"null", "3", R"({"text": "x"})", R"([{"type": "image", "url": "x"}])",
                              R"(["x"])", R"([{"type": "text"}])", R"([{"type": "text", "text": null}])"}) {
    EXPECT_THAT(ChatRefusal(absl::StrCat(R"([{"from": "human", "value": )", content, "}]")),
                HasSubstr("the content of message 1 in 'messages' is missing or no text"))
        << content;
  }
}

}  // namespace
}  // namespace retort
