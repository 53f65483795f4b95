#include "tests/support/power_cut.h"

#include <utility>

#include "core/base/check.h"

namespace retort {
namespace {

using rocksdb::FileOptions;
using rocksdb::FSDirectory;
using rocksdb::FSWritableFile;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

std::string DirectoryOf(const std::string& path) { return path.substr(0, path.find_last_of('/')); }

std::string WithoutSlash(std::string directory) {
  while (directory.size() > 1 && directory.back() == '/') directory.pop_back();
  return directory;
}

}  // namespace

class PowerCutDisk::File : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  File(std::unique_ptr<FSWritableFile> target, PowerCutDisk& disk, std::string path, uint64_t size)
      : FSWritableFileOwnerWrapper(std::move(target)), disk_(disk), path_(std::move(path)), size_(size) {}

  using FSWritableFileOwnerWrapper::Append;
  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* context) override {
    if (IOStatus status = disk_.Change(); !status.ok()) return status;
    IOStatus status = FSWritableFileOwnerWrapper::Append(data, options, context);
    size_ += data.size();
    disk_.FileGrew(path_, size_);
    return status;
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const rocksdb::DataVerificationInfo&,
                  IODebugContext* context) override {
    return Append(data, options, context);
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* context) override {
    if (IOStatus status = disk_.Change(); !status.ok()) return status;
    disk_.FileSynced(path_);
    return FSWritableFileOwnerWrapper::Sync(options, context);
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* context) override {
    return Sync(options, context);
  }

 private:
  PowerCutDisk& disk_;
  const std::string path_;
  uint64_t size_;
};

class PowerCutDisk::Directory : public rocksdb::FSDirectoryWrapper {
 public:
  Directory(std::unique_ptr<FSDirectory> target, PowerCutDisk& disk, std::string path)
      : FSDirectoryWrapper(std::move(target)), disk_(disk), path_(std::move(path)) {}

  IOStatus Fsync(const IOOptions&, IODebugContext*) override {
    if (IOStatus status = disk_.Change(); !status.ok()) return status;
    disk_.DirectorySynced(path_);
    return IOStatus::OK();
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* context,
                               const rocksdb::DirFsyncOptions&) override {
    return Fsync(options, context);
  }

 private:
  PowerCutDisk& disk_;
  const std::string path_;
};

class PowerCutDisk::Disk : public rocksdb::FileSystemWrapper {
 public:
  Disk(const std::shared_ptr<rocksdb::FileSystem>& base, PowerCutDisk& disk)
      : FileSystemWrapper(base), disk_(disk) {}

  const char* Name() const override { return "PowerCutDisk"; }

