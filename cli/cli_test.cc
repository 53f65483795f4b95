// Runs the built program, as a user's shell does.
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "cli/verb_table.h"
#include "core/base/check.h"
#include "core/base/machine_memory.h"
#include "core/config/job_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using Args = std::vector<std::string>;

constexpr char kRetort[] = RETORT_BIN_DIR "/retort";

struct Outcome {
  int exit_code = -1;
  std::string out;
  std::string err;
};

std::string Contents(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::string Read(FILE* file) {
  rewind(file);
  std::string text;
  for (int c = fgetc(file); c != EOF; c = fgetc(file)) {
    text += static_cast<char>(c);
  }
  fclose(file);
  return text;
}

Outcome Execute(const std::string& program, const Args& args) {
  FILE* out = tmpfile();
  FILE* err = tmpfile();
  const pid_t child = fork();
  RETORT_CHECK(out != nullptr && err != nullptr && child >= 0);
  if (child == 0) {
    dup2(fileno(out), 1);
    dup2(fileno(err), 2);
    std::vector<char*> argv = {const_cast<char*>(program.c_str())};
    for (const std::string& arg : args) {
      argv.push_back(const_cast<char*>(arg.c_str()));
    }
    argv.push_back(nullptr);
    execv(program.c_str(), argv.data());
    _exit(127);
  }
  int status = 0;
  RETORT_CHECK(waitpid(child, &status, 0) == child);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, Read(out), Read(err)};
}

Outcome Retort(const Args& args) { return Execute(kRetort, args); }

// A copy of retort beside a shell script that stands for retort-model: it prints its name and arguments, one
// a line, and exits with 7.
class WithStandIns : public JobFixture {
 protected:
  WithStandIns() {
    fs::copy_file(kRetort, directory_ / "retort");
    Put("retort-model", "#!/bin/sh\nbasename \"$0\"\nprintf '%s\\n' \"$@\"\nexit 7\n");
    fs::permissions(directory_ / "retort-model", fs::perms::owner_all);
    Put("job.yaml", kGood);
  }
  Outcome Retort(const Args& args) { return Execute(directory_ / "retort", args); }
  std::string Job() const { return directory_ / "job.yaml"; }
};

TEST(Retort, PrintsHelpThatBeginsWithExamples) {
  for (const Args& args : {Args{}, Args{"help"}, Args{"--help"}, Args{"-h"}}) {
    const Outcome outcome = Retort(args);
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_THAT(outcome.out, AllOf(HasSubstr(".\n\nExamples:\n  retort run "), HasSubstr("\n  generate ")));
    EXPECT_EQ(outcome.err, "");
  }
}

TEST(Retort, PrintsItsVersion) {
  EXPECT_THAT(Retort({"version"}).out, testing::MatchesRegex("retort [0-9]+\\.[0-9]+\\.[0-9]+\n"));
  EXPECT_EQ(Retort({"--version"}).out, Retort({"version"}).out);
}

TEST(Retort, SaysThatItsOutputWasLost) {
  const Outcome outcome = Execute("/bin/sh", {"-c", std::string(kRetort) + " version >/dev/full"});
  EXPECT_EQ(outcome.exit_code, 10);
  EXPECT_EQ(outcome.err, "retort: error: cannot write to standard output: No space left on device\n");
}

