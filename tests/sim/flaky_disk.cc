#include "tests/sim/flaky_disk.h"

#include <string>
#include <utility>

namespace retort::sim {

using rocksdb::FileOptions;
using rocksdb::FSWritableFile;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

class FlakyDisk::File final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  File(std::unique_ptr<FSWritableFile> target, std::atomic<bool>& fails, std::atomic<bool>* has_failed)
      : FSWritableFileOwnerWrapper(std::move(target)), fails_(fails), has_failed_(has_failed) {}

  using FSWritableFileOwnerWrapper::Append;
  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* context) override {
    if (fails_.exchange(false)) {
      if (has_failed_ != nullptr) *has_failed_ = true;
      return IOStatus::IOError("the disk refuses");
    }
    return FSWritableFileOwnerWrapper::Append(data, options, context);
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const rocksdb::DataVerificationInfo&,
                  IODebugContext* context) override {
    return Append(data, options, context);
  }

 private:
  std::atomic<bool>& fails_;
  std::atomic<bool>* const has_failed_;
};

class FlakyDisk::Disk final : public rocksdb::FileSystemWrapper {
 public:
  Disk(const std::shared_ptr<rocksdb::FileSystem>& base, FlakyDisk& disk)
      : FileSystemWrapper(base), disk_(disk) {}

  const char* Name() const override { return "FlakyDisk"; }

  IOStatus NewWritableFile(const std::string& path, const FileOptions& options,
                           std::unique_ptr<FSWritableFile>* file, IODebugContext* context) override {
    IOStatus status = target()->NewWritableFile(path, options, file, context);
    if (!status.ok()) return status;
    if (path.find("/incoming/") != std::string::npos) {
      *file = std::make_unique<File>(std::move(*file), disk_.fails_publish_, nullptr);
    } else if (path.ends_with(".log")) {
      *file = std::make_unique<File>(std::move(*file), disk_.fails_log_, &disk_.has_failed_log_);
    }
    return status;
  }
  IOStatus GetFreeSpace(const std::string&, const IOOptions&, uint64_t* bytes, IODebugContext*) override {
    *bytes = disk_.is_full_ ? 0 : uint64_t{1} << 40;
    return IOStatus::OK();
  }

 private:
  FlakyDisk& disk_;
};

FlakyDisk::FlakyDisk(rocksdb::Env* base)
    : env_(rocksdb::NewCompositeEnv(std::make_shared<Disk>(base->GetFileSystem(), *this))) {}

void FlakyDisk::Mend() { fails_log_ = fails_publish_ = is_full_ = false; }

}  // namespace retort::sim
