// One command distils the tiny teacher through all three stages. Its numbers are checked in:
// tiny_losses.json.
#include "tests/system/tiny_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <numeric>
#include <set>

#include "core/base/files.h"
#include "core/config/job_file.h"
#include "model/student/make_student.h"
#include "model/student/student_directory.h"
#include "model/teacher/teacher.h"
#include "train/data/testing_dataset.h"

namespace retort {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::UnorderedElementsAre;
using testing::UnorderedElementsAreArray;

constexpr int kSteps = 20;
const char* const kStages[] = {"matrix_orientation", "hidden_state_alignment", "end_to_end"};

std::vector<std::string> Keys(const json& object) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : object.items()) keys.push_back(key);
  return keys;
}

std::string LayerName(const json& layer) { return layer.is_null() ? "student" : "layer " + layer.dump(); }

// {losses{stage{layer[step]}}, perplexity{teacher, initial, stage}}, six digits each.
json Measured() {
  const auto digits = [](double number) {
    char text[32];
    std::snprintf(text, sizeof text, "%.6g", number);
    return json(std::atof(text));
  };
  const json result = Result(UndisturbedRun());
  json measured;
  for (const json& line : Metrics(UndisturbedRun())) {
    measured["losses"][line["stage"]][LayerName(line["layer"])].push_back(digits(line["loss"]));
  }
  measured["perplexity"]["teacher"] = digits(result["teacher"]["perplexity"]);
  measured["perplexity"]["initial"] = digits(result["initial"]["perplexity"]);
  for (const json& stage : result["stages"]) {
    measured["perplexity"][stage["name"]] = digits(stage["student"]["perplexity"]);
  }
  return measured;
}

// Processors round differently and twenty steps of Adam spread that; 1 and 2 threads differ by 1e-7.
constexpr double kTolerance = 1e-3;

TEST(TinyRun, HasTheLossesThatAreCheckedIn) {
  const std::filesystem::path golden =
      std::filesystem::path(RETORT_SOURCE_DIR) / "tests/system/tiny_losses.json";
  const json measured = Measured();
  if (std::getenv("RETORT_REWRITE_GOLDEN") != nullptr) {
    ASSERT_TRUE(WriteFileAtomically(golden, measured.dump(1) + "\n").ok());
  }
  const json expected = ReadJson(golden).flatten(), found = measured.flatten();
  ASSERT_EQ(Keys(found), Keys(expected));
  for (const auto& [key, value] : expected.items()) {
    EXPECT_NEAR(found[key].get<double>(), value.get<double>(), kTolerance * value.get<double>())
        << key << "; when the change is meant, run this test with RETORT_REWRITE_GOLDEN=1 and commit "
        << golden;
  }
}

TEST(TinyRun, HasThemWithoutTheKernelsToo) {
  const std::filesystem::path out = TestPath("plain");
  setenv("RETORT_KERNELS", "off", 1);
  const ProgramEnd end = RunRetort(TinyRunArguments(out));
  unsetenv("RETORT_KERNELS");
  ASSERT_EQ(end.exit_code, 0) << end.err;
  EXPECT_EQ(Result(out)["identity"]["compute_path"], "plain");
  EXPECT_NE(Result(UndisturbedRun())["identity"]["compute_path"], "plain");
  const json plain = Result(out)["stages"], kernels = Result(UndisturbedRun())["stages"];
  for (int stage = 0; stage < 3; ++stage) {
    for (const char* key : {"loss_first", "loss_last"}) {
      const double expected = kernels[stage][key];
      EXPECT_NEAR(plain[stage][key].get<double>(), expected, kTolerance * expected) << stage << key;
    }
  }
}

TEST(TinyRun, LogsEveryStepOfEveryLayerOnce) {
  std::map<std::pair<std::string, std::string>, std::vector<int>> steps;
  for (const json& line : Metrics(UndisturbedRun())) {
    EXPECT_THAT(Keys(line), UnorderedElementsAre("stage", "step", "layer", "loss", "lr", "step_seconds"));
    EXPECT_GT(line["lr"], 0.0);
    EXPECT_GT(line["step_seconds"], 0.0);
    steps[{line["stage"], LayerName(line["layer"])}].push_back(line["step"]);
  }
  std::vector<int> all(kSteps);
  std::iota(all.begin(), all.end(), 1);
  EXPECT_EQ(steps.size(), 7u);  // layers 0, 2, 3 in two stages, and the student
  for (const auto& [series, seen] : steps) EXPECT_EQ(seen, all) << series.first << " " << series.second;
}

