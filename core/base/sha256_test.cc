#include "core/base/sha256.h"

#include <unistd.h>

#include <fstream>

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"

namespace retort {
namespace {

TEST(Sha256, MatchesTheStandardsExamples) {
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, OfAFileOfManyPiecesEqualsThatOfItsBytes) {
  const std::string bytes(3'000'001, 'a');
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("retort_sha256_" + std::to_string(getpid()));
  std::ofstream(path, std::ios::binary) << bytes;
  EXPECT_EQ(Sha256HexOfFile(path).value(), Sha256Hex(bytes));
  std::filesystem::remove(path);
}

TEST(Sha256, OfPiecesEqualsThatOfTheWhole) {
  Sha256 sha256;
  sha256.Add("a");
  sha256.Add("");
  sha256.Add("bc");
  EXPECT_EQ(absl::BytesToHexString(sha256.Digest()), Sha256Hex("abc"));
}

TEST(Sha256, ReportsAFileItCannotRead) {
  EXPECT_EQ(Sha256HexOfFile("/nonexistent/file").status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(Sha256HexOfFile("/").ok());
}

}  // namespace
}  // namespace retort
