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
  EXPECT_EQ(config->norm_eps, 1e-5);
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
  EXPECT_EQ(config->norm_eps, 1e-6);
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
  EXPECT_EQ(second->norm_eps, 1.1e-5);
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

json Phi() {
  return {{"model_type", "phi"},       {"vocab_size", 51200},     {"hidden_size", 2048},
          {"intermediate_size", 8192}, {"num_hidden_layers", 24}, {"num_attention_heads", 32}};
}

json Llama3Rope(const char* key, const json& value) {
  return With({{"rope_type", "llama3"},
               {"factor", 32.0},
               {"low_freq_factor", 1.0},
               {"high_freq_factor", 4.0},
               {"original_max_position_embeddings", 8192}},
              key, value);
}

json OfFamily(const char* model_type) { return With(Teacher(), "model_type", model_type); }

TEST(ModelConfig, ReadsPhi) {
  const auto config = Parse(With(Phi(), "layer_norm_eps", 2e-5));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_TRUE(config->block().parallel);
  EXPECT_EQ(config->norm_eps, 2e-5);
  EXPECT_EQ(config->kv_heads, 32);
  EXPECT_EQ(config->head_dim, 64);
  EXPECT_EQ(config->rotary().width, 32);  // transformers' default is half
  EXPECT_EQ(Parse(With(Phi(), "partial_rotary_factor", 0.25))->rotary().width, 16);
  EXPECT_EQ(Parse(With(Phi(), "rope_parameters", {{"partial_rotary_factor", 0.75}}))->rotary().width, 48);
  EXPECT_EQ(config->context, 2048);
}

TEST(ModelConfig, ReadsLlama3sRotaryScalingInBothSpellings) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const auto config = Parse(With(Teacher(), key, Llama3Rope("factor", 8.0)));
    ASSERT_TRUE(config.ok()) << config.status();
    ASSERT_TRUE(config->rope_scaling.has_value()) << key;
    EXPECT_EQ(config->rope_scaling->factor, 8.0);
    EXPECT_EQ(config->rope_scaling->low_frequency, 1.0);
    EXPECT_EQ(config->rope_scaling->high_frequency, 4.0);
    EXPECT_EQ(config->rope_scaling->context, 8192);
  }
}

TEST(ModelConfig, KnowsWhatFamiliesLeaveUnsaid) {
  EXPECT_EQ(Parse(With(OfFamily("qwen3"), "head_dim", kAbsent))->head_dim, 128);
  EXPECT_EQ(Parse(With(OfFamily("qwen2"), "head_dim", kAbsent))->head_dim, 16);
  EXPECT_TRUE(Parse(OfFamily("qwen2"))->block().qkv_bias);
  EXPECT_TRUE(Parse(OfFamily("qwen3"))->block().qk_norm);
}

TEST(ModelConfig, IgnoresAWindowThatNoSequenceExceeds) {
  json qwen = OfFamily("qwen2");
  qwen["sliding_window"] = 128;  // the context is 256
  EXPECT_TRUE(Parse(qwen).ok());
  qwen["use_sliding_window"] = false;
  EXPECT_TRUE(Parse(qwen).ok());
  EXPECT_TRUE(Parse(With(OfFamily("mistral"), "sliding_window", nullptr)).ok());
  EXPECT_TRUE(Parse(With(OfFamily("mistral"), "sliding_window", 256)).ok());
}

TEST(ModelConfig, WritesAStudentOfEachFamilyThatReadsBackTheSame) {
  for (json teacher :
       {Phi(), OfFamily("qwen3"), With(Teacher(), "rope_scaling", Llama3Rope("factor", 8.0))}) {
    ModelConfig student = Parse(With(teacher, "num_hidden_layers", 2)).value();
    student.layers = {MixerType::kMamba2, MixerType::kAttention};
    student.mamba2 = {
        .heads = 4, .head_dim = 16, .state_size = 8, .groups = 4, .form = Mamba2Form::kDiscrete};
    const json written = StudentConfigJson(student);
    EXPECT_EQ(written["layer_types"], json({"discrete_mamba2", "attention"}));
    EXPECT_EQ(written["discrete_mamba2"]["state_size"], 8);
    const auto read = Parse(written);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->family, student.family);
    EXPECT_EQ(read->mamba2.form, Mamba2Form::kDiscrete);
    EXPECT_EQ(read->rotary().width, student.rotary().width);
    EXPECT_EQ(read->rope_scaling.has_value(), student.rope_scaling.has_value());
    EXPECT_EQ(StudentConfigJson(*read), written);
  }
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
      AllOf(StartsWith("config.json: '" + std::string(refusal.key) + "'"), HasSubstr(refusal.message)));
}

