#include "core/base/files.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <set>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class Files : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "retort_files_XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { fs::remove_all(directory_); }

  void Put(const std::string& name, const std::string& contents) {
    std::ofstream(directory_ / name, std::ios::binary) << contents;
  }
  size_t Count() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(directory_), fs::directory_iterator()));
  }

  fs::path directory_;
};

TEST_F(Files, ReadsEveryByte) {
  const std::string contents("a\0b\n\xff", 5);
  Put("x", contents);
  EXPECT_EQ(ReadFile(directory_ / "x").value(), contents);
}

TEST_F(Files, ReadsFilesWhoseSizeIsUnknown) {
  EXPECT_THAT(ReadFile("/proc/self/status").value(), HasSubstr("Pid:"));
}

TEST_F(Files, NamesTheMissingFile) {
  const absl::Status status = ReadFile(directory_ / "absent").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr((directory_ / "absent").string()));
}

TEST_F(Files, RefusesToReadADirectory) { EXPECT_FALSE(ReadFile(directory_).ok()); }

TEST_F(Files, ReplacesAFileAndLeavesNoOther) {
  Put("x", "old and longer");
  ASSERT_TRUE(WriteFileAtomically(directory_ / "x", "new").ok());
  EXPECT_EQ(ReadFile(directory_ / "x").value(), "new");
  EXPECT_EQ(Count(), 1u);
}

TEST_F(Files, CreatesFilesThatOthersMayReadAsTheUmaskAllows) {
  const mode_t old_mask = umask(022);
  ASSERT_TRUE(WriteFileAtomically(directory_ / "x", "new").ok());
  umask(old_mask);
  EXPECT_EQ(fs::status(directory_ / "x").permissions(), fs::perms{0644});
}

TEST_F(Files, KeepsTheOldFileWhenTheDiskRefusesBytes) {
  Put("x", "old");
  // A limit on the size of files stands in for a full disk.
  rlimit old_limit;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old_limit), 0);
  const rlimit limit{1000, old_limit.rlim_max};
  const auto old_action = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  const absl::Status status = WriteFileAtomically(directory_ / "x", std::string(2000, 'n'));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old_limit), 0);
  std::signal(SIGXFSZ, old_action);
  EXPECT_THAT(std::string(status.message()), HasSubstr((directory_ / "x").string() + ": File too large"));
  EXPECT_EQ(ReadFile(directory_ / "x").value(), "old");
  EXPECT_EQ(Count(), 1u);
}

TEST_F(Files, ReportsADirectoryItMayNotWriteTo) {
  fs::permissions(directory_, fs::perms{0555});
  const bool is_root = geteuid() == 0;
  ASSERT_EQ(is_root ? seteuid(65534) : 0, 0);  // root may write anywhere
  const absl::Status status = WriteFileAtomically(directory_ / "x", "new");
  ASSERT_EQ(is_root ? seteuid(0) : 0, 0);
  fs::permissions(directory_, fs::perms{0755});
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(status.message()), HasSubstr("check who may read and write there"));
}

TEST_F(Files, RefusesToReplaceADirectory) {
  fs::create_directory(directory_ / "x");
  EXPECT_FALSE(WriteFileAtomically(directory_ / "x", "new").ok());
  EXPECT_EQ(Count(), 1u);
}

TEST_F(Files, ShowsPiecesOnlyAfterCommit) {
  AtomicFile file = AtomicFile::Create(directory_ / "x").value();
  ASSERT_TRUE(file.Append("one ").ok());
  ASSERT_TRUE(file.Append("two").ok());
  EXPECT_FALSE(fs::exists(directory_ / "x"));
  ASSERT_TRUE(file.Commit().ok());
  EXPECT_EQ(ReadFile(directory_ / "x").value(), "one two");
}

TEST_F(Files, RemovesPiecesThatWereNeverCommitted) {
  {
    AtomicFile file = AtomicFile::Create(directory_ / "x").value();
    ASSERT_TRUE(file.Append("one").ok());
    AtomicFile moved = std::move(file);
    EXPECT_EQ(Count(), 1u);
  }
  EXPECT_EQ(Count(), 0u);
}

