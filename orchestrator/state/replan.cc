#include "orchestrator/state/replan.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/base/counted.h"
#include "orchestrator/state/draft.h"
#include "orchestrator/state/gang.h"
#include "orchestrator/state/run_cut.h"
#include "orchestrator/state/run_lifecycle.h"
#include "orchestrator/state/run_view.h"

namespace retort::orchestrator {
namespace {

// Learns how fast the run's holders are beside what they promised. Small changes are noise.
void LearnSpeeds(Draft& draft, const RunCosts& costs, uint64_t run_id) {
  constexpr double kNoise = 0.05;
  for (const uint64_t token : draft.TokensOf(run_id)) {
    const Lease& lease = *draft.FindLease(token);
    const Worker* const worker = draft.FindWorker(lease.record.worker_id());
    if (worker == nullptr) continue;
    const std::optional<double> ratio =
        MeasuredSpeedRatio(costs, lease, worker->registration.capabilities().measured_gflops());
    if (ratio && std::abs(*ratio - worker->speed_ratio) > kNoise * worker->speed_ratio) {
      draft.EditWorker(worker->id()).speed_ratio = *ratio;
    }
  }
}

// Where the run's layers stood in the last plan, as an index into its open layers of now.
std::optional<size_t> PlannedBegin(const State& state, const RunView& view, uint64_t worker_id) {
  const auto target = state.placement.targets.find(worker_id);
  if (target == state.placement.targets.end() || target->second.run_id != view.demand.run_id)
    return std::nullopt;
  for (size_t i = 0; i < view.layers.size(); ++i) {
    const uint32_t layer = view.layers[i].layer;
    if (layer >= target->second.first_layer && layer <= target->second.last_layer) return i;
  }
  return std::nullopt;
}

CutCandidate CandidateOf(const Draft& draft, const RunView& view, uint64_t worker_id) {
  const Worker& worker = *draft.FindWorker(worker_id);
  CutCandidate candidate;
  candidate.worker_id = worker_id;
  candidate.name = worker.name();
  candidate.limits = LimitsOf(worker);
  candidate.planned_begin = PlannedBegin(draft.state(), view, worker_id);
  const Lease* const lease = draft.state().LeaseOf(worker_id);
  if (lease == nullptr || lease->record.run_id() != view.demand.run_id) return candidate;
  for (size_t i = 0; i < view.layers.size(); ++i) {
    if (view.layers[i].token != lease->record.token()) continue;
    const bool goes = lease->yield && std::count(lease->yield->layers.begin(), lease->yield->layers.end(),
                                                 view.layers[i].layer) != 0;
    if (goes) continue;
    if (candidate.held_begin == candidate.held_end) candidate.held_begin = i;
    candidate.held_end = i + 1;
  }
  return candidate;
}

bool HasYield(const Draft& draft, uint64_t run_id) {
  const std::vector<uint64_t> tokens = draft.TokensOf(run_id);
  return std::any_of(tokens.begin(), tokens.end(),
                     [&](uint64_t token) { return draft.FindLease(token)->yield.has_value(); });
}

// "a 0-2, b 3-5".
std::string CutText(const Draft& draft, const std::map<uint64_t, Target>& targets, uint64_t run_id) {
  std::vector<std::pair<uint32_t, std::string>> parts;
  for (const auto& [worker_id, target] : targets) {
    if (target.run_id != run_id || target.stage != v1::STAGE_UNSPECIFIED) continue;
    const Worker* const worker = draft.FindWorker(worker_id);
    const std::string name = worker != nullptr ? worker->name() : "(gone)";
    parts.emplace_back(target.first_layer,
                       absl::StrCat(name, " ", target.first_layer, "-", target.last_layer));
  }
  std::sort(parts.begin(), parts.end());
  if (parts.empty()) return "nobody";
  return absl::StrJoin(parts, ", ", [](std::string* out, const auto& part) { out->append(part.second); });
}

// Whether an open layer is another worker's than in the last plan.
bool HasMoved(const State& state, const RunView& view, const std::map<uint64_t, Target>& targets) {
  const auto owner = [&](const std::map<uint64_t, Target>& plan, uint32_t layer) -> uint64_t {
    for (const auto& [worker_id, target] : plan) {
      const bool covers = target.run_id == view.demand.run_id && target.stage == v1::STAGE_UNSPECIFIED &&
                          target.first_layer <= layer && layer <= target.last_layer;
      if (covers) return worker_id;
    }
    return 0;
  };
  return std::any_of(view.layers.begin(), view.layers.end(), [&](const OpenLayer& layer) {
    const uint64_t now = owner(targets, layer.layer);
    return now != 0 && now != owner(state.placement.targets, layer.layer);
  });
}

// What a holder must give back so that it can have `range` in one slice: nothing, the layers outside, or all
// when it shall have more.
std::vector<uint32_t> LayersToYield(const RunView& view, const CutCandidate& holder,
                                    const WorkerRange& range) {
  const auto layers = [&](size_t begin, size_t end) {
    std::vector<uint32_t> some;
    for (size_t i = begin; i < end; ++i) some.push_back(view.layers[i].layer);
    return some;
  };
  const size_t begin = std::max(holder.held_begin, range.begin);
  const size_t end = std::min(holder.held_end, range.end);
  if (begin >= end) return layers(holder.held_begin, holder.held_end);
  const bool grows_down = begin > range.begin && AreNeighbours(view.layers[begin - 1], view.layers[begin]);
  const bool grows_up = end < range.end && AreNeighbours(view.layers[end - 1], view.layers[end]);
  if (grows_down || grows_up) return layers(holder.held_begin, holder.held_end);
  std::vector<uint32_t> outside = layers(holder.held_begin, begin);
  const std::vector<uint32_t> above = layers(end, holder.held_end);
  outside.insert(outside.end(), above.begin(), above.end());
  return outside;
}

// The plan while it is made, run by run.
class Planner {
 public:
  explicit Planner(Draft& draft) : draft_(draft) { placement_.made_steady_ms = draft.now().steady_ms; }

