// Files on a local disk: read whole, mapped, replaced in one step, and directories held by one process.
//
// Error codes: NOT_FOUND, PERMISSION_DENIED and the like as errno says; RESOURCE_EXHAUSTED when the disk is
// full; FAILED_PRECONDITION when a directory is held by another process. Messages name the path and the
// reason.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace retort {

// The whole file as bytes. Thread-safe.
absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path);

// Puts `contents` at `path` so that whoever opens `path`, also after a crash or a power cut, sees either the
// old file or all of the new one. After an error the old file is untouched. A symbolic link at `path` is
// replaced, not followed. Thread-safe; of two writers of one path the later one wins.
absl::Status WriteFileAtomically(const std::filesystem::path& path, std::string_view contents);

// WriteFileAtomically for contents that arrive in pieces. The pieces go to PATH.tmp-PID-N; Commit puts that
// file in place. Without a successful Commit the destructor removes it; a killed process leaves it behind.
// Move-only; a moved-from object may only be destroyed or assigned to. Not thread-safe.
class AtomicFile {
 public:
  static absl::StatusOr<AtomicFile> Create(const std::filesystem::path& path);

  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) noexcept;
  ~AtomicFile();

  // After an error the file cannot be completed: further Appends and Commit return an error too.
  absl::Status Append(std::string_view bytes);

  // Ends the writing: call at most once.
  absl::Status Commit();

 private:
  AtomicFile(int fd, std::filesystem::path path, std::filesystem::path temporary);
  absl::Status Abandon(int error_number, const char* doing);
  void Discard();

  int fd_ = -1;  // -1: committed, failed or moved from
  std::filesystem::path path_;
  std::filesystem::path temporary_;
};

// Removes what AtomicFiles of killed processes left in `directory`. Only while nobody writes there: see
// DirectoryLock. Whatever cannot be removed stays; it costs space only.
void RemoveStaleTemporaries(const std::filesystem::path& directory);

// A regular file mapped for reading; pages are loaded when touched. The file must not shrink while it is
// mapped (touching a lost page kills the process), which holds for files made by AtomicFile. Move-only.
// Reading from many threads is safe.
class MappedFile {
 public:
  static absl::StatusOr<MappedFile> Open(const std::filesystem::path& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  // Aligned to a page; nullptr when the file is empty. Valid as long as this object or the one it was moved
  // to.
  const char* data() const { return data_; }
  size_t size() const { return size_; }

  // The pages that lie wholly within these bytes leave this process's memory until they are touched again.
  void Release(size_t offset, size_t bytes) const;

 private:
  MappedFile(const char* data, size_t size) : data_(data), size_(size) {}

  const char* data_ = nullptr;
  size_t size_ = 0;
};

// Holds a directory for this object's lifetime: no second DirectoryLock on it can be acquired, in this
// process or another on this machine. The kernel releases it when the process dies. The file DIR/.lock stays
// behind. Move-only. Threads may acquire concurrently; one object is not thread-safe.
class DirectoryLock {
 public:
  // FAILED_PRECONDITION, naming the holder's process id, when the directory is held; `directory` must exist.
  static absl::StatusOr<DirectoryLock> Acquire(const std::filesystem::path& directory);

  DirectoryLock(DirectoryLock&& other) noexcept;
  DirectoryLock& operator=(DirectoryLock&& other) noexcept;
  ~DirectoryLock();

 private:
  explicit DirectoryLock(int fd) : fd_(fd) {}
  void Release();

  int fd_ = -1;
};

}  // namespace retort
