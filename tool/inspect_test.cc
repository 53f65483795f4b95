#include "tool/inspect.h"

#include <filesystem>
#include <fstream>

#include "core/config/job_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/io/model_config.h"

namespace retort {
namespace {

using nlohmann::json;

const json kPhi15 = {{"model_type", "phi"},         {"vocab_size", 51200},     {"hidden_size", 2048},
                     {"intermediate_size", 8192},   {"num_hidden_layers", 24}, {"num_attention_heads", 32},
                     {"partial_rotary_factor", 0.5}};
const json kSmolLm2 = {{"model_type", "llama"},     {"vocab_size", 49152},     {"hidden_size", 576},
                       {"intermediate_size", 1536}, {"num_hidden_layers", 30}, {"num_attention_heads", 9},
                       {"num_key_value_heads", 3},  {"head_dim", 64},          {"tie_word_embeddings", true}};
const json kLlama1B = {{"model_type", "llama"},     {"vocab_size", 128256},    {"hidden_size", 2048},
                       {"intermediate_size", 8192}, {"num_hidden_layers", 16}, {"num_attention_heads", 32},
                       {"num_key_value_heads", 8},  {"head_dim", 64},          {"tie_word_embeddings", true}};

std::filesystem::path Preset(const std::string& name) {
  return std::filesystem::path(RETORT_SOURCE_DIR) / "configs" / (name + ".yaml");
}

// Of the student that a preset makes of a teacher with this config.json.
json InspectPreset(const std::string& name, const json& teacher, const std::string& teacher_directory,
                   uint64_t memory_bytes = 0, int sharing = 1) {
  const std::filesystem::path root = testing::TempDir() + "/inspect_test_" + name;
  std::filesystem::create_directories(root / teacher_directory);
  std::ofstream(root / teacher_directory / "config.json") << teacher.dump();
  const auto result = RunInspect({Preset(name), {root}, memory_bytes, sharing});
  EXPECT_TRUE(result.ok()) << result.status();
  std::filesystem::remove_all(root);
  return result.value_or(json());
}

TEST(DescribeModel, CountsThePaperTeachersParameters) {
  const auto phi = ParseModelConfig(kPhi15.dump(), "config.json");
  EXPECT_EQ(DescribeModel(*phi)["parameters"]["total"], 1'418'270'720);
}

TEST(Presets, HaveTheirModelsNumbersOfParameters) {
  const json phi = InspectPreset("phi-mamba-1.5b", kPhi15, "models/phi-1_5");
  EXPECT_EQ(phi["parameters"]["total"], 1'521'097'472);
  EXPECT_EQ(phi["parameters"]["discrete_mamba2"], 505'676'544);
  const json hybrid = InspectPreset("hybrid-phi-mamba-1.5b", kPhi15, "models/phi-1_5");
  EXPECT_EQ(hybrid["parameters"]["total"], 1'503'959'680);
  EXPECT_EQ(hybrid["layers"][4]["mixer"], "attention");
  const json llamba = InspectPreset("llamba-1b", kLlama1B, "models/Llama-3.2-1B-Instruct");
  EXPECT_EQ(llamba["parameters"]["total"], 1'405'159'936);
  const json smollm2 = InspectPreset("smollm2-135m-all-layers", kSmolLm2, "models/SmolLM2-135M");
  EXPECT_EQ(smollm2["parameters"]["total"], 158'171'598);
}

// Llama-3.1-8B has a head of its own, 128,256 x 4,096 numbers; the published student shares the embedding's.
TEST(Presets, CountTheHeadOfLlamba8B) {
  json llama = {{"model_type", "llama"},      {"vocab_size", 128256},    {"hidden_size", 4096},
                {"intermediate_size", 14336}, {"num_hidden_layers", 32}, {"num_attention_heads", 32},
                {"num_key_value_heads", 8},   {"head_dim", 128},         {"tie_word_embeddings", false}};
  const std::string directory = "models/Llama-3.1-8B-Instruct";
  EXPECT_EQ(InspectPreset("llamba-8b", llama, directory)["parameters"]["total"], 8'841'204'736);
  llama["tie_word_embeddings"] = true;
  EXPECT_EQ(InspectPreset("llamba-8b", llama, directory)["parameters"]["total"], 8'315'868'160);
}

TEST(Presets, SayHowLongTheyTrain) {
  const json stages = InspectPreset("phi-mamba-1.5b", kPhi15, "models/phi-1_5")["stages"];
  EXPECT_EQ(stages[0], json({{"name", "matrix_orientation"},
                             {"steps", 2442},
                             {"tokens", 80'019'456},
                             {"tokens_per_step", 32768},
                             {"accumulation", 4},
                             {"lr", 1e-4}}));
  EXPECT_EQ(stages[2]["steps"], 5265);
}

TEST(Presets, SayHowMuchMemoryTheyNeed) {
  constexpr uint64_t kMemoryBytes = 24'000'000'000;
  const json phi = InspectPreset("phi-mamba-1.5b", kPhi15, "models/phi-1_5", kMemoryBytes);
  EXPECT_EQ(phi["teacher_parameters"], 1'418'270'720);
  ASSERT_EQ(phi["memory"].size(), 3u);
  EXPECT_EQ(phi["memory"][1]["stage"], "hidden_state_alignment");
  // All matrices of the teacher but for its head; of the whole student, twice over in float32, its moments.
  EXPECT_NEAR(phi["memory"][1]["teacher"].get<double>(), 4 * (1.418e9 - 51200 * 2048), 4e7);
  EXPECT_NEAR(phi["memory"][2]["optimizer"].get<double>(), 4 * 3 * 1.521e9, 1e8);
  EXPECT_GT(phi["memory"][2]["peak"], phi["memory"][1]["peak"]);
  EXPECT_EQ(phi["worker_memory"], kMemoryBytes);
  EXPECT_EQ(phi["memory"][1]["fits"], true);
  EXPECT_EQ(phi["memory"][2]["fits"], false);
  const json shared = InspectPreset("phi-mamba-1.5b", kPhi15, "models/phi-1_5", kMemoryBytes, /*sharing=*/4);
  EXPECT_EQ(shared["memory"][1]["peak"].get<uint64_t>(),
            phi["memory"][1]["peak"].get<uint64_t>() - phi["memory"][1]["teacher"].get<uint64_t>() / 4 * 3);
}

TEST(Presets, AreJobFiles) {
  size_t presets = 0;
  for (const auto& entry : std::filesystem::directory_iterator(Preset("x").parent_path())) {
    if (entry.path().extension() != ".yaml") continue;
    ++presets;
    const auto job = LoadJobAlone(entry.path());
    EXPECT_TRUE(job.ok()) << job.status();
  }
  EXPECT_EQ(presets, 7u);
}

TEST(RunInspect, LooksAtTheWeightsOfAJobsTeacher) {
  const std::filesystem::path root = testing::TempDir() + "/inspect_test_weights";
  const std::filesystem::path teacher = root / "models/phi-1_5";
  std::filesystem::create_directories(teacher);
  std::ofstream(teacher / "config.json") << kPhi15.dump();
  const InspectOptions options = {Preset("phi-mamba-1.5b"), {root}};
  EXPECT_EQ(RunInspect(options).value()["has_weights"], false);
  std::ofstream(teacher / "model.safetensors") << std::string("\2\0\0\0\0\0\0\0{}", 10);
  EXPECT_EQ(RunInspect(options).value()["has_weights"], true);
  std::ofstream(teacher / "model.safetensors") << std::string("\2\0\0\0\0\0\0\0{", 9);
  EXPECT_EQ(RunInspect(options).status().code(), absl::StatusCode::kDataLoss);
  std::filesystem::remove_all(root);
}

TEST(RunInspect, NamesTheTeacherThatAJobLacks) {
  const absl::Status status = RunInspect({Preset("llamba-8b"), {}, 0}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("\"models/Llama-3.1-8B-Instruct\""));
}

}  // namespace
}  // namespace retort
