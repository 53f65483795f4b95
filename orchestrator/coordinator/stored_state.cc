#include "orchestrator/coordinator/stored_state.h"

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/base/status_macros.h"
#include "core/store/manifests.h"

namespace retort::orchestrator {
namespace {

absl::Status MissingRun(const std::string& record, uint64_t run_id) {
  return absl::DataLossError(absl::StrCat("there is a record ", record, ", but no run ", run_id,
                                          ": run `retort-orchestrator verify`, and restore a backup"));
}

absl::Status DeleteRun(uint64_t run_id, Transaction& transaction) {
  RETURN_IF_ERROR(DeleteManifestsOfRun(transaction, run_id));
  ASSIGN_OR_RETURN(const std::vector<v1::TaskRecord> tasks, transaction.List(TasksOf(run_id)));
  for (const v1::TaskRecord& task : tasks) transaction.Delete(KeyOf(task));
  ASSIGN_OR_RETURN(const std::vector<v1::AttemptRecord> attempts, transaction.List(AttemptsOf(run_id)));
  for (const v1::AttemptRecord& attempt : attempts) transaction.Delete(KeyOf(attempt));
  transaction.Delete(RunKey{run_id});
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<StoredRecords> ReadRecords(const Store& store) {
  StoredRecords records;
  ASSIGN_OR_RETURN(records.meta, store.Get(MetaKey{}));
  ASSIGN_OR_RETURN(records.runs, store.List(AllOf<RunKey>()));
  ASSIGN_OR_RETURN(records.tasks, store.List(AllOf<TaskKey>()));
  ASSIGN_OR_RETURN(records.leases, store.List(AllOf<LeaseKey>()));
  std::set<uint64_t> runs;
  for (const v1::RunRecord& run : records.runs) runs.insert(run.run_id());
  for (const v1::TaskRecord& task : records.tasks) {
    if (!runs.contains(task.run_id())) return MissingRun(ToString(KeyOf(task)), task.run_id());
  }
  for (const v1::LeaseRecord& lease : records.leases) {
    if (!runs.contains(lease.run_id())) return MissingRun(ToString(KeyOf(lease)), lease.run_id());
    ASSIGN_OR_RETURN(v1::AttemptRecord attempt, store.Get(AttemptKey{lease.run_id(), lease.token()}));
    records.attempts.push_back(std::move(attempt));
  }
  RETURN_IF_ERROR(store.Scan<RequestKey>(AllOf<RequestKey>(),
                                         [&records](const RequestKey& key, const v1::RequestRecord& request) {
                                           records.requests.emplace_back(key.request_id, request);
                                           return absl::OkStatus();
                                         }));
  return records;
}

absl::StatusOr<std::vector<v1::EventRecord>> WriteChanges(const Changes& changes, Transaction& transaction) {
  for (uint64_t taken = 0; taken + 1 < changes.next_run_id;) {
    taken = transaction.TakeRunId();
    RETORT_CHECK(taken < changes.next_run_id) << "the store is at run " << taken;
  }
  for (uint64_t taken = 0; taken + 1 < changes.next_token;) {
    taken = transaction.TakeToken();
    RETORT_CHECK(taken < changes.next_token) << "the store is at token " << taken;
  }
  for (const v1::RunRecord& run : changes.runs) transaction.Put(run);
  for (const v1::TaskRecord& task : changes.tasks) transaction.Put(task);
  for (const auto& [run_id, id] : changes.deleted_tasks)
    transaction.Delete(TaskKey{run_id, id.stage, id.layer});
  for (const v1::LeaseRecord& lease : changes.leases) transaction.Put(lease);
  for (const uint64_t token : changes.ended_leases) transaction.Delete(LeaseKey{token});
  for (const v1::AttemptRecord& attempt : changes.attempts) transaction.Put(attempt);
  for (const auto& [id, request] : changes.requests) transaction.Put(RequestKey{id}, request);
  for (const std::string& id : changes.old_requests) transaction.Delete(RequestKey{id});
  for (const v1::RunRecord& run : changes.runs) RETURN_IF_ERROR(DeleteManifestsOfEndedRun(transaction, run));
  for (const uint64_t run_id : changes.deleted_runs) RETURN_IF_ERROR(DeleteRun(run_id, transaction));
  std::vector<v1::EventRecord> events = changes.events;
  for (v1::EventRecord& event : events) event.set_sequence(transaction.AddEvent(event));
  return events;
}

absl::Status WriteManifests(const std::vector<v1::ManifestRecord>& manifests, Transaction& transaction) {
  for (const v1::ManifestRecord& manifest : manifests) {
    transaction.Put(manifest);
    ASSIGN_OR_RETURN(const v1::RunRecord run, transaction.Get(RunKey{manifest.run_id()}));
    ASSIGN_OR_RETURN(const v1::TaskRecord task,
                     transaction.Get(TaskKey{manifest.run_id(), manifest.stage(), manifest.layer()}));
    RETURN_IF_ERROR(DeleteSupersededManifests(transaction, task, run.result_publish()));
  }
  return absl::OkStatus();
}

}  // namespace retort::orchestrator