TEST(ModelConfig, NamesTheKeyThatItRefuses) {
  const json linear = {{"rope_type", "linear"}, {"factor", 2.0}};
  const Refusal refusals[] = {
      {"model_type", "gemma",
       "is \"gemma\"; supported: \"llama\", \"mistral\", \"qwen2\", \"qwen3\", \"phi\""},
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
      {"num_hidden_layers", 20000, "is 20000; supported: 1 to 10000"},
      {"num_hidden_layers", true, "not an integer"},
      {"num_attention_heads", 0, "is 0, outside 1 to"},
      {"num_key_value_heads", 3, "is 3, which does not divide the 4 query heads"},
      {"num_key_value_heads", 8, "is 8, which does not divide the 4 query heads"},
      {"num_key_value_heads", 0, "is 0, outside 1 to"},
      {"head_dim", 15, "makes 15 of the 15 features of a head turn; rotary positions need an even"},
      {"max_position_embeddings", "long", "not an integer"},
      {"rms_norm_eps", 0, "not a positive number"},
      {"rms_norm_eps", "1e-5", "not a positive number"},
      {"rope_theta", -1, "not a positive number"},
      {"rope_theta", 1e-300, "is 1e-300, outside 1 to 1e+15"},
      {"rope_scaling", linear, "'rope_type' is \"linear\"; supported: \"default\", \"llama3\""},
      {"rope_scaling", {{"type", "dynamic"}}, "'type' is \"dynamic\"; supported"},
      {"rope_scaling", "linear", "is not an object"},
      {"rope_parameters", {{"rope_type", "llama3"}}, "'factor' is missing"},
      {"rope_parameters", Llama3Rope("low_freq_factor", -1), "'low_freq_factor' is -1, not a positive"},
      {"rope_parameters", Llama3Rope("high_freq_factor", 1.0), "'high_freq_factor' is 1, not above low"},
      {"rope_parameters", Llama3Rope("original_max_position_embeddings", kAbsent), "is missing"},
      {"partial_rotary_factor", 0.5, "is 0.5; supported for this model_type: 1"},
      {"rope_parameters", {{"rope_type", "default"}, {"rope_theta", "big"}}, "'rope_theta' is \"big\""},
      {"hidden_act", "gelu", "is \"gelu\"; supported: \"silu\""},
      {"attention_bias", true, "is true; supported: false"},
      {"mlp_bias", true, "is true; supported: false"},
      {"tie_word_embeddings", 1, "not true or false"},
      {"eos_token_id", "</s>", "not a token id"},
      {"eos_token_id", {2, nullptr}, "not a token id"},
      {"eos_token_id", 512, "holds 512, not a token id from 0 to 511"},
      {"eos_token_id", {2, -1}, "holds -1, not a token id from 0 to 511"},
      {"eos_token_id", UINT64_MAX, "not a token id"},
  };
  for (const Refusal& refusal : refusals) ExpectRefused(Teacher(), refusal);
}

