#include "tool/data/tokenize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "nlohmann/json.hpp"
#include "tool/data/testing_compression.h"
#include "train/data/indexed_dataset.h"
#include "train/data/testing_dataset.h"
#include "train/data/tokenizer.h"

namespace retort {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAreArray;

constexpr char kTokenizer[] = RETORT_SOURCE_DIR "/tests/golden/tokenizer/split.json";
constexpr int kVocabSize = 1005;

std::filesystem::path WriteText(const std::string& name, const std::string& text) {
  std::ofstream(TestPath(name), std::ios::binary) << text;
  return TestPath(name);
}

std::filesystem::path WriteJsonl(const std::string& name, const std::vector<std::string>& texts) {
  std::string lines;
  for (const std::string& text : texts) lines += nlohmann::json{{"text", text}}.dump() + "\n";
  return WriteText(name, lines);
}

TokenizeOptions Options(std::vector<std::filesystem::path> inputs) {
  TokenizeOptions options;
  options.tokenizer = kTokenizer;
  options.inputs = std::move(inputs);
  options.output = TestPath("out");
  return options;
}

std::vector<std::string> ReadBack(const std::string& name) {
  const auto tokenizer = Tokenizer::Load(kTokenizer);
  const auto dataset = IndexedDataset::Open(TestPath(name), kVocabSize);
  EXPECT_TRUE(dataset.ok()) << dataset.status();
  std::vector<std::string> texts;
  for (uint64_t i = 0; i < dataset->num_documents(); ++i) {
    std::vector<int32_t> ids(dataset->document(i).size);
    EXPECT_TRUE(dataset->ReadTokens(dataset->document(i).offset, ids.size(), ids.data()).ok());
    texts.push_back((*tokenizer)->Decode(ids, SpecialTokens::kKeep));
  }
  return texts;
}

std::vector<std::string> Numbered(int count) {
  std::vector<std::string> texts;
  for (int i = 0; i < count; ++i) texts.push_back(absl::StrCat("Document number ", i, "."));
  return texts;
}

absl::StatusOr<TokenizeReport> Tokenize(const TokenizeOptions& options) {
  return TokenizeFiles(options, /*stop=*/false);
}

std::string ErrorOf(const TokenizeOptions& options) {
  const auto report = Tokenize(options);
  EXPECT_FALSE(report.ok());
  return std::string(report.status().message());
}

TEST(TokenizeFiles, GivesTheTextBackInOrder) {
  const auto report = Tokenize(Options({WriteJsonl("a.jsonl", {"First, naïve 🙂.", "Second\nline\r\n"}),
                                        WriteText("b.txt", "Third:\n\n  1234\n")}));
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(ReadBack("out.bin"),
              ElementsAre("First, naïve 🙂.", "Second\nline\r\n", "Third:\n\n  1234\n"));
  EXPECT_EQ(report->train.documents, 3);
  EXPECT_EQ(report->train.tokens, IndexedDataset::Open(TestPath("out.bin"), kVocabSize)->num_tokens());
  EXPECT_EQ(report->train.text_bytes, 19 + 13 + 15);
}

TEST(TokenizeFiles, ReadsCompressedFiles) {
  const auto report =
      Tokenize(Options({WriteText("a.jsonl.gz", Gzip("{\"text\": \"one\"}\n{\"text\": \"two\"}")),
                        WriteText("b.txt.zst", Zstd("three\n")), WriteText("c.txt.gz", Gzip("four")),
                        WriteText("d.jsonl.zst", Zstd("\n{\"text\": \"five\"}\n"))}));
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(ReadBack("out.bin"), ElementsAre("one", "two", "three\n", "four", "five"));
}

TEST(TokenizeFiles, ReadsAPipeWithoutAnEndingAsLines) {
  const std::filesystem::path pipe = TestPath("pipe");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  std::thread writer([&pipe] { std::ofstream(pipe) << "{\"text\": \"One.\"}\n{\"text\": \"Two.\"}\n"; });
  EXPECT_EQ(Tokenize(Options({pipe})).status(), absl::OkStatus());
  writer.join();
  EXPECT_THAT(ReadBack("out.bin"), ElementsAre("One.", "Two."));
}

TEST(TokenizeFiles, RefusesToReadAPipeTwice) {
  const std::filesystem::path pipe = TestPath("pipe.jsonl");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  TokenizeOptions options = Options({pipe});
  options.holdout_documents = 1;
  options.holdout_output = TestPath("held");
  EXPECT_THAT(ErrorOf(options), HasSubstr("pipe.jsonl is a pipe; give a fraction"));
}

TEST(TokenizeFiles, ReadsLinesAcrossItsBuffer) {
  std::vector<std::string> texts;
  for (int i = 0; i < 40; ++i) texts.push_back(std::string(static_cast<size_t>(i) * 997, 'a' + i % 26) + ".");
  ASSERT_TRUE(Tokenize(Options({WriteJsonl("a.jsonl", texts)})).ok());
  EXPECT_EQ(ReadBack("out.bin"), texts);
}

TEST(TokenizeFiles, LeavesNoOutputWhenAnInputIsCutShort) {
  const std::string whole = Gzip("{\"text\": \"one\"}\n{\"text\": \"two\"}\n");
  const auto report = Tokenize(Options({WriteText("a.jsonl.gz", whole.substr(0, whole.size() - 3))}));
  EXPECT_EQ(report.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(report.status().message(), HasSubstr("a.jsonl.gz ends at byte"));
  EXPECT_FALSE(std::filesystem::exists(TestPath("out.bin")));
}

TEST(TokenizeFiles, CountsWhatIsNotUtf8InLines) {
  const auto report =
      Tokenize(Options({WriteText("a.jsonl", "{\"text\": \"a\xff\"}\n{\"text\": \"\\ud800\"}\n"),
                        WriteText("b.txt", "\xff")}));
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->ill_formed_parts, 3);
  EXPECT_EQ(report->train.documents, 3);
}

TEST(TokenizeFiles, RefusesInputsWithoutADocument) {
  EXPECT_THAT(ErrorOf(Options(
                  {WriteText("a.txt", ""), WriteText("b.jsonl", "\n\n"), WriteText("c.jsonl.gz", Gzip(""))})),
              AllOf(HasSubstr("a.txt and the other inputs is left for"), HasSubstr("1 were empty")));
}

TEST(TokenizeFiles, SaysWhatToDoWithATokenizerThatIsNotSupported) {
  TokenizeOptions options = Options({WriteText("a.txt", "text")});
  options.tokenizer = WriteText("tokenizer.json", R"({"normalizer": {"type": "Lowercase"}})");
  EXPECT_THAT(ErrorOf(options),
              AllOf(HasSubstr("tokenizer.json: 'normalizer' is"), HasSubstr("another program")));
}

TEST(TokenizeFiles, EndsEachDocument) {
  TokenizeOptions options = Options({WriteJsonl("a.jsonl", {"one", "two"})});
  options.end_of_document = "<|endoftext|>";
  ASSERT_TRUE(Tokenize(options).ok());
  EXPECT_THAT(ReadBack("out.bin"), ElementsAre("one<|endoftext|>", "two<|endoftext|>"));
}

TEST(TokenizeFiles, ReadsAnotherField) {
  TokenizeOptions options = Options({WriteText("a.jsonl", "{\"body\": \"here\", \"text\": 1}\n")});
  options.text_field = "body";
  ASSERT_TRUE(Tokenize(options).ok());
  EXPECT_THAT(ReadBack("out.bin"), ElementsAre("here"));
}

TEST(TokenizeFiles, LeavesOutEmptyDocumentsAndLines) {
  TokenizeOptions options = Options({WriteText("a.jsonl", "{\"text\": \"\"}\r\n\r\n  \n{\"text\": \"x\"}")});
  options.end_of_document = "<|endoftext|>";
  const auto report = Tokenize(options);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->empty_documents, 1);
  EXPECT_THAT(ReadBack("out.bin"), ElementsAre("x<|endoftext|>"));
}

