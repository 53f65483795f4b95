#include "orchestrator/logs/log_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <tuple>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/crc32c.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"

namespace retort::orchestrator {
namespace {

constexpr uint64_t kHeadBytes = 8;
// Beyond any record: a line's text has 4 KiB.
constexpr uint64_t kMaxRecordBytes = 16 << 10;
constexpr uint64_t kReadBytes = 64 << 10;
constexpr char kSuffix[] = ".log";

uint32_t LoadNumber(std::string_view bytes, size_t at) {
  uint32_t number = 0;
  for (size_t i = 0; i < 4; ++i) number |= uint32_t{static_cast<uint8_t>(bytes[at + i])} << (8 * i);
  return number;
}

void AppendNumber(uint32_t number, std::string& bytes) {
  for (size_t i = 0; i < 4; ++i) bytes += static_cast<char>(number >> (8 * i));
}

void AppendRecord(const v1::LogRecord& record, std::string& bytes) {
  const std::string body = record.SerializeAsString();
  AppendNumber(static_cast<uint32_t>(body.size()), bytes);
  AppendNumber(Crc32c(body), bytes);
  bytes += body;
}

// The record at the start of `bytes`, and how long it is there. nullopt: there is no whole one.
std::optional<std::pair<v1::LogRecord, uint64_t>> ParseRecordAt(std::string_view bytes) {
  if (bytes.size() < kHeadBytes) return std::nullopt;
  const uint64_t size = LoadNumber(bytes, 0);
  if (size > kMaxRecordBytes || bytes.size() < kHeadBytes + size) return std::nullopt;
  const std::string_view body = bytes.substr(kHeadBytes, size);
  v1::LogRecord record;
  if (Crc32c(body) != LoadNumber(bytes, 4) ||
      !record.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
    return std::nullopt;
  }
  return std::make_pair(std::move(record), kHeadBytes + size);
}

absl::Status DiskError(const std::string& what, const std::filesystem::path& path) {
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot ", what, " ", path.string()));
}

bool WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

// At most `size` bytes of the file from `offset` on.
absl::StatusOr<std::string> ReadSome(const std::filesystem::path& path, uint64_t offset, uint64_t size) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return DiskError("open", path);
  std::string bytes(size, '\0');
  const ssize_t got = pread(fd, bytes.data(), size, static_cast<off_t>(offset));
  const absl::Status status = got < 0 ? DiskError("read", path) : absl::OkStatus();
  close(fd);
  RETURN_IF_ERROR(status);
  bytes.resize(static_cast<size_t>(got));
  return bytes;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LogStore>> LogStore::Open(const std::filesystem::path& directory,
                                                         const LogBounds& bounds) {
  auto store = std::unique_ptr<LogStore>(new LogStore(directory, bounds));
  MutexLock lock(store->mutex_);
  RETURN_IF_ERROR(store->Load());
  return store;
}

LogStore::~LogStore() {
  MutexLock lock(mutex_);
  CloseFile();
}

std::filesystem::path LogStore::PathOf(uint64_t first_sequence) const {
  return directory_ / absl::StrFormat("%020d%s", first_sequence, kSuffix);
}

absl::Status LogStore::Load() {
  std::error_code error;
  std::filesystem::create_directories(directory_, error);
  std::vector<uint64_t> found;
  for (auto entry = std::filesystem::directory_iterator(directory_, error);
       !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    uint64_t first_sequence = 0;
    const std::filesystem::path name = entry->path().filename();
    if (name.extension() == kSuffix && absl::SimpleAtoi(name.stem().string(), &first_sequence)) {
      found.push_back(first_sequence);
    }
  }
  if (error) {
    return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot list ", directory_.string()));
  }
  std::sort(found.begin(), found.end());
  for (const uint64_t first_sequence : found) RETURN_IF_ERROR(LoadFile(first_sequence));
  DropOldest();
  return absl::OkStatus();
}

absl::Status LogStore::LoadFile(uint64_t first_sequence) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(PathOf(first_sequence)));
  File file = {first_sequence, first_sequence, 0};
  while (const auto parsed = ParseRecordAt(std::string_view(bytes).substr(file.bytes))) {
    const v1::LogRecord& record = parsed->first;
    file.end_sequence = record.sequence() + 1;
    file.bytes += parsed->second;
    next_line_[record.worker_id()] = record.line_number() + 1;
    if (record.line().run_id() != 0) loaded_runs_.insert(record.line().run_id());
  }
  next_sequence_ = std::max(next_sequence_, file.end_sequence);
  if (file.bytes > 0) {
    files_.push_back(file);
  } else {
    std::error_code error;  // it holds nothing; if it stays, it costs nothing either
    std::filesystem::remove(PathOf(first_sequence), error);
  }
  return absl::OkStatus();
}

absl::Status LogStore::Append(const std::string& worker_name, const v1::ShipLogsRequest& request) {
  MutexLock lock(mutex_);
  const auto known = next_line_.find(request.worker_id());
  // Of a worker that has sent none yet: what it dropped before was never promised.
  uint64_t next_line = known == next_line_.end() ? request.first_line() : known->second;
  std::vector<v1::LogRecord> records;
  for (int i = 0; i < request.lines_size(); ++i) {
    const uint64_t number = request.first_line() + static_cast<uint64_t>(i);
    if (number < next_line) continue;
    v1::LogRecord& record = records.emplace_back();
    record.set_worker_id(request.worker_id());
    record.set_line_number(number);
    record.set_dropped_lines(number - next_line);
    *record.mutable_line() = request.lines(i);
    record.mutable_line()->set_worker_name(worker_name);
    record.mutable_line()->set_text(LogText(request.lines(i).text()));
    next_line = number + 1;
  }
  RETURN_IF_ERROR(Write(std::move(records)));
  next_line_[request.worker_id()] = next_line;
  return absl::OkStatus();
}

