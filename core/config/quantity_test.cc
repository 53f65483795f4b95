#include "core/config/quantity.h"

#include "gtest/gtest.h"

namespace retort {
namespace {

TEST(Quantity, ReadsTokenCountsExactly) {
  EXPECT_EQ(ParseTokenCount("0").value(), 0u);
  EXPECT_EQ(ParseTokenCount("32768").value(), 32768u);
  EXPECT_EQ(ParseTokenCount("1_000").value(), 1000u);
  EXPECT_EQ(ParseTokenCount("32k").value(), 32'000u);
  EXPECT_EQ(ParseTokenCount("80M").value(), 80'000'000u);
  EXPECT_EQ(ParseTokenCount("2.76B").value(), 2'760'000'000u);
  EXPECT_EQ(ParseTokenCount("0.001k").value(), 1u);
  EXPECT_EQ(ParseTokenCount("2.5000K").value(), 2500u);
  EXPECT_EQ(ParseTokenCount("7.0").value(), 7u);
}

TEST(Quantity, RefusesWhatIsNoTokenCount) {
  for (const char* text :
       {"", "k", ".5M", "1.", "1.M", "-1", "+1", "1e6", "0x10", "1 M", "1MB", "_1", "1_", "1__0", "1G"}) {
    EXPECT_EQ(ParseTokenCount(text).status().message(), "is not a number of tokens") << text;
  }
}

TEST(Quantity, RefusesFractionsOfATokenAndOverflow) {
  EXPECT_EQ(ParseTokenCount("0.5").status().message(), "is not a whole number of tokens");
  EXPECT_EQ(ParseTokenCount("1.0001k").status().message(), "is not a whole number of tokens");
  EXPECT_EQ(ParseTokenCount("18446744073709551616").status().message(), "is too large");
  EXPECT_EQ(ParseTokenCount("99999999999B").status().message(), "is too large");
}

TEST(Quantity, ReadsIntegers) {
  EXPECT_EQ(ParseInteger("18446744073709551615").value(), UINT64_MAX);
  EXPECT_EQ(ParseInteger("1_000").value(), 1000u);
  EXPECT_FALSE(ParseInteger("1k").ok());
  EXPECT_FALSE(ParseInteger("1.0").ok());
}

TEST(Quantity, ReadsStepsWithAndWithoutTheWord) {
  EXPECT_EQ(ParseSteps("100 steps").value(), 100u);
  EXPECT_EQ(ParseSteps("1 step").value(), 1u);
  EXPECT_EQ(ParseSteps("100").value(), 100u);
  EXPECT_FALSE(ParseSteps("100 minutes").ok());
  EXPECT_FALSE(ParseSteps("steps").ok());
}

TEST(Quantity, ReadsFiniteNumbers) {
  EXPECT_EQ(ParseNumber("1e-4").value(), 1e-4);
  EXPECT_EQ(ParseNumber("1").value(), 1.0);
  for (const char* text : {"", "nan", "inf", "1e999", "1e-4x", "fast"})
    EXPECT_FALSE(ParseNumber(text).ok()) << text;
}

TEST(ParseDuration, TakesUnitsAndTheirWords) {
  EXPECT_EQ(ParseDuration("90s").value(), 90u);
  EXPECT_EQ(ParseDuration("10 minutes").value(), 600u);
  EXPECT_EQ(ParseDuration("1 hour").value(), 3600u);
  EXPECT_EQ(ParseDuration("1_000 min").value(), 60'000u);
}

TEST(ParseDuration, RefusesWhatIsNoTime) {
  for (const char* text : {"", "100", "m", "-5m", "5 M", "5 days", "1.5h", "5 m m"}) {
    EXPECT_EQ(ParseDuration(text).status().message(), "is not a time") << text;
  }
  EXPECT_EQ(ParseDuration("9999999999999999999h").status().message(), "is too large");
}

}  // namespace
}  // namespace retort
