#include "kernels/base/instruction_set.h"

#include <cstdlib>

#include "gtest/gtest.h"

namespace retort {
namespace {

TEST(InstructionSet, IsNamedBothWays) {
  EXPECT_EQ(InstructionSetNamed("avx2"), InstructionSet::kAvx2);
  EXPECT_EQ(Name(InstructionSet::kAvx512), "avx512");
  EXPECT_EQ(InstructionSetNamed("sse9"), std::nullopt);
}

TEST(ActiveInstructionSet, ObeysTheEnvironment) {
  const auto choose = [](const char* name) {
    setenv("RETORT_CPU", name, 1);
    std::exit(ActiveInstructionSet() == InstructionSet::kPortable ? 0 : 1);
  };
  EXPECT_EXIT(choose("portable"), testing::ExitedWithCode(0), "");
}

TEST(ActiveInstructionSet, RefusesAnUnknownName) {
  const auto choose = [] {
    setenv("RETORT_CPU", "sse9", 1);
    ActiveInstructionSet();
  };
  EXPECT_EXIT(choose(), testing::ExitedWithCode(2), "RETORT_CPU=sse9 names no instruction set.*: portable");
}

}  // namespace
}  // namespace retort
