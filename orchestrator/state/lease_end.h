// How leases end for some or all of their rows, which budget pays, and when the rows may be granted again.
// Parts of decisions: they edit a Draft.
#pragma once

#include <string>
#include <vector>

#include "orchestrator/state/draft.h"

namespace retort::orchestrator {

struct RowEnd {
  v1::EndCause cause;
  std::string message;   // the worker's, or why the orchestrator ended it
  bool is_free = false;  // no budget pays, whatever the cause
};

// The rows `layers`, all held by the lease, end. A row whose budget is spent fails its run. What the lease
// still holds stays; without any it ends, and the run settles.
void EndRows(Draft& draft, uint64_t token, const std::vector<uint32_t>& layers, const RowEnd& end);

// All rows that it holds.
void EndLease(Draft& draft, uint64_t token, const RowEnd& end);

// The wait before a task that has lost `losses` > 0 attempts to one cause is granted again; `random` varies
// it.
int64_t BackoffMs(const Options& options, uint32_t losses, uint64_t random);

}  // namespace retort::orchestrator
