// retort eval, generate and inspect on the teacher and on the student that the tiny run made.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <fstream>

#include "core/base/files.h"
#include "tests/system/tiny_run.h"
#include "train/data/testing_dataset.h"

namespace retort {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::StartsWith;

std::string Teacher() { return TinyJobDirectory() / "teacher"; }
std::string Student() { return UndisturbedRun() / "student"; }

std::string Output(const std::vector<std::string>& arguments) {
  const ProgramEnd end = RunRetort(arguments);
  EXPECT_EQ(end.exit_code, 0) << end.err;
  return end.out;
}

// Over the tokens that the run itself measured on.
json Eval(const std::string& model, const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {
      "eval",      model, "--data",       TinyJobDirectory() / "corpus/eval.bin",
      "--window",  "64",  "--max-tokens", "2048",
      "--threads", "1",   "-o",           "json"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return json::parse(Output(arguments));
}

void ExpectNear(const json& found, const json& expected) {
  EXPECT_NEAR(found.get<double>(), expected.get<double>(), 1e-6 * expected.get<double>());
}

constexpr char kPrompt[] = "In the beginning";

std::string Generate(const std::string& model, const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"generate", model, "--prompt",  kPrompt,
                                        "--tokens", "24",  "--threads", "1"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return Output(arguments);
}

TEST(Eval, OfTheTeacherIsWhatTheRunMeasured) {
  const json found = Eval(Teacher(), {}), expected = Result(UndisturbedRun())["teacher"];
  EXPECT_EQ(found.size(), 2u) << found;
  EXPECT_EQ(found["tokens"], expected["tokens"]);
  ExpectNear(found["perplexity"], expected["perplexity"]);
}

TEST(Eval, OfTheStudentBesideItsTeacherIsWhatTheRunMeasured) {
  const json found = Eval(Student(), {"--teacher", Teacher()}),
             expected = Result(UndisturbedRun())["student"];
  EXPECT_EQ(found["tokens"], expected["tokens"]);
  for (const char* key : {"perplexity", "kl", "top1_agreement"}) ExpectNear(found[key], expected[key]);
  ASSERT_EQ(found["hidden_distance"].size(), 4u);
  for (int layer = 0; layer < 4; ++layer) {
    ExpectNear(found["hidden_distance"][layer], expected["hidden_distance"][layer]);
  }
  ExpectNear(found["teacher_perplexity"], Result(UndisturbedRun())["teacher"]["perplexity"]);
}

TEST(Eval, ShowsItsProgressOnStandardError) {
  const ProgramEnd end = RunRetort({"eval", Teacher(), "--data", TinyJobDirectory() / "corpus/eval.bin",
                                    "--window", "64", "--max-tokens", "256", "-o", "json"});
  EXPECT_THAT(end.err, HasSubstr("measuring " + Teacher() + "  starts at window 0/4\n"));
  EXPECT_THAT(end.err, HasSubstr("measuring " + Teacher() + "  window 4/4  done in "));
  EXPECT_EQ(json::parse(end.out).size(), 2u);
}

TEST(Generate, IsGreedyAndRepeatable) {
  for (const std::string& model : {Teacher(), Student()}) {
    const std::string text = Generate(model, {});
    EXPECT_THAT(text, StartsWith(kPrompt));
    EXPECT_GT(text.size(), sizeof kPrompt + 10);
    EXPECT_EQ(Generate(model, {}), text);
  }
}

TEST(Generate, SamplesByItsSeed) {
  for (const std::string& model : {Teacher(), Student()}) {
    const std::string text = Generate(model, {"--temperature", "1", "--seed", "5"});
    EXPECT_EQ(Generate(model, {"--temperature", "1", "--seed", "5"}), text);
    EXPECT_NE(Generate(model, {"--temperature", "1", "--seed", "6"}), text);
  }
}

TEST(Generate, AnswersInTheModelsChatTemplate) {
  const std::filesystem::path model = TestPath("instruct");
  std::filesystem::copy(Teacher(), model);
  ProgramEnd end = RunRetort({"generate", model, "--chat", "--prompt", "press the key"});
  EXPECT_EQ(end.exit_code, 2);
  EXPECT_THAT(end.err, HasSubstr("there is no chat template in " + model.string()));
  // A template that adds nothing asks what is continued without it.
  ASSERT_TRUE(WriteFileAtomically(model / "chat_template.jinja", "{{ messages[0].content }} to").ok());
  const std::string plain = Output({"generate", Teacher(), "--prompt", "press the key to"});
  EXPECT_EQ("press the key to" + Output({"generate", model, "--chat", "--prompt", "press the key"}), plain);
}

TEST(Generate, RefusesMoreTokensThanTheContextHolds) {
  for (const char* tokens : {"100000", "9223372036854775807"}) {
    const ProgramEnd end = RunRetort({"generate", Teacher(), "--prompt", "In", "--tokens", tokens});
    EXPECT_EQ(end.exit_code, 2);
    EXPECT_THAT(end.err, HasSubstr("exceed the model's context"));
  }
}

TEST(Inspect, CountsTheParameters) {
  const json teacher = json::parse(Output({"inspect", Teacher(), "-o", "json"}));
  EXPECT_EQ(teacher["kind"], "teacher");
  EXPECT_EQ(teacher["parameters"]["total"], 205376);
  EXPECT_EQ(teacher["parameters"]["attention"], 4 * 12288);
  const json student = json::parse(Output({"inspect", Student(), "-o", "json"}));
  EXPECT_EQ(student["kind"], "student");
  EXPECT_EQ(student["parameters"]["attention"], 12288);
  EXPECT_EQ(student["parameters"]["mamba2"], 3 * 15148);
  EXPECT_EQ(student["parameters"]["total"], 205376 - 3 * 12288 + 3 * 15148);
}

TEST(Inspect, NamesEachLayersMixer) {
  const json student = json::parse(Output({"inspect", Student(), "-o", "json"}));
  std::vector<std::string> mixers;
  for (const json& layer : student["layers"]) mixers.push_back(layer["mixer"]);
  EXPECT_THAT(mixers, testing::ElementsAre("mamba2", "attention", "mamba2", "mamba2"));
}

TEST(ModelVerbs, RefuseADirectoryThatIsNotThere) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"inspect", "/no/such/model"},
        {"generate", "/no/such/model", "--prompt", "x"},
        {"eval", "/no/such/model", "--data", TinyJobDirectory() / "corpus/eval.bin"}}) {
    const ProgramEnd end = RunRetort(arguments);
    EXPECT_EQ(end.exit_code, 4) << arguments[0];
    EXPECT_THAT(end.err, HasSubstr("/no/such/model"));
  }
}

