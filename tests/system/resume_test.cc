// A run that is killed or interrupted goes on with the same command and ends in the bytes of an undisturbed
// one.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <map>
#include <set>
#include <sstream>

#include "core/base/check.h"
#include "core/base/files.h"
#include "model/io/safetensors.h"
#include "model/student/student_directory.h"
#include "model/teacher/teacher.h"
#include "tests/support/cluster.h"
#include "tests/system/tiny_run.h"
#include "train/data/testing_dataset.h"

namespace retort {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::IsSupersetOf;

constexpr uint64_t kSteps = 160;

// The tiny job with stages that last long enough for a disturbance to fall into them.
std::filesystem::path LongerJob(std::vector<Edit> edits = {}) {
  const std::filesystem::path job = TestPath("job.yaml");
  for (const char* stage :
       {"matrix_orientation:     ", "hidden_state_alignment: ", "end_to_end:             "}) {
    edits.push_back({std::string(stage) + "{tokens: 5120", std::string(stage) + "{tokens: 40960"});
  }
  WriteChangedJob(job, edits);
  return job;
}

// The longer job run to its end without a disturbance; once in this program.
const std::filesystem::path& UndisturbedLongerRun() {
  static const ScratchDirectory scratch;
  static const std::filesystem::path out = [] {
    std::filesystem::path directory = scratch.path() / "undisturbed";
    const ProgramEnd end = RunRetort(RunArguments(LongerJob(), directory));
    RETORT_CHECK(end.exit_code == 0) << end.err;
    return directory;
  }();
  return out;
}

// Whether a checkpoint of `stage` short of its last step is published, and not all of the stage is done.
bool IsWithin(v1::Stage stage, const RunHistory& history) {
  const int tasks = stage == v1::STAGE_END_TO_END ? 1 : 3;
  int completed = 0;
  for (const v1::Event& event : history.OfKind(v1::EVENT_KIND_TASK_COMPLETED)) {
    if (event.stage() == stage) completed += event.layers_size();
  }
  if (completed == tasks) return false;
  for (const v1::Event& event : history.OfKind(v1::EVENT_KIND_CHECKPOINT_PUBLISHED)) {
    if (event.stage() == stage && event.steps(0) < kSteps) return true;
  }
  return false;
}

// Whether a worker measures before the first step of stage 3.
bool IsMeasuring(const RunHistory& history) {
  bool granted = false;
  for (const v1::Event& event : history.events()) {
    if (event.stage() != v1::STAGE_END_TO_END) continue;
    granted |= event.kind() == v1::EVENT_KIND_LEASE_GRANTED;
    if (event.kind() == v1::EVENT_KIND_CHECKPOINT_PUBLISHED) return false;
  }
  return granted;
}

// Starts or goes on with `job` in `out`, sends `signal` once `there` holds, and proves by the run's own
// events that it held to the end of the command.
ProgramEnd DisturbWhen(const std::function<bool(const RunHistory&)>& there, const std::filesystem::path& job,
                       const std::filesystem::path& out, int signal) {
  const std::filesystem::path address = out / "service/address";
  std::filesystem::remove(address);
  ChildProcess run(Retort(RunArguments(job, out)));
  EXPECT_TRUE(
      Eventually(kDeadlineSeconds, [&] { return std::filesystem::exists(address) || !run.running(); }));
  const RunHistory history(ReadFile(address).value_or(""), 1);
  EXPECT_TRUE(Eventually(kDeadlineSeconds, [&] { return there(history) || !run.running(); }));
  if (run.running()) run.Signal(signal);
  ProgramEnd end = run.Wait(kDeadlineSeconds);
  EXPECT_TRUE(there(history)) << history.Render();
  return end;
}

ProgramEnd Disturb(const std::filesystem::path& job, const std::filesystem::path& out, v1::Stage stage,
                   int signal) {
  return DisturbWhen([stage](const RunHistory& history) { return IsWithin(stage, history); }, job, out,
                     signal);
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
  EXPECT_THAT(end.err, HasSubstr("going on with the run in " + (out / "service").string()));
  EXPECT_TRUE(StudentWeights(out) == StudentWeights(undisturbed));
  EXPECT_EQ(MetricsWithoutTimes(out), MetricsWithoutTimes(undisturbed));
  EXPECT_EQ(StagesWithoutTimes(out), StagesWithoutTimes(undisturbed));
  EXPECT_EQ(Result(out)["off_domain"], Result(undisturbed)["off_domain"]);
  EXPECT_FALSE(std::filesystem::exists(out / "service"));
}

TEST(Resume, AfterAKillInEachStageEndsInTheSameBytes) {
  const std::filesystem::path out = TestPath("run"), job = LongerJob();
  for (const v1::Stage stage :
       {v1::STAGE_MATRIX_ORIENTATION, v1::STAGE_HIDDEN_STATE_ALIGNMENT, v1::STAGE_END_TO_END}) {
    EXPECT_EQ(Disturb(job, out, stage, SIGKILL).signal, SIGKILL) << stage;
  }
  ExpectGoesOnToTheSameBytes(job, out, UndisturbedLongerRun());
}

TEST(Resume, AfterCtrlCInStagesTwoAndThreeEndsInTheSameBytes) {
  const std::filesystem::path out = TestPath("run"), job = LongerJob();
  for (const v1::Stage stage : {v1::STAGE_HIDDEN_STATE_ALIGNMENT, v1::STAGE_END_TO_END}) {
    const ProgramEnd end = Disturb(job, out, stage, SIGINT);
    EXPECT_EQ(end.exit_code, 12) << end.err;
    EXPECT_THAT(end.err, HasSubstr("interrupted; saved in " + out.string()));
    EXPECT_THAT(end.err, HasSubstr("run the same command again"));
  }
  ExpectGoesOnToTheSameBytes(job, out, UndisturbedLongerRun());
}

TEST(Resume, AfterAKillAndACtrlCWhileMeasuringEndsInTheSameBytes) {
  const std::filesystem::path out = TestPath("run"), job = LongerJob();
  EXPECT_EQ(DisturbWhen(IsMeasuring, job, out, SIGKILL).signal, SIGKILL);
  const ProgramEnd end = DisturbWhen(IsMeasuring, job, out, SIGTERM);
  EXPECT_EQ(end.exit_code, 12) << end.err;
  ExpectGoesOnToTheSameBytes(job, out, UndisturbedLongerRun());
}

// The first child of `parent` that is called `name`; 0 when there is none.
pid_t ChildNamed(pid_t parent, const std::string& name) {
  const std::string id = std::to_string(parent);
  std::istringstream children(ReadFile("/proc/" + id + "/task/" + id + "/children").value_or(""));
  for (pid_t child = 0; children >> child;) {
    const auto command = ReadFile("/proc/" + std::to_string(child) + "/cmdline");
    if (command.ok() && command->find("/" + name + std::string(1, '\0')) != std::string::npos) return child;
  }
  return 0;
}

TEST(Resume, OfAChildThatIsKilledIsTheCommandsOwnBusiness) {
  const std::filesystem::path out = TestPath("run"), address = out / "service/address";
  ChildProcess run(Retort(RunArguments(LongerJob(), out)));
  ASSERT_TRUE(Eventually(kDeadlineSeconds, [&] { return std::filesystem::exists(address); }));
  const RunHistory history(ReadFile(address).value(), 1);
  const std::pair<v1::Stage, std::string> kills[] = {{v1::STAGE_MATRIX_ORIENTATION, "retort-worker"},
                                                     {v1::STAGE_END_TO_END, "retort-orchestrator"}};
  for (const auto& [stage, child] : kills) {
    ASSERT_TRUE(Eventually(kDeadlineSeconds, [&, stage = stage] { return IsWithin(stage, history); }))
        << history.Render();
    ASSERT_EQ(kill(ChildNamed(run.pid(), child), SIGKILL), 0) << child;
    EXPECT_TRUE(IsWithin(stage, history));
  }
  const ProgramEnd end = run.Wait(kDeadlineSeconds);
  ASSERT_EQ(end.exit_code, 0) << end.err;
  EXPECT_THAT(end.err, HasSubstr("ended with signal 9 (Killed); starting it again in 0."));
  EXPECT_THAT(end.err, HasSubstr("retort-orchestrator ended with signal 9 (Killed); starting it again"));
  EXPECT_TRUE(StudentWeights(out) == StudentWeights(UndisturbedLongerRun()));
}

TEST(Resume, AfterACtrlCBeforeTheFirstStepSaysThatNothingIsSaved) {
  const std::filesystem::path out = TestPath("run");
  const auto not_granted = [](const RunHistory& history) {
    return history.OfKind(v1::EVENT_KIND_LEASE_GRANTED).empty();
  };
  const ProgramEnd end = DisturbWhen(not_granted, TinyJobDirectory() / "job.yaml", out, SIGINT);
  EXPECT_EQ(end.exit_code, 12);
  EXPECT_THAT(end.err, HasSubstr("interrupted before anything was trained"));
  const ProgramEnd again = RunRetort(TinyRunArguments(out));
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_TRUE(StudentWeights(out) == StudentWeights(UndisturbedRun()));
}

// The tiny teacher with a head of its own, near the embedding that it had for one.
std::filesystem::path UntiedTeacher() {
  std::filesystem::path directory = TestPath("untied");
  std::filesystem::copy(TinyJobDirectory() / "teacher", directory);
  json config = ReadJson(directory / "config.json");
  config["tie_word_embeddings"] = false;
  RETORT_CHECK(WriteFileAtomically(directory / "config.json", config.dump()).ok());
  const LanguageModel tied = LoadTeacher(TinyJobDirectory() / "teacher").value();
  NamedTensors tensors;
  for (const auto& tensor : ModelTensors(tied)) tensors.emplace_back(tensor.name, *tensor.value);
  tensors.emplace_back("lm_head.weight", tied.embedding_VE * 1.01);
  RETORT_CHECK(WriteSafetensors(directory / "model.safetensors", tensors, {}).ok());
  return directory;
}

// Names of the student's tensors that are no longer the teacher's.
std::set<std::string> Moved(const std::filesystem::path& out, const std::filesystem::path& teacher) {
  const LanguageModel before = LoadTeacher(teacher).value(), after = LoadModel(out / "student").value();
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
  const std::filesystem::path teacher = UntiedTeacher();
  const std::filesystem::path job =
      LongerJob({{"{path: teacher}", "{path: " + teacher.string() + "}"},
                 {"lr: 3e-3}\n  end_to_end", "lr: 3e-3, target: block, train: block}\n  end_to_end"},
                 {"train: mixer", "train: all"}});
  const std::filesystem::path undisturbed = TestPath("undisturbed"), out = TestPath("run");
  ASSERT_EQ(RunRetort(RunArguments(job, undisturbed)).exit_code, 0);
  EXPECT_EQ(Disturb(job, out, v1::STAGE_HIDDEN_STATE_ALIGNMENT, SIGKILL).signal, SIGKILL);
  EXPECT_EQ(Disturb(job, out, v1::STAGE_END_TO_END, SIGINT).exit_code, 12);
  ExpectGoesOnToTheSameBytes(job, out, undisturbed);
  const std::set<std::string> moved = Moved(out, teacher);
  EXPECT_THAT(
      moved, IsSupersetOf({"model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight",
                           "model.layers.1.self_attn.q_proj.weight", "model.norm.weight", "lm_head.weight"}));
}

TEST(Resume, OfAMixtureInPhasesEndsInTheSameBytes) {
  const std::filesystem::path job =
      LongerJob({
    {"  off_domain: corpus/off_domain.bin\n", ""},
        {"train: [corpus/train.bin]",
         "train: [{path: corpus/train.bin, weight: 3}, {path: corpus/off_domain.bin, weight: 1}]\n"
         "  phases:\n"
         "    - {stage: hidden_state_alignment, from: 20k, train: corpus/off_domain.bin}\n"
         "    - {stage: end_to_end, from: 20k, train: [{path: corpus/off_domain.bin, weight: 2}, "
         "{path: corpus/train.bin, weight: 1}]}"},
        const std::filesystem::path undisturbed = TestPath("undisturbed"), out = TestPath("run");
    ASSERT_EQ(RunRetort(RunArguments(job, undisturbed)).exit_code, 0);
    EXPECT_EQ(Disturb(job, out, v1::STAGE_HIDDEN_STATE_ALIGNMENT, SIGKILL).signal, SIGKILL);
    EXPECT_EQ(Disturb(job, out, v1::STAGE_END_TO_END, SIGKILL).signal, SIGKILL);
    ExpectGoesOnToTheSameBytes(job, out, undisturbed);
    EXPECT_FALSE(StudentWeights(out) == StudentWeights(UndisturbedLongerRun()));
    EXPECT_EQ(Result(out)["identity"]["data_sha256"].size(), 3u);
}

TEST(Resume, OfTheWholeStudentOnTextEndsInTheSameBytes) {
    const std::filesystem::path job = LongerJob({{"train: mixer", "train: all, labels: text"}});
    const std::filesystem::path undisturbed = TestPath("undisturbed"), out = TestPath("run");
    ASSERT_EQ(RunRetort(RunArguments(job, undisturbed)).exit_code, 0);
    EXPECT_EQ(Disturb(job, out, v1::STAGE_END_TO_END, SIGKILL).signal, SIGKILL);
    ExpectGoesOnToTheSameBytes(job, out, undisturbed);
    EXPECT_THAT(Moved(out, TinyJobDirectory() / "teacher"),
                IsSupersetOf({"model.embed_tokens.weight", "model.layers.3.mlp.down_proj.weight"}));
}

}  // namespace
}  // namespace retort