TEST(TinyRun, ResultHasEveryField) {
  const json result = Result(UndisturbedRun());
  EXPECT_THAT(Keys(result), UnorderedElementsAre("job", "identity", "versions", "host", "seconds",
                                                 "peak_memory_bytes", "tokens_per_second", "layer_types", "teacher",
                                                 "initial", "student", "stages", "off_domain"));
  EXPECT_EQ(result["job"], "tiny");
  EXPECT_EQ(result["layer_types"], json({"mamba2", "attention", "mamba2", "mamba2"}));
  EXPECT_THAT(Keys(result["versions"]), UnorderedElementsAre("retort", "libtorch"));
  EXPECT_THAT(Keys(result["host"]), UnorderedElementsAre("processor", "cores", "kernel"));
  EXPECT_GT(result["peak_memory_bytes"], 10 << 20);
  EXPECT_THAT(Keys(result["teacher"]), UnorderedElementsAre("perplexity", "tokens", "off_domain"));
  EXPECT_THAT(Keys(result["tokens_per_second"]), UnorderedElementsAre(kStages[0], kStages[1], kStages[2]));
  EXPECT_THAT(Keys(result["off_domain"]), UnorderedElementsAre("teacher", "student"));
  for (const json& quality : {result["initial"], result["student"]}) {
    EXPECT_THAT(Keys(quality),
                UnorderedElementsAre("perplexity", "tokens", "kl", "top1_agreement", "hidden_distance",
                                     "free_running_agreement", "off_domain"));
    EXPECT_THAT(Keys(quality["off_domain"]), UnorderedElementsAre("perplexity", "tokens"));
    EXPECT_EQ(quality["hidden_distance"].size(), 4u);
    EXPECT_EQ(quality["hidden_distance"][1], 0.0);  // kept
  }
}

TEST(TinyRun, ResultAddsUp) {
  const json result = Result(UndisturbedRun());
  ASSERT_EQ(result["stages"].size(), 3u);
  double seconds = 0;
  for (int i = 0; i < 3; ++i) {
    const json& stage = result["stages"][i];
    std::set<std::string> keys = {"name", "tokens", "seconds", "loss_first", "loss_last", "student"};
    if (i == 2) keys.insert("world_size");
    EXPECT_THAT(Keys(stage), UnorderedElementsAreArray(keys));
    EXPECT_EQ(stage["name"], kStages[i]);
    EXPECT_EQ(stage["tokens"], 5120);
    EXPECT_NEAR(result["tokens_per_second"][kStages[i]].get<double>(), 5120 / stage["seconds"].get<double>(),
                1e-6);
    seconds += stage["seconds"].get<double>();
  }
  EXPECT_LT(seconds, result["seconds"]);
  EXPECT_EQ(result["student"], result["stages"][2]["student"]);
  EXPECT_EQ(result["off_domain"]["student"], result["student"]["off_domain"]);
  EXPECT_EQ(result["off_domain"]["teacher"], result["teacher"]["off_domain"]);
  EXPECT_LT(result["stages"][2]["student"]["off_domain"]["perplexity"],
            0.2 * result["initial"]["off_domain"]["perplexity"].get<double>());
}

TEST(TinyRun, StageLossesAreTheMeansOfTheMetrics) {
  std::map<std::string, std::vector<double>> first, last;
  for (const json& line : Metrics(UndisturbedRun())) {
    if (line["step"] == 1) first[line["stage"]].push_back(line["loss"]);
    if (line["step"] == kSteps) last[line["stage"]].push_back(line["loss"]);
  }
  const auto mean = [](const std::vector<double>& v) {
    return std::accumulate(v.begin(), v.end(), 0.0) / v.size();
  };
  const json result = Result(UndisturbedRun());
  ASSERT_EQ(result["stages"].size(), 3u);
  for (const json& stage : result["stages"]) {
    EXPECT_NEAR(stage["loss_first"].get<double>(), mean(first[stage["name"]]), 1e-9);
    EXPECT_NEAR(stage["loss_last"].get<double>(), mean(last[stage["name"]]), 1e-9);
  }
}