TEST(TokenizeFiles, CountsWhatIsNotUtf8) {
  const auto report = Tokenize(Options(
      {WriteText("a.txt", "na\xefve caf\xe9"), WriteText("b.txt", "whole: \xc3\xa9, cut: \xe2\x82")}));
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->ill_formed_parts, 3);
  EXPECT_THAT(ReadBack("out.bin"), ElementsAre("na\ufffdve caf\ufffd", "whole: \u00e9, cut: \ufffd"));
}

TEST(TokenizeFiles, TakesTheEndingOffTheOutput) {
  TokenizeOptions options = Options({WriteText("a.txt", "x")});
  options.output = TestPath("named.bin");
  ASSERT_TRUE(Tokenize(options).ok());
  EXPECT_THAT(ReadBack("named.bin"), ElementsAre("x"));
}

TEST(TokenizeFiles, HoldsOutAFractionWhateverTheOrder) {
  std::vector<std::string> texts = Numbered(400);
  TokenizeOptions options = Options({WriteJsonl("a.jsonl", texts)});
  options.holdout_fraction = 0.25;
  options.holdout_output = TestPath("held");
  const auto report = Tokenize(options);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_NEAR(report->holdout.documents, 100, 30);
  std::vector<std::string> all = ReadBack("out.bin");
  const std::vector<std::string> held = ReadBack("held.bin");
  all.insert(all.end(), held.begin(), held.end());
  EXPECT_THAT(all, UnorderedElementsAreArray(texts));

  std::reverse(texts.begin(), texts.end());
  options.inputs = {WriteJsonl("a.jsonl", texts)};
  ASSERT_TRUE(Tokenize(options).ok());
  EXPECT_THAT(ReadBack("held.bin"), UnorderedElementsAreArray(held));
}

