// Stage 3 on several workers: how many ranks a run has, and which of them train together in which generation.
#pragma once

#include <cstdint>
#include <vector>

#include "orchestrator/state/changes.h"
#include "orchestrator/state/draft.h"
#include "retort/v1/worker_service.pb.h"

namespace retort::orchestrator {

// Rows of END_TO_END that are there, ascending by rank: all from the run's first grant of the stage on,
// before that rank 0's alone.
std::vector<const v1::TaskRecord*> RanksOf(const Run& run);

// Whether a rank's loss is waited for.
bool IsElastic(const v1::JobSpec& job);

// Adds the rows of the ranks above 0: the first grant has fixed their number.
void AddRanks(Draft& draft, uint64_t run_id, uint32_t world_size);

// Rank 0 has published the last step: the other ranks are DONE, whoever holds them.
void CompleteOtherRanks(Draft& draft, uint64_t run_id);

v1::Gang GangOf(const Options& options, const v1::RunRecord& run);

// Forms a generation when all its ranks wait: every rank of the run, and when it is elastic those whose
// leases stand, without those that have been in no generation yet and still load.
Decision<v1::JoinGangReply> DecideJoinGang(const Moment& now, const State& state, const Options& options,
                                           const v1::JoinGangRequest& request);

// OK when the caller is a member of this generation and it is its run's last; `run_id` is then the run's.
absl::Status CheckMember(const State& state, const v1::RendezvousRequest& request, uint64_t& run_id);

// The generation that the lease's rank shall leave after the step under way, since another waits to be taken
// in; 0: none.
uint64_t ReformGeneration(const Run& run, const Lease& lease);

}  // namespace retort::orchestrator
