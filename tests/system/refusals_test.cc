// What a run refuses: its exit code and what it says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>

#include "core/base/files.h"
#include "tests/support/cluster.h"
#include "tests/system/tiny_run.h"
#include "train/data/testing_dataset.h"

namespace retort {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::filesystem::path CopyOfTheTeacher() {
  std::filesystem::path directory = TestPath("teacher");
  std::filesystem::copy(TinyJobDirectory() / "teacher", directory);
  return directory;
}

// Runs the tiny job with a teacher of the test's own.
ProgramEnd RunWith(const std::filesystem::path& teacher) {
  const std::filesystem::path job = TestPath("job.yaml");
  WriteChangedJob(job, {{"{path: teacher}", "{path: " + teacher.string() + "}"}});
  return RunRetort(RunArguments(job, TestPath("run")));
}

TEST(Refusal, OfASecondRunInOneDirectoryNamesTheFirst) {
  const std::filesystem::path out = TestPath("run");
  ChildProcess first(Retort(TinyRunArguments(out)));
  ASSERT_TRUE(Eventually(kDeadlineSeconds, [&] { return std::filesystem::exists(out / "service/address"); }));
  first.Signal(SIGSTOP);
  const ProgramEnd second = RunRetort(TinyRunArguments(out));
  EXPECT_EQ(second.exit_code, 5);
  EXPECT_THAT(second.err,
              AllOf(HasSubstr(out.string()), HasSubstr("process " + std::to_string(first.pid()))));
  first.Signal(SIGKILL);
  EXPECT_EQ(first.Wait(kDeadlineSeconds).signal, SIGKILL);
}

TEST(Refusal, OfAnotherJobsCheckpointNamesTheKey) {
  const std::filesystem::path out = TestPath("run"), job = TestPath("job.yaml"),
                              address = out / "service/address";
  ChildProcess first(Retort(TinyRunArguments(out)));
  ASSERT_TRUE(Eventually(kDeadlineSeconds, [&] { return std::filesystem::exists(address); }));
  {
    const RunHistory history(ReadFile(address).value(), 1);
    ASSERT_TRUE(Eventually(kDeadlineSeconds,
                           [&] { return !history.OfKind(v1::EVENT_KIND_CHECKPOINT_PUBLISHED).empty(); }));
    first.Signal(SIGKILL);
  }
  first.Wait(kDeadlineSeconds);
  WriteChangedJob(job, {{"seed: 7", "seed: 8"}});
  const ProgramEnd end = RunRetort(RunArguments(job, out));
  EXPECT_EQ(end.exit_code, 5);
  EXPECT_THAT(end.err, AllOf(HasSubstr(out.string()), HasSubstr("data/seed was \"7\", is \"8\"")));
}

// Nothing was saved, so the command that was wrong is simply given again, corrected.
TEST(Refusal, IsNoneOfAnotherJobBeforeAnythingIsSaved) {
  const std::filesystem::path out = TestPath("run"), job = TestPath("job.yaml");
  const std::string bad = WriteDocuments("bad", {{3, 512, 3}});
  WriteChangedJob(job, {{"corpus/train.bin", bad}});
  ASSERT_EQ(RunRetort(RunArguments(job, out)).exit_code, 10);
  const ProgramEnd end = RunRetort(TinyRunArguments(out));
  EXPECT_EQ(end.exit_code, 0) << end.err;
}

TEST(Refusal, IsTakenBackWhenItsCauseIsMended) {
  const std::filesystem::path out = TestPath("run"), job = TestPath("job.yaml");
  const std::string data = WriteDocuments("data", {{3, 512, 3}});
  WriteChangedJob(job, {{"corpus/train.bin", data}});
  ASSERT_EQ(RunRetort(RunArguments(job, out)).exit_code, 10);
  WriteDocuments("data", {std::vector<int32_t>(200, 3)});
  const ProgramEnd end = RunRetort(RunArguments(job, out));
  EXPECT_EQ(end.exit_code, 0) << end.err;
}

TEST(Refusal, OfChangedInputsSaysWhich) {
  const std::filesystem::path teacher = CopyOfTheTeacher(), job = TestPath("job.yaml"), out = TestPath("run"),
                              address = out / "service/address";
  WriteChangedJob(job, {{"{path: teacher}", "{path: " + teacher.string() + "}"}});
  ChildProcess first(Retort(RunArguments(job, out)));
  ASSERT_TRUE(Eventually(kDeadlineSeconds, [&] { return std::filesystem::exists(address); }));
  {
    const RunHistory history(ReadFile(address).value(), 1);
    ASSERT_TRUE(Eventually(kDeadlineSeconds,
                           [&] { return !history.OfKind(v1::EVENT_KIND_CHECKPOINT_PUBLISHED).empty(); }));
    first.Signal(SIGKILL);
  }
  first.Wait(kDeadlineSeconds);
  std::fstream weights(teacher / "model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
  weights.seekp(-2, std::ios::end);
  weights.write("\x00\x3c", 2);
  weights.close();
  const ProgramEnd end = RunRetort(RunArguments(job, out));
  EXPECT_EQ(end.exit_code, 5) << end.err;
  EXPECT_THAT(end.err,
              AllOf(HasSubstr("teacher " + teacher.string() + " has SHA-256 "), HasSubstr("began with")));
}

TEST(Refusal, OfAnotherJobsResultNamesTheKey) {
  const std::filesystem::path job = TestPath("job.yaml");
  WriteChangedJob(job, {{"state_size: 16", "state_size: 8"}});
  const ProgramEnd end = RunRetort(RunArguments(job, UndisturbedRun()));
  EXPECT_EQ(end.exit_code, 5);
  EXPECT_THAT(end.err, HasSubstr("student/stateSize was 16, is 8"));
}

TEST(Refusal, OfAnotherThreadCountNamesIt) {
  std::vector<std::string> arguments = TinyRunArguments(UndisturbedRun());
  arguments.back() = "2";
  const ProgramEnd end = RunRetort(arguments);
  EXPECT_EQ(end.exit_code, 5);
  EXPECT_THAT(end.err, HasSubstr("threads was 1, is 2"));
}

TEST(Refusal, OfATeacherWithANanNamesTheTensor) {
  const std::filesystem::path teacher = CopyOfTheTeacher();
  std::fstream weights(teacher / "model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
  weights.seekp(-2, std::ios::end);
  weights.write("\x00\x7e", 2);  // a half-precision NaN
  weights.close();
  const ProgramEnd end = RunWith(teacher);
  EXPECT_EQ(end.exit_code, 10);
  EXPECT_THAT(end.err, AllOf(HasSubstr(teacher.string()), HasSubstr("model.norm.weight"), HasSubstr("NaN")));
}

TEST(Refusal, OfATeacherCutShortNamesTheFile) {
  const std::filesystem::path teacher = CopyOfTheTeacher(), weights = teacher / "model.safetensors";
  std::filesystem::resize_file(weights, std::filesystem::file_size(weights) - 1000);
  const ProgramEnd end = RunWith(teacher);
  EXPECT_EQ(end.exit_code, 10);
  EXPECT_THAT(end.err, AllOf(HasSubstr(weights.string()), HasSubstr("not a whole safetensors file")));
}

TEST(Refusal, OfAnOutThatIsNoDirectorySaysSo) {
  ASSERT_TRUE(WriteFileAtomically(TestPath("file"), "").ok());
  const ProgramEnd file = RunRetort(TinyRunArguments(TestPath("file")));
  EXPECT_EQ(file.exit_code, 5);
  EXPECT_THAT(file.err, AllOf(HasSubstr(TestPath("file").string()), HasSubstr("Not a directory")));
  const ProgramEnd path = RunRetort(TinyRunArguments(TestPath(std::string(300, 'x'))));
  EXPECT_EQ(path.exit_code, 2);
  EXPECT_THAT(path.err, HasSubstr("File name too long"));
}

TEST(Refusal, OfAMisspeltKeyNamesItsPlace) {
  const std::filesystem::path job = TestPath("job.yaml");
  WriteChangedJob(job, {{"micro_batch: 2", "micro_bach: 2"}});
  const ProgramEnd end = RunRetort(RunArguments(job, TestPath("run")));
  EXPECT_EQ(end.exit_code, 2);
  EXPECT_THAT(end.err,
              AllOf(HasSubstr(job.string() + ":16:1: "), HasSubstr("micro_bach"), HasSubstr("micro_batch")));
  EXPECT_FALSE(std::filesystem::exists(TestPath("run")));
}

TEST(Refusal, OfADamagedResultSaysWhatToDo) {
  const std::filesystem::path out = TestPath("run");
  std::filesystem::create_directories(out);
  for (const char* text : {"", "{\"identity\": 1", "[]", "{}"}) {
    ASSERT_TRUE(WriteFileAtomically(out / "result.json", text).ok());
    const ProgramEnd end = RunRetort(TinyRunArguments(out));
    EXPECT_EQ(end.exit_code, 10) << text;
    EXPECT_THAT(end.err, AllOf(HasSubstr("result.json is not a run's result"), HasSubstr("--out")));
  }
}

TEST(Refusal, OfDataOfAnotherTokenizerComesBeforeTheTraining) {
  const std::string bad = WriteDocuments("bad", {std::vector<int32_t>(200, 3), {3, 512, 3}});
  const auto says = AllOf(HasSubstr(bad + ": token 201, in document 1, is 512, outside"),
                          HasSubstr("vocabulary of 512"), HasSubstr("Tokenize the text again"));
  const std::filesystem::path job = TestPath("job.yaml");
  for (const char* good : {"corpus/train.bin", "corpus/eval.bin", "corpus/off_domain.bin"}) {
    WriteChangedJob(job, {{good, bad}});
    const ProgramEnd end = RunRetort(RunArguments(job, TestPath("run")));
    EXPECT_EQ(end.exit_code, 10) << good;
    EXPECT_THAT(end.err, says) << good;
  }
  const ProgramEnd end =
      RunRetort({"eval", TinyJobDirectory() / "teacher", "--data", bad, "--max-tokens", "4"});
  EXPECT_EQ(end.exit_code, 2);
  EXPECT_THAT(end.err, says);
}

TEST(Refusal, OfAContextThatHoldsNoPrediction) {
  const std::filesystem::path teacher = CopyOfTheTeacher();
  nlohmann::json config = ReadJson(teacher / "config.json");
  for (const int64_t context : {int64_t{1}, int64_t{1} << 31}) {
    config["max_position_embeddings"] = context;
    ASSERT_TRUE(WriteFileAtomically(teacher / "config.json", config.dump()).ok());
    const ProgramEnd end = RunWith(teacher);
    EXPECT_EQ(end.exit_code, 10) << context;
    EXPECT_THAT(end.err, AllOf(HasSubstr("max_position_embeddings"), HasSubstr(std::to_string(context))));
  }
}

}  // namespace
}  // namespace retort
