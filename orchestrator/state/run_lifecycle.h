// What follows for a run when its rows, its leases or a user's wishes change. Parts of decisions: they edit a
// Draft.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "orchestrator/state/draft.h"

namespace retort::orchestrator {

// Edits state, reason and end time, and records the event. Does nothing for a state that the run already has.
void ChangeRunState(Draft& draft, uint64_t run_id, v1::RunState state, const std::string& reason);

// Asks the holder for `layers` (a part whose absence leaves the rest contiguous). Replaces a wish for less;
// passes over one for as much or more, unless that was only a re-cut.
void AskYield(Draft& draft, uint64_t token, v1::EndCause cause, std::vector<uint32_t> layers,
              const std::string& reason);

// The same for all layers of all leases of the run.
void AskYieldOfRun(Draft& draft, uint64_t run_id, v1::EndCause cause, const std::string& reason);

// Takes back wishes of this cause that no heartbeat has told yet: a holder that was told is saving already,
// and gives back.
void WithdrawUntoldYields(Draft& draft, uint64_t run_id, v1::EndCause cause);

// FAILED, with the holders asked to give back. Once is enough.
void FailRun(Draft& draft, uint64_t run_id, const std::string& reason);

// To call after rows or leases ended: SUCCEEDED when all rows are DONE, PAUSED and CANCELLED when the last
// lease has gone.
void SettleRun(Draft& draft, uint64_t run_id);

}  // namespace retort::orchestrator