TEST(TokenizeFiles, HoldsOutANumberOfDocuments) {
  TokenizeOptions options = Options({WriteJsonl("a.jsonl", Numbered(30))});
  options.holdout_documents = 7;
  options.holdout_output = TestPath("held");
  const auto report = Tokenize(options);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->holdout.documents, 7);
  EXPECT_EQ(report->train.documents, 23);
  const std::vector<std::string> held = ReadBack("held.bin");
  options.holdout_seed = 1;
  ASSERT_TRUE(Tokenize(options).ok());
  EXPECT_NE(ReadBack("held.bin"), held);
}

TEST(TokenizeFiles, KeepsEqualTextsOnOneSide) {
  std::vector<std::string> texts = Numbered(20);
  texts.insert(texts.end(), texts.begin(), texts.end());
  TokenizeOptions options = Options({WriteJsonl("a.jsonl", texts)});
  options.holdout_fraction = 0.5;
  options.holdout_output = TestPath("held");
  ASSERT_TRUE(Tokenize(options).ok());
  for (const std::string& text : ReadBack("held.bin"))
    EXPECT_THAT(ReadBack("out.bin"), testing::Not(testing::Contains(text)));
}

TEST(TokenizeFiles, NamesFileAndLineOfBadJson) {
  EXPECT_THAT(ErrorOf(Options({WriteText("a.jsonl", "{\"text\": \"x\"}\n{\"text\": \n")})),
              AllOf(HasSubstr("a.jsonl:2: "), HasSubstr("not JSON")));
}

TEST(TokenizeFiles, NamesFileAndLineOfAMissingText) {
  EXPECT_THAT(
      ErrorOf(Options({WriteText("a.jsonl", "{\"body\": \"x\"}\n")})),
      AllOf(HasSubstr("a.jsonl:1: member 'text' is missing"), HasSubstr("body"), HasSubstr("--text-field")));
}

