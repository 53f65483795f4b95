#include "cli/client/download_run.h"

#include <fcntl.h>
#include <unistd.h>

#include <optional>
#include <tuple>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/client/follow_run.h"
#include "cli/client/server_stream.h"
#include "core/base/clock.h"
#include "core/base/crc32c.h"
#include "core/base/file_error.h"
#include "core/base/files.h"
#include "core/base/sha256.h"
#include "core/base/status_macros.h"

namespace retort {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kChunkBytes = uint64_t{1} << 20;
constexpr std::chrono::milliseconds kTick{100};
constexpr char kLastFile[] = "result.json";

absl::StatusOr<bool> IsWhole(const fs::path& path, const v1::FileInfo& info) {
  std::error_code error;
  if (!fs::is_regular_file(path, error) || fs::file_size(path, error) != info.size_bytes()) return false;
  ASSIGN_OR_RETURN(const std::string digest, Sha256HexOfFile(path));
  return digest == absl::BytesToHexString(info.sha256());
}

// The file that grows beside its place.
class PartFile {
 public:
  // Goes on with what an earlier download left, in whole chunks.
  static absl::StatusOr<PartFile> Open(const fs::path& place, uint64_t size_bytes) {
    PartFile part(place);
    std::error_code error;
    fs::create_directories(place.parent_path(), error);
    if (error) return FileError(error.value(), "cannot create", place.parent_path());
    part.fd_ = open(part.path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (part.fd_ < 0) return FileError(errno, "cannot open", part.path_);
    uint64_t there = lseek(part.fd_, 0, SEEK_END);
    there = there >= size_bytes ? 0 : there / kChunkBytes * kChunkBytes;
    RETURN_IF_ERROR(part.CutTo(there));
    RETURN_IF_ERROR(part.ReadBack());
    return part;
  }

  PartFile(PartFile&& other) noexcept
      : path_(std::move(other.path_)),
        place_(std::move(other.place_)),
        fd_(std::exchange(other.fd_, -1)),
        size_bytes_(other.size_bytes_),
        digest_(std::move(other.digest_)) {}
  PartFile& operator=(PartFile&&) = delete;
  ~PartFile() {
    if (fd_ >= 0) close(fd_);
  }

  uint64_t size_bytes() const { return size_bytes_; }

  absl::Status Append(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t written = write(fd_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return FileError(errno, "cannot write", path_);
      digest_.Add(bytes.substr(0, written));
      size_bytes_ += written;
      bytes.remove_prefix(written);
    }
    return absl::OkStatus();
  }

  // Puts the file in its place, or removes it: DATA_LOSS when it does not have the digest.
  absl::Status Finish(const std::string& sha256) {
    if (digest_.Digest() != sha256) {
      unlink(path_.c_str());
      return absl::DataLossError(absl::StrCat(place_.string(), " did not arrive with its digest"));
    }
    if (fsync(fd_) != 0) return FileError(errno, "cannot write", path_);
    std::error_code error;
    fs::rename(path_, place_, error);
    if (error) return FileError(error.value(), "cannot rename", path_);
    return absl::OkStatus();
  }

 private:
  explicit PartFile(const fs::path& place) : path_(place.string() + ".part"), place_(place) {}

  absl::Status CutTo(uint64_t size_bytes) {
    size_bytes_ = size_bytes;
    if (ftruncate(fd_, static_cast<off_t>(size_bytes)) != 0 || lseek(fd_, 0, SEEK_SET) != 0)
      return FileError(errno, "cannot cut", path_);
    return absl::OkStatus();
  }

  absl::Status ReadBack() {
    std::string chunk(kChunkBytes, '\0');
    for (uint64_t at = 0; at < size_bytes_;) {
      const ssize_t got = read(fd_, chunk.data(), chunk.size());
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return FileError(errno, "cannot read", path_);
      digest_.Add(std::string_view(chunk.data(), got));
      at += got;
    }
    return absl::OkStatus();
  }

  fs::path path_, place_;
  int fd_ = -1;
  uint64_t size_bytes_ = 0;
  Sha256 digest_;
};

// One download over any number of streams.
class Downloading {
 public:
  Downloading(Orchestrator& orchestrator, const DownloadOptions& options)
      : orchestrator_(orchestrator), options_(options) {}

  absl::StatusOr<v1::FileList> Run() {
    double silent_since = MonotonicSeconds();
    Repeats repeats(silent_since, options_.patience_seconds);
    while (true) {
      heard_ = false;
      const auto before = Position();
      absl::Status status = ReadStream();
      if (stopped_) return absl::CancelledError("the download was ended; the same command goes on with it");
      if (status.ok() && next_ == files_.files_size() && listed_) return files_;
      if (!status.ok() && (failed_here_ || !StreamMayPass(status))) return status;
      const double now = MonotonicSeconds();
      if (heard_) {
        silent_since = now;
        repeats.Succeeded(now);
      }
      if (status.ok() && Position() != before) continue;  // asks for what is missing
      if (status.ok()) status = absl::UnavailableError("its stream ended before the last file");
      const double wait = repeats.AfterFailure(now, DrawRandom());
      if (wait < 0) return Unreachable(orchestrator_.address(), status, now - silent_since);
      if (!orchestrator_.WaitToRepeat(wait, [this] { return GoOn(); })) stopped_ = true;
    }
  }

 private:
  fs::path Place(int index) const { return options_.out_dir / files_.files(index).path(); }

  std::tuple<bool, int, uint64_t> Position() const {
    return std::tuple<bool, int, uint64_t>(listed_, next_, part_ ? part_->size_bytes() : 0);
  }

  bool GoOn() {
    if (!options_.on_progress({done_bytes_ + (part_ ? part_->size_bytes() : 0), total_bytes_}))
      stopped_ = true;
    return !stopped_;
  }

