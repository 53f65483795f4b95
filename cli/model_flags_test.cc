// The completion repeats the flags of retort-model; this holds the two together, through the built programs.
#include <stdio.h>

#include <regex>
#include <set>
#include <string>

#include "cli/verb_table.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort {
namespace {

std::string HelpOf(const std::string& words) {
  FILE* pipe = popen((RETORT_BIN_DIR "/retort " + words + " --help").c_str(), "r");
  std::string help;
  for (int c = fgetc(pipe); c != EOF; c = fgetc(pipe)) {
    help += static_cast<char>(c);
  }
  EXPECT_EQ(pclose(pipe), 0) << words;
  return help;
}

// Long flags that stand at the beginning of a line of the help text.
std::set<std::string> FlagsIn(const std::string& help) {
  static const std::regex flag("\n  (?:-[a-z],)?(--[a-z-]+)");
  std::set<std::string> flags;
  for (std::sregex_iterator match(help.begin(), help.end(), flag), end; match != end; ++match) {
    flags.insert((*match)[1]);
  }
  flags.erase("--help");
  return flags;
}

TEST(Completion, OffersExactlyTheFlagsThatEachVerbTakes) {
  for (const VerbInfo& verb : VerbTable()) {
    const bool has_second_verb = verb.name == "data";
    const std::string words = has_second_verb ? verb.name + " " + verb.words.front() : verb.name;
    EXPECT_EQ(FlagsIn(HelpOf(words)), std::set<std::string>(verb.flags.begin(), verb.flags.end())) << words;
  }
}

}  // namespace
}  // namespace retort