TEST(TokenizeFiles, LeavesNoOutputAfterAnError) {
  EXPECT_FALSE(Tokenize(Options({WriteText("a.txt", "x"), WriteText("b.jsonl", "{")})).ok());
  for (const auto& entry : std::filesystem::directory_iterator(TestPath("").parent_path())) {
    EXPECT_NE(entry.path().filename().string().substr(0, 3), "out");
  }
}

TEST(TokenizeFiles, LeavesNoOutputWhenStopped) {
  const auto report = TokenizeFiles(Options({WriteText("a.txt", "x")}), /*stop=*/true);
  EXPECT_EQ(report.status().code(), absl::StatusCode::kCancelled);
  for (const auto& entry : std::filesystem::directory_iterator(TestPath("").parent_path())) {
    EXPECT_EQ(entry.path().filename(), "a.txt");
  }
}

TEST(TokenizeFiles, NamesAMissingInput) {
  EXPECT_THAT(ErrorOf(Options({"/no/such.jsonl"})), HasSubstr("/no/such.jsonl"));
  EXPECT_THAT(ErrorOf(Options({"/no/such.txt"})), HasSubstr("/no/such.txt"));
}

TEST(TokenizeFiles, RefusesNamesThatAreTooLong) {
  const std::string name(300, 'x');
  EXPECT_THAT(ErrorOf(Options({TestPath(name + ".txt")})), HasSubstr("File name too long"));
  TokenizeOptions options = Options({WriteJsonl("a.jsonl", Numbered(5))});
  options.holdout_documents = 2;
  options.holdout_output = TestPath(name);
  EXPECT_THAT(ErrorOf(options), HasSubstr("File name too long"));
}

TEST(TokenizeFiles, RefusesOptionsThatContradict) {
  const std::filesystem::path input = WriteJsonl("a.jsonl", Numbered(5));
  EXPECT_THAT(ErrorOf(Options({})), HasSubstr("no input"));
  EXPECT_THAT(ErrorOf(Options({"a.csv"})), HasSubstr("a.csv is neither .jsonl"));
  TokenizeOptions options = Options({input});
  options.end_of_document = "<nope>";
  EXPECT_THAT(ErrorOf(options), HasSubstr("'<nope>' is no token"));
  options = Options({input});
  options.holdout_fraction = 0.5;
  EXPECT_THAT(ErrorOf(options), HasSubstr("no holdout output"));
  options.holdout_output = options.output;
  EXPECT_THAT(ErrorOf(options), HasSubstr("are both"));
  options.holdout_documents = 2;
  EXPECT_THAT(ErrorOf(options), HasSubstr("not both"));
  options.holdout_fraction = 1;
  EXPECT_THAT(ErrorOf(options), HasSubstr("[0, 1)"));
  options = Options({input});
  options.holdout_output = TestPath("held");
  EXPECT_THAT(ErrorOf(options), HasSubstr("neither a fraction"));
  options.holdout_documents = 5;
  EXPECT_THAT(ErrorOf(options), HasSubstr("cannot hold out 5 documents: the inputs have 5"));
}

// A tokenizer's directory with a chat template.
TokenizeOptions ChatOptions(const std::string& lines) {
  std::filesystem::create_directories(TestPath("model"));
  std::filesystem::copy(kTokenizer, TestPath("model/tokenizer.json"));
  WriteText("model/tokenizer_config.json",
            nlohmann::json{{"chat_template",
                            "Chat:\n{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"}}
                .dump());
  TokenizeOptions options = Options({WriteText("chats.jsonl", lines)});
  options.tokenizer = TestPath("model");
  options.chat = true;
  options.text_field = "messages";
  return options;
}

TEST(TokenizeFiles, WritesChatsAsTheirTemplateSays) {
  const auto report = Tokenize(ChatOptions(
      R"({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]})"
      "\n"
      R"({"id": 7, "messages": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]})"
      "\n"
      R"({"messages": []})"));
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->train.documents, 2u);
  EXPECT_EQ(report->empty_documents, 1u);
  EXPECT_THAT(ReadBack("out.bin"),
              ElementsAre("Chat:\n[system] Be brief.\n[user] Hi\n", "Chat:\n[user] Hi\n[assistant] Hello\n"));
}

