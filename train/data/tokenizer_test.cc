#include "train/data/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/files.h"
#include "nlohmann/json.hpp"
#include "train/data/testing_dataset.h"
#include "train/data/utf8.h"

namespace retort {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

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

// What the goldens' script calls a checksum.
std::string Checksum(const std::vector<int32_t>& ids, const std::string& decoded) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  const auto add = [&hash](uint8_t byte) { hash = (hash ^ byte) * 0x100000001b3; };
  for (const int32_t id : ids) {
    for (int shift = 0; shift < 32; shift += 8) add(static_cast<uint8_t>(id >> shift));
  }
  std::string repaired;  // as the library does
  for (const char byte : ToValidUtf8(decoded, &repaired)) add(static_cast<uint8_t>(byte));
  return absl::StrFormat("%06x", hash % (1 << 24));
}

// A tokenizer with the pipeline of `family`, as its tokenizer.json.
nlohmann::json FamilyJson(const nlohmann::json& family) {
  nlohmann::json json = ReadJson(family["base"]);
  for (const auto& [key, value] : family["set"].items()) {
    if (key == "model") {
      json["model"].update(value);
    } else {
      json[key] = value;
    }
  }
  return json;
}

class Family : public testing::TestWithParam<const char*> {
 protected:
  Family() : cases_(ReadJson("cases.json")), family_(cases_["families"][GetParam()]) {
    auto tokenizer = LoadJson(FamilyJson(family_));
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
  }

