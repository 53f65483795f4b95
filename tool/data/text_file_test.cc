#include "tool/data/text_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tool/data/testing_compression.h"
#include "train/data/testing_dataset.h"

namespace retort {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

absl::StatusOr<std::string> ReadAll(const std::string& name, const std::string& bytes) {
  const std::atomic<bool> stop = false;
  std::ofstream(TestPath(name), std::ios::binary) << bytes;
  absl::StatusOr<TextFile> file = TextFile::Open(TestPath(name), stop);
  EXPECT_TRUE(file.ok()) << file.status();
  std::string text;
  absl::StatusOr<bool> more = true;
  while (more.ok() && *more) more = file->Read(&text);
  if (!more.ok()) return more.status();
  return text;
}

std::string LongText() {
  std::string text;
  for (uint64_t i = 0; text.size() < 1'000'000; ++i) text += std::to_string(i * i) + "\n";
  return text + std::string(3'000'000, 'x');
}

TEST(TextFile, ReadsPlainText) {
  EXPECT_EQ(*ReadAll("a.txt", ""), "");
  EXPECT_EQ(*ReadAll("b.txt", std::string("a\0\r\n", 4)), std::string("a\0\r\n", 4));
  EXPECT_TRUE(*ReadAll("c.txt", LongText()) == LongText());
}

TEST(TextFile, ReadsCompressedText) {
  EXPECT_EQ(*ReadAll("a.gz", Gzip("")), "");
  EXPECT_EQ(*ReadAll("a.zst", Zstd("")), "");
  EXPECT_TRUE(*ReadAll("b.gz", Gzip(LongText())) == LongText());
  EXPECT_TRUE(*ReadAll("b.zst", Zstd(LongText())) == LongText());
}

TEST(TextFile, ExpandsAPieceAtATime) {
  const std::string zeros(64 << 20, '\0');
  for (const auto& [name, bytes] : {std::pair{"a.gz", Gzip(zeros)}, std::pair{"a.zst", Zstd(zeros)}}) {
    ASSERT_LT(bytes.size(), 1u << 17);
    const std::atomic<bool> stop = false;
    std::ofstream(TestPath(name), std::ios::binary) << bytes;
    absl::StatusOr<TextFile> file = TextFile::Open(TestPath(name), stop);
    ASSERT_TRUE(file.ok()) << file.status();
    size_t size = 0;
    for (std::string part; *file->Read(&part); part.clear()) {
      ASSERT_LE(part.size(), 1u << 17) << name;
      size += part.size();
    }
    EXPECT_EQ(size, zeros.size()) << name;
  }
}

TEST(TextFile, TakesZerosThatPadAGzipFile) {
  const std::string padding(70'000, '\0');  // more than is read at once
  EXPECT_EQ(*ReadAll("a.gz", Gzip("one") + padding), "one");
  EXPECT_EQ(*ReadAll("b.gz", Gzip("one") + padding + Gzip("two")), "onetwo");
}

TEST(TextFile, ReadsStreamsOneAfterTheOther) {
  EXPECT_EQ(*ReadAll("a.gz", Gzip("one") + Gzip("") + Gzip("two")), "onetwo");
  EXPECT_EQ(*ReadAll("a.zst", Zstd("one") + Zstd("") + Zstd("two")), "onetwo");
}

TEST(TextFile, RefusesACompressedFileCutAnywhere) {
  for (const auto& [name, bytes] :
       {std::pair{"a.gz", Gzip("some text, some text")}, std::pair{"a.zst", Zstd("some text, some text")}}) {
    for (size_t size = 0; size < bytes.size(); ++size) {
      const absl::Status status = ReadAll(name, bytes.substr(0, size)).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << name << " cut to " << size << ": " << status;
      EXPECT_THAT(status.message(), AllOf(HasSubstr(name), HasSubstr(absl::StrCat("ends at byte ", size)),
                                          HasSubstr("cut short; fetch or make it again")));
    }
  }
}

TEST(TextFile, RefusesADamagedFileByPlace) {
  std::string gzip = Gzip(LongText());
  gzip[gzip.size() - 6] ^= 1;  // the checksum
  EXPECT_THAT(ReadAll("a.gz", gzip).status().message(),
              AllOf(HasSubstr("a.gz: not a whole gzip file at byte "), HasSubstr("incorrect data check")));
  std::string zstd = Zstd(LongText());
  zstd[zstd.size() - 2] ^= 1;
  EXPECT_THAT(ReadAll("a.zst", zstd).status().message(),
              AllOf(HasSubstr("a.zst: not a whole zstd file at byte "), HasSubstr("checksum")));
}

TEST(TextFile, RefusesWhatIsNotCompressedAsItsNameSays) {
  EXPECT_THAT(ReadAll("a.gz", "plain text").status().message(),
              AllOf(HasSubstr("a.gz: not a whole gzip file at byte "), HasSubstr("incorrect header check")));
  EXPECT_THAT(ReadAll("a.zst", "plain text").status().message(),
              HasSubstr("a.zst: not a whole zstd file at byte 0"));
  const std::string behind = Gzip("one") + "rest";
  EXPECT_THAT(ReadAll("b.gz", behind).status().message(), HasSubstr("incorrect header check"));
}

TEST(TextFile, ReadsAPipeAsItsPartsCome) {
  const std::string path = TestPath("pipe.txt");
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  const std::atomic<bool> stop = false;
  absl::StatusOr<TextFile> file = TextFile::Open(path, stop);  // nobody writes yet
  ASSERT_TRUE(file.ok()) << file.status();
  std::ofstream writer(path);
  std::string text;
  writer << "one" << std::flush;
  EXPECT_TRUE(*file->Read(&text));
  EXPECT_EQ(text, "one");
  writer << "two" << std::flush;
  writer.close();
  EXPECT_TRUE(*file->Read(&text));
  EXPECT_EQ(text, "onetwo");
  EXPECT_FALSE(*file->Read(&text));
}

TEST(TextFile, StopsWaitingForAPipe) {
  const std::string path = TestPath("pipe.txt");
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  std::atomic<bool> stop = false;
  absl::StatusOr<TextFile> file = TextFile::Open(path, stop);
  ASSERT_TRUE(file.ok()) << file.status();
  std::string text;
  std::future<absl::StatusOr<bool>> read = std::async(std::launch::async, [&] { return file->Read(&text); });
  stop = true;
  EXPECT_EQ(read.get().status().code(), absl::StatusCode::kCancelled);
}

TEST(TextFile, RefusesADirectory) {
  const std::atomic<bool> stop = false;
  const std::string path = TestPath("directory.txt");
  std::filesystem::create_directory(path);
  EXPECT_EQ(TextFile::Open(path, stop).status(), absl::InvalidArgumentError(path + " is a directory"));
}

TEST(TextFile, NamesAMissingFile) {
  const std::atomic<bool> stop = false;
  const absl::Status status = TextFile::Open("/no/such.txt.gz", stop).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("/no/such.txt.gz"));
}

}  // namespace
}  // namespace retort
