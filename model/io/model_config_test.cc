#include "model/io/model_config.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace retort {
namespace {

using ::nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

json Teacher() {
  return {{"model_type", "llama"},       {"vocab_size", 512},
          {"hidden_size", 64},           {"intermediate_size", 160},
          {"num_hidden_layers", 3},      {"num_attention_heads", 4},
          {"num_key_value_heads", 2},    {"head_dim", 16},
          {"rms_norm_eps", 1e-5},        {"rope_theta", 50000.0},
          {"tie_word_embeddings", true}, {"max_position_embeddings", 256}};
}

json Student() {
  json config = Teacher();
  config["model_type"] = "retort_hybrid";
  config["layer_types"] = {"mamba2", "attention", "mamba2"};
  config["mamba2"] = {{"heads", 4}, {"head_dim", 16}, {"state_size", 8}, {"groups", 2}, {"conv_kernel", 4}};
  return config;
}

absl::StatusOr<ModelConfig> Parse(const json& config) {
  return ParseModelConfig(config.dump(), "config.json");
}

// `config` with one key changed; a discarded value removes the key.
json With(json config, const char* key, const json& value) {
  if (value.is_discarded()) {
    config.erase(key);
  } else {
    config[key] = value;
  }
  return config;
}

const json kAbsent = json(json::value_t::discarded);

TEST(ModelConfig, ReadsATeacher) {
  const auto config = Parse(Teacher());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->vocab_size, 512);
  EXPECT_EQ(config->hidden_size, 64);
  EXPECT_EQ(config->intermediate_size, 160);
  EXPECT_EQ(config->heads, 4);
  EXPECT_EQ(config->kv_heads, 2);
  EXPECT_EQ(config->head_dim, 16);
  EXPECT_EQ(config->context, 256);
  EXPECT_EQ(config->rms_eps, 1e-5);
  EXPECT_EQ(config->rope_theta, 50000.0);
  EXPECT_TRUE(config->tied_head);
  EXPECT_THAT(config->eos_tokens, IsEmpty());
  EXPECT_THAT(config->layers,
              ElementsAre(MixerType::kAttention, MixerType::kAttention, MixerType::kAttention));
  EXPECT_FALSE(config->is_student());
}

TEST(ModelConfig, FillsInWhatTransformersLeavesOut) {
  const auto config = Parse({{"model_type", "llama"},
                             {"vocab_size", 512},
                             {"hidden_size", 64},
                             {"intermediate_size", 160},
                             {"num_hidden_layers", 1},
                             {"num_attention_heads", 8}});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->kv_heads, 8);
  EXPECT_EQ(config->head_dim, 8);
  EXPECT_EQ(config->context, 2048);
  EXPECT_EQ(config->rms_eps, 1e-6);
  EXPECT_EQ(config->rope_theta, 10000.0);
  EXPECT_FALSE(config->tied_head);
}

TEST(ModelConfig, TakesANullForAnAbsentKey) {
  json config = Teacher();
  for (const char* key : {"num_key_value_heads", "head_dim", "rope_scaling", "eos_token_id", "hidden_act"}) {
    config[key] = nullptr;
  }
  const auto read = Parse(config);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->kv_heads, 4);
  EXPECT_EQ(read->head_dim, 16);
}

TEST(ModelConfig, ReadsThetaInBothSpellings) {
  EXPECT_EQ(Parse(With(Teacher(), "rope_theta", 1234.0))->rope_theta, 1234.0);
  json nested = With(Teacher(), "rope_theta", kAbsent);
  nested["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 100000.0}};
  const auto config = Parse(nested);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->rope_theta, 100000.0);
}

TEST(ModelConfig, ReadsEndTokensAsOneOrAList) {
  EXPECT_THAT(Parse(With(Teacher(), "eos_token_id", 2))->eos_tokens, ElementsAre(2));
  EXPECT_THAT(Parse(With(Teacher(), "eos_token_id", {2, 7}))->eos_tokens, ElementsAre(2, 7));
}

TEST(ModelConfig, ReadsAStudent) {
  const auto config = Parse(Student());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_TRUE(config->is_student());
  EXPECT_THAT(config->layers, ElementsAre(MixerType::kMamba2, MixerType::kAttention, MixerType::kMamba2));
  EXPECT_EQ(config->mamba2.heads, 4);
  EXPECT_EQ(config->mamba2.head_dim, 16);
  EXPECT_EQ(config->mamba2.state_size, 8);
  EXPECT_EQ(config->mamba2.groups, 2);
  EXPECT_EQ(config->mamba2.conv_kernel, 4);
}

TEST(ModelConfig, WritesAStudentThatReadsBackTheSame) {
  json text = Student();
  // Values that a decimal writer easily rounds, and that are no defaults.
  text["rms_norm_eps"] = 1.1e-5;
  text["rope_theta"] = 130000.1;
  text["eos_token_id"] = {2, 7};
  text["mamba2"]["conv_kernel"] = 3;
  const auto first = Parse(text);
  ASSERT_TRUE(first.ok()) << first.status();
  const json written = StudentConfigJson(*first);
  const auto second = Parse(written);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(StudentConfigJson(*second), written);
  EXPECT_EQ(second->rms_eps, 1.1e-5);
  EXPECT_EQ(second->rope_theta, 130000.1);
  EXPECT_THAT(second->eos_tokens, ElementsAre(2, 7));
  EXPECT_EQ(second->layers, first->layers);
  EXPECT_EQ(second->mamba2.conv_kernel, 3);
  EXPECT_EQ(second->mamba2.groups, 2);
  EXPECT_EQ(second->context, 256);
  EXPECT_EQ(second->kv_heads, 2);
  EXPECT_TRUE(second->tied_head);
  for (const auto& [key, value] : text.items()) EXPECT_EQ(written.value(key, json()), value) << key;
}