TEST(Retort, SuggestsTheNearestVerb) {
  const Outcome outcome = Retort({"evla"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(outcome.err, StartsWith("retort: error: unknown verb 'evla'; did you mean 'eval'?\n"));
}

TEST(Retort, TakesNoAbbreviatedVerb) { EXPECT_EQ(Retort({"gen"}).exit_code, 2); }

TEST(Retort, UsesNoColourWithoutATerminal) { EXPECT_THAT(Retort({"evla"}).err, Not(HasSubstr("\033"))); }

// From the first line that `heading` matches to the next heading.
std::string Section(const std::string& docs, const std::string& heading) {
  std::smatch match;
  if (!std::regex_search(docs, match, std::regex("\n## " + heading))) return "";
  const size_t begin = match.position() + 1;
  return docs.substr(begin, docs.find("\n## ", begin) - begin);
}

TEST(Retort, HasEveryVerbAndFlagInItsDocs) {
  const std::string docs = Contents(RETORT_SOURCE_DIR "/docs/commands.md");
  const std::string common = Section(docs, "Verbs that talk to an orchestrator");
  for (const VerbInfo& verb : VerbTable()) {
    const std::string section = Section(docs, "retort [a-z, ]*\\b" + verb.name + "\\b");
    EXPECT_THAT(section, HasSubstr("retort " + verb.name));
    const bool asks_orchestrator = testing::Value(verb.flags, testing::Contains("--orchestrator"));
    for (const std::string& flag : verb.flags) {
      EXPECT_THAT(section + (asks_orchestrator ? common : ""), testing::ContainsRegex("`" + flag + "[` ]"))
          << verb.name;
    }
  }
}

TEST(RetortRun, ExplainsItself) {
  const Outcome outcome = Retort({"help", "run"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.out, HasSubstr("\n\nExamples:\n  retort run "));
  for (const VerbInfo& verb : VerbTable()) {
    if (verb.name == "run") {
      for (const std::string& flag : verb.flags) {
        EXPECT_THAT(outcome.out, HasSubstr("  " + flag + " ")) << "the completion offers it";
      }
    }
  }
}

TEST(RetortRun, WantsAJob) {
  const Outcome outcome = Retort({"run"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, StartsWith("retort run: error: JOB.yaml is required"));
}

TEST(RetortRun, SaysWhichJobIsMissing) {
  const Outcome outcome = Retort({"run", "/nowhere/job.yaml"});
  EXPECT_EQ(outcome.exit_code, 4);
  EXPECT_THAT(outcome.err, HasSubstr("/nowhere/job.yaml"));
}

TEST(RetortRun, SuggestsTheNearestFlag) {
  EXPECT_THAT(Retort({"run", "job.yaml", "--thread", "2"}).err,
              StartsWith("retort run: error: unknown flag '--thread'; did you mean '--threads'?\n"));
}

TEST_F(WithStandIns, RunRefusesABadJobAtItsPlaceBeforeAnythingStarts) {
  Put("job.yaml", Edited("state_size", "state_sise"));
  const Outcome outcome = Retort({"run", Job()});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(outcome.err, AllOf(HasSubstr(Job() + ":5:3: "), HasSubstr("state_size")));
}

TEST_F(WithStandIns, RunGivesUpOnAnOrchestratorThatDoesNotKnowItsVerb) {
  Put("retort-orchestrator", "#!/bin/sh\necho \"$@\"\nexit 2\n");
  fs::permissions(directory_ / "retort-orchestrator", fs::perms::owner_all);
  const Outcome outcome = Retort({"run", Job(), "--out", directory_ / "out"});
  EXPECT_EQ(outcome.exit_code, 10);
  EXPECT_THAT(outcome.err, AllOf(StartsWith("retort run: error: retort-orchestrator ended with exit code 2"),
                                 HasSubstr((directory_ / "out/service/orchestrator.log").string())));
  EXPECT_THAT(Contents(directory_ / "out/service/orchestrator.log"),
              StartsWith("serve --state " + (directory_ / "out/service/store").string() +
                         " --listen 127.0.0.1:0 --address-file "));
}

TEST_F(WithStandIns, RunSaysWhichProgramItLacks) {
  const Outcome outcome = Retort({"run", Job(), "--out", directory_ / "out"});
  EXPECT_EQ(outcome.exit_code, 4);
  EXPECT_THAT(outcome.err,
              AllOf(HasSubstr("retort-orchestrator ended with exit code 127"), HasSubstr("./dev build")));
}

TEST_F(WithStandIns, CheckReadsTheJobAndHasItInspected) {
  const Outcome outcome = Retort({"run", Job(), "--check", "--workers", "3", "--root", directory_});
  EXPECT_EQ(outcome.exit_code, 7);  // the stand-in's
  EXPECT_EQ(outcome.out,
            absl::StrCat("retort-model\ninspect\n", Job(), "\n--must-fit\n--as\nretort run\n--memory\n",
                         MachineMemoryBytes() / 3, "\n--sharing\n3\n--root\n", directory_.string(), "\n"));
}

TEST_F(WithStandIns, RunRefusesAStageThatWantsMoreWorkersBeforeAnythingStarts) {
  Put("job.yaml", Edited("lr: 1}", "lr: 1, world_size: 4}"));
  for (std::vector<std::string> args :
       {std::vector<std::string>{"run", Job(), "--out", directory_ / "out"}, {"run", Job(), "--check"}}) {
    args.insert(args.end(), {"--workers", "3"});
    const Outcome outcome = Retort(args);
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_EQ(outcome.out, "");
    EXPECT_THAT(outcome.err,
                HasSubstr("stages.end_to_end.world_size is 4, but 3 workers would be started; give "
                          "--workers 4"));
  }
  EXPECT_FALSE(fs::exists(directory_ / "out"));
}

TEST_F(WithStandIns, ModelVerbsHandTheirArgumentsOnUnchanged) {
  for (const char* verb : {"eval", "generate", "data", "inspect", "probe"}) {
    const Outcome outcome = Retort({verb, "--prompt", "two words", "", "--help"});
    EXPECT_EQ(outcome.exit_code, 7);
    EXPECT_EQ(outcome.out, std::string("retort-model\n") + verb + "\n--prompt\ntwo words\n\n--help\n");
  }
}

TEST_F(WithStandIns, SaysWhichProgramItLacks) {
  fs::remove(directory_ / "retort-model");
  const Outcome outcome = Retort({"eval", "student"});
  EXPECT_EQ(outcome.exit_code, 4);
  EXPECT_THAT(outcome.err,
              AllOf(StartsWith("retort eval: error: cannot execute "),
                    HasSubstr((directory_ / "retort-model").string()), HasSubstr("./dev build")));
}

TEST(RetortCompletion, PrintsAScriptPerShell) {
  EXPECT_THAT(Retort({"completion", "bash"}).out, HasSubstr("complete -o filenames -F _retort retort\n"));
  EXPECT_THAT(Retort({"completion", "zsh"}).out, StartsWith("#compdef retort\n"));
  EXPECT_THAT(Retort({"completion", "fish"}).out, HasSubstr("complete -c retort"));
}

TEST(RetortCompletion, RefusesAnUnknownShell) {
  const Outcome outcome = Retort({"completion", "tcsh"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("bash"));
}

}  // namespace
}  // namespace retort
