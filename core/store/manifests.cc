#include "core/store/manifests.h"

#include <set>
#include <vector>

#include "core/base/status_macros.h"

namespace retort {
namespace {

absl::Status DeleteAllBut(Transaction& transaction, const KeyRange<ManifestKey>& range,
                          const std::set<uint64_t>& kept) {
  ASSIGN_OR_RETURN(const std::vector<v1::ManifestRecord> manifests, transaction.List(range));
  for (const v1::ManifestRecord& manifest : manifests) {
    if (!kept.contains(manifest.publish())) transaction.DeleteManifest(manifest);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status DeleteSupersededManifests(Transaction& transaction, const v1::TaskRecord& task,
                                       uint64_t result_publish) {
  return DeleteAllBut(transaction, ManifestsOf(KeyOf(task)),
                      {task.last_publish(), task.best_publish(), result_publish});
}

absl::Status DeleteManifestsOfEndedRun(Transaction& transaction, const v1::RunRecord& run) {
  switch (run.state()) {
    case v1::RUN_STATE_SUCCEEDED:
      return DeleteAllBut(transaction, ManifestsOf(run.run_id()), {run.result_publish()});
    case v1::RUN_STATE_CANCELLED:
      return DeleteManifestsOfRun(transaction, run.run_id());
    default:
      return absl::OkStatus();
  }
}

absl::Status DeleteManifestsOfRun(Transaction& transaction, uint64_t run_id) {
  return DeleteAllBut(transaction, ManifestsOf(run_id), {});
}

}  // namespace retort
