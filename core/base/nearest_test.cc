#include "core/base/nearest.h"

#include "gtest/gtest.h"

namespace retort {
namespace {

TEST(Nearest, FindsEachKindOfEdit) {
  const std::vector<std::string> words = {"teacher", "student", "tokens"};
  EXPECT_EQ(Nearest("teachr", words), "teacher");
  EXPECT_EQ(Nearest("studdent", words), "student");
  EXPECT_EQ(Nearest("tokans", words), "tokens");
  EXPECT_EQ(Nearest("tokesn", words), "tokens");
}

TEST(Nearest, CountsASwapAsOneEdit) { EXPECT_EQ(Nearest("rl", {"lr"}), "lr"); }

TEST(Nearest, AllowsAThirdOfTheLength) {
  EXPECT_EQ(Nearest("seqlne", {"seq_len"}), "seq_len");  // 2 edits of 7 letters
  EXPECT_EQ(Nearest("sqlne", {"seq_len"}), std::nullopt);
}

TEST(Nearest, PrefersTheFewestEditsThenTheFirst) {
  EXPECT_EQ(Nearest("prompt", {"prompt_t", "prompts"}), "prompts");
  EXPECT_EQ(Nearest("tail", {"tall", "fail"}), "tall");
}

TEST(Nearest, IgnoresCase) { EXPECT_EQ(Nearest("MAMBA2", {"mamba2"}), "mamba2"); }

TEST(Nearest, OffersNothingForStrangers) {
  EXPECT_EQ(Nearest("zebra", {"teacher", "student"}), std::nullopt);
  EXPECT_EQ(Nearest("x", {"y"}), std::nullopt);
  EXPECT_EQ(Nearest("", {"name", "a"}), std::nullopt);
  EXPECT_EQ(Nearest("name", {}), std::nullopt);
}

}  // namespace
}  // namespace retort