struct Refusal {
  const char* key;
  json value;
  const char* message;
};

void ExpectRefused(const json& config, const Refusal& refusal) {
  const absl::Status status = Parse(With(config, refusal.key, refusal.value)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument)
      << refusal.key << " " << refusal.value << status;
  EXPECT_THAT(
      std::string(status.message()),
      AllOf(StartsWith("config.json: \"" + std::string(refusal.key) + "\""), HasSubstr(refusal.message)));
}

TEST(ModelConfig, NamesTheKeyThatItRefuses) {
  const json linear = {{"rope_type", "linear"}, {"factor", 2.0}};
  const Refusal refusals[] = {
      {"model_type", "qwen2", "is \"qwen2\"; supported: \"llama\""},
      {"model_type", kAbsent, "is missing"},
      {"model_type", 3, "is 3; supported"},
      {"vocab_size", kAbsent, "is missing"},
      {"vocab_size", "512", "is \"512\", not an integer"},
      {"vocab_size", json::array({512}), "not an integer"},
      {"hidden_size", 64.5, "is 64.5, not an integer"},
      {"hidden_size", int64_t{1} << 40, "is 1099511627776, outside 1 to"},
      {"hidden_size", UINT64_MAX, "is 18446744073709551615, outside 1 to"},
      {"hidden_size", 1e30, "not an integer"},
      {"intermediate_size", 0, "is 0, outside 1 to"},
      {"num_hidden_layers", -1, "is -1, outside 1 to"},
      {"num_hidden_layers", 20000, "is 20000"},
      {"num_hidden_layers", true, "not an integer"},
      {"num_attention_heads", 0, "is 0, outside 1 to"},
      {"num_key_value_heads", 3, "is 3, which does not divide the 4 query heads"},
      {"num_key_value_heads", 8, "is 8, which does not divide the 4 query heads"},
      {"num_key_value_heads", 0, "is 0, outside 1 to"},
      {"head_dim", 15, "is 15; rotary positions need an even one"},
      {"max_position_embeddings", "long", "not an integer"},
      {"rms_norm_eps", 0, "not a positive number"},
      {"rms_norm_eps", "1e-5", "not a positive number"},
      {"rope_theta", -1, "not a positive number"},
      {"rope_scaling", linear, "asks for rotary scaling \"linear\""},
      {"rope_scaling", {{"type", "dynamic"}}, "asks for rotary scaling \"dynamic\""},
      {"rope_scaling", "linear", "is not an object"},
      {"rope_parameters", {{"rope_type", "llama3"}}, "asks for rotary scaling \"llama3\""},
      {"rope_parameters", {{"rope_type", "default"}, {"rope_theta", "big"}}, "\"rope_theta\" is \"big\""},
      {"hidden_act", "gelu", "is \"gelu\"; supported: \"silu\""},
      {"attention_bias", true, "is true; supported: false"},
      {"mlp_bias", true, "is true; supported: false"},
      {"tie_word_embeddings", 1, "neither true nor false"},
      {"eos_token_id", "</s>", "not a token id"},
      {"eos_token_id", {2, nullptr}, "not a token id"},
  };
  for (const Refusal& refusal : refusals) ExpectRefused(Teacher(), refusal);
}

TEST(ModelConfig, NamesTheStudentsKeyThatItRefuses) {
  const auto mamba2 = [](const char* key, const json& value) {
    return With(Student()["mamba2"], key, value);
  };
  const Refusal refusals[] = {
      {"layer_types", kAbsent, "must list 3 layers"},
      {"layer_types", "mamba2", "must list 3 layers"},
      {"layer_types", {"mamba2", "attention"}, "must list 3 layers"},
      {"layer_types", {"mamba2", "rwkv", "mamba2"}, "holds \"rwkv\"; supported: attention, mamba2"},
      {"layer_types", {"mamba2", 1, "mamba2"}, "holds 1"},
      {"mamba2", kAbsent, "must be an object"},
      {"mamba2", 4, "must be an object"},
      {"mamba2", mamba2("state_size", kAbsent), "\"state_size\" is missing"},
      {"mamba2", mamba2("heads", "4"), "\"heads\" is \"4\", not an integer"},
      {"mamba2", mamba2("groups", 0), "\"groups\" is 0, outside 1 to"},
      {"mamba2", mamba2("groups", 3), "has 4 heads, which 3 groups do not divide"},
  };
  for (const Refusal& refusal : refusals) ExpectRefused(Student(), refusal);
}

TEST(ModelConfig, RefusesWhatIsNoJsonObject) {
  for (const char* text : {"", "{", "[]", "null", "{\"rms_norm_eps\": 1e999}"}) {
    const absl::Status status = ParseModelConfig(text, "config.json").status();
    EXPECT_THAT(std::string(status.message()), StartsWith("config.json: not ")) << text;
  }
}

TEST(ModelConfig, SaysThatADirectoryIsNoModel) {
  for (const std::string& directory :
       {testing::TempDir() + "/no-such-model", testing::TempDir() + "/" + std::string(300, 'x')}) {
    const absl::Status status = ReadModelConfig(directory).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("it has no config.json"));
  }
}

}  // namespace
}  // namespace retort