  // Asks those whose lease is not of the run that they shall work for. Before the runs are planned: what
  // leaves a run is no reason to cut it anew until it has gone.
  void ReclaimWorkers(const std::map<uint64_t, std::vector<uint64_t>>& assigned) {
    std::map<uint64_t, uint64_t> run_of_worker;
    for (const auto& [run_id, workers] : assigned) {
      for (const uint64_t worker_id : workers) run_of_worker[worker_id] = run_id;
    }
    for (const auto& [token, lease] : draft_.state().leases) {
      const uint64_t run_id = lease.record.run_id();
      const Worker* const worker = draft_.FindWorker(lease.record.worker_id());
      if (worker == nullptr || worker->draining || !IsGrantable(draft_.run(run_id).state())) continue;
      const auto next = run_of_worker.find(worker->id());
      if (next == run_of_worker.end() || next->second == run_id) continue;
      const v1::RunRecord& other = draft_.run(next->second);
      const bool outranked = other.priority() > draft_.run(run_id).priority();
      AskYield(draft_, token, outranked ? v1::END_CAUSE_PREEMPTION : v1::END_CAUSE_RECUT,
               draft_.HeldLayers(lease),
               absl::StrFormat("%s shall work for %s, of priority %d", worker->name(), NameOf(other),
                               other.priority()));
    }
  }

  void PlanRun(const RunView& view, const std::vector<uint64_t>& workers) {
    std::string& reason = placement_.run_reason[view.demand.run_id];
    PlanSlices(view, workers, reason);
    if (!view.fewer_ranks) return;
    absl::StrAppend(&reason, reason.empty() ? "" : "; ",
                    NoteShortGang(view.demand.run_id, *view.fewer_ranks));
  }

  Placement Finish(const std::vector<RunView>& views) {
    size_t wanted = 0;
    for (const RunView& view : views) wanted += view.demand.workers;
    const size_t workers = draft_.state().workers.size();
    placement_.idle_reason =
        views.empty() ? "no run needs a worker now"
                      : absl::StrFormat("%d of %s needed: %s can use %d now", placement_.targets.size(),
                                        Counted(workers, "worker"), Counted(views.size(), "run"), wanted);
    return std::move(placement_);
  }

  std::vector<uint64_t> TakeRecutRuns() { return std::move(recut_runs_); }