TEST(ModelConfig, NamesTheFamilysKeyThatItRefuses) {
  const Refusal of_phi[] = {
      {"hidden_act", "gelu", "is \"gelu\"; supported: \"gelu_new\""},
      {"qk_layernorm", true, "is true; supported: false"},
      {"layer_norm_eps", 0, "not a positive number"},
      {"partial_rotary_factor", 1.5, "makes 96 of the 64 features"},
      {"partial_rotary_factor", 0.4, "makes 25 of the 64 features"},
  };
  for (const Refusal& refusal : of_phi) ExpectRefused(Phi(), refusal);
  const Refusal of_mistral[] = {
      {"sliding_window", 128, "is 128, below the context of 256 tokens; supported: null"},
      {"num_key_value_heads", kAbsent, "is missing"},
      {"layer_types",
       {"full_attention", "sliding_attention", "full_attention"},
       "holds \"sliding_attention\"; supported: \"full_attention\""},
  };
  for (const Refusal& refusal : of_mistral) ExpectRefused(OfFamily("mistral"), refusal);
  json long_mistral = OfFamily("mistral");
  long_mistral["max_position_embeddings"] = 32768;
  ExpectRefused(long_mistral, {"sliding_window", kAbsent, "is missing, which stands for 4096"});
  json qwen = OfFamily("qwen3");
  qwen["use_sliding_window"] = true;
  EXPECT_TRUE(Parse(qwen).ok());  // 4096 tokens
  EXPECT_TRUE(Parse(With(With(qwen, "max_position_embeddings", 8192), "sliding_window", nullptr)).ok());
  for (const char* family : {"qwen2", "qwen3"}) {
    json longer = OfFamily(family);
    longer["use_sliding_window"] = true;
    longer["max_position_embeddings"] = 8192;
    ExpectRefused(longer, {"sliding_window", kAbsent, "is missing, which stands for 4096"});
  }
  ExpectRefused(qwen, {"sliding_window", 128, "To use the first 128 positions alone"});
  ExpectRefused(qwen, {"attention_bias", true, "is true; supported: false"});
}

TEST(ModelConfig, NamesTheStudentsKeyThatItRefuses) {
  const auto mamba2 = [](const char* key, const json& value) {
    return With(Student()["mamba2"], key, value);
  };
  const Refusal refusals[] = {
      {"layer_types", kAbsent, "must list 3 layers"},
      {"layer_types", "mamba2", "must list 3 layers"},
      {"layer_types", {"mamba2", "attention"}, "must list 3 layers"},
      {"layer_types",
       {"mamba2", "rwkv", "mamba2"},
       "holds \"rwkv\"; supported: attention, mamba2, discrete_mamba2"},
      {"layer_types", {"mamba2", "discrete_mamba2", "mamba2"}, "holds both mamba2 and discrete_mamba2"},
      {"base_model_type", "gemma", "is \"gemma\"; supported: \"llama\""},
      {"layer_types", {"mamba2", 1, "mamba2"}, "holds 1"},
      {"mamba2", kAbsent, "must be an object"},
      {"mamba2", 4, "must be an object"},
      {"mamba2", mamba2("state_size", kAbsent), "'state_size' is missing"},
      {"mamba2", mamba2("heads", "4"), "'heads' is \"4\", not an integer"},
      {"mamba2", mamba2("groups", 0), "'groups' is 0, outside 1 to"},
      {"mamba2", mamba2("groups", 3), "has 4 heads, which 3 groups do not divide"},
  };
  for (const Refusal& refusal : refusals) ExpectRefused(Student(), refusal);
}

TEST(ModelConfig, RefusesSizesWhoseProductsOverflow) {
  constexpr int64_t kLarge = int64_t{1} << 31;
  const json wide = With(Teacher(), "hidden_size", kLarge);
  EXPECT_TRUE(Parse(wide).ok());
  ExpectRefused(wide,
                {"vocab_size", 1024, "makes a tensor of 1024 x 2147483648 numbers; supported: at most 2^40"});
  ExpectRefused(wide, {"intermediate_size", 1024, "makes a tensor of 1024 x 2147483648 numbers"});
  ExpectRefused(wide, {"num_attention_heads", 64, "makes a tensor of 64 x 16 x 2147483648 numbers"});
  const json sizes = With(Student()["mamba2"], "heads", 1024);
  for (const char* key : {"state_size", "conv_kernel"}) {
    ExpectRefused(Student(),
                  {"mamba2", With(sizes, key, kLarge), "makes a tensor of 1024 x 16 x 2147483648"});
  }
  ExpectRefused(Student(), {"mamba2", With(sizes, "head_dim", kLarge), "'heads' makes a tensor of 1024 x"});
}

TEST(ModelConfig, RefusesTwoDifferentRotaryEncodings) {
  json config = With(Teacher(), "rope_parameters", Llama3Rope("factor", 8.0));
  EXPECT_TRUE(Parse(With(config, "rope_scaling", Llama3Rope("factor", 8.0))).ok());
  ExpectRefused(config, {"rope_scaling", Llama3Rope("factor", 32.0),
                         "and 'rope_parameters' are both given and differ"});
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