  absl::Status ReadStream() {
    using Stream = ServerStream<v1::DownloadReply>;
    v1::DownloadRequest request;
    *request.mutable_run() = options_.run;
    if (listed_) {
      if (next_ == files_.files_size()) return absl::OkStatus();
      request.set_file(files_.files(next_).path());
      request.set_offset_bytes(part_ ? part_->size_bytes() : 0);
    }
    Stream stream([&](grpc::ClientContext* context, grpc::CompletionQueue* queue) {
      return orchestrator_.stub().AsyncDownload(context, request, queue, nullptr);
    });
    v1::DownloadReply reply;
    std::optional<double> last_message;  // nothing: it waits for its turn, or keepalive ends it
    while (GoOn()) {
      const Stream::Step step = stream.Read(reply, kTick);
      if (step == Stream::Step::kEnd) return stream.Finish();
      if (step == Stream::Step::kNothingYet) {
        const std::chrono::duration<double> limit = options_.stream_silence;
        if (last_message && MonotonicSeconds() - *last_message > limit.count()) {
          return absl::DeadlineExceededError(absl::StrCat("its stream was silent for ", limit.count(), " s"));
        }
        continue;
      }
      last_message = MonotonicSeconds();
      heard_ = true;
      if (reply.has_files()) {
        RETURN_IF_ERROR(Here(TakeList(reply.files())));
      } else {
        ASSIGN_OR_RETURN(const bool is_next, TakeChunk(reply.chunk()));
        if (!is_next) return absl::OkStatus();
      }
    }
    return absl::OkStatus();
  }

  absl::Status TakeList(const v1::FileList& files) {
    if (listed_) return absl::OkStatus();
    for (const v1::FileInfo& file : files.files()) {
      RETURN_IF_ERROR(CheckRelativePath(file.path()));
      total_bytes_ += file.size_bytes();
    }
    files_ = files;
    listed_ = true;
    RETURN_IF_ERROR(RefuseAnotherResult());
    return SkipWhole();
  }

  absl::Status RefuseAnotherResult() const {
    const fs::path place = options_.out_dir / kLastFile;
    std::error_code error;
    if (!fs::exists(place, error)) return absl::OkStatus();
    for (int i = 0; i < files_.files_size(); ++i) {
      if (files_.files(i).path() != kLastFile) continue;
      ASSIGN_OR_RETURN(const bool same, IsWhole(place, files_.files(i)));
      if (same) return absl::OkStatus();
    }
    return absl::FailedPreconditionError(absl::StrCat(
        options_.out_dir.string(), " holds the result of another run; choose another --out or remove it"));
  }

  // Moves next_ to the first file that is not whole and opens its part.
  absl::Status SkipWhole() {
    part_.reset();
    for (; next_ < files_.files_size(); ++next_) {
      ASSIGN_OR_RETURN(const bool whole, IsWhole(Place(next_), files_.files(next_)));
      if (!whole) break;
      done_bytes_ += files_.files(next_).size_bytes();
    }
    if (next_ == files_.files_size()) return absl::OkStatus();
    ASSIGN_OR_RETURN(PartFile part, PartFile::Open(Place(next_), files_.files(next_).size_bytes()));
    part_.emplace(std::move(part));
    if (files_.files(next_).size_bytes() == 0) return EndFile();
    return absl::OkStatus();
  }

  absl::Status EndFile() {
    const v1::FileInfo& file = files_.files(next_);
    const absl::Status status = part_->Finish(file.sha256());
    part_.reset();
    if (!status.ok()) {
      if (std::exchange(failed_, next_) == next_) return status;
    } else {
      done_bytes_ += file.size_bytes();
      ++next_;
    }
    return SkipWhole();
  }

  // False when the chunk is not what is missing next: that is to be asked for.
  absl::StatusOr<bool> TakeChunk(const v1::FileChunk& chunk) {
    const int index = static_cast<int>(chunk.index());
    if (!part_ || index != next_ || chunk.offset_bytes() != part_->size_bytes()) return false;
    if (Crc32c(chunk.data()) != chunk.crc32c()) {
      return absl::UnavailableError(
          absl::StrCat("a piece of ", files_.files(next_).path(), " does not have its checksum"));
    }
    RETURN_IF_ERROR(Here(part_->Append(chunk.data())));
    if (part_->size_bytes() >= files_.files(next_).size_bytes()) RETURN_IF_ERROR(Here(EndFile()));
    return true;
  }

  // What goes wrong on this machine (a full disk) does not pass by asking the orchestrator again.
  absl::Status Here(absl::Status status) {
    failed_here_ = !status.ok();
    return status;
  }

  Orchestrator& orchestrator_;
  const DownloadOptions& options_;
  v1::FileList files_;
  bool listed_ = false;
  int next_ = 0;     // of files_: being fetched
  int failed_ = -1;  // of files_: arrived damaged once
  std::optional<PartFile> part_;
  uint64_t done_bytes_ = 0, total_bytes_ = 0;
  bool heard_ = false, stopped_ = false, failed_here_ = false;
};

}  // namespace

absl::StatusOr<v1::FileList> DownloadRun(Orchestrator& orchestrator, const DownloadOptions& options) {
  return Downloading(orchestrator, options).Run();
}

absl::Status CheckRelativePath(const std::string& path) {
  bool good = !path.empty() && path.find('\0') == std::string::npos;
  for (const absl::string_view part : absl::StrSplit(path, '/')) {
    good = good && !part.empty() && part != "." && part != "..";
  }
  return good ? absl::OkStatus()
              : absl::InvalidArgumentError(absl::StrCat("the orchestrator names a file '", path,
                                                        "', which may lie elsewhere; not fetched"));
}

}  // namespace retort