TEST(TinyRun, EveryStageLowersItsLoss) {
  const json result = Result(UndisturbedRun());
  ASSERT_EQ(result["stages"].size(), 3u);
  for (const json& stage : result["stages"]) {
    EXPECT_LT(stage["loss_last"].get<double>(), 0.95 * stage["loss_first"].get<double>()) << stage["name"];
  }
}

TEST(TinyRun, PerplexityFallsWithAlignmentAndAgainWithDistillation) {
  const json result = Result(UndisturbedRun());
  const auto after = [&](int stage) {
    return result["stages"][stage]["student"]["perplexity"].get<double>();
  };
  EXPECT_LT(after(1), 0.2 * result["initial"]["perplexity"].get<double>());
  EXPECT_LT(after(2), 0.7 * after(1));
  EXPECT_GT(after(2), result["teacher"]["perplexity"].get<double>());
}

TEST(TinyRun, MovesEveryMixerAndNothingElse) {
  const v1::JobSpec job = LoadJob(TinyJobDirectory() / "job.yaml", {}).value();
  const LanguageModel teacher = LoadTeacher(TinyJobDirectory() / "teacher").value();
  const ModelConfig config = StudentConfig(teacher.config, job.student()).value();
  const LanguageModel untrained = MakeStudent(teacher, config, job.student().init(), job.data().seed());
  const LanguageModel student = LoadModel(UndisturbedRun() / "student").value();
  const auto before = ModelTensors(untrained), after = ModelTensors(student);
  ASSERT_EQ(before.size(), after.size());
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(after[i].value->equal(*before[i].value), !after[i].of_student_mixer) << after[i].name;
  }
}

TEST(TinyRun, LeavesNothingOfItsServiceBehind) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(UndisturbedRun())) {
    names.push_back(entry.path().filename());
  }
  EXPECT_THAT(names, UnorderedElementsAre(".lock", "metrics.jsonl", "report.html", "report.json",
                                          "result.json", "student"));
}

TEST(TinyRun, ShowsItsStagesInTheirOrder) {
  const ProgramEnd end = RunRetort(TinyRunArguments(TestPath("run")));
  size_t at = 0;
  for (const char* line :
       {"\nmatrix_orientation  starts at step 0/20\n", "\nmatrix_orientation  step 20/20  loss ",
        "\nhidden_state_alignment  step 20/20  loss ", "\nend_to_end  step 20/20  loss "}) {
    at = ("\n" + end.err).find(line, at);
    ASSERT_NE(at, std::string::npos) << line << "in\n" << end.err;
  }
}

TEST(TinyRun, HasTheSameBytesFromOneWorker) {
  std::vector<std::string> arguments = TinyRunArguments(TestPath("alone"));
  arguments.insert(arguments.end(), {"--workers", "1"});
  const ProgramEnd end = RunRetort(arguments);
  ASSERT_EQ(end.exit_code, 0) << end.err;
  EXPECT_TRUE(StudentWeights(TestPath("alone")) == StudentWeights(UndisturbedRun()));
}

TEST(TinyRun, HasNothingToDoTheSecondTime) {
  const std::string before = StudentWeights(UndisturbedRun());
  const auto written = std::filesystem::last_write_time(UndisturbedRun() / "student/model.safetensors");
  const ProgramEnd end = RunRetort(TinyRunArguments(UndisturbedRun()));
  EXPECT_EQ(end.exit_code, 0);
  EXPECT_THAT(end.err, HasSubstr("nothing to do"));
  EXPECT_THAT(end.out, HasSubstr("PERPLEXITY"));
  EXPECT_EQ(std::filesystem::last_write_time(UndisturbedRun() / "student/model.safetensors"), written);
  EXPECT_EQ(StudentWeights(UndisturbedRun()), before);
}

}  // namespace
}  // namespace retort
