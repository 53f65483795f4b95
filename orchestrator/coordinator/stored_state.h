// A State's way from the store and changes' way into it.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/store/store.h"
#include "orchestrator/state/changes.h"

namespace retort::orchestrator {

// Everything that LoadState needs. DATA_LOSS when a record's run or lease's attempt is not there; the other
// errors are record_reader.h's.
absl::StatusOr<StoredRecords> ReadRecords(const Store& store);

// Writes the durable part of `changes`. Of a run that has ended the manifests that it does not keep any more
// are deleted; of a deleted one all but its events, which only the caller can find. Returns the events with
// their sequence numbers.
absl::StatusOr<std::vector<v1::EventRecord>> WriteChanges(const Changes& changes, Transaction& transaction);

// The manifests of a finished publish, whose changes the transaction has already; deletes those that they
// supersede.
absl::Status WriteManifests(const std::vector<v1::ManifestRecord>& manifests, Transaction& transaction);

}  // namespace retort::orchestrator
