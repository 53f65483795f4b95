#include "cli/completion.h"

#include <stdio.h>
#include <stdlib.h>

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::vector<VerbInfo> TwoVerbs() {
  return {{"run", "Run it", {}, {"--root", "--out"}}, {"data", "Prepare it", {"tokenize"}, {"--tokenizer"}}};
}

// What bash offers, one per line, after typing `words` and Tab; `last` is the number of the word under the
// cursor.
std::string BashOffers(const std::string& words, int last) {
  const std::string script = CompletionScript("bash", TwoVerbs()) + "COMP_WORDS=(" + words +
                             ")\nCOMP_CWORD=" + std::to_string(last) +
                             "\n_retort\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n";
  setenv("RETORT_TEST_SCRIPT", script.c_str(), /*overwrite=*/1);
  FILE* pipe = popen("exec bash --norc -c \"$RETORT_TEST_SCRIPT\"", "r");
  std::string offers;
  for (int c = fgetc(pipe); c != EOF; c = fgetc(pipe)) {
    offers += static_cast<char>(c);
  }
  EXPECT_EQ(pclose(pipe), 0);
  return offers;
}

TEST(BashCompletion, OffersVerbs) {
  EXPECT_EQ(BashOffers("retort ''", 1), "run\ndata\nhelp\n");
  EXPECT_EQ(BashOffers("retort r", 1), "run\n");
}

TEST(BashCompletion, OffersTheFlagsOfTheVerb) {
  EXPECT_EQ(BashOffers("retort run --", 2), "--root\n--out\n--help\n");
}

TEST(BashCompletion, OffersTheSecondVerb) { EXPECT_EQ(BashOffers("retort data t", 2), "tokenize\n"); }

TEST(BashCompletion, OffersVerbsToHelp) { EXPECT_EQ(BashOffers("retort help ''", 2), "run\ndata\n"); }

TEST(BashCompletion, OffersFilesElsewhere) {
  EXPECT_EQ(BashOffers("retort run " RETORT_SOURCE_DIR "/CMakeLists", 2),
            RETORT_SOURCE_DIR "/CMakeLists.txt\n");
}

TEST(ZshCompletion, DescribesVerbsAndListsFlags) {
  EXPECT_THAT(CompletionScript("zsh", TwoVerbs()),
              AllOf(HasSubstr("#compdef retort\n"), HasSubstr("'run:Run it'"),
                    HasSubstr("run) flags=(--root --out --help) nouns=() ;;"),
                    HasSubstr("compdef _retort retort\n")));
}

TEST(FishCompletion, OffersVerbsFlagsAndSecondVerbs) {
  EXPECT_THAT(CompletionScript("fish", TwoVerbs()),
              AllOf(HasSubstr("-n __fish_use_subcommand -f -a run -d 'Run it'\n"),
                    HasSubstr("-n '__fish_seen_subcommand_from run' -l root\n"),
                    HasSubstr("-n '__fish_seen_subcommand_from data' -a 'tokenize'\n")));
}

}  // namespace
}  // namespace retort
