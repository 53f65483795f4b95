// Stage 3 on several workers: how many ranks a run has, and which of them train together in which generation.
#pragma once

#include <cstdint>
#include <string>
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

// Whether the job leaves the number of ranks open and no step was taken with it: the result depends on it.
bool MayFixRanksAnew(const Draft& draft, const Run& run);

// Runs that have waited in vain for a worker that they were planned with get the number of ranks that fits
// now; holders of the ranks above are asked for them first. What was done, in sentences.
std::vector<std::string> FixRanksAnew(Draft& draft);

// What asks a survivor of an elastic gang for its rank, so that it becomes rank 0, which nobody holds.
Yield AskedToBeRankZero(const Lease& survivor);

// Whether the lease's rank was asked so.
bool IsAskedToBeRankZero(const Run& run, const Lease& lease);

// After a restart, which has forgotten who was: the highest rank of each elastic gang without a rank 0 is
// asked, again or now, and rank 0 is its, for it may give its rank back before it is asked.
void AskSurvivorsAgain(State& state);

// Rank 0 has published the last step: the other ranks are DONE, whoever holds them.
void CompleteOtherRanks(Draft& draft, uint64_t run_id);

// What a slice says of its gang, at the grant. A collective may last as long as some steps, as they are
// measured or planned then, and options.gang_timeout_ms at least.
v1::Gang GangOf(const Draft& draft, uint64_t run_id);

// Forms a generation when all its ranks wait: every rank of the run, and when it is elastic those whose
// leases stand, rank 0's among them, without those that have been in no generation yet and still load.
Decision<v1::JoinGangReply> DecideJoinGang(const Moment& now, const State& state, const Options& options,
                                           const v1::JoinGangRequest& request);

// OK when the caller is a member of this generation and it is its run's last; `run_id` is then the run's.
absl::Status CheckMember(const State& state, const v1::RendezvousRequest& request, uint64_t& run_id);

// The newest generation that the lease's rank shall leave after the step under way, should it be in it or in
// an older one, since another waits to be taken in; 0: none.
uint64_t ReformGeneration(const State& state, const Lease& lease);

}  // namespace retort::orchestrator
