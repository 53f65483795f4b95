#include "core/base/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <regex>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/file_error.h"
#include "core/base/status_macros.h"

namespace retort {
namespace {

namespace fs = std::filesystem;

// Closes a descriptor that is only read or only locked, where close has nothing left to report.
class FdCloser {
 public:
  explicit FdCloser(int fd) : fd_(fd) {}
  FdCloser(const FdCloser&) = delete;
  FdCloser& operator=(const FdCloser&) = delete;
  ~FdCloser() {
    if (fd_ >= 0) close(fd_);
  }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

int OpenRetrying(const fs::path& path, int flags, mode_t mode = 0) {
  int fd;
  do {
    fd = open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

// Makes a rename within `directory` survive a power cut.
absl::Status SyncDirectory(const fs::path& directory) {
  const int fd = OpenRetrying(directory, O_RDONLY | O_DIRECTORY);
  if (fd < 0) return FileError(errno, "cannot open directory", directory);
  FdCloser closer(fd);
  // Some network file systems cannot sync a directory and say EINVAL; there is nothing more to do for them.
  if (fsync(fd) != 0 && errno != EINVAL) return FileError(errno, "cannot sync directory", directory);
  return absl::OkStatus();
}

fs::path ParentOf(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const fs::path& path) {
  const int fd = OpenRetrying(path, O_RDONLY | O_NONBLOCK);  // a pipe nobody writes to would block for ever
  if (fd < 0) return FileError(errno, "cannot open", path);
  FdCloser closer(fd);
  struct stat info;
  if (fstat(fd, &info) != 0) return FileError(errno, "cannot read", path);
  if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) {  // read() refuses a directory by name
    return absl::InvalidArgumentError(absl::StrCat("cannot read ", path.string(), ": not a regular file"));
  }
  std::string contents;
  // The size is only a hint (0 under /proc): the end of the file decides. One byte more finds it in one
  // round.
  size_t room = static_cast<size_t>(info.st_size) + 1;
  size_t used = 0;
  while (true) {
    if (used == contents.size()) {
      contents.resize(used + room);
      room = contents.size();
    }
    const ssize_t got = read(fd, contents.data() + used, contents.size() - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError(errno, "cannot read", path);
    if (got == 0) break;
    used += static_cast<size_t>(got);
  }
  contents.resize(used);
  return contents;
}

absl::Status WriteFileAtomically(const fs::path& path, std::string_view contents) {
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  RETURN_IF_ERROR(file.Append(contents));
  return file.Commit();
}

AtomicFile::AtomicFile(int fd, fs::path path, fs::path temporary)
    : fd_(fd), path_(std::move(path)), temporary_(std::move(temporary)) {}

absl::StatusOr<AtomicFile> AtomicFile::Create(const fs::path& path) {
  static std::atomic<uint64_t> next_number{0};
  while (true) {
    const fs::path temporary = absl::StrCat(path.string(), ".tmp-", getpid(), "-", next_number.fetch_add(1));
    const int fd = OpenRetrying(temporary, O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (fd >= 0) return AtomicFile(fd, path, temporary);
    // EEXIST: left behind by a killed process that had our process id.
    if (errno != EEXIST) return FileError(errno, "cannot create", path);
  }
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)) {}

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  if (this != &other) {
    Discard();
    fd_ = std::exchange(other.fd_, -1);
    path_ = std::move(other.path_);
    temporary_ = std::move(other.temporary_);
  }
  return *this;
}

AtomicFile::~AtomicFile() { Discard(); }

void AtomicFile::Discard() {
  if (fd_ < 0) return;
  close(std::exchange(fd_, -1));
  unlink(temporary_.c_str());
}

absl::Status AtomicFile::Abandon(int error_number, const char* doing) {
  Discard();
  return FileError(error_number, doing, path_);
}

absl::Status AtomicFile::Append(std::string_view bytes) {
  if (fd_ < 0)
    return absl::FailedPreconditionError(absl::StrCat("cannot write ", path_.string(), ": already closed"));
  while (!bytes.empty()) {
    const ssize_t written = write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Abandon(errno, "cannot write");
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status AtomicFile::Commit() {
  if (fd_ < 0)
    return absl::FailedPreconditionError(absl::StrCat("cannot write ", path_.string(), ": already closed"));
  if (fsync(fd_) != 0) return Abandon(errno, "cannot sync");
  if (rename(temporary_.c_str(), path_.c_str()) != 0) return Abandon(errno, "cannot replace");
  // fsync has reported all errors of writing, and from here on the temporary name no longer exists.
  close(std::exchange(fd_, -1));
  return SyncDirectory(ParentOf(path_));
}

void RemoveStaleTemporaries(const fs::path& directory) {
  static const std::regex temporary(".+\\.tmp-[0-9]+-[0-9]+");
  std::error_code error;
  std::vector<fs::path> stale;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    if (std::regex_match(entry->path().filename().string(), temporary)) stale.push_back(entry->path());
  }
  for (const fs::path& path : stale) fs::remove(path, error);
}

absl::StatusOr<MappedFile> MappedFile::Open(const fs::path& path) {
  const int fd = OpenRetrying(path, O_RDONLY | O_NONBLOCK);
  if (fd < 0) return FileError(errno, "cannot open", path);
  FdCloser closer(fd);
  struct stat info;
  if (fstat(fd, &info) != 0) return FileError(errno, "cannot read", path);
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat("cannot map ", path.string(), ": not a regular file"));
  }
  const size_t size = static_cast<size_t>(info.st_size);
  if (size == 0) return MappedFile(nullptr, 0);  // mmap refuses a length of 0
  void* data = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED) return FileError(errno, "cannot map", path);
  return MappedFile(static_cast<const char*>(data), size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<char*>(data_), size_);
}

void MappedFile::Release(size_t offset, size_t bytes) const {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t begin = (offset + page - 1) / page * page, end = (offset + bytes) / page * page;
  if (begin < end) madvise(const_cast<char*>(data_) + begin, end - begin, MADV_DONTNEED);
}

absl::StatusOr<DirectoryLock> DirectoryLock::Acquire(const fs::path& directory) {
  const fs::path file = directory / ".lock";
  const int fd = OpenRetrying(file, O_RDWR | O_CREAT, 0666);
  if (fd < 0) return FileError(errno, "cannot open", file);
  FdCloser closer(fd);
  int failed;
  do {
    failed = flock(fd, LOCK_EX | LOCK_NB);
  } while (failed != 0 && errno == EINTR);
  if (failed != 0 && errno == EWOULDBLOCK) {
    char text[32];
    const ssize_t length = pread(fd, text, sizeof text, 0);
    pid_t pid = 0;
    if (length > 0) std::from_chars(text, text + length, pid);
    return absl::FailedPreconditionError(
        absl::StrCat(directory.string(), " is in use by ",
                     pid > 0 ? absl::StrCat("process ", pid) : "another process that has just started",
                     "; wait for it to end, stop it, or choose another directory"));
  }
  if (failed != 0) return FileError(errno, "cannot lock", file);
  const std::string pid = absl::StrCat(getpid(), "\n");
  if (ftruncate(fd, 0) != 0 || pwrite(fd, pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return FileError(errno, "cannot write", file);
  }
  return DirectoryLock(closer.release());
}

DirectoryLock::DirectoryLock(DirectoryLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

DirectoryLock& DirectoryLock::operator=(DirectoryLock&& other) noexcept {
  if (this != &other) {
    Release();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

DirectoryLock::~DirectoryLock() { Release(); }

void DirectoryLock::Release() {
  if (fd_ >= 0) close(std::exchange(fd_, -1));
}

}  // namespace retort
