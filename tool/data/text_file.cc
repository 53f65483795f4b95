#include "tool/data/text_file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/base/file_error.h"
#include "core/base/status_macros.h"

namespace retort {

namespace fs = std::filesystem;

class Decompressor {
 public:
  virtual ~Decompressor() = default;
  // Takes bytes off the front of `input`, the file's next, and appends what they hold to `text`, at most
  // kChunkBytes. After an error the bytes taken off were good.
  virtual absl::Status Step(std::string_view* input, std::string* text) = 0;
  // Whether there may be more text without more input.
  virtual bool full() const = 0;
  // Whether the file may end here.
  virtual bool complete() const = 0;
  virtual const char* format() const = 0;
};

namespace {

constexpr size_t kReadBytes = 1 << 16;
constexpr int kLookEveryMs = 100;  // whether to stop
constexpr size_t kChunkBytes = 1 << 17;

class Gunzip : public Decompressor {
 public:
  Gunzip() {
    constexpr int kGzipOnly = 16;
    RETORT_CHECK(inflateInit2(&stream_, MAX_WBITS + kGzipOnly) == Z_OK) << "no memory for zlib";
  }
  ~Gunzip() override { inflateEnd(&stream_); }

  absl::Status Step(std::string_view* input, std::string* text) override {
    if (complete_) {
      // As gzip does: what pads a tape's last block is no member.
      input->remove_prefix(std::min(input->find_first_not_of('\0'), input->size()));
      if (input->empty()) return absl::OkStatus();
      // A file may hold several members, one after the other.
      if (inflateReset(&stream_) != Z_OK) return absl::InternalError("cannot begin a member");
    }
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input->data()));
    stream_.avail_in = static_cast<uInt>(input->size());
    const size_t before = text->size();
    text->resize(before + kChunkBytes);
    stream_.next_out = reinterpret_cast<Bytef*>(text->data() + before);
    stream_.avail_out = static_cast<uInt>(kChunkBytes);
    const int result = inflate(&stream_, Z_NO_FLUSH);
    text->resize(text->size() - stream_.avail_out);
    input->remove_prefix(input->size() - stream_.avail_in);
    complete_ = result == Z_STREAM_END;
    if (!complete_ && result != Z_OK && result != Z_BUF_ERROR) {
      return absl::DataLossError(stream_.msg != nullptr ? stream_.msg : zError(result));
    }
    full_ = !complete_ && stream_.avail_out == 0;
    return absl::OkStatus();
  }

  bool full() const override { return full_; }
  bool complete() const override { return complete_; }
  const char* format() const override { return "gzip"; }

 private:
  z_stream stream_{};
  bool complete_ = false;
  bool full_ = false;
};

class Unzstd : public Decompressor {
 public:
  Unzstd() : context_(ZSTD_createDCtx(), ZSTD_freeDCtx) {
    RETORT_CHECK(context_ != nullptr) << "no memory for zstd";
    // What `zstd --long=31` writes; the default refuses windows above 128 MiB.
    ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax, 31);
  }

  absl::Status Step(std::string_view* input, std::string* text) override {
    ZSTD_inBuffer in{input->data(), input->size(), 0};
    const size_t before = text->size();
    text->resize(before + kChunkBytes);
    ZSTD_outBuffer out{text->data() + before, kChunkBytes, 0};
    const size_t result = ZSTD_decompressStream(context_.get(), &out, &in);
    text->resize(before + out.pos);
    input->remove_prefix(in.pos);
    if (ZSTD_isError(result)) return absl::DataLossError(ZSTD_getErrorName(result));
    complete_ = result == 0;
    full_ = !complete_ && out.pos == out.size;
    return absl::OkStatus();
  }

  bool full() const override { return full_; }
  bool complete() const override { return complete_; }
  const char* format() const override { return "zstd"; }

 private:
  std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context_;
  bool complete_ = false;
  bool full_ = false;
};

std::unique_ptr<Decompressor> DecompressorFor(const fs::path& path) {
  if (path.extension() == ".gz") return std::make_unique<Gunzip>();
  if (path.extension() == ".zst") return std::make_unique<Unzstd>();
  return nullptr;
}

}  // namespace

fs::path WithoutCompression(const fs::path& file) {
  const bool compressed = file.extension() == ".gz" || file.extension() == ".zst";
  return compressed ? fs::path(file).replace_extension() : file;
}

absl::StatusOr<TextFile> TextFile::Open(const fs::path& path, const std::atomic<bool>& stop) {
  // Without O_NONBLOCK a named pipe would hold us here until somebody opens it to write.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return FileError(errno, "cannot open", path);
  TextFile file(path, fd, stop, DecompressorFor(path));
  struct stat about;
  if (fstat(fd, &about) != 0) return FileError(errno, "cannot look up", path);
  if (S_ISDIR(about.st_mode))
    return absl::InvalidArgumentError(absl::StrCat(path.string(), " is a directory"));
  return file;
}

TextFile::TextFile(fs::path path, int fd, const std::atomic<bool>& stop,
                   std::unique_ptr<Decompressor> decompressor)
    : path_(std::move(path)), fd_(fd), stop_(&stop), decompressor_(std::move(decompressor)) {}
TextFile::TextFile(TextFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      stop_(other.stop_),
      decompressor_(std::move(other.decompressor_)),
      input_(std::move(other.input_)),
      used_(other.used_),
      read_bytes_(other.read_bytes_) {}
TextFile::~TextFile() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<std::string> TextFile::ReadBytes() {
  std::string input(kReadBytes, '\0');
  while (true) {
    if (*stop_) return absl::CancelledError(absl::StrCat("interrupted while reading ", path_.string()));
    // A pipe that nobody has opened to write yet reads as ended, so wait for bytes or its end.
    pollfd waited = {.fd = fd_, .events = POLLIN, .revents = 0};
    if (poll(&waited, 1, kLookEveryMs) <= 0) continue;
    const ssize_t count = read(fd_, input.data(), input.size());
    if (count >= 0) {
      input.resize(static_cast<size_t>(count));
      return input;
    }
    if (errno != EINTR && errno != EAGAIN)
      return FileError(errno, absl::StrCat("cannot read beyond byte ", read_bytes_, " of"), path_);
  }
}

absl::StatusOr<bool> TextFile::Read(std::string* text) {
  if (decompressor_ != nullptr) return ReadCompressed(text);
  ASSIGN_OR_RETURN(const std::string bytes, ReadBytes());
  text->append(bytes);
  read_bytes_ += bytes.size();
  return !bytes.empty();
}

absl::StatusOr<bool> TextFile::ReadCompressed(std::string* text) {
  if (used_ == input_.size() && !decompressor_->full()) {
    ASSIGN_OR_RETURN(input_, ReadBytes());
    used_ = 0;
    if (input_.empty() && decompressor_->complete()) return false;
    if (input_.empty()) {
      return absl::DataLossError(absl::StrCat(path_.string(), " ends at byte ", read_bytes_, " inside its ",
                                              decompressor_->format(),
                                              " stream: it is cut short; fetch or make it again"));
    }
  }
  std::string_view rest = std::string_view(input_).substr(used_);
  const absl::Status status = decompressor_->Step(&rest, text);
  const size_t used = input_.size() - rest.size();
  read_bytes_ += used - used_;
  used_ = used;
  if (status.ok()) return true;
  return absl::Status(
      status.code(), absl::StrCat(path_.string(), ": not a whole ", decompressor_->format(), " file at byte ",
                                  read_bytes_, ": ", status.message(), "; fetch or make it again"));
}

}  // namespace retort
