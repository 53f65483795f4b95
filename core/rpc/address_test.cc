#include "core/rpc/address.h"

#include "gtest/gtest.h"

namespace retort {
namespace {

TEST(CheckAddress, TakesAHostAndAPort) {
  for (const char* good : {"head:7077", "10.0.0.1:1", "[::1]:65535", "retort-0.retort.default.svc:7077"}) {
    EXPECT_EQ(CheckAddress(good), absl::OkStatus()) << good;
  }
}

TEST(CheckAddress, SaysWhatToWrite) {
  EXPECT_EQ(CheckAddress("head"),
            absl::InvalidArgumentError("'head' is no address of an orchestrator; write head:7077"));
  EXPECT_EQ(
      CheckAddress("http://head:7077"),
      absl::InvalidArgumentError("'http://head:7077' is no address of an orchestrator; write HOST:PORT, "
                                 "such as head:7077"));
  for (const char* bad : {"", ":7077", "head:", "head:0", "head:65536", "head:http", "::1:7077", "[]:1",
                          "a b:1", "head:7077/", "head:+7"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(CheckAddress(bad))) << bad;
  }
}

}  // namespace
}  // namespace retort
