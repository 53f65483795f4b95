// The completion repeats the flags of every verb; this holds the two together, through the built programs.
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
    std::set<std::string> flags;
    if (verb.name != "data") flags = FlagsIn(HelpOf(verb.name));
    if (verb.name == "data" || verb.name == "workers") {
      flags.merge(FlagsIn(HelpOf(verb.name + " " + verb.words.front())));
    }
    EXPECT_EQ(flags, std::set<std::string>(verb.flags.begin(), verb.flags.end())) << verb.name;
  }
}

}  // namespace
}  // namespace retort
