#include "core/base/name.h"

#include <string>

#include "gtest/gtest.h"

namespace retort {
namespace {

TEST(IsName, TakesWhatADirectoryAndAHostMayBeCalled) {
  for (const char* name : {"a", "0a", "smollm2-hybrid", "pod.7_b"}) EXPECT_TRUE(IsName(name)) << name;
  EXPECT_TRUE(IsName(std::string(63, 'a')));
}

TEST(IsName, RefusesTheRest) {
  for (const char* name : {"", "Smol", ".hidden", "-a", "a/b", "a b", "7", "123"}) {
    EXPECT_FALSE(IsName(name)) << name;
  }
  EXPECT_FALSE(IsName(std::string(64, 'a')));
}

}  // namespace
}  // namespace retort
