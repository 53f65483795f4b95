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
    app_.add_option("--threads", threads, "How many at once")->type_name("N")->check(CLI::Range(1, 9));
    app_.add_option("--sugar", sugar, "How much")->check(CLI::IsMember({"none", "some", "much"}));
    app_.add_option("--minutes", minutes, "How long");
  }
  std::optional<int> Parse(const std::vector<std::string>& args) {
    return ParseCommand(app_, args, out, err);
  }

  std::string pot;
  int threads = 0, minutes = 0;
  std::string sugar;
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
  const auto complaint = [](const std::vector<std::string>& args) {
    OneCommand one;
    EXPECT_EQ(one.Parse(args), 2);
    const std::string text = one.err.str();
    return text.substr(0, text.find('\n'));
  };
  const std::string begin = "retort brew: error: ";
  EXPECT_EQ(complaint({"pot.yaml", "--threads", "0"}), begin + "--threads '0' is not a number from 1 to 9");
  EXPECT_EQ(complaint({"pot.yaml", "--threads", "many"}),
            begin + "--threads 'many' is not a number from 1 to 9");
  EXPECT_EQ(complaint({"pot.yaml", "--threads"}), begin + "--threads needs a value");
  EXPECT_EQ(complaint({"pot.yaml", "--minutes", "ten"}),
            begin + "--minutes 'ten' is not a number that it takes");
  EXPECT_EQ(complaint({"pot.yaml", "--sugar", "sume"}),
            begin + "--sugar 'sume' is not one of none, some, much; did you mean 'some'?");
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
       {"pour", "Pours", [this](const std::vector<std::string>& args) { return Record("pour", args); }}},
      {{"serve", "pour"}}};

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
  EXPECT_EQ(verbs.Run({"help", "pour", "slowly"}), 42);
  EXPECT_THAT(verbs.seen, ElementsAre("pour", "slowly", "--help"));
}

TEST(DispatchVerb, SuggestsTheNearestVerb) {
  TwoVerbs verbs;
  EXPECT_EQ(verbs.Run({"brw"}), 2);
  EXPECT_THAT(verbs.err.str(), AllOf(HasSubstr("unknown verb 'brw'"), HasSubstr("brew")));
}

TEST(DispatchVerb, SaysThatAFlagComesAfterTheVerb) {
  TwoVerbs verbs;
  EXPECT_EQ(verbs.Run({"--into", "cup", "pour"}), 2);
  EXPECT_THAT(verbs.err.str(), HasSubstr("unknown flag '--into'; a verb comes first, then its flags"));
}

TEST(DispatchVerb, TakesNoAbbreviation) {
  TwoVerbs verbs;
  EXPECT_EQ(verbs.Run({"po"}), 2);
  EXPECT_TRUE(verbs.seen.empty());
}

TEST(DispatchVerb, KnowsTheWordsOfOtherPrograms) {
  TwoVerbs verbs;
  EXPECT_EQ(verbs.Run({"serve"}), 2);
  EXPECT_THAT(verbs.err.str(), HasSubstr("unknown verb 'serve'; that is 'pour' here\n"));
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

TEST(ReportError, LetsNoFileSpeakToTheTerminal) {
  std::ostringstream err;
  ReportError("retort run", absl::DataLossError("tensor \033]0;owned\x07 is\u009b2J broken"), err);
  EXPECT_EQ(err.str(), "retort run: error: tensor ?]0;owned? is?2J broken\n");
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