 private:
  void PlanSlices(const RunView& view, const std::vector<uint64_t>& workers, std::string& reason) {
    reason = view.waits_for;
    KeepRankZeroForAsked(view);
    if (view.next_backoff_unix_ms != 0 && (placement_.next_backoff_unix_ms == 0 ||
                                           view.next_backoff_unix_ms < placement_.next_backoff_unix_ms)) {
      placement_.next_backoff_unix_ms = view.next_backoff_unix_ms;
    }
    if (workers.empty()) {
      if (reason.empty() && view.demand.workers > 0) {
        const size_t able = view.demand.eligible.size();
        reason =
            view.demand.at_least > 1 && able < view.demand.at_least
                ? absl::StrFormat("end_to_end waits for %s: its %d ranks train together, and %s",
                                  Counted(view.demand.at_least - able, "more worker"), view.demand.at_least,
                                  view.eligibility)
                : absl::StrCat("waits for a worker: ", Counted(able, "worker"), " could do it, and ",
                               able == 1 ? "has" : "have", " a run of a higher priority or an older one");
      }
    } else if (view.stage != v1::STAGE_UNSPECIFIED) {
      if (view.stage == v1::STAGE_END_TO_END) {
        reason = PlanGang(view, workers);
        return;
      }
      placement_.targets[workers.front()] = {view.demand.run_id, view.stage, 0, 0};
      reason = absl::StrCat(StageName(view.stage), " for ", draft_.FindWorker(workers.front())->name());
    } else {
      reason = PlanLayers(view, workers);
    }
  }

  // Who was asked before a restart keeps it until it has registered, or its lease has ended.
  void KeepRankZeroForAsked(const RunView& view) {
    for (const auto& [token, lease] : draft_.state().leases) {
      const uint64_t worker_id = lease.record.worker_id();
      if (!IsAskedToBeRankZero(*view.run, lease) || draft_.FindWorker(worker_id) != nullptr) continue;
      placement_.targets[worker_id] = RankZeroOf(view);
    }
  }

  // For a worker that has not registered.
  bool IsRankZeroKept(const RunView& view) const {
    return std::any_of(placement_.targets.begin(), placement_.targets.end(), [&](const auto& target) {
      return target.second == RankZeroOf(view) && draft_.FindWorker(target.first) == nullptr;
    });
  }

  static Target RankZeroOf(const RunView& view) { return {view.demand.run_id, v1::STAGE_END_TO_END, 0, 0}; }

  std::string NoteShortGang(uint64_t run_id, uint32_t ranks_that_fit) {
    const auto before = draft_.state().placement.short_gangs.find(run_id);
    const int64_t now_ms = draft_.now().steady_ms;
    const bool is_new = before == draft_.state().placement.short_gangs.end() ||
                        before->second.ranks_that_fit != ranks_that_fit;
    const int64_t since_ms = is_new ? now_ms : before->second.since_steady_ms;
    placement_.short_gangs[run_id] = {since_ms, ranks_that_fit};
    const int64_t left_ms = std::max<int64_t>(0, since_ms + draft_.options().gang_patience_ms - now_ms);
    return absl::StrFormat("no step was taken, so in %.0f s it begins with %s unless another worker comes",
                           static_cast<double>(left_ms) / 1000, Counted(ranks_that_fit, "rank"));
  }