void LogStore::AppendOwn(const v1::LogLine& line) {
  MutexLock lock(mutex_);
  std::vector<v1::LogRecord> records(1);
  *records[0].mutable_line() = line;
  Write(std::move(records)).IgnoreError();  // where would one say so?
}

absl::Status LogStore::Write(std::vector<v1::LogRecord> records) {
  if (records.empty()) return absl::OkStatus();
  if (fd_ >= 0 && files_.back().bytes >= bounds_.file_bytes) CloseFile();
  if (fd_ < 0) RETURN_IF_ERROR(StartFile());
  std::string bytes;
  uint64_t sequence = next_sequence_;
  for (v1::LogRecord& record : records) {
    record.set_version(1);
    record.set_sequence(sequence++);
    AppendRecord(record, bytes);
  }
  File& file = files_.back();
  if (!WriteAll(fd_, bytes)) {
    const absl::Status status = DiskError("write", PathOf(file.first_sequence));
    // Whole records of it may be there, which a later start would take for kept ones. If they cannot be cut
    // off either, nothing follows them in this file.
    std::ignore = ftruncate(fd_, static_cast<off_t>(file.bytes));
    CloseFile();
    return status;
  }
  file.bytes += bytes.size();
  file.end_sequence = next_sequence_ = sequence;
  DropOldest();
  return absl::OkStatus();
}

absl::Status LogStore::StartFile() {
  const std::filesystem::path path = PathOf(next_sequence_);
  fd_ = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd_ < 0) return DiskError("create", path);
  files_.push_back({next_sequence_, next_sequence_, 0});
  return absl::OkStatus();
}

void LogStore::CloseFile() {
  if (fd_ < 0) return;
  close(fd_);
  fd_ = -1;
  if (files_.back().bytes == 0) files_.pop_back();
}

void LogStore::DropOldest() {
  uint64_t lines = 0, bytes = 0;
  for (const File& file : files_) {
    lines += file.end_sequence - file.first_sequence;
    bytes += file.bytes;
  }
  while (files_.size() > 1) {
    const File& oldest = files_.front();
    const uint64_t its_lines = oldest.end_sequence - oldest.first_sequence;
    if (lines - its_lines < bounds_.lines && bytes <= bounds_.bytes) return;
    std::error_code error;  // what stays costs space only, and the next start tries again
    std::filesystem::remove(PathOf(oldest.first_sequence), error);
    lines -= its_lines;
    bytes -= oldest.bytes;
    files_.pop_front();
  }
}

absl::Status LogStore::ForgetRun(uint64_t run_id) {
  MutexLock lock(mutex_);
  CloseFile();  // what comes next goes into another file
  for (File& file : files_) RETURN_IF_ERROR(RewriteWithout(run_id, file));
  return absl::OkStatus();
}

absl::Status LogStore::RewriteWithout(uint64_t run_id, File& file) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(PathOf(file.first_sequence)));
  std::string_view rest = bytes;
  std::string rewritten;
  bool has_lines = false;
  while (auto parsed = ParseRecordAt(rest)) {
    rest.remove_prefix(parsed->second);
    const bool is_of_run = parsed->first.line().run_id() == run_id;
    if (is_of_run) parsed->first.clear_line();
    has_lines = has_lines || is_of_run;
    AppendRecord(parsed->first, rewritten);
  }
  if (!has_lines) return absl::OkStatus();
  RETURN_IF_ERROR(WriteFileAtomically(PathOf(file.first_sequence), rewritten));
  file.bytes = rewritten.size();
  ++file.rewrites;
  return absl::OkStatus();
}

absl::StatusOr<LogStore::Batch> LogStore::Read(Place& place) const {
  Batch batch;
  MutexLock lock(mutex_);  // held while it reads, so that the file stays
  if (files_.empty()) return batch;
  const uint64_t oldest = files_.front().first_sequence;
  if (place.sequence == 0) place.sequence = oldest;
  if (place.sequence < oldest) {
    batch.overtaken_lines = oldest - place.sequence;
    place.sequence = oldest;
  }
  while (true) {
    const auto file = std::find_if(files_.begin(), files_.end(), [&](const File& candidate) {
      return place.sequence < candidate.end_sequence;
    });
    if (file == files_.end()) return batch;
    if (file->first_sequence != place.file || file->rewrites != place.rewrites) {
      place = {std::max(place.sequence, file->first_sequence), file->first_sequence, file->rewrites, 0};
    }
    const uint64_t begin_bytes = place.offset_bytes;
    const uint64_t left = file->bytes - place.offset_bytes;
    ASSIGN_OR_RETURN(const std::string bytes,
                     ReadSome(PathOf(place.file), place.offset_bytes, std::min(left, kReadBytes)));
    std::string_view rest = bytes;
    while (auto parsed = ParseRecordAt(rest)) {
      rest.remove_prefix(parsed->second);
      place.offset_bytes += parsed->second;
      if (parsed->first.sequence() < place.sequence) continue;  // read before the file was written anew
      place.sequence = parsed->first.sequence() + 1;
      batch.records.push_back(std::move(parsed->first));
    }
    if (!batch.records.empty()) return batch;
    if (place.offset_bytes == begin_bytes)
      place.sequence = file->end_sequence;  // damaged since it was loaded
  }
}

}  // namespace retort::orchestrator
