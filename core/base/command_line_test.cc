#include "core/base/command_line.h"

#include <CLI/CLI.hpp>
#include <fstream>
#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// One command with a required file and a number.
class OneCommand {
 public:
  OneCommand() {
    DescribeCommand(app_, "retort brew", "Brews.", {"retort brew pot.yaml"});
    app_.add_option("POT.yaml", pot, "What to brew")->required();
    app_.add_option("--threads", threads, "How many at once")->type_name("N")->check(CLI::PositiveNumber);
  }
  std::optional<int> Parse(const std::vector<std::string>& args) {
    return ParseCommand(app_, args, out, err);
  }

  std::string pot;
  int threads = 0;
  std::ostringstream out;
  std::ostringstream err;

 private:
  CLI::App app_;
};

TEST(ParseCommand, FillsItsVariables) {
  OneCommand command;
  EXPECT_EQ(command.Parse({"pot.yaml", "--threads", "3"}), std::nullopt);
  EXPECT_EQ(command.pot, "pot.yaml");
  EXPECT_EQ(command.threads, 3);
}

TEST(ParseCommand, HelpBeginsWithExamples) {
  OneCommand command;
  EXPECT_EQ(command.Parse({"--help"}), 0);
  const std::string help = command.out.str();
  EXPECT_THAT(help, testing::StartsWith("Brews.\n\nExamples:\n  retort brew pot.yaml\n\nUsage: retort brew"));
  EXPECT_THAT(help, AllOf(HasSubstr("--threads"), HasSubstr("POT.yaml")));
  EXPECT_EQ(command.err.str(), "");
}

TEST(ParseCommand, SuggestsTheNearestFlagEvenWhenAnArgumentIsMissing) {
  OneCommand command;
  EXPECT_EQ(command.Parse({"--thread=3"}), 2);
  EXPECT_THAT(command.err.str(), AllOf(HasSubstr("retort brew: error: unknown flag '--thread=3'"),
                                       HasSubstr("--threads"), HasSubstr("Run 'retort brew --help'")));
  EXPECT_EQ(command.out.str(), "");
}

TEST(ParseCommand, NamesTheSurplusArgument) {
  OneCommand command;
  EXPECT_EQ(command.Parse({"pot.yaml", "kettle.yaml"}), 2);
  EXPECT_THAT(command.err.str(), HasSubstr("unexpected argument 'kettle.yaml'"));
}

TEST(ParseCommand, RefusesMissingAndUnfitValuesAsUsage) {
  OneCommand command;
  EXPECT_EQ(command.Parse({}), 2);
  EXPECT_THAT(command.err.str(), HasSubstr("POT.yaml is required"));
  EXPECT_EQ(OneCommand().Parse({"pot.yaml", "--threads", "0"}), 2);
  EXPECT_EQ(OneCommand().Parse({"pot.yaml", "--threads", "many"}), 2);
}

class TwoVerbs {
 public:
  int Run(const std::vector<std::string>& args) { return DispatchVerb(set_, args, out, err); }

  std::vector<std::string> seen;
  std::ostringstream out;
  std::ostringstream err;

 private:
  VerbSet set_ = {
      "retort",
      "Distils.",
      {"retort brew pot.yaml"},
      {{"brew", "Brews", [this](const std::vector<std::string>& args) { return Record("brew", args); }},
       {"pour", "Pours", [this](const std::vector<std::string>& args) { return Record("pour", args); }}}};

  int Record(const std::string& verb, const std::vector<std::string>& args) {
    seen = {verb};
    seen.insert(seen.end(), args.begin(), args.end());
    return 42;
  }
};

TEST(DispatchVerb, HandsOnTheRestOfTheArguments) {
  TwoVerbs verbs;
  EXPECT_EQ(verbs.Run({"pour", "--into", "cup"}), 42);
  EXPECT_THAT(verbs.seen, ElementsAre("pour", "--into", "cup"));
}

TEST(DispatchVerb, PrintsHelpWithoutArguments) {
  TwoVerbs verbs;
  EXPECT_EQ(verbs.Run({}), 0);
  EXPECT_THAT(verbs.out.str(), testing::StartsWith("Distils.\n\nExamples:\n  retort brew pot.yaml\n"));
  EXPECT_THAT(verbs.out.str(), HasSubstr("  pour   Pours\n"));
}

TEST(DispatchVerb, HelpOfAVerbComesFromTheVerb) {
  TwoVerbs verbs;
  EXPECT_EQ(verbs.Run({"help", "pour"}), 42);
  EXPECT_THAT(verbs.seen, ElementsAre("pour", "--help"));
}

TEST(DispatchVerb, SuggestsTheNearestVerb) {
  TwoVerbs verbs;
  EXPECT_EQ(verbs.Run({"brw"}), 2);
  EXPECT_THAT(verbs.err.str(), AllOf(HasSubstr("unknown verb 'brw'"), HasSubstr("brew")));
}

TEST(DispatchVerb, TakesNoAbbreviation) {
  TwoVerbs verbs;
  EXPECT_EQ(verbs.Run({"po"}), 2);
  EXPECT_TRUE(verbs.seen.empty());
}

TEST(DispatchVerb, SuggestsNothingForAWordFarFromAllVerbs) {
  TwoVerbs verbs;
  EXPECT_EQ(verbs.Run({"discombobulate"}), 2);
  EXPECT_THAT(verbs.err.str(), Not(HasSubstr("brew")));
}

TEST(ReportError, SaysWhichCommandAndGivesTheCode) {
  std::ostringstream err;
  EXPECT_EQ(ReportError("retort run", absl::NotFoundError("no such file"), err), 4);
  EXPECT_EQ(err.str(), "retort run: error: no such file\n");
}

TEST(ReportError, KeepsTheLinesOfAListOfErrorsApart) {
  std::ostringstream err;
  EXPECT_EQ(ReportError("retort run", absl::InvalidArgumentError("a.yaml:1:2: x\na.yaml:3:4: y"), err), 2);
  EXPECT_EQ(err.str(), "retort run: error:\na.yaml:1:2: x\na.yaml:3:4: y\n");
}

TEST(FinishOutput, KeepsTheCodeWhenAllWasWritten) {
  std::ostringstream out, err;
  EXPECT_EQ(FinishOutput("retort", 0, out, err), 0);
  EXPECT_EQ(FinishOutput("retort", 4, out, err), 4);
  EXPECT_EQ(err.str(), "");
}

TEST(FinishOutput, SaysWhyOutputWasLost) {
  std::ofstream out("/dev/full");
  std::ostringstream err;
  out << "result";
  EXPECT_EQ(FinishOutput("retort", 0, out, err), 10);
  EXPECT_EQ(err.str(), "retort: error: cannot write to standard output: No space left on device\n");
}

TEST(FinishOutput, AddsNothingToAnErrorAlreadyReported) {
  std::ofstream out("/dev/full");
  std::ostringstream err;
  out << "result";
  EXPECT_EQ(FinishOutput("retort", 4, out, err), 4);
  EXPECT_EQ(err.str(), "");
}

}  // namespace
}  // namespace retort