  nlohmann::json cases_;
  nlohmann::json family_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_P(Family, GivesTheLibrarysIdsAndTextForNastyStrings) {
  const nlohmann::json& texts = cases_["texts"];
  const std::string sums = family_["sums"];
  ASSERT_GT(texts.size(), 500);
  ASSERT_EQ(sums.size(), 6 * texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::vector<int32_t> ids = tokenizer_->Encode(CaseText(texts[i])).value();
    const std::string decoded = tokenizer_->Decode(ids, SpecialTokens::kKeep);
    EXPECT_EQ(Checksum(ids, decoded), sums.substr(6 * i, 6))
        << texts[i].dump().substr(0, 200) << "\nbecomes " << nlohmann::json(ids).dump().substr(0, 400)
        << "\nand then '" << decoded.substr(0, 200) << "'";
  }
}

TEST_P(Family, PutsTheTemplatesTokensAroundWholeTexts) {
  std::vector<int32_t> expected = family_["around"][0];
  const std::vector<int32_t> ids = tokenizer_->Encode("a b").value();
  expected.insert(expected.end(), ids.begin(), ids.end());
  for (const int32_t id : family_["around"][1]) expected.push_back(id);
  EXPECT_EQ(tokenizer_->EncodeWhole("a b").value(), expected);
  EXPECT_THAT(tokenizer_->EncodeWhole("").value(), IsEmpty());
}

// Texts are shown as they grow.
TEST_P(Family, DecodesTheFirstIdsToTheBeginningOfTheText) {
  const std::vector<int32_t> ids =
      tokenizer_->Encode("  The license, \u00e9\u4e09\U0001f642 <mask>  of 1234  works.\n ").value();
  const std::string whole = tokenizer_->Decode(ids);
  for (size_t count = 0; count <= ids.size(); ++count) {
    EXPECT_THAT(whole, StartsWith(tokenizer_->Decode(absl::MakeSpan(ids.data(), count)))) << count << " ids";
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizer, Family,
                         testing::Values("gpt2", "llama3", "qwen", "smollm2", "llama2", "llama2_normalized",
                                         "mistral", "metaspace", "gemma"),
                         [](const auto& info) { return std::string(info.param); });

TEST(Tokenizer, GivesTheLibrarysIdsForEveryPreTokenizer) {
  const nlohmann::json cases = ReadJson("cases.json");
  nlohmann::json json = ReadJson("split.json");
  for (const nlohmann::json& variant : cases["pre_tokenizers"]) {
    json["pre_tokenizer"] = variant["pre_tokenizer"];
    const auto tokenizer = LoadJson(json);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    for (size_t i = 0; i < cases["pre_texts"].size(); ++i) {
      EXPECT_EQ((*tokenizer)->Encode(cases["pre_texts"][i].get<std::string>()).value(),
                variant["ids"][i].get<std::vector<int32_t>>())
          << variant["pre_tokenizer"] << " on " << cases["pre_texts"][i];
    }
  }
}

TEST(Tokenizer, LeavesSpecialTokensOutOfDecodedText) {
  const auto tokenizer = Golden("split.json");
  const std::vector<int32_t> ids = tokenizer->Encode("a<|endoftext|>b<repo>").value();
  EXPECT_EQ(tokenizer->Decode(ids), "ab<repo>");
  EXPECT_EQ(tokenizer->Decode(ids, SpecialTokens::kKeep), "a<|endoftext|>b<repo>");
}

TEST(Tokenizer, DecodesIdsOutsideTheVocabularyToNothing) {
  EXPECT_EQ(Golden("split.json")->Decode({-1, 1 << 30}), "");
}

TEST(Tokenizer, DecodesHalfACharacterToItsBytes) {
  const auto tokenizer = Golden("split.json");
  std::vector<int32_t> ids = tokenizer->Encode("\U0010ffff").value();
  ids.pop_back();
  EXPECT_EQ(tokenizer->Decode(ids), "\xf4\x8f\xbf");
}

TEST(Tokenizer, TurnsIllFormedBytesIntoReplacementCharacters) {
  const auto tokenizer = Golden("split.json");
  EXPECT_EQ(tokenizer->Decode(tokenizer->Encode("a\xff\xe2\x82z").value()), "a\ufffd\ufffdz");
}

TEST(Tokenizer, FindsTokensByTheirSpelling) {
  const auto tokenizer = Golden("split.json");
  EXPECT_EQ(tokenizer->TokenId("<|endoftext|>"), 0);
  EXPECT_THAT(tokenizer->Encode(" the").value(), ElementsAre(tokenizer->TokenId("Ġthe").value()));
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
  EXPECT_EQ((*LoadJson(json))->Encode(" the").value().size(), 1);
  json["model"]["ignore_merges"] = false;
  EXPECT_EQ((*LoadJson(json))->Encode(" the").value().size(), 4);
}

TEST(Tokenizer, GivesEqualIdsOnManyThreads) {
  const auto tokenizer = Golden("digits.json");
  const std::string text = *ReadFile(kGoldens + std::string("make_tokenizer_golden.py"));
  const std::vector<int32_t> expected = Golden("digits.json")->Encode(text).value();
  std::vector<std::vector<int32_t>> found(4);
  std::vector<std::thread> threads;
  for (auto& ids : found) threads.emplace_back([&] { ids = tokenizer->Encode(text).value(); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(found, testing::Each(expected));
}

TEST(Tokenizer, EncodesAMegabyteWithoutSpacesInTime) {
  const auto tokenizer = Golden("split.json");
  std::string text;
  for (uint64_t i = 0; text.size() < 1'000'000; ++i) text += static_cast<char>('a' + i * i % 26);
  // Quadratic merging would take hours, which the test's time limit ends.
  EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(text).value()), text);
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

TEST(Tokenizer, EncodesManyMarksOnOneLetterInTime) {
  nlohmann::json json = FamilyJson(ReadJson("cases.json")["families"]["qwen"]);
  const auto tokenizer = LoadJson(json);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  std::string text = "a", expected;
  for (int i = 0; i < 200'000; ++i) text += "\u0301\u0323";  // exchanging neighbours would take hours
  for (int i = 1; i < 200'000; ++i) expected += "\u0323";
  for (int i = 0; i < 200'000; ++i) expected += "\u0301";
  EXPECT_EQ((*tokenizer)->Decode((*tokenizer)->Encode(text).value()), "\u1ea1" + expected);
}

TEST(Tokenizer, RefusesOtherNormalizersByName) {
  nlohmann::json json = ReadJson("split.json");
  json["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}, {{"type", "Lowercase"}}}}};
  EXPECT_THAT(Refusal(json),
              AllOf(HasSubstr(R"('normalizer' is {"type":"Lowercase"})"), HasSubstr("Prepend")));
  json["normalizer"] = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", ""}};
  EXPECT_THAT(Refusal(json), HasSubstr("'normalizer Replace content' is \"\""));
}

TEST(Tokenizer, RefusesStepsThatMakeATextMuchLonger) {
  const nlohmann::json doubles = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aa"}};
  for (const char* key : {"normalizer", "decoder"}) {
    nlohmann::json json = ReadJson("pieces.json");
    nlohmann::json& steps = json[key][key == std::string("decoder") ? "decoders" : "normalizers"];
    steps = nlohmann::json::array();
    for (int i = 0; i < 6; ++i) steps.push_back(doubles);
    EXPECT_TRUE(LoadJson(json).ok()) << key;
    steps.push_back(doubles);
    EXPECT_THAT(Refusal(json),
                HasSubstr(absl::StrCat("'", key,
                                       " Replace content' puts 2 bytes for 1: with the"
                                       " steps before it a text may become more than 64 times")));
  }
}

TEST(Tokenizer, FindsManyTokensThatStripSpaceInTime) {
  for (const char* side : {"lstrip", "rstrip"}) {
    nlohmann::json json = ReadJson("split.json");
    json["added_tokens"] = {{{"id", 2000}, {"content", " "}, {side, true}}};
    const auto tokenizer = LoadJson(json);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    // A walk along all space before, or behind, each of them would take minutes.
    EXPECT_EQ((*tokenizer)->Encode(std::string(300'000, ' '))->size(), 300'000) << side;
  }
}

TEST(Tokenizer, FindsTheLongestOfManyTokensThatBeginAlike) {
  nlohmann::json json = ReadJson("split.json");
  json["added_tokens"] = nlohmann::json::array();
  for (int i = 0; i < 30'000; ++i) {
    json["added_tokens"].push_back({{"id", 2000 + i}, {"content", absl::StrCat("<extra_id_", i)}});
  }
  const auto tokenizer = LoadJson(json);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  std::string text;
  std::vector<int32_t> expected;
  for (int i = 0; i < 30'000; ++i) {
    absl::StrAppend(&text, "<extra_id_", i);
    expected.push_back(2000 + i);
  }
  EXPECT_EQ((*tokenizer)->Encode(text).value(), expected);
}

TEST(Tokenizer, RefusesADecoderThatIsNotTheVocabularys) {
  nlohmann::json json = ReadJson("split.json");
  json["decoder"] = nullptr;
  EXPECT_THAT(Refusal(json), HasSubstr("'decoder' is null; supported: ByteLevel"));
  json = ReadJson("pieces.json");
  json["decoder"] = {{"type", "ByteLevel"}};
  EXPECT_THAT(Refusal(json),
              AllOf(HasSubstr("'decoder' is {\"type\":\"ByteLevel\"}"), HasSubstr("Metaspace")));
  for (const nlohmann::json& wrong :
       {nlohmann::json{{"stop", 1}}, nlohmann::json{{"start", -1}}, nlohmann::json{{"content", "ab"}}}) {
    json["decoder"] = {{"type", "Strip"}, {"content", " "}, {"start", 0}, {"stop", 0}};
    json["decoder"].update(wrong);
    EXPECT_THAT(Refusal(json), AllOf(HasSubstr("'decoder Strip'"), HasSubstr("stop 0"))) << wrong;
  }
}

TEST(Tokenizer, RefusesPostProcessorsThatItDoesNotApply) {
  nlohmann::json json = ReadJson("split.json");
  json["post_processor"] = {{"type", "BertProcessing"}, {"sep", {"x", 1}}, {"cls", {"y", 2}}};
  EXPECT_THAT(Refusal(json), AllOf(HasSubstr("'post_processor' is {"), HasSubstr("BertProcessing")));
  const nlohmann::json bos = {{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}};
  const nlohmann::json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  json["post_processor"] = {
      {"type", "TemplateProcessing"}, {"single", {bos, text, text}}, {"special_tokens", {}}};
  json["post_processor"]["special_tokens"]["<s>"] = {{"id", "<s>"}, {"ids", {1}}};
  EXPECT_THAT(Refusal(json), HasSubstr("around one Sequence A"));
  json["post_processor"]["single"] = {bos, text};
  json["post_processor"]["special_tokens"]["<s>"]["ids"] = {1005};
  EXPECT_THAT(Refusal(json, absl::StatusCode::kInvalidArgument),
              HasSubstr("'post_processor' puts token 1005 around texts, but the vocabulary ends at 1004"));
  json["post_processor"]["special_tokens"] = nullptr;
  EXPECT_THAT(Refusal(json, absl::StatusCode::kInvalidArgument), HasSubstr("'<s>' whose ids"));
}

TEST(Tokenizer, RefusesMembersThatItDoesNotKnow) {
  for (const char* pointer :
       {"/dictionary", "/model/vocab_size", "/pre_tokenizer/behavior",
        "/pre_tokenizer/pretokenizers/0/anchored", "/pre_tokenizer/pretokenizers/1/prefix", "/decoder/spaces",
        "/added_tokens/0/priority"}) {
    nlohmann::json json = ReadJson("split.json");
    const nlohmann::json::json_pointer at(pointer);
    json[at] = "new";
    EXPECT_THAT(Refusal(json), HasSubstr("has a member '" + at.back() + "' of value \"new\"")) << pointer;
  }
}

TEST(Tokenizer, RefusesATokenGivenTwice) {
  const std::filesystem::path file = TestPath("twice.json");
  std::ofstream(file) << R"({"model": {"vocab": {"a": 0, "a": 1}}})";
  const auto tokenizer = Tokenizer::Load(file);
  EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(tokenizer.status().message(),
              AllOf(HasSubstr("twice.json"), HasSubstr("member 'a' stands twice")));
}

TEST(Tokenizer, RefusesAnAddedTokenWhoseIdOrContentAnotherHas) {
  for (const nlohmann::json& second :
       {nlohmann::json{{"id", 2000}, {"content", "<b>"}}, nlohmann::json{{"id", 2001}, {"content", "<a>"}}}) {
    nlohmann::json json = ReadJson("split.json");
    json["added_tokens"] = {{{"id", 2000}, {"content", "<a>"}}, second};
    EXPECT_THAT(Refusal(json, absl::StatusCode::kInvalidArgument),
                HasSubstr("whose id or content another one has too"));
  }
}

TEST(Tokenizer, RefusesAnotherModelByName) {
  nlohmann::json json = ReadJson("split.json");
  json["model"]["type"] = "Unigram";
  EXPECT_THAT(Refusal(json), HasSubstr("'model.type' is \"Unigram\"; supported: \"BPE\""));
}

TEST(Tokenizer, RefusesPreTokenizersAfterTheLast) {
  nlohmann::json json = ReadJson("split.json");
  const nlohmann::json digits = {{"type", "Digits"}, {"individual_digits", true}};
  json["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {{{"type", "ByteLevel"}}, digits}}};
  EXPECT_THAT(Refusal(json), AllOf(HasSubstr("after ByteLevel"), HasSubstr("Digits")));
  json["pre_tokenizer"] = {{"type", "BertPreTokenizer"}};
  EXPECT_THAT(Refusal(json), HasSubstr("'pre_tokenizer' is {\"type\":\"BertPreTokenizer\"}"));
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

TEST(Tokenizer, RefusesAnUnknownTokenThatTheVocabularyLacks) {
  nlohmann::json json = ReadJson("pieces.json");
  json["model"]["unk_token"] = "<none>";
  EXPECT_THAT(Refusal(json, absl::StatusCode::kInvalidArgument),
              HasSubstr("'model.unk_token' is '<none>', which 'model.vocab' lacks"));
}

TEST(Tokenizer, RefusesByteFallbackWhereBytesAreMissing) {
  nlohmann::json json = ReadJson("digits.json");
  json["model"]["byte_fallback"] = true;
  EXPECT_THAT(Refusal(json), AllOf(HasSubstr("'model.byte_fallback'"), HasSubstr("lacks byte 0")));
}

TEST(Tokenizer, SpellsAnUnknownByteByTheUnknownToken) {
  nlohmann::json json = ReadJson("digits.json");
  json["model"]["unk_token"] = "<|endoftext|>";
  EXPECT_THAT((*LoadJson(json))->Encode(std::string("\0\0", 2)).value(), ElementsAre(0, 0));
  json["model"]["fuse_unk"] = true;
  EXPECT_THAT((*LoadJson(json))->Encode(std::string("\0\0", 2)).value(), ElementsAre(0));
}

}  // namespace
}  // namespace retort
