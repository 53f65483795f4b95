#include "core/base/crc32c.h"

#include <string>

#include "gtest/gtest.h"

namespace retort {
namespace {

// Values of RFC 3720, B.4, and of the usual check string.
TEST(Crc32c, MatchesTheStandardsExamples) {
  std::string ascending;
  for (char byte = 0; byte < 32; ++byte) ascending += byte;
  EXPECT_EQ(Crc32c(""), 0u);
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(Crc32c(ascending), 0x46dd794eu);
}

TEST(Crc32c, IsTheSameWithAndWithoutTheInstruction) {
  std::string bytes;
  for (int i = 0; i < 70; ++i) {
    EXPECT_EQ(Crc32c(bytes), Crc32cByTable(bytes)) << i << " bytes";
    bytes += static_cast<char>(i * 37 + 11);
  }
}

}  // namespace
}  // namespace retort