  // A rank keeps its holder, then whom the last plan had for it; the others get the free ones from below.
  std::string PlanGang(const RunView& view, const std::vector<uint64_t>& workers) {
    std::map<uint32_t, uint64_t> worker_of_rank;
    std::vector<uint64_t> left;
    const auto place = [&](uint32_t rank, uint64_t worker_id) {
      return worker_of_rank.emplace(rank, worker_id).second;
    };
    for (const uint64_t worker_id : workers) {
      const Lease* const lease = draft_.state().LeaseOf(worker_id);
      const bool holds = lease != nullptr && lease->record.run_id() == view.demand.run_id &&
                         lease->record.stage() == v1::STAGE_END_TO_END;
      if (!holds || !place(lease->record.first_layer(), worker_id)) left.push_back(worker_id);
    }
    std::vector<uint32_t> free = OpenRanks(view);
    PlaceRankZero(view, worker_of_rank, left, free);
    std::erase_if(left, [&](uint64_t worker_id) {
      const auto planned = draft_.state().placement.targets.find(worker_id);
      const bool was_rank = planned != draft_.state().placement.targets.end() &&
                            planned->second.run_id == view.demand.run_id &&
                            planned->second.stage == v1::STAGE_END_TO_END;
      if (!was_rank || std::erase(free, planned->second.first_layer) == 0) return false;
      return place(planned->second.first_layer, worker_id);
    });
    for (size_t i = 0; i < std::min(left.size(), free.size()); ++i) place(free[i], left[i]);
    std::vector<std::string> names;
    for (const auto& [rank, worker_id] : worker_of_rank) {
      placement_.targets[worker_id] = {view.demand.run_id, view.stage, rank, rank};
      names.push_back(draft_.FindWorker(worker_id)->name());
    }
    std::string reason = absl::StrCat("end_to_end on ", Counted(names.size(), "rank"), ": ",
                                      absl::StrJoin(names, ", "), "; ", view.eligibility);
    const uint32_t ranks = view.run->record.world_size();
    if (ranks > 0 && !worker_of_rank.contains(0)) {
      absl::StrAppend(&reason,
                      IsRankZeroKept(view)
                          ? "; rank 0 is kept for the worker that has its steps, while its lease lasts"
                          : "; waits for a worker for rank 0, which alone publishes");
    }
    if (ranks > names.size() && !IsElastic(view.run->record.job())) {
      absl::StrAppend(&reason, "; waits for ", ranks - names.size(), " more, as it has ",
                      Counted(ranks, "rank"));
    }
    return reason;
  }

  // Without rank 0 nobody else counts: a free worker takes it first, and where there is none an elastic gang
  // gives one of its own ranks up for it. Whom it has asked is rank 0 then, whoever comes meanwhile: a gang
  // that begins without it goes another way than it has gone.
  void PlaceRankZero(const RunView& view, std::map<uint32_t, uint64_t>& worker_of_rank,
                     std::vector<uint64_t>& left, std::vector<uint32_t>& free) {
    if (free.empty() || free.front() != 0) return;
    const auto was_planned = [&](uint64_t worker_id) {
      const auto target = draft_.state().placement.targets.find(worker_id);
      return target != draft_.state().placement.targets.end() && target->second == RankZeroOf(view);
    };
    const auto take = [&](uint64_t worker_id) {
      worker_of_rank.emplace(0, worker_id);
      free.erase(free.begin());
    };
    const auto asked = std::find_if(worker_of_rank.begin(), worker_of_rank.end(), [&](const auto& holder) {
      return IsAskedToBeRankZero(*view.run, *draft_.state().LeaseOf(holder.second));
    });
    if (IsRankZeroKept(view)) {
      free.erase(free.begin());
    } else if (asked != worker_of_rank.end()) {
      take(worker_of_rank.extract(asked).mapped());
    } else if (!left.empty()) {
      const auto planned = std::find_if(left.begin(), left.end(), was_planned);
      const auto chosen = planned != left.end() ? planned : left.begin();
      take(*chosen);
      left.erase(chosen);
    } else if (IsElastic(view.run->record.job()) && !worker_of_rank.empty()) {
      const auto [rank, worker_id] = *worker_of_rank.rbegin();
      const Lease& lease = *draft_.state().LeaseOf(worker_id);
      if (lease.yield) return;
      const Yield yield = AskedToBeRankZero(lease);
      AskYield(draft_, lease.record.token(), yield.cause, yield.layers, yield.reason);
      worker_of_rank.erase(rank);
      take(worker_id);
    }
  }

  // Ranks that nobody holds and that are not in back-off; before their number is fixed all that could be.
  std::vector<uint32_t> OpenRanks(const RunView& view) {
    std::vector<uint32_t> free;
    for (const v1::TaskRecord* rank : RanksOf(*view.run)) {
      const bool waits = rank->not_before_unix_ms() > draft_.now().unix_ms;
      if (rank->state() == v1::TASK_STATE_PENDING && !waits) free.push_back(rank->layer());
    }
    if (view.run->record.world_size() != 0 || free.empty()) return free;
    while (free.size() < view.demand.workers) free.push_back(static_cast<uint32_t>(free.size()));
    return free;
  }