TEST(TokenizeFiles, PutsThePostProcessorsTokensAroundDocumentsButNotAroundChats) {
  nlohmann::json tokenizer = nlohmann::json::parse(ReadFile(kTokenizer).value());
  tokenizer["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", {{{"SpecialToken", {{"id", "<|endoftext|>"}}}}, {{"Sequence", {{"id", "A"}}}}}},
      {"special_tokens", {{"<|endoftext|>", {{"id", "<|endoftext|>"}, {"ids", {0}}}}}}};
  TokenizeOptions options = ChatOptions(R"({"messages": [{"role": "user", "content": "Hi"}]})");
  WriteText("model/tokenizer.json", tokenizer.dump());
  ASSERT_EQ(Tokenize(options).status(), absl::OkStatus());
  EXPECT_THAT(ReadBack("out.bin"), ElementsAre("Chat:\n[user] Hi\n"));
  options.chat = false;
  options.inputs = {WriteText("a.txt", "Hi")};
  ASSERT_EQ(Tokenize(options).status(), absl::OkStatus());
  EXPECT_THAT(ReadBack("out.bin"), ElementsAre("<|endoftext|>Hi"));
}

// A corpus of chats, tokenized again later or by another model's template, is split as before.
TEST(TokenizeFiles, HoldsOutTheSameChatsWhateverTheTemplateWritesAroundThem) {
  std::string lines;
  for (int i = 0; i < 40; ++i) {
    lines += absl::StrCat(R"({"messages": [{"role": "user", "content": "Chat )", i, R"("}]})", "\n");
  }
  TokenizeOptions options = ChatOptions(lines);
  options.holdout_documents = 3;
  options.holdout_output = TestPath("held");
  const auto held_out_with = [&](const std::string& before) {
    WriteText("model/tokenizer_config.json",
              nlohmann::json{{"chat_template", before + "{{ messages[0].content }}"}}.dump());
    EXPECT_EQ(Tokenize(options).status(), absl::OkStatus());
    return ReadBack("held.bin");
  };
  const std::vector<std::string> plain = held_out_with("");
  std::vector<std::string> dated;
  for (const std::string& text : plain) dated.push_back("26 Jul 2024 " + text);
  const std::string date = "{{ strftime_now('%d %b %Y ') }}";
  EXPECT_EQ(held_out_with(date), dated);
  options.date = absl::CivilDay(2025, 12, 31);
  for (std::string& text : dated) text.replace(0, 11, "31 Dec 2025");
  EXPECT_EQ(held_out_with(date), dated);
}

TEST(TokenizeFiles, PointsAtWhatIsNoChat) {
  EXPECT_THAT(ErrorOf(ChatOptions(R"({"text": "Hi"})")),
              HasSubstr("chats.jsonl:1: member 'messages' is no list of messages in"));
  TokenizeOptions options = Options({WriteText("a.jsonl", R"({"messages": [{"speaker": "x"}]})")});
  options.tokenizer = TestPath("model");
  options.chat = true;
  options.text_field = "messages";
  EXPECT_THAT(ErrorOf(options),
              HasSubstr(R"(a.jsonl:1: a message in 'messages' is neither {"role", "content"} nor)"));
  options.inputs = {WriteText("c.jsonl",
                              "\n"
                              R"({"messages": [{"role": "user", "content": null}]})")};
  EXPECT_THAT(ErrorOf(options), HasSubstr("c.jsonl:2: the content of message 1 in 'messages' is missing"));
  options.inputs = {WriteText("a.txt", "Hi")};
  EXPECT_THAT(ErrorOf(options), HasSubstr("chats come as .jsonl"));
  options.inputs = {WriteText("b.jsonl", "{}")};
  options.tokenizer = kTokenizer;
  EXPECT_THAT(ErrorOf(options), HasSubstr("there is no chat template beside the tokenizer in"));
}

}  // namespace
}  // namespace retort
