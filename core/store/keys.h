// The whole keyspace of the store, drawn once. Numbers are unsigned, big-endian and of fixed width, so that
// the bytes of two keys compare as their fields do, one after another. DO NOT CHANGE a layout, a width or a
// family's name: they are on disk (keys_test.cc pins them).
//
//   family     key                                            record (records.proto)
//   runs       run 8                                          RunRecord
//   tasks      run 8, stage 1, layer 4                        TaskRecord
//   leases     token 8                                        LeaseRecord
//   attempts   run 8, token 8                                 AttemptRecord
//   events     sequence 8                                     EventRecord
//   manifests  run 8, stage 1, layer 4, publish 8             ManifestRecord
//   chunks     publish 8, index 4                             ChunkRecord
//   requests   the request id's bytes                         RequestRecord
//   meta       "store"                                        MetaRecord
//
// For each family: its key, the writer and the parser side by side, the form that messages show
// ("manifests/7/2/4/23") and, where the record repeats its ids, the key of a record. A parser returns false
// on bytes that the writer cannot have made. All thread-safe.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "retort/v1/records.pb.h"

namespace retort {

enum class Family { kRuns, kTasks, kLeases, kAttempts, kEvents, kManifests, kChunks, kRequests, kMeta };

inline constexpr Family kFamilies[] = {Family::kRuns,     Family::kTasks,    Family::kLeases,
                                       Family::kAttempts, Family::kEvents,   Family::kManifests,
                                       Family::kChunks,   Family::kRequests, Family::kMeta};

// The column family's name.
const char* FamilyName(Family family);

// clang-tidy takes the 0 of a comparison by <=> for a pointer.
// NOLINTBEGIN(modernize-use-nullptr)

struct RunKey {
  using Record = v1::RunRecord;
  static constexpr Family kFamily = Family::kRuns;
  uint64_t run_id = 0;
  auto operator<=>(const RunKey&) const = default;
};
std::string WriteKey(const RunKey& key);
bool ParseKey(std::string_view bytes, RunKey& key);
std::string ToString(const RunKey& key);
RunKey KeyOf(const v1::RunRecord& record);

struct TaskKey {
  using Record = v1::TaskRecord;
  static constexpr Family kFamily = Family::kTasks;
  uint64_t run_id = 0;
  v1::Stage stage = v1::STAGE_UNSPECIFIED;
  uint32_t layer = 0;
  auto operator<=>(const TaskKey&) const = default;
};
std::string WriteKey(const TaskKey& key);
bool ParseKey(std::string_view bytes, TaskKey& key);
std::string ToString(const TaskKey& key);
TaskKey KeyOf(const v1::TaskRecord& record);

struct LeaseKey {
  using Record = v1::LeaseRecord;
  static constexpr Family kFamily = Family::kLeases;
  uint64_t token = 0;
  auto operator<=>(const LeaseKey&) const = default;
};
std::string WriteKey(const LeaseKey& key);
bool ParseKey(std::string_view bytes, LeaseKey& key);
std::string ToString(const LeaseKey& key);
LeaseKey KeyOf(const v1::LeaseRecord& record);

struct AttemptKey {
  using Record = v1::AttemptRecord;
  static constexpr Family kFamily = Family::kAttempts;
  uint64_t run_id = 0;
  uint64_t token = 0;
  auto operator<=>(const AttemptKey&) const = default;
};
std::string WriteKey(const AttemptKey& key);
bool ParseKey(std::string_view bytes, AttemptKey& key);
std::string ToString(const AttemptKey& key);
AttemptKey KeyOf(const v1::AttemptRecord& record);

struct EventKey {
  using Record = v1::EventRecord;
  static constexpr Family kFamily = Family::kEvents;
  uint64_t sequence = 0;
  auto operator<=>(const EventKey&) const = default;
};
std::string WriteKey(const EventKey& key);
bool ParseKey(std::string_view bytes, EventKey& key);
std::string ToString(const EventKey& key);
EventKey KeyOf(const v1::EventRecord& record);

struct ManifestKey {
  using Record = v1::ManifestRecord;
  static constexpr Family kFamily = Family::kManifests;
  uint64_t run_id = 0;
  v1::Stage stage = v1::STAGE_UNSPECIFIED;
  uint32_t layer = 0;
  uint64_t publish = 0;
  auto operator<=>(const ManifestKey&) const = default;
};
std::string WriteKey(const ManifestKey& key);
bool ParseKey(std::string_view bytes, ManifestKey& key);
std::string ToString(const ManifestKey& key);
ManifestKey KeyOf(const v1::ManifestRecord& record);

struct ChunkKey {
  using Record = v1::ChunkRecord;
  static constexpr Family kFamily = Family::kChunks;
  uint64_t publish = 0;
  uint32_t index = 0;
  auto operator<=>(const ChunkKey&) const = default;
};
std::string WriteKey(const ChunkKey& key);
bool ParseKey(std::string_view bytes, ChunkKey& key);
std::string ToString(const ChunkKey& key);

struct RequestKey {
  using Record = v1::RequestRecord;
  static constexpr Family kFamily = Family::kRequests;
  std::string request_id;
  auto operator<=>(const RequestKey&) const = default;
};
std::string WriteKey(const RequestKey& key);
bool ParseKey(std::string_view bytes, RequestKey& key);
std::string ToString(const RequestKey& key);

struct MetaKey {
  using Record = v1::MetaRecord;
  static constexpr Family kFamily = Family::kMeta;
  auto operator<=>(const MetaKey&) const = default;
};
std::string WriteKey(const MetaKey& key);
bool ParseKey(std::string_view bytes, MetaKey& key);
std::string ToString(const MetaKey& key);

// NOLINTEND(modernize-use-nullptr)

// The records whose keys are `first` or greater and less than `end`; an empty `end`: all that follow.
template <class Key>
struct KeyRange {
  std::string first;
  std::string end;
};

template <class Key>
KeyRange<Key> AllOf() {
  return {};
}
KeyRange<TaskKey> TasksOf(uint64_t run_id);
KeyRange<TaskKey> TasksOf(uint64_t run_id, v1::Stage stage);
KeyRange<AttemptKey> AttemptsOf(uint64_t run_id);
KeyRange<EventKey> EventsFrom(uint64_t sequence);
KeyRange<ManifestKey> ManifestsOf(uint64_t run_id);
KeyRange<ManifestKey> ManifestsOf(const TaskKey& task);
KeyRange<ChunkKey> ChunksOf(uint64_t publish);
KeyRange<ChunkKey> ChunksFrom(uint64_t publish);

}  // namespace retort