  std::string PlanLayers(const RunView& view, const std::vector<uint64_t>& workers) {
    const uint64_t run_id = view.demand.run_id;
    std::vector<CutCandidate> candidates;
    for (const uint64_t worker_id : workers) candidates.push_back(CandidateOf(draft_, view, worker_id));
    const Options& options = draft_.options();
    const std::optional<int64_t>& last = view.run->last_recut_steady_ms;
    const bool settled = !last || *last + options.recut_interval_ms <= draft_.now().steady_ms;
    std::string reason;
    const std::optional<ChosenCut> chosen = ChooseCut(
        view.table, candidates,
        {options.recut_min_gain, options.recut_cost_ms / 1000.0, settled && !HasYield(draft_, run_id)},
        reason);
    if (!chosen) return reason;
    std::map<uint64_t, Target> targets;
    for (const auto& [worker_id, range] : chosen->cut.ranges) {
      targets[worker_id] = {run_id, v1::STAGE_UNSPECIFIED, view.layers[range.begin].layer,
                            view.layers[range.end - 1].layer};
    }
    if (HasMoved(draft_.state(), view, targets)) {
      v1::EventRecord& event = draft_.AddEvent(v1::EVENT_KIND_PLAN_CHANGED);
      event.set_run_id(run_id);
      event.set_text(absl::StrCat(CutText(draft_, draft_.state().placement.targets, run_id), " -> ",
                                  CutText(draft_, targets, run_id), ": ", reason));
    }
    if (chosen->is_recut) {
      recut_runs_.push_back(run_id);
      for (const CutCandidate& candidate : candidates) AskRecut(view, candidate, chosen->cut, reason);
    }
    placement_.targets.insert(targets.begin(), targets.end());
    return reason;
  }

  void AskRecut(const RunView& view, const CutCandidate& holder, const RunCut& cut,
                const std::string& reason) {
    if (holder.held_begin == holder.held_end) return;
    const auto range = cut.ranges.find(holder.worker_id);
    const std::vector<uint32_t> layers =
        LayersToYield(view, holder, range == cut.ranges.end() ? WorkerRange{} : range->second);
    if (layers.empty()) return;
    AskYield(draft_, draft_.state().LeaseOf(holder.worker_id)->record.token(), v1::END_CAUSE_RECUT, layers,
             reason);
  }

  Draft& draft_;
  Placement placement_;
  std::vector<uint64_t> recut_runs_;
};

}  // namespace

int64_t NextReplanSteadyMs(const Moment& now, const State& state, const Options& options) {
  const Placement& placement = state.placement;
  const int64_t soon_ms = placement.made_steady_ms + options.replan_interval_ms;
  if (state.placement_stale) return soon_ms;
  int64_t due_ms = placement.made_steady_ms + options.rebalance_interval_ms;
  if (placement.next_backoff_unix_ms != 0) {
    const int64_t over_ms = now.steady_ms + placement.next_backoff_unix_ms - now.unix_ms;
    due_ms = std::min(due_ms, std::max(over_ms, soon_ms));
  }
  return due_ms;
}

Decision<NoReply> DecideReplan(const Moment& now, const State& state, const Options& options) {
  Draft draft(now, state, options);
  std::vector<std::pair<const Run*, RunCosts>> open;
  for (const auto& [run_id, run] : state.runs) {
    if (!IsGrantable(run.record.state())) continue;
    RunCosts costs = run.record.has_shape() ? CostsOf(state, options, run) : RunCosts{};
    LearnSpeeds(draft, costs, run_id);
    open.emplace_back(&run, std::move(costs));
  }
  std::vector<RunView> views;
  std::vector<Demand> demands;
  for (auto& [run, costs] : open) {
    views.push_back(ViewRun(draft, *run, std::move(costs)));
    demands.push_back(views.back().demand);
  }
  const std::map<uint64_t, std::vector<uint64_t>> assigned = AssignWorkers(draft, std::move(demands));
  Planner planner(draft);
  planner.ReclaimWorkers(assigned);
  for (const RunView& view : views) planner.PlanRun(view, assigned.at(view.demand.run_id));
  Decision<NoReply> decision;
  Placement placement = planner.Finish(views);
  decision.reason = absl::StrCat("planned ", Counted(views.size(), "run"), ": ", placement.idle_reason);
  draft.SetPlacement(std::move(placement), planner.TakeRecutRuns());
  decision.changes = draft.Finish();
  decision.changes.placement_stale = false;
  return decision;
}

}  // namespace retort::orchestrator