TEST_F(Files, RemovesWhatAKilledProcessLeftAndNothingElse) {
  for (const char* name :
       {"checkpoint.tmp-12-0", "a.tmp-b.tmp-345-6", "notes.tmp", ".tmp-1-2", "x.tmp-1-2.bak"}) {
    ASSERT_TRUE(WriteFileAtomically(directory_ / name, "x").ok());
  }
  RemoveStaleTemporaries(directory_);
  RemoveStaleTemporaries(directory_ / "absent");
  std::set<std::string> left;
  for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
    left.insert(entry.path().filename().string());
  }
  EXPECT_EQ(left, (std::set<std::string>{"notes.tmp", ".tmp-1-2", "x.tmp-1-2.bak"}));
}

TEST_F(Files, RefusesPiecesAfterCommit) {
  AtomicFile file = AtomicFile::Create(directory_ / "x").value();
  ASSERT_TRUE(file.Commit().ok());
  EXPECT_FALSE(file.Append("late").ok());
  EXPECT_FALSE(file.Commit().ok());
}

TEST_F(Files, MapsContents) {
  Put("x", "mapped");
  MappedFile first = MappedFile::Open(directory_ / "x").value();
  MappedFile file = std::move(first);
  EXPECT_EQ(std::string(file.data(), file.size()), "mapped");
}

TEST_F(Files, AMappedFileHasTheSameBytesAfterTheyWereReleased) {
  const std::string contents(20'000, 'x');
  ASSERT_TRUE(WriteFileAtomically(directory_ / "x", contents).ok());
  const MappedFile file = MappedFile::Open(directory_ / "x").value();
  file.Release(1, 19'998);
  EXPECT_EQ(std::string(file.data(), file.size()), contents);
}

TEST_F(Files, MapsAnEmptyFile) {
  Put("x", "");
  EXPECT_EQ(MappedFile::Open(directory_ / "x").value().size(), 0u);
}

TEST_F(Files, RefusesToMapWhatIsNoFile) {
  EXPECT_EQ(MappedFile::Open(directory_).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(MappedFile::Open(directory_ / "absent").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(Files, LocksADirectoryOnce) {
  const DirectoryLock lock = DirectoryLock::Acquire(directory_).value();
  const absl::Status status = DirectoryLock::Acquire(directory_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("process " + std::to_string(getpid())));
}

TEST_F(Files, UnlocksADirectoryAtTheEndOfTheScope) {
  { const DirectoryLock lock = DirectoryLock::Acquire(directory_).value(); }
  EXPECT_TRUE(DirectoryLock::Acquire(directory_).ok());
}

TEST_F(Files, NamesTheOtherProcessThatHoldsADirectoryUntilItDies) {
  int ready[2], end[2];
  ASSERT_EQ(pipe(ready), 0);
  ASSERT_EQ(pipe(end), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    close(end[1]);
    const auto lock = DirectoryLock::Acquire(directory_);
    char byte = lock.ok() ? 'y' : 'n';
    if (write(ready[1], &byte, 1) != 1 || read(end[0], &byte, 1) < 0) _exit(1);
    _exit(0);  // without a destructor, as if killed
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  ASSERT_EQ(byte, 'y');
  EXPECT_THAT(std::string(DirectoryLock::Acquire(directory_).status().message()),
              HasSubstr("process " + std::to_string(child)));
  for (const int fd : {ready[0], ready[1], end[0], end[1]}) close(fd);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(DirectoryLock::Acquire(directory_).ok());
}

TEST_F(Files, CannotLockADirectoryThatIsNotThere) {
  EXPECT_EQ(DirectoryLock::Acquire(directory_ / "absent").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(Files, RefusesAPipeInsteadOfWaitingForItsWriter) {
  const std::string pipe = directory_ / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(ReadFile(pipe).status().message(), "cannot read " + pipe + ": not a regular file");
  EXPECT_EQ(MappedFile::Open(pipe).status().message(), "cannot map " + pipe + ": not a regular file");
}

}  // namespace
}  // namespace retort