bool HasFileThatBeginsWith(const std::string& beginning) {
  for (const auto& entry : std::filesystem::directory_iterator(TestPath("").parent_path())) {
    if (entry.path().filename().string().starts_with(beginning)) return true;
  }
  return false;
}

TEST(Tokenize, LeavesNothingWhenInterrupted) {
  const std::string pipe = TestPath("a.jsonl");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  std::fstream writer(pipe);  // for reading too: opening it waits for nobody
  ChildProcess tokenize(
      Retort({"data", "tokenize", "--tokenizer", Teacher(), "--out", TestPath("out"), pipe}));
  writer << "{\"text\": \"one\"}\n" << std::flush;
  ASSERT_TRUE(Eventually(kDeadlineSeconds, [] { return HasFileThatBeginsWith("out.bin.tmp-"); }));
  tokenize.Signal(SIGINT);  // while it waits for more
  const ProgramEnd end = tokenize.Wait(kDeadlineSeconds);
  EXPECT_EQ(end.exit_code, 11);
  EXPECT_THAT(end.err, HasSubstr("interrupted; nothing was written"));
  EXPECT_FALSE(HasFileThatBeginsWith("out"));
}

TEST(ModelVerbs, SayThatTheirOutputWasLost) {
  const std::string prefix = Retort({})[0] + " ";
  for (const std::string& arguments :
       {"inspect " + Teacher(), "generate " + Teacher() + " --prompt In --threads 1"}) {
    const ProgramEnd end =
        RunProgram({"/bin/sh", "-c", prefix + arguments + " >/dev/full"}, kDeadlineSeconds);
    EXPECT_EQ(end.exit_code, 10) << arguments;
    EXPECT_THAT(end.err, HasSubstr("cannot write to standard output: No space left on device"));
  }
}

TEST(ModelVerbs, SayThatDataIsDamaged) {
  const std::filesystem::path bin = TestPath("eval.bin"), teacher = TestPath("teacher");
  std::filesystem::copy_file(TinyJobDirectory() / "corpus/eval.idx", TestPath("eval.idx"));
  std::filesystem::copy_file(TinyJobDirectory() / "corpus/eval.bin", bin);
  std::filesystem::resize_file(bin, std::filesystem::file_size(bin) - 100);
  std::filesystem::copy(Teacher(), teacher);
  std::filesystem::resize_file(teacher / "model.safetensors", 1000);
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"eval", Teacher(), "--data", bin},
        {"eval", teacher, "--data", TinyJobDirectory() / "corpus/eval.bin"}}) {
    const ProgramEnd end = RunRetort(arguments);
    EXPECT_EQ(end.exit_code, 10) << end.err;
    EXPECT_THAT(end.err, HasSubstr(TestPath("").string()));
  }
}

}  // namespace
}  // namespace retort
