#include "orchestrator/state/gang.h"

#include <algorithm>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/base/counted.h"
#include "core/base/status_macros.h"
#include "orchestrator/state/callers.h"
#include "orchestrator/state/costs.h"
#include "orchestrator/state/lease_end.h"
#include "orchestrator/state/run_lifecycle.h"
#include "orchestrator/state/run_view.h"

namespace retort::orchestrator {
namespace {

// Ranks begin a step together, so one waits for another as long as their steps differ: by a neighbour on the
// machine, a copy for a checkpoint, or a plan that knew no measurement yet.
constexpr double kTimeoutSteps = 4;
constexpr double kLongestTimeoutMs = 3'600'000;

// Above all generations of earlier starts of the orchestrator, which keeps none, and below those of this one.
uint64_t BeforeGenerations(const State& state) { return state.epoch << 24; }

// The token that holds the rank's row now; 0: none.
uint64_t HolderOf(const v1::TaskRecord& rank) {
  return rank.state() == v1::TASK_STATE_LEASED ? rank.token() : 0;
}

// The ranks without which no generation is formed, and that do not wait for it. `held`: ranks that wait
// under their present token.
std::vector<uint32_t> MissingRanks(const Run& run, const Gang& gang) {
  const bool is_first = gang.members.empty();
  std::vector<uint32_t> missing;
  for (const v1::TaskRecord* rank : RanksOf(run)) {
    const uint64_t holder = HolderOf(*rank);
    const auto waits = gang.waiting.find(rank->layer());
    if (waits != gang.waiting.end() && waits->second == holder) continue;
    // Rank 0 alone publishes and reports: without it nothing of what the others did would be kept.
    if (rank->layer() != 0 && IsElastic(run.record.job())) {
      const auto member = gang.members.find(rank->layer());
      const bool was_member = member != gang.members.end() && member->second == holder;
      if (holder == 0 || (!is_first && !was_member)) continue;
    }
    missing.push_back(rank->layer());
  }
  return missing;
}

std::string MissingText(const State& state, const Run& run, const std::vector<uint32_t>& missing) {
  std::vector<std::string> parts;
  for (const uint32_t rank : missing) {
    const uint64_t holder = HolderOf(run.tasks.at({v1::STAGE_END_TO_END, rank}));
    const Lease* const lease = holder == 0 ? nullptr : state.FindLease(holder);
    parts.push_back(lease == nullptr ? absl::StrCat("rank ", rank, " (nobody holds it)")
                                     : absl::StrCat("rank ", rank, " (", lease->record.worker_name(), ")"));
  }
  return absl::StrCat("waits for ", absl::StrJoin(parts, ", "), " of ", Counted(RanksOf(run).size(), "rank"));
}

void SetPlace(const Gang& gang, uint32_t rank, v1::JoinGangReply& reply) {
  reply.set_generation(gang.generation);
  reply.set_rank(static_cast<uint32_t>(std::distance(gang.members.begin(), gang.members.find(rank))));
  reply.set_world_size(static_cast<uint32_t>(gang.members.size()));
}

// The caller's lease of a rank. Nothing is written under it, so what is stale here is not recorded.
template <class Request>
absl::StatusOr<const Lease*> FindRank(const State& state, const Request& request, const char* call) {
  RETURN_IF_ERROR(CheckCaller(state, request.worker_id(), request.epoch()));
  const Lease* const lease = state.FindLease(request.token());
  if (lease == nullptr || lease->record.worker_id() != request.worker_id()) {
    return absl::AbortedError(absl::StrCat(call, " under token ", request.token(),
                                           ", under which this worker has no lease; heartbeat, and obey the "
                                           "verdict"));
  }
  if (lease->record.stage() != v1::STAGE_END_TO_END) {
    return absl::FailedPreconditionError(
        absl::StrCat(call, " under token ", request.token(), ", which is not of END_TO_END"));
  }
  return lease;
}

bool IsMember(const Gang& gang, uint32_t rank, uint64_t token) {
  const auto member = gang.members.find(rank);
  return member != gang.members.end() && member->second == token;
}

// What a step takes on the slowest of the run's ranks, as measured or counted. 0: the job has no such step.
double StepSeconds(const Draft& draft, uint64_t run_id) {
  const State& state = draft.state();
  const RunCosts costs = CostsOf(state, draft.options(), state.run(run_id));
  const auto stage = costs.stages.find(v1::STAGE_END_TO_END);
  if (stage == costs.stages.end()) return 0;
  double slowest = std::numeric_limits<double>::infinity();
  for (const auto& [worker_id, target] : state.placement.targets) {
    const Worker* const worker = draft.FindWorker(worker_id);
    if (target.run_id != run_id || target.stage != v1::STAGE_END_TO_END || worker == nullptr) continue;
    slowest = std::min(slowest, worker->speed_gflops());
  }
  return stage->second.typical_train_work / draft.run(run_id).world_size() / slowest;
}

// The highest step that was published or that the holder has reported.
uint64_t StepOfRank(const Draft& draft, const v1::TaskRecord& rank) {
  uint64_t step = rank.step();
  const Lease* const lease = draft.FindLease(HolderOf(rank));
  if (lease == nullptr) return step;
  for (const v1::LayerProgress& reported : lease->progress.layers()) step = std::max(step, reported.step());
  return step;
}

// Whether nobody holds a rank from `world_size` on; asks those who do.
bool AskForRanks(Draft& draft, const Run& run, uint32_t world_size, const std::string& why) {
  bool is_free = true;
  for (uint32_t rank = world_size; rank < run.record.world_size(); ++rank) {
    const uint64_t token = HolderOf(draft.task(run.record.run_id(), {v1::STAGE_END_TO_END, rank}));
    if (token == 0) continue;
    is_free = false;
    if (!draft.FindLease(token)->yield) AskYield(draft, token, v1::END_CAUSE_RECUT, {rank}, why);
  }
  return is_free;
}

// The rows from `world_size` on go, which nobody holds.
void DropRanks(Draft& draft, const Run& run, uint32_t world_size) {
  const uint64_t run_id = run.record.run_id();
  for (uint32_t rank = world_size; rank < run.record.world_size(); ++rank) {
    draft.DeleteTask(run_id, {v1::STAGE_END_TO_END, rank});
  }
  draft.EditRun(run_id).set_world_size(world_size);
  Gang gang = run.gang;
  gang.members.erase(gang.members.lower_bound(world_size), gang.members.end());
  gang.waiting.erase(gang.waiting.lower_bound(world_size), gang.waiting.end());
  draft.SetGang(run_id, std::move(gang));
  draft.MakePlacementStale();
}

}  // namespace

std::vector<const v1::TaskRecord*> RanksOf(const Run& run) {
  std::vector<const v1::TaskRecord*> ranks;
  for (auto it = run.tasks.lower_bound(kEndToEnd);
       it != run.tasks.end() && it->first.stage == v1::STAGE_END_TO_END; ++it) {
    ranks.push_back(&it->second);
  }
  return ranks;
}

bool IsElastic(const v1::JobSpec& job) { return job.stages().end_to_end().elastic(); }

void AddRanks(Draft& draft, uint64_t run_id, uint32_t world_size) {
  draft.EditRun(run_id).set_world_size(world_size);
  for (uint32_t rank = 1; rank < world_size; ++rank) {
    v1::TaskRecord task;
    task.set_version(1);
    task.set_run_id(run_id);
    task.set_stage(v1::STAGE_END_TO_END);
    task.set_layer(rank);
    task.set_state(v1::TASK_STATE_PENDING);
    draft.AddTask(std::move(task));
  }
}

bool MayFixRanksAnew(const Draft& draft, const Run& run) {
  const v1::RunRecord& record = run.record;
  if (record.job().stages().end_to_end().world_size() != 0 || record.world_size() < 2 ||
      IsElastic(record.job())) {
    return false;
  }
  const std::vector<const v1::TaskRecord*> ranks = RanksOf(run);
  return std::none_of(ranks.begin(), ranks.end(),
                      [&](const v1::TaskRecord* rank) { return StepOfRank(draft, *rank) > 0; });
}

std::vector<std::string> FixRanksAnew(Draft& draft) {
  std::vector<std::string> done;
  for (const auto& [run_id, gang] : draft.state().placement.short_gangs) {
    const Run& run = draft.state().run(run_id);
    const bool is_due = gang.since_steady_ms + draft.options().gang_patience_ms <= draft.now().steady_ms;
    if (!is_due || !IsGrantable(draft.run(run_id).state()) || !MayFixRanksAnew(draft, run)) continue;
    const uint32_t had = run.record.world_size();
    if (had <= gang.ranks_that_fit) continue;
    const std::string why = absl::StrFormat(
        "end_to_end has %s instead of %d: it has taken no step, and no more workers fit since %d s",
        Counted(gang.ranks_that_fit, "rank"), had, draft.options().gang_patience_ms / 1000);
    if (!AskForRanks(draft, run, gang.ranks_that_fit, why)) continue;
    DropRanks(draft, run, gang.ranks_that_fit);
    v1::EventRecord& event = draft.AddEvent(v1::EVENT_KIND_NUMERICS_RESOLVED);
    event.set_run_id(run_id);
    event.set_stage(v1::STAGE_END_TO_END);
    event.set_text(why);
    done.push_back(absl::StrCat(NameOf(run.record), ": ", why));
  }
  return done;
}

Yield AskedToBeRankZero(const Lease& survivor) {
  return {v1::END_CAUSE_RECUT,
          {survivor.record.first_layer()},
          absl::StrCat("rank 0, which alone publishes, has no worker: ", survivor.record.worker_name(),
                       " shall be it"),
          std::nullopt};
}

bool IsAskedToBeRankZero(const Run& run, const Lease& lease) {
  return lease.record.run_id() == run.record.run_id() && lease.record.stage() == v1::STAGE_END_TO_END &&
         IsElastic(run.record.job()) && run.tasks.at(kEndToEnd).state() == v1::TASK_STATE_PENDING &&
         lease.yield && lease.yield->cause == v1::END_CAUSE_RECUT;
}

void AskSurvivorsAgain(State& state) {
  for (const auto& [run_id, run] : state.runs) {
    if (run.record.state() != v1::RUN_STATE_RUNNING || !IsElastic(run.record.job())) continue;
    const std::vector<const v1::TaskRecord*> ranks = RanksOf(run);
    if (ranks.empty() || ranks.front()->state() != v1::TASK_STATE_PENDING) continue;
    const auto highest = std::find_if(ranks.rbegin(), ranks.rend(),
                                      [](const v1::TaskRecord* rank) { return HolderOf(*rank) != 0; });
    if (highest == ranks.rend()) continue;
    Lease& lease = state.leases.at(HolderOf(**highest));
    lease.yield = AskedToBeRankZero(lease);
    state.placement.targets[lease.record.worker_id()] = {run_id, v1::STAGE_END_TO_END, 0, 0};
    state.placement.run_reason[run_id] = lease.yield->reason;
  }
}

void CompleteOtherRanks(Draft& draft, uint64_t run_id) {
  for (const v1::TaskRecord* rank : RanksOf(draft.state().run(run_id))) {
    if (IdOf(*rank) == kEndToEnd || rank->state() == v1::TASK_STATE_DONE) continue;
    if (rank->state() == v1::TASK_STATE_LEASED) {
      EndRows(draft, rank->token(), {rank->layer()},
              {v1::END_CAUSE_COMPLETED, "rank 0 has published the last step"});
    } else {
      draft.EditTask(run_id, IdOf(*rank)).set_state(v1::TASK_STATE_DONE);
    }
  }
}

v1::Gang GangOf(const Draft& draft, uint64_t run_id) {
  const v1::RunRecord& run = draft.run(run_id);
  v1::Gang gang;
  gang.set_world_size(run.world_size());
  gang.set_elastic(IsElastic(run.job()));
  const double timeout_ms = std::max(static_cast<double>(draft.options().gang_timeout_ms),
                                     kTimeoutSteps * 1000 * StepSeconds(draft, run_id));
  gang.set_timeout_ms(static_cast<uint32_t>(std::min(timeout_ms, kLongestTimeoutMs)));
  return gang;
}

Decision<v1::JoinGangReply> DecideJoinGang(const Moment& now, const State& state, const Options& options,
                                           const v1::JoinGangRequest& request) {
  Decision<v1::JoinGangReply> decision;
  const absl::StatusOr<const Lease*> found = FindRank(state, request, "JoinGang");
  decision.status = found.status();
  if (!found.ok()) return decision;
  const Lease* const lease = *found;
  const uint32_t rank = lease->record.first_layer();
  Draft draft(now, state, options);
  const Run& run = state.run(lease->record.run_id());
  Gang gang = run.gang;
  if (IsMember(gang, rank, request.token()) && gang.generation > request.after_generation()) {
    SetPlace(gang, rank, decision.reply);  // formed since, or a repetition
    return decision;
  }
  gang.waiting[rank] = request.token();
  const std::vector<uint32_t> missing = MissingRanks(run, gang);
  if (missing.empty()) {
    gang.members.clear();
    for (const auto& [waiting, token] : gang.waiting) {
      if (HolderOf(run.tasks.at({v1::STAGE_END_TO_END, waiting})) == token) gang.members[waiting] = token;
    }
    gang.waiting.clear();
    gang.generation = std::max({gang.generation, request.after_generation(), BeforeGenerations(state)}) + 1;
    SetPlace(gang, rank, decision.reply);
    decision.reason = absl::StrCat("generation ", gang.generation, " of ", NameOf(run.record), ": ",
                                   Counted(gang.members.size(), "rank"));
  } else {
    decision.reason = MissingText(state, run, missing);
  }
  decision.reply.set_reason(decision.reason);
  draft.SetGang(lease->record.run_id(), std::move(gang));
  decision.changes = draft.Finish();
  return decision;
}

absl::Status CheckMember(const State& state, const v1::RendezvousRequest& request, uint64_t& run_id) {
  ASSIGN_OR_RETURN(const Lease* const lease, FindRank(state, request, "Rendezvous"));
  run_id = lease->record.run_id();
  const Gang& gang = state.run(run_id).gang;
  if (gang.generation == request.generation() &&
      IsMember(gang, lease->record.first_layer(), request.token())) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat("generation ", request.generation(),
                                                    " is over: the run is at generation ", gang.generation));
}

uint64_t ReformGeneration(const State& state, const Lease& lease) {
  const Run& run = state.run(lease.record.run_id());
  const Gang& gang = run.gang;
  const uint32_t rank = lease.record.first_layer();
  if (lease.record.stage() != v1::STAGE_END_TO_END || !IsElastic(run.record.job())) return 0;
  // Since the orchestrator's start no generation was formed: who does not wait may be in one of before.
  const auto waits = gang.waiting.find(rank);
  const bool is_waiting = waits != gang.waiting.end() && waits->second == lease.record.token();
  const bool is_old_member = gang.members.empty() && !is_waiting;
  if (!is_old_member && !IsMember(gang, rank, lease.record.token())) return 0;
  const bool somebody_new = std::any_of(gang.waiting.begin(), gang.waiting.end(), [&](const auto& waiting) {
    const auto& [other, token] = waiting;
    return !IsMember(gang, other, token) && HolderOf(run.tasks.at({v1::STAGE_END_TO_END, other})) == token;
  });
  if (!somebody_new) return 0;
  return is_old_member ? BeforeGenerations(state) : gang.generation;
}

}  // namespace retort::orchestrator
