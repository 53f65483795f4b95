#include "core/store/keys.h"

#include "absl/strings/str_cat.h"
#include "core/base/check.h"

namespace retort {
namespace {

template <class Number>
void Append(std::string& bytes, Number number) {
  for (int shift = 8 * (static_cast<int>(sizeof number) - 1); shift >= 0; shift -= 8) {
    bytes += static_cast<char>(number >> shift & 0xff);
  }
}

void AppendStage(std::string& bytes, v1::Stage stage) {
  RETORT_CHECK(stage >= 0 && stage <= 255) << "stage " << stage;
  bytes += static_cast<char>(stage);
}

// Takes numbers off the front of a key; `done` says whether the key had exactly those.
class Parser {
 public:
  explicit Parser(std::string_view bytes) : bytes_(bytes) {}

  template <class Number>
  Parser& Take(Number& number) {
    number = 0;
    is_whole_ = is_whole_ && bytes_.size() >= sizeof number;
    for (size_t i = 0; is_whole_ && i < sizeof number; ++i) {
      number =
          static_cast<Number>(static_cast<uint64_t>(number) << 8 | static_cast<unsigned char>(bytes_[i]));
    }
    if (is_whole_) bytes_.remove_prefix(sizeof number);
    return *this;
  }

  Parser& TakeStage(v1::Stage& stage) {
    uint8_t number;
    Take(number);
    stage = static_cast<v1::Stage>(number);
    return *this;
  }

  bool done() const { return is_whole_ && bytes_.empty(); }

