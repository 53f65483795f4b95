#include "train/data/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/escaping.h"
#include "core/base/files.h"
#include "nlohmann/json.hpp"
#include "train/data/testing_dataset.h"

namespace retort {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kGoldens[] = RETORT_SOURCE_DIR "/tests/golden/tokenizer/";

nlohmann::json ReadJson(const std::string& name) { return nlohmann::json::parse(*ReadFile(kGoldens + name)); }

std::unique_ptr<Tokenizer> Golden(const std::string& name) {
  auto tokenizer = Tokenizer::Load(kGoldens + name);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadJson(const nlohmann::json& json) {
  const std::filesystem::path file = TestPath("tokenizer.json");
  std::ofstream(file) << json.dump();
  return Tokenizer::Load(file);
}

// The message with which `json` is refused.
std::string Refusal(const nlohmann::json& json, absl::StatusCode code = absl::StatusCode::kUnimplemented) {
  const auto tokenizer = LoadJson(json);
  EXPECT_EQ(tokenizer.status().code(), code) << tokenizer.status();
  return std::string(tokenizer.status().message());
}

std::string CaseText(const nlohmann::json& example) {
  if (example.contains("hex")) return absl::HexStringToBytes(example["hex"].get<std::string>());
  if (!example.contains("repeat")) return example["text"].get<std::string>();
  std::string text;
  for (int i = 0; i < example["repeat"][1]; ++i) text += example["repeat"][0].get<std::string>();
  return text;
}

void ExpectGoldenIds(const std::string& name) {
  const auto tokenizer = Golden(name + ".json");
  const nlohmann::json cases = ReadJson("cases.json");
  ASSERT_GT(cases["texts"].size(), 200);
  for (const nlohmann::json& example : cases["texts"]) {
    EXPECT_EQ(tokenizer->Encode(CaseText(example)), example[name].get<std::vector<int32_t>>())
        << example.dump().substr(0, 200);
  }
}

TEST(Tokenizer, GivesTheLibrarysIdsWithDigitsAndByteLevel) { ExpectGoldenIds("digits"); }

TEST(Tokenizer, GivesTheLibrarysIdsWithASplitRegex) { ExpectGoldenIds("split"); }

TEST(Tokenizer, GivesTheLibrarysIdsForEveryPreTokenizer) {
  const nlohmann::json cases = ReadJson("cases.json");
  nlohmann::json json = ReadJson("split.json");
  for (const nlohmann::json& variant : cases["pre_tokenizers"]) {
    json["pre_tokenizer"] = variant["pre_tokenizer"];
    const auto tokenizer = LoadJson(json);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    for (size_t i = 0; i < cases["pre_texts"].size(); ++i) {
      EXPECT_EQ((*tokenizer)->Encode(cases["pre_texts"][i].get<std::string>()),
                variant["ids"][i].get<std::vector<int32_t>>())
          << variant["pre_tokenizer"] << " on " << cases["pre_texts"][i];
    }
  }
}

TEST(Tokenizer, DecodesToTheLibrarysText) {
  const auto tokenizer = Golden("split.json");
  const nlohmann::json cases = ReadJson("cases.json");
  ASSERT_GT(cases["texts"].size(), 200);
  for (const nlohmann::json& example : cases["texts"]) {
    const std::vector<int32_t> ids = example["split"];
    const std::string decoded =
        example.contains("decoded") ? example["decoded"].get<std::string>() : CaseText(example);
    EXPECT_EQ(tokenizer->Decode(ids, SpecialTokens::kKeep), decoded);
  }
}

TEST(Tokenizer, LeavesSpecialTokensOutOfDecodedText) {
  const auto tokenizer = Golden("split.json");
  const std::vector<int32_t> ids = tokenizer->Encode("a<|endoftext|>b<repo>");
  EXPECT_EQ(tokenizer->Decode(ids), "ab<repo>");
  EXPECT_EQ(tokenizer->Decode(ids, SpecialTokens::kKeep), "a<|endoftext|>b<repo>");
}

TEST(Tokenizer, DecodesIdsOutsideTheVocabularyToNothing) {
  EXPECT_EQ(Golden("split.json")->Decode({-1, 1 << 30}), "");
}

TEST(Tokenizer, DecodesHalfACharacterToItsBytes) {
  const auto tokenizer = Golden("split.json");
  std::vector<int32_t> ids = tokenizer->Encode("\U0010ffff");
  ids.pop_back();
  EXPECT_EQ(tokenizer->Decode(ids), "\xf4\x8f\xbf");
}

TEST(Tokenizer, TurnsIllFormedBytesIntoReplacementCharacters) {
  const auto tokenizer = Golden("split.json");
  EXPECT_EQ(tokenizer->Decode(tokenizer->Encode("a\xff\xe2\x82z")), "a\ufffd\ufffdz");
}

TEST(Tokenizer, FindsTokensByTheirSpelling) {
  const auto tokenizer = Golden("split.json");
  EXPECT_EQ(tokenizer->TokenId("<|endoftext|>"), 0);
  EXPECT_THAT(tokenizer->Encode(" the"), ElementsAre(tokenizer->TokenId("Ġthe").value()));
  EXPECT_EQ(tokenizer->TokenId("no such token"), std::nullopt);
}

TEST(Tokenizer, CountsAddedTokensInItsVocabulary) {
  const auto tokenizer = Golden("split.json");
  EXPECT_EQ(tokenizer->vocab_size(), 1005);
  EXPECT_EQ(tokenizer->TokenId("<after>"), 1004);
}

TEST(Tokenizer, TakesAWholeTokenWithoutMergesWhereAskedTo) {
  nlohmann::json json = ReadJson("split.json");
  json["model"]["merges"] = nlohmann::json::array();
  EXPECT_EQ((*LoadJson(json))->Encode(" the").size(), 1);
  json["model"]["ignore_merges"] = false;
  EXPECT_EQ((*LoadJson(json))->Encode(" the").size(), 4);
}

TEST(Tokenizer, GivesEqualIdsOnManyThreads) {
  const auto tokenizer = Golden("digits.json");
  const std::string text = *ReadFile(kGoldens + std::string("make_tokenizer_golden.py"));
  const std::vector<int32_t> expected = Golden("digits.json")->Encode(text);
  std::vector<std::vector<int32_t>> found(4);
  std::vector<std::thread> threads;
  for (auto& ids : found) threads.emplace_back([&] { ids = tokenizer->Encode(text); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(found, testing::Each(expected));
}

TEST(Tokenizer, EncodesAMegabyteWithoutSpacesInTime) {
  const auto tokenizer = Golden("split.json");
  std::string text;
  for (uint64_t i = 0; text.size() < 1'000'000; ++i) text += static_cast<char>('a' + i * i % 26);
  // Quadratic merging would take hours, which the test's time limit ends.
  EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(text)), text);
}

TEST(Tokenizer, SaysWhichFileIsMissing) {
  const auto tokenizer = Tokenizer::Load("/no/such/dir/tokenizer.json");
  EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(tokenizer.status().message(), HasSubstr("/no/such/dir/tokenizer.json"));
}

TEST(Tokenizer, RefusesTextThatIsNoJson) {
  const std::filesystem::path file = TestPath("not.json");
  std::ofstream(file) << "{\"model\": ";
  const auto tokenizer = Tokenizer::Load(file);
  EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(tokenizer.status().message(), AllOf(HasSubstr("not.json"), HasSubstr("column")));
}

TEST(Tokenizer, RefusesSentencePieceByName) {
  nlohmann::json json = ReadJson("split.json");
  json["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "Prepend"}, {"prepend", "▁"}}}}};
  EXPECT_THAT(Refusal(json),
              AllOf(HasSubstr("'normalizer'"), HasSubstr("Prepend"), HasSubstr("supported: null")));
  json["normalizer"] = nullptr;
  json["pre_tokenizer"] = nullptr;
  EXPECT_THAT(Refusal(json), AllOf(HasSubstr("'pre_tokenizer' is null"), HasSubstr("ByteLevel")));
}

TEST(Tokenizer, RefusesAnotherModelByName) {
  nlohmann::json json = ReadJson("split.json");
  json["model"]["type"] = "Unigram";
  EXPECT_THAT(Refusal(json), HasSubstr("'model.type' is \"Unigram\"; supported: \"BPE\""));
}

TEST(Tokenizer, RefusesPreTokenizersWithoutByteLevelAtTheEnd) {
  nlohmann::json json = ReadJson("split.json");
  const nlohmann::json digits = {{"type", "Digits"}, {"individual_digits", true}};
  json["pre_tokenizer"] = digits;
  EXPECT_THAT(Refusal(json), HasSubstr("Digits"));
  json["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {{{"type", "ByteLevel"}}, digits}}};
  EXPECT_THAT(Refusal(json), HasSubstr("after ByteLevel"));
}

TEST(Tokenizer, RefusesRegexesThatMeanSomethingElseHere) {
  nlohmann::json json = ReadJson("split.json");
  for (const char* pattern : {R"(^a)", R"(a$)", R"(\w+)", R"(\p{N}{1,3}+)", R"([a&&b])", R"(\h)", R"((?m).)",
                              R"(a*)", R"(\p{Han}+)", R"([[:alpha:]])", R"(x{,3})"}) {
    json["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {{"Regex", pattern}};
    EXPECT_THAT(Refusal(json), HasSubstr(pattern));
  }
}

TEST(Tokenizer, RefusesAMergeWithoutResult) {
  nlohmann::json json = ReadJson("split.json");
  json["model"]["merges"].push_back({"z", "zzzz"});
  EXPECT_THAT(Refusal(json, absl::StatusCode::kInvalidArgument),
              HasSubstr(R"('model.merges' has ["z","zzzz"])"));
}

TEST(Tokenizer, RefusesATokenWithTwoIds) {
  nlohmann::json json = ReadJson("split.json");
  json["added_tokens"][0]["id"] = 5000;
  EXPECT_THAT(Refusal(json, absl::StatusCode::kInvalidArgument), HasSubstr("'<|endoftext|>' has id 5000"));
}

TEST(Tokenizer, RefusesUnknownTokensWhereBytesAreMissing) {
  nlohmann::json json = ReadJson("digits.json");
  json["model"]["unk_token"] = "<|endoftext|>";
  EXPECT_THAT(Refusal(json), AllOf(HasSubstr("'model.unk_token'"), HasSubstr("lacks byte 0")));
}

}  // namespace
}  // namespace retort