  IOStatus NewWritableFile(const std::string& path, const FileOptions& options,
                           std::unique_ptr<FSWritableFile>* file, IODebugContext* context) override {
    if (IOStatus status = disk_.Change(); !status.ok()) return status;
    IOStatus status = target()->NewWritableFile(path, options, file, context);
    if (!status.ok()) return status;
    *file = std::make_unique<File>(std::move(*file), disk_, path, 0);
    disk_.FileGrew(path, 0);
    disk_.NameChanged(path, [this, path] { Remove(path); });
    return status;
  }
  IOStatus ReopenWritableFile(const std::string& path, const FileOptions& options,
                              std::unique_ptr<FSWritableFile>* file, IODebugContext* context) override {
    uint64_t size = 0;
    target()->GetFileSize(path, IOOptions(), &size, context).PermitUncheckedError();
    IOStatus status = target()->ReopenWritableFile(path, options, file, context);
    if (status.ok()) *file = std::make_unique<File>(std::move(*file), disk_, path, size);
    return status;
  }
  IOStatus NewDirectory(const std::string& path, const IOOptions& options,
                        std::unique_ptr<FSDirectory>* directory, IODebugContext* context) override {
    IOStatus status = target()->NewDirectory(path, options, directory, context);
    if (status.ok())
      *directory = std::make_unique<Directory>(std::move(*directory), disk_, WithoutSlash(path));
    return status;
  }
  IOStatus DeleteFile(const std::string& path, const IOOptions& options, IODebugContext* context) override {
    if (IOStatus status = disk_.Change(); !status.ok()) return status;
    return target()->DeleteFile(path, options, context);
  }
  IOStatus LinkFile(const std::string& from, const std::string& to, const IOOptions& options,
                    IODebugContext* context) override {
    if (IOStatus status = disk_.Change(); !status.ok()) return status;
    IOStatus status = target()->LinkFile(from, to, options, context);
    if (!status.ok()) return status;
    CopySizes(from, to);
    disk_.NameChanged(to, [this, to] { Remove(to); });
    return status;
  }
  IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                      IODebugContext* context) override {
    if (IOStatus status = disk_.Change(); !status.ok()) return status;
    std::string old;
    const bool replaces = rocksdb::ReadFileToString(target(), to, &old).ok();
    CopySizes(from, to);
    IOStatus status = target()->RenameFile(from, to, options, context);
    disk_.NameChanged(to, [this, from, to, replaces, old] {
      target()->RenameFile(to, from, IOOptions(), nullptr).PermitUncheckedError();
      if (replaces) rocksdb::WriteStringToFile(target(), old, to).PermitUncheckedError();
      if (replaces) disk_.FileGrew(to, old.size());
      if (replaces) disk_.FileSynced(to);
    });
    return status;
  }

 private:
  void Remove(const std::string& path) {
    target()->DeleteFile(path, IOOptions(), nullptr).PermitUncheckedError();
  }
  void CopySizes(const std::string& from, const std::string& to) {
    MutexLock lock(disk_.mutex_);
    disk_.sizes_[to] = disk_.sizes_[from];
  }

  PowerCutDisk& disk_;
};

PowerCutDisk::PowerCutDisk()
    : memory_(rocksdb::NewMemEnv(rocksdb::Env::Default())),
      base_(memory_->GetFileSystem()),
      env_(rocksdb::NewCompositeEnv(std::make_shared<Disk>(base_, *this))) {}

PowerCutDisk::~PowerCutDisk() = default;

void PowerCutDisk::CutAfter(int64_t operations) {
  MutexLock lock(mutex_);
  operations_left_ = operations;
}

bool PowerCutDisk::is_cut() {
  MutexLock lock(mutex_);
  return is_cut_;
}

rocksdb::IOStatus PowerCutDisk::Change() {
  MutexLock lock(mutex_);
  if (operations_left_ > 0 && --operations_left_ == 0) is_cut_ = true;
  return is_cut_ ? IOStatus::IOError("the power was cut") : IOStatus::OK();
}

void PowerCutDisk::FileGrew(const std::string& path, uint64_t size) {
  MutexLock lock(mutex_);
  Sizes& sizes = sizes_[path];
  if (size == 0) sizes = {};
  sizes.written = size;
}

void PowerCutDisk::FileSynced(const std::string& path) {
  MutexLock lock(mutex_);
  sizes_[path].synced = sizes_[path].written;
}

void PowerCutDisk::NameChanged(const std::string& path, std::function<void()> undo) {
  MutexLock lock(mutex_);
  unsynced_names_.push_back({DirectoryOf(path), std::move(undo)});
}

void PowerCutDisk::DirectorySynced(const std::string& directory) {
  MutexLock lock(mutex_);
  std::erase_if(unsynced_names_,
                [&directory](const NameChange& change) { return change.directory == directory; });
}

void PowerCutDisk::RestorePower() {
  std::vector<NameChange> lost;
  std::map<std::string, Sizes> sizes;
  {
    MutexLock lock(mutex_);
    lost = std::exchange(unsynced_names_, {});
    sizes = sizes_;
    is_cut_ = false;
    operations_left_ = -1;
  }
  for (const auto& [path, size] : sizes) {
    std::string bytes;
    if (size.synced == size.written || !rocksdb::ReadFileToString(base_.get(), path, &bytes).ok()) continue;
    RETORT_CHECK(rocksdb::WriteStringToFile(base_.get(), bytes.substr(0, size.synced), path).ok()) << path;
    FileGrew(path, size.synced);
    FileSynced(path);
  }
  for (auto change = lost.rbegin(); change != lost.rend(); ++change) change->undo();
}

}  // namespace retort