 private:
  std::string_view bytes_;
  bool is_whole_ = true;
};

// The least string that is greater than every string that begins with `prefix`; empty if there is none.
std::string AfterPrefix(std::string prefix) {
  while (!prefix.empty() && prefix.back() == '\xff') prefix.pop_back();
  if (!prefix.empty()) ++prefix.back();
  return prefix;
}

template <class Key>
KeyRange<Key> WithPrefix(const std::string& prefix) {
  return {prefix, AfterPrefix(prefix)};
}

constexpr char kMetaKey[] = "store";

}  // namespace

const char* FamilyName(Family family) {
  switch (family) {
    case Family::kRuns:
      return "runs";
    case Family::kTasks:
      return "tasks";
    case Family::kLeases:
      return "leases";
    case Family::kAttempts:
      return "attempts";
    case Family::kEvents:
      return "events";
    case Family::kManifests:
      return "manifests";
    case Family::kChunks:
      return "chunks";
    case Family::kRequests:
      return "requests";
    case Family::kMeta:
      return "meta";
  }
  RETORT_CHECK(false) << "family " << static_cast<int>(family);
  return "";
}

std::string WriteKey(const RunKey& key) {
  std::string bytes;
  Append(bytes, key.run_id);
  return bytes;
}
bool ParseKey(std::string_view bytes, RunKey& key) { return Parser(bytes).Take(key.run_id).done(); }
RunKey KeyOf(const v1::RunRecord& record) { return {record.run_id()}; }
std::string ToString(const RunKey& key) { return absl::StrCat("runs/", key.run_id); }

std::string WriteKey(const TaskKey& key) {
  std::string bytes;
  Append(bytes, key.run_id);
  AppendStage(bytes, key.stage);
  Append(bytes, key.layer);
  return bytes;
}
bool ParseKey(std::string_view bytes, TaskKey& key) {
  return Parser(bytes).Take(key.run_id).TakeStage(key.stage).Take(key.layer).done();
}
TaskKey KeyOf(const v1::TaskRecord& record) { return {record.run_id(), record.stage(), record.layer()}; }
std::string ToString(const TaskKey& key) {
  return absl::StrCat("tasks/", key.run_id, "/", key.stage, "/", key.layer);
}

std::string WriteKey(const LeaseKey& key) {
  std::string bytes;
  Append(bytes, key.token);
  return bytes;
}
bool ParseKey(std::string_view bytes, LeaseKey& key) { return Parser(bytes).Take(key.token).done(); }
LeaseKey KeyOf(const v1::LeaseRecord& record) { return {record.token()}; }
std::string ToString(const LeaseKey& key) { return absl::StrCat("leases/", key.token); }

std::string WriteKey(const AttemptKey& key) {
  std::string bytes;
  Append(bytes, key.run_id);
  Append(bytes, key.token);
  return bytes;
}
bool ParseKey(std::string_view bytes, AttemptKey& key) {
  return Parser(bytes).Take(key.run_id).Take(key.token).done();
}
AttemptKey KeyOf(const v1::AttemptRecord& record) { return {record.run_id(), record.token()}; }
std::string ToString(const AttemptKey& key) { return absl::StrCat("attempts/", key.run_id, "/", key.token); }

std::string WriteKey(const EventKey& key) {
  std::string bytes;
  Append(bytes, key.sequence);
  return bytes;
}
bool ParseKey(std::string_view bytes, EventKey& key) { return Parser(bytes).Take(key.sequence).done(); }
EventKey KeyOf(const v1::EventRecord& record) { return {record.sequence()}; }
std::string ToString(const EventKey& key) { return absl::StrCat("events/", key.sequence); }

std::string WriteKey(const ManifestKey& key) {
  std::string bytes = WriteKey(TaskKey{key.run_id, key.stage, key.layer});
  Append(bytes, key.publish);
  return bytes;
}
bool ParseKey(std::string_view bytes, ManifestKey& key) {
  return Parser(bytes).Take(key.run_id).TakeStage(key.stage).Take(key.layer).Take(key.publish).done();
}
ManifestKey KeyOf(const v1::ManifestRecord& record) {
  return {record.run_id(), record.stage(), record.layer(), record.publish()};
}
std::string ToString(const ManifestKey& key) {
  return absl::StrCat("manifests/", key.run_id, "/", key.stage, "/", key.layer, "/", key.publish);
}

std::string WriteKey(const ChunkKey& key) {
  std::string bytes;
  Append(bytes, key.publish);
  Append(bytes, key.index);
  return bytes;
}
bool ParseKey(std::string_view bytes, ChunkKey& key) {
  return Parser(bytes).Take(key.publish).Take(key.index).done();
}
std::string ToString(const ChunkKey& key) { return absl::StrCat("chunks/", key.publish, "/", key.index); }

std::string WriteKey(const RequestKey& key) { return key.request_id; }
bool ParseKey(std::string_view bytes, RequestKey& key) {
  key.request_id = std::string(bytes);
  return !bytes.empty();
}
std::string ToString(const RequestKey& key) { return absl::StrCat("requests/", key.request_id); }

std::string WriteKey(const MetaKey&) { return std::string(kMetaKey); }
bool ParseKey(std::string_view bytes, MetaKey&) { return bytes == kMetaKey; }
std::string ToString(const MetaKey&) { return absl::StrCat("meta/", kMetaKey); }

KeyRange<TaskKey> TasksOf(uint64_t run_id) { return WithPrefix<TaskKey>(WriteKey(RunKey{run_id})); }

KeyRange<TaskKey> TasksOf(uint64_t run_id, v1::Stage stage) {
  std::string prefix = WriteKey(RunKey{run_id});
  AppendStage(prefix, stage);
  return WithPrefix<TaskKey>(prefix);
}

KeyRange<AttemptKey> AttemptsOf(uint64_t run_id) { return WithPrefix<AttemptKey>(WriteKey(RunKey{run_id})); }

KeyRange<EventKey> EventsFrom(uint64_t sequence) { return {WriteKey(EventKey{sequence}), ""}; }

KeyRange<ManifestKey> ManifestsOf(uint64_t run_id) {
  return WithPrefix<ManifestKey>(WriteKey(RunKey{run_id}));
}

KeyRange<ManifestKey> ManifestsOf(const TaskKey& task) { return WithPrefix<ManifestKey>(WriteKey(task)); }

KeyRange<ChunkKey> ChunksOf(uint64_t publish) {
  const std::string first = WriteKey(ChunkKey{publish, 0});
  return {first, AfterPrefix(first.substr(0, sizeof publish))};
}

KeyRange<ChunkKey> ChunksFrom(uint64_t publish) { return {WriteKey(ChunkKey{publish, 0}), ""}; }

}  // namespace retort
