// A run that is killed or interrupted goes on with the same command and ends in the bytes of an undisturbed
// one.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <map>
#include <set>

#include "core/base/check.h"
#include "core/base/files.h"
#include "model/io/safetensors.h"
#include "model/student/student_directory.h"
#include "model/teacher/llama.h"
#include "tests/system/tiny_run.h"
#include "train/data/testing_dataset.h"

namespace retort {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::IsSupersetOf;

constexpr int kSteps = 20;

std::filesystem::path TinyJob() { return TinyJobDirectory() / "job.yaml"; }

// Starts or goes on with `job` in `out`, stops it where `there` first holds, proves that it still does, and
// sends `signal`.
ProgramEnd DisturbWhen(const std::function<bool()>& there, const std::filesystem::path& job,
                       const std::filesystem::path& out, int signal) {
  ChildProcess run(Retort(RunArguments(job, out)));
  EXPECT_TRUE(Eventually(kDeadlineSeconds, [&] { return there() || !run.running(); }));
  EXPECT_TRUE(run.running());
  if (run.running()) {
    run.Signal(SIGSTOP);
    EXPECT_TRUE(there());
    run.Signal(signal);
    run.Signal(SIGCONT);
  }
  return run.Wait(kDeadlineSeconds);
}

// The same once step `step` of `stage` is logged and more are to come.
ProgramEnd Disturb(const std::filesystem::path& job, const std::filesystem::path& out,
                   const std::string& stage, int step, int signal) {
  const auto there = [&] {
    const std::vector<json> lines = Metrics(out);
    return !lines.empty() && lines.back()["stage"] == stage && lines.back()["step"] >= step &&
           lines.back()["step"] < kSteps;
  };
  return DisturbWhen(there, job, out, signal);
}

std::vector<json> MetricsWithoutTimes(const std::filesystem::path& out) {
  std::vector<json> lines = Metrics(out);
  for (json& line : lines) line.erase("step_seconds");
  return lines;
}

json StagesWithoutTimes(const std::filesystem::path& out) {
  json stages = Result(out)["stages"];
  for (json& stage : stages) stage.erase("seconds");
  return stages;
}

void ExpectGoesOnToTheSameBytes(const std::filesystem::path& job, const std::filesystem::path& out,
                                const std::filesystem::path& undisturbed) {
  const ProgramEnd end = RunRetort(RunArguments(job, out));
  ASSERT_EQ(end.exit_code, 0) << end.err;
  EXPECT_THAT(end.err, HasSubstr("going on from"));
  EXPECT_TRUE(StudentWeights(out) == StudentWeights(undisturbed));
  EXPECT_EQ(MetricsWithoutTimes(out), MetricsWithoutTimes(undisturbed));
  EXPECT_EQ(StagesWithoutTimes(out), StagesWithoutTimes(undisturbed));
  EXPECT_EQ(Result(out)["off_domain"], Result(undisturbed)["off_domain"]);
  EXPECT_FALSE(std::filesystem::exists(out / "checkpoint.safetensors"));
}

void ExpectGoesOnToTheSameBytes(const std::filesystem::path& out) {
  ExpectGoesOnToTheSameBytes(TinyJob(), out, UndisturbedRun());
}

TEST(Resume, AfterAKillInStageTwoEndsInTheSameBytes) {
  const std::filesystem::path out = TestPath("run");
  EXPECT_EQ(Disturb(TinyJob(), out, "hidden_state_alignment", 10, SIGKILL).signal, SIGKILL);
  const json last = Metrics(out).back(), checkpoint = CheckpointState(out);
  ASSERT_EQ(last["stage"], "hidden_state_alignment");
  ASSERT_EQ(checkpoint["stage"], 1);  // counted from 0
  ASSERT_EQ(checkpoint["step"].get<int>() % 8, 0);
  ASSERT_GT(checkpoint["step"], 0);
  ASSERT_LE(checkpoint["step"], last["step"]);
  ExpectGoesOnToTheSameBytes(out);
}

TEST(Resume, AfterCtrlCInStagesTwoAndThreeEndsInTheSameBytes) {
  const std::filesystem::path out = TestPath("run");
  const std::pair<std::string, int> places[] = {{"hidden_state_alignment", 3}, {"end_to_end", 11}};
  for (const auto& [stage, step] : places) {
    const ProgramEnd end = Disturb(TinyJob(), out, stage, step, SIGINT);
    EXPECT_EQ(end.exit_code, 12) << end.err;
    EXPECT_THAT(end.err, HasSubstr("interrupted; saved in " + out.string()));
    EXPECT_THAT(end.err, HasSubstr("run the same command again"));
    const json last = Metrics(out).back();
    EXPECT_EQ(last["stage"], stage);
    EXPECT_LT(last["step"], kSteps);
    EXPECT_EQ(CheckpointState(out)["step"], last["step"]);  // no step is repeated
  }
  ExpectGoesOnToTheSameBytes(out);
}

TEST(Resume, AfterAKillInStageOneEndsInTheSameBytes) {
  const std::filesystem::path out = TestPath("run");
  EXPECT_EQ(Disturb(TinyJob(), out, "matrix_orientation", 9, SIGKILL).signal, SIGKILL);
  ASSERT_EQ(Metrics(out).back()["stage"], "matrix_orientation");
  ExpectGoesOnToTheSameBytes(out);
}

TEST(Resume, AfterAKillAndACtrlCWhileMeasuringEndsInTheSameBytes) {
  const std::filesystem::path out = TestPath("run");
  const std::pair<int, int> places[] = {{0, SIGKILL}, {1, SIGINT}};
  for (const auto& [stage, signal] : places) {
    // The last step is saved, and the stage goes on only when its student is measured.
    const auto measuring = [&, stage = stage] {
      const json state = CheckpointState(out);
      return state.is_object() && state["stage"] == stage && state["step"] == kSteps;
    };
    const ProgramEnd end = DisturbWhen(measuring, TinyJob(), out, signal);
    EXPECT_EQ(end.signal, signal == SIGKILL ? SIGKILL : 0);
    EXPECT_EQ(end.exit_code, signal == SIGKILL ? -1 : 12) << end.err;
    EXPECT_TRUE(measuring());
  }
  ExpectGoesOnToTheSameBytes(out);
}

TEST(Resume, AfterACtrlCBeforeTheFirstStepSaysThatNothingIsSaved) {
  const std::filesystem::path out = TestPath("run");
  const auto measuring = [&] {
    return std::filesystem::exists(out / "metrics.jsonl") && CheckpointState(out).is_null();
  };
  const ProgramEnd end = DisturbWhen(measuring, TinyJob(), out, SIGINT);
  EXPECT_EQ(end.exit_code, 12);
  EXPECT_THAT(end.err, HasSubstr("interrupted before anything was trained"));
  const ProgramEnd again = RunRetort(TinyRunArguments(out));
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_TRUE(StudentWeights(out) == StudentWeights(UndisturbedRun()));
}

TEST(Resume, ClearsAwayWhatAKilledSaveLeft) {
  const std::filesystem::path out = TestPath("run");
  std::filesystem::create_directories(out / "student");
  const std::filesystem::path stale[] = {out / "checkpoint.safetensors.tmp-123-4",
                                         out / "student/model.safetensors.tmp-123-5"};
  for (const auto& file : stale) ASSERT_TRUE(WriteFileAtomically(file, "half a file").ok());
  Disturb(TinyJob(), out, "matrix_orientation", 1, SIGINT);
  for (const auto& file : stale) EXPECT_FALSE(std::filesystem::exists(file)) << file;
}

// The tiny teacher with a head of its own, near the embedding that it had for one.
std::filesystem::path UntiedTeacher() {
  std::filesystem::path directory = TestPath("untied");
  std::filesystem::copy(TinyJobDirectory() / "teacher", directory);
  json config = ReadJson(directory / "config.json");
  config["tie_word_embeddings"] = false;
  RETORT_CHECK(WriteFileAtomically(directory / "config.json", config.dump()).ok());
  const LanguageModel tied = LoadLlama(TinyJobDirectory() / "teacher").value();
  NamedTensors tensors;
  for (const auto& tensor : ModelTensors(tied)) tensors.emplace_back(tensor.name, *tensor.value);
  tensors.emplace_back("lm_head.weight", tied.embedding_VE * 1.01);
  RETORT_CHECK(WriteSafetensors(directory / "model.safetensors", tensors, {}).ok());
  return directory;
}

// Names of the student's tensors that are no longer the teacher's.
std::set<std::string> Moved(const std::filesystem::path& out, const std::filesystem::path& teacher) {
  const LanguageModel before = LoadLlama(teacher).value(), after = LoadModel(out / "student").value();
  std::map<std::string, at::Tensor> values;
  for (const auto& tensor : ModelTensors(before)) values[tensor.name] = *tensor.value;
  std::set<std::string> moved;
  for (const auto& tensor : ModelTensors(after)) {
    const auto at = values.find(tensor.name);
    if (at != values.end() && !at->second.equal(*tensor.value)) moved.insert(tensor.name);
  }
  return moved;
}

TEST(Resume, OfWholeBlocksAndAnUntiedHeadEndsInTheSameBytes) {
  const std::filesystem::path teacher = UntiedTeacher(), job = TestPath("job.yaml");
  WriteChangedJob(job, {{"{path: teacher}", "{path: " + teacher.string() + "}"},
                        {"lr: 3e-3}\n  end_to_end", "lr: 3e-3, target: block, train: block}\n  end_to_end"},
                        {"train: mixer", "train: all"}});
  const std::filesystem::path undisturbed = TestPath("undisturbed"), out = TestPath("run");
  ASSERT_EQ(RunRetort(RunArguments(job, undisturbed)).exit_code, 0);
  EXPECT_EQ(Disturb(job, out, "hidden_state_alignment", 10, SIGKILL).signal, SIGKILL);
  EXPECT_EQ(Disturb(job, out, "end_to_end", 3, SIGINT).exit_code, 12);
  EXPECT_EQ(Disturb(job, out, "end_to_end", 13, SIGKILL).signal, SIGKILL);
  ExpectGoesOnToTheSameBytes(job, out, undisturbed);
  const std::set<std::string> moved = Moved(out, teacher);
  EXPECT_THAT(
      moved, IsSupersetOf({"model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight",
                           "model.layers.1.self_attn.q_proj.weight", "model.norm.weight", "lm_head.weight"}));
}

TEST(Resume, OfTheWholeStudentOnTextEndsInTheSameBytes) {
  const std::filesystem::path job = TestPath("job.yaml");
  WriteChangedJob(job, {{"train: mixer", "train: all, labels: text"}});
  const std::filesystem::path undisturbed = TestPath("undisturbed"), out = TestPath("run");
  ASSERT_EQ(RunRetort(RunArguments(job, undisturbed)).exit_code, 0);
  EXPECT_EQ(Disturb(job, out, "end_to_end", 9, SIGKILL).signal, SIGKILL);
  ExpectGoesOnToTheSameBytes(job, out, undisturbed);
  EXPECT_THAT(Moved(out, TinyJobDirectory() / "teacher"),
              IsSupersetOf({"model.embed_tokens.weight", "model.layers.3.mlp.down_proj.weight"}));
}

}  // namespace
}  // namespace retort
