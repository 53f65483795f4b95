#include "train/chat/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/files.h"
#include "train/chat/jinja_interpreter.h"
#include "train/chat/jinja_parser.h"

namespace retort {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::StartsWith;

class ChatTemplateTest : public testing::Test {
 protected:
  ChatTemplateTest() {
    directory_ = std::filesystem::path(testing::TempDir()) /
                 (std::string("chat_") + testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
  }
  ~ChatTemplateTest() override { std::filesystem::remove_all(directory_); }

  void Put(const std::string& name, const std::string& contents) {
    std::ofstream(directory_ / name) << contents;
  }
  // What is rendered of a user's "hi", or the error, the directory's name left out.
  std::string Show() {
    const auto loaded = ChatTemplate::Load(directory_);
    if (!loaded.ok()) return Shortened(loaded.status());
    if (!*loaded) return "no template";
    const auto text = (*loaded)->Render({{"user", "hi"}}, true, absl::UnixEpoch());
    return text.ok() ? *text : Shortened(text.status());
  }
  std::string Shortened(const absl::Status& status) const {
    std::string message = status.ToString();
    const std::string prefix = directory_.string() + "/";
    for (size_t at; (at = message.find(prefix)) != std::string::npos;) message.erase(at, prefix.size());
    return message;
  }

  std::filesystem::path directory_;
};

TEST_F(ChatTemplateTest, RendersWhatTransformersDoes) {
  size_t compared = 0;
  for (const auto& file : std::filesystem::directory_iterator(RETORT_SOURCE_DIR "/tests/golden/chat")) {
    if (file.path().extension() != ".json") continue;
    const json goldens = json::parse(ReadFile(file.path()).value());
    for (const json& golden : goldens["templates"]) {
      Put("chat_template.jinja", golden["template"]);
      Put("tokenizer_config.json", goldens["tokens"].dump());
      const auto loaded = ChatTemplate::Load(directory_);
      if (!loaded.ok() || !*loaded) {
        ADD_FAILURE() << golden["name"] << loaded.status();
        continue;
      }
      for (const json& golden_chat : golden["chats"]) {
        std::vector<ChatMessage> chat;
        for (const json& message : golden_chat["chat"]) chat.push_back({message["role"], message["content"]});
        const auto text = (*loaded)->Render(chat, golden_chat["answers"], absl::Now());
        SCOPED_TRACE(golden["name"].get<std::string>() + golden_chat.dump());
        if (golden_chat.contains("error")) {
          EXPECT_FALSE(text.ok()) << *text;
        } else {
          EXPECT_EQ(text.value_or(text.status().ToString()), golden_chat["text"].get<std::string>());
        }
        ++compared;
      }
    }
  }
  EXPECT_GE(compared, 200u);
}

TEST_F(ChatTemplateTest, IsFoundWhereHuggingFacePutsIt) {
  EXPECT_EQ(Show(), "no template");
  Put("tokenizer_config.json", R"({"bos_token": null, "chat_template": null})");
  EXPECT_EQ(Show(), "no template");
  Put("tokenizer_config.json",
      R"({"bos_token": {"content": "<s>"}, "chat_template": "{{ bos_token }}config"})");
  EXPECT_EQ(Show(), "<s>config");
  Put("tokenizer_config.json", R"({"chat_template": [{"name": "tool_use", "template": "t"},
                                                     {"name": "default", "template": "default"}]})");
  EXPECT_EQ(Show(), "default");
  Put("chat_template.jinja", "{{ messages[0].content }}\n");
  EXPECT_EQ(Show(), "hi");
}

TEST_F(ChatTemplateTest, SaysWhereItIsWrong) {
  Put("tokenizer_config.json", "[]");
  EXPECT_EQ(Show(), "INVALID_ARGUMENT: tokenizer_config.json is not a JSON object");
  Put("tokenizer_config.json", R"({"chat_template": 3})");
  EXPECT_EQ(Show(),
            "INVALID_ARGUMENT: tokenizer_config.json: chat_template is neither a text nor a list with one "
            "named default");
  Put("tokenizer_config.json", R"({"chat_template": "a\n{% if %}"})");
  EXPECT_EQ(
      Show(),
      "INVALID_ARGUMENT: the chat template in tokenizer_config.json, line 2: expected a value, found %}");
  Put("chat_template.jinja", "{{ messages[0].content | wordwrap }}");
  EXPECT_EQ(Show(), "UNIMPLEMENTED: chat_template.jinja, line 1: the filter wordwrap is not supported here");
  Put("chat_template.jinja", "\n\n{{ raise_exception('no ' + messages[0].role) }}");
  EXPECT_EQ(Show(), "INVALID_ARGUMENT: chat_template.jinja refuses the chat: no user");
}

TEST_F(ChatTemplateTest, ShowsTheDateThatItIsGiven) {
  Put("chat_template.jinja", "{{ strftime_now('%d %b %Y') }}{{ strftime_now is defined }}");
  EXPECT_THAT(Show(), testing::AnyOf(StartsWith("01 Jan 1970"), StartsWith("31 Dec 1969")));
  EXPECT_THAT(Show(), HasSubstr("True"));
}

}  // namespace
}  // namespace retort
