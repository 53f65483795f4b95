#include "orchestrator/state/run_view.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/counted.h"
#include "core/base/job_work.h"
#include "orchestrator/state/gang.h"
#include "orchestrator/state/reach.h"

namespace retort::orchestrator {
namespace {

using NumericsKey = std::tuple<uint32_t, v1::ComputePath, v1::DeviceKind, std::string>;

NumericsKey KeyOf(const v1::Capabilities& has) {
  return {has.threads(), has.compute_path(), has.device(), has.numerics_id()};
}

// Before a run has its numerics: only workers alike, those that are fastest together.
std::vector<uint64_t> FastestAlike(const Draft& draft, const std::vector<uint64_t>& workers) {
  std::map<NumericsKey, std::pair<double, std::vector<uint64_t>>> kinds;
  for (const uint64_t id : workers) {
    const Worker& worker = *draft.FindWorker(id);
    auto& [speed, ids] = kinds[KeyOf(worker.registration.capabilities())];
    speed += worker.registration.capabilities().measured_gflops();
    ids.push_back(id);
  }
  const auto best = std::max_element(kinds.begin(), kinds.end(), [](const auto& a, const auto& b) {
    return a.second.first < b.second.first;
  });
  return best == kinds.end() ? std::vector<uint64_t>{} : best->second.second;
}

// 1 where nothing is asked for: as many as fit.
uint64_t RanksAskedFor(const v1::RunRecord& run) {
  if (run.world_size() != 0) return run.world_size();
  return std::max<uint64_t>(1, run.job().stages().end_to_end().world_size());
}

// Least memory with which a worker for which `teacher_part` of the teacher's weights counts can do anything
// of what is left.
double LeastBytes(const RunView& view, double teacher_part) {
  const v1::RunRecord& run = view.run->record;
  if (view.stage == v1::STAGE_PREPARE) return 0;
  if (view.stage == v1::STAGE_END_TO_END) {
    return EndToEndBytes(run.job(), run.shape(), RanksAskedFor(run), teacher_part);
  }
  double least = view.table.bytes(0, 1, teacher_part);
  for (size_t i = 1; i < view.layers.size(); ++i) {
    least = std::min(least, view.table.bytes(i, i + 1, teacher_part));
  }
  return least;
}

void FindEligible(const Draft& draft, RunView& view) {
  const bool trains = view.stage != v1::STAGE_PREPARE;
  double least_bytes = std::numeric_limits<double>::infinity();
  size_t refused = 0, other_numerics = 0, too_small = 0, draining = 0;
  const InputRefusal* newest = nullptr;
  for (const auto& [id, registered] : draft.state().workers) {
    const Worker& worker = *draft.FindWorker(id);
    const CutWorker limits = LimitsOf(worker);
    const double bytes = LeastBytes(view, limits.teacher_part);
    least_bytes = std::min(least_bytes, bytes);
    if (worker.draining) {
      ++draining;
    } else if (const InputRefusal* const refusal = FindRefusal(draft.now(), *view.run, id)) {
      ++refused;
      if (newest == nullptr || newest->until_steady_ms < refusal->until_steady_ms) newest = refusal;
    } else if (!MayOffer(draft.now(), *view.run, worker, trains)) {
      ++other_numerics;
    } else if (limits.memory_bytes < bytes) {
      ++too_small;
    } else {
      view.demand.eligible.push_back(id);
    }
  }
  if (trains && !view.run->record.has_numerics()) {
    const size_t all = view.demand.eligible.size();
    view.demand.eligible = FastestAlike(draft, view.demand.eligible);
    other_numerics += all - view.demand.eligible.size();
  }
  if (view.demand.eligible.empty()) {
    view.waits_for = absl::StrFormat(
        "waits for a worker: of %d registered %d drain, %d lack its inputs, %d compute other bits, %d have "
        "less than the %.1f GiB that its smallest slice needs",
        draft.state().workers.size(), draining, refused, other_numerics, too_small,
        draft.state().workers.empty() ? 0 : least_bytes / 1073741824.0);
    if (newest != nullptr) {
      absl::StrAppendFormat(&view.waits_for,
                            "; worker %s said: %s; it is asked again %d s after that, or at once after "
                            "`retort resume %s`",
                            newest->worker_name, newest->message, draft.options().refusal_keep_ms / 1000,
                            view.run->record.job().name());
    }
  }
}

// What the ranks of one host take of its memory together.
class HostMemory {
 public:
  void Add(const v1::Capabilities& worker) {
    const auto bytes = static_cast<double>(worker.memory_bytes());
    if (worker.host_memory_bytes() == 0) {
      free_bytes_ = std::max(free_bytes_, bytes);
    } else {
      free_bytes_ = std::min(free_bytes_ + bytes, static_cast<double>(worker.host_memory_bytes()));
    }
  }
  // Whether it has room for a rank that needs so much, without the teacher's weights and with them. Those
  // that are shared count for the first one.
  bool Take(const v1::Capabilities& worker, double bytes, double own_bytes) {
    const bool is_there = !worker.shared_weights().empty() && teachers_.contains(worker.shared_weights());
    const double taken = is_there ? own_bytes : bytes;
    if (free_bytes_ < taken) return false;
    free_bytes_ -= taken;
    teachers_.insert(worker.shared_weights());
    return true;
  }

 private:
  double free_bytes_ = 0;
  std::set<std::string> teachers_;
};

// Those of `workers` that can be ranks of a gang of `ranks` at once: that reach each other, and as many on
// one host as its memory holds. The run's own come first.
std::vector<uint64_t> FittingTogether(const Draft& draft, const v1::RunRecord& run,
                                      std::vector<uint64_t> workers, uint64_t ranks) {
  if (ranks > 1) workers = ReachingEachOther(draft, workers, run.run_id());
  std::stable_partition(workers.begin(), workers.end(), [&](uint64_t id) {
    const Lease* const lease = draft.state().LeaseOf(id);
    return lease != nullptr && lease->record.run_id() == run.run_id();
  });
  std::map<std::string, HostMemory> hosts;
  for (const uint64_t id : workers) {
    const v1::Capabilities& has = draft.FindWorker(id)->registration.capabilities();
    hosts[has.host()].Add(has);
  }
  std::erase_if(workers, [&](uint64_t id) {
    const v1::Capabilities& has = draft.FindWorker(id)->registration.capabilities();
    const double bytes = EndToEndBytes(run.job(), run.shape(), ranks, TeacherPart(has));
    if (static_cast<double>(has.memory_bytes()) < bytes) return true;
    if (has.host().empty()) return false;
    return !hosts.at(has.host())
                .Take(has, EndToEndBytes(run.job(), run.shape(), ranks, /*teacher_part=*/1),
                      EndToEndBytes(run.job(), run.shape(), ranks, /*teacher_part=*/0));
  });
  return workers;
}

// nullopt: it keeps its number, or has nobody to begin with. With fewer ranks each needs more memory, which
// those that are there already must have too.
std::optional<uint32_t> FewerRanks(const Draft& draft, const Run& run, const std::vector<uint64_t>& workers) {
  const std::vector<const v1::TaskRecord*> ranks = RanksOf(run);
  const bool has_open = std::any_of(ranks.begin(), ranks.end(), [](const v1::TaskRecord* rank) {
    return rank->state() == v1::TASK_STATE_PENDING;
  });
  if (!has_open || !MayFixRanksAnew(draft, run)) return std::nullopt;
  const uint64_t fitting = RanksAmong(draft, run.record, workers);
  const std::vector<uint64_t> able = FittingTogether(draft, run.record, workers, fitting);
  if (fitting >= ranks.size() || able.size() < fitting) return std::nullopt;
  const bool holders_fit = std::all_of(ranks.begin(), ranks.end(), [&](const v1::TaskRecord* rank) {
    if (rank->layer() >= fitting || rank->state() != v1::TASK_STATE_LEASED) return true;
    return std::count(able.begin(), able.end(), draft.FindLease(rank->token())->record.worker_id()) != 0;
  });
  if (!holders_fit) return std::nullopt;
  return static_cast<uint32_t>(fitting);
}

// Whom END_TO_END can have as ranks; says with numbers why not more.
void FitRanks(const Draft& draft, RunView& view) {
  const v1::RunRecord& run = view.run->record;
  const size_t able = view.demand.eligible.size();
  const uint64_t sequences = EndToEndSequences(run.job());
  const bool is_auto = run.world_size() == 0 && run.job().stages().end_to_end().world_size() == 0;
  const uint64_t ranks = is_auto ? RanksAmong(draft, run, view.demand.eligible) : RanksAskedFor(run);
  if (is_auto && view.demand.workers > 0) view.demand.workers = ranks;
  view.fewer_ranks = FewerRanks(draft, *view.run, view.demand.eligible);
  view.demand.eligible = FittingTogether(draft, run, std::move(view.demand.eligible), ranks);
  const uint64_t tried = is_auto ? std::min<uint64_t>(ranks + 1, sequences) : ranks;
  const std::string why_not = WhyNotReached(draft.state());
  view.eligibility = absl::StrFormat(
      "%d of %s can be ranks together, %d could be one alone: each of %d would need %.1f GiB, and a step "
      "has %s",
      view.demand.eligible.size(), Counted(draft.state().workers.size(), "worker"), able, tried,
      EndToEndBytes(run.job(), run.shape(), tried) / 1073741824.0, Counted(sequences, "sequence"));
  if (!why_not.empty()) absl::StrAppend(&view.eligibility, "; ", why_not);
}

// Of PREPARE: one worker, unless one that cannot be asked holds it, or it is in back-off.
void DemandOne(const Draft& draft, const v1::TaskRecord& task, RunView& view) {
  view.stage = task.stage();
  const Lease* const lease =
      task.state() == v1::TASK_STATE_LEASED ? draft.state().FindLease(task.token()) : nullptr;
  if (lease != nullptr) {
    view.demand.workers = draft.FindWorker(lease->record.worker_id()) != nullptr;
  } else if (task.not_before_unix_ms() > draft.now().unix_ms) {
    view.next_backoff_unix_ms = task.not_before_unix_ms();
    view.waits_for =
        absl::StrFormat("%s waits %.1f s more: %s", std::string(StageName(task.stage())),
                        (task.not_before_unix_ms() - draft.now().unix_ms) / 1000.0, task.message());
  } else {
    view.demand.workers = 1;
  }
}

// Of END_TO_END: a worker for each rank; before their number is fixed for as many as could be.
void DemandGang(const Draft& draft, RunView& view) {
  const v1::RunRecord& record = view.run->record;
  const v1::EndToEndSpec& spec = record.job().stages().end_to_end();
  view.stage = v1::STAGE_END_TO_END;
  size_t held = 0, open = 0, closed = 0;
  for (const v1::TaskRecord* rank : RanksOf(*view.run)) {
    if (rank->state() == v1::TASK_STATE_DONE) continue;
    const Lease* const lease =
        rank->state() == v1::TASK_STATE_LEASED ? draft.state().FindLease(rank->token()) : nullptr;
    if (lease != nullptr) {
      ++(draft.FindWorker(lease->record.worker_id()) != nullptr ? held : closed);
    } else if (rank->not_before_unix_ms() > draft.now().unix_ms) {
      ++closed;
      if (view.next_backoff_unix_ms == 0 || rank->not_before_unix_ms() < view.next_backoff_unix_ms) {
        view.next_backoff_unix_ms = rank->not_before_unix_ms();
        view.waits_for = absl::StrFormat(
            "rank %d of %s waits %.1f s more: %s", rank->layer(), std::string(StageName(rank->stage())),
            (rank->not_before_unix_ms() - draft.now().unix_ms) / 1000.0, rank->message());
      }
    } else {
      ++open;
    }
  }
  if (record.world_size() == 0 && open > 0) {
    open = spec.world_size() != 0 ? spec.world_size() : EndToEndSequences(record.job());
  }
  const bool is_auto = record.world_size() == 0 && spec.world_size() == 0;
  view.demand.at_least = is_auto || IsElastic(record.job()) ? 1 : held + open + closed;
  view.demand.workers = held + open;
  if (held == 0 && view.demand.workers < view.demand.at_least) view.demand.workers = 0;
}

size_t CountHolders(const Draft& draft, const RunView& view) {
  size_t holders = 0;
  uint64_t last = 0;
  for (const OpenLayer& layer : view.layers) {
    if (layer.token == 0 || layer.token == last) continue;
    last = layer.token;
    const Lease& lease = *draft.state().FindLease(layer.token);
    holders += !draft.FindWorker(lease.record.worker_id())->draining;
  }
  return holders;
}

// Of stages 1 and 2: as many workers as make it faster, at least those that hold something.
void DemandForLayers(const Draft& draft, RunView& view) {
  size_t available = 0;
  for (const OpenLayer& layer : view.layers) {
    if (!layer.is_waiting) {
      ++available;
      continue;
    }
    const int64_t until =
        draft.state().FindTask(view.run->record.run_id(), {layer.stage, layer.layer})->not_before_unix_ms();
    if (view.next_backoff_unix_ms == 0 || until < view.next_backoff_unix_ms)
      view.next_backoff_unix_ms = until;
  }
  const size_t useful = UsefulWorkers(view.table);
  view.demand.workers = std::max(std::min(useful, available), CountHolders(draft, view));
  if (available == 0)
    view.waits_for = absl::StrCat("all ", view.layers.size(), " open layers are in back-off");
}

}  // namespace

CutWorker LimitsOf(const Worker& worker) {
  const v1::Capabilities& has = worker.registration.capabilities();
  return {worker.speed_gflops(), static_cast<double>(has.memory_bytes()), TeacherPart(has)};
}

uint64_t RanksAmong(const Draft& draft, const v1::RunRecord& run, const std::vector<uint64_t>& workers) {
  uint64_t ranks = std::max<uint64_t>(1, std::min<uint64_t>(workers.size(), EndToEndSequences(run.job())));
  while (ranks > 1 && FittingTogether(draft, run, workers, ranks).size() < ranks) --ranks;
  return ranks;
}

bool IsGrantable(v1::RunState state) {
  return state == v1::RUN_STATE_QUEUED || state == v1::RUN_STATE_RUNNING;
}

RunView ViewRun(const Draft& draft, const Run& run, RunCosts costs) {
  RunView view;
  view.run = &run;
  view.costs = std::move(costs);
  view.demand.run_id = run.record.run_id();
  view.demand.priority = run.record.priority();
  const v1::TaskRecord& prepare = run.tasks.at(kPrepare);
  if (prepare.state() != v1::TASK_STATE_DONE) {
    DemandOne(draft, prepare, view);
  } else {
    view.layers = OpenLayersOf(draft.now(), draft.state(), run);
    const bool all_done = std::all_of(run.tasks.begin(), run.tasks.end(), [](const auto& entry) {
      return entry.first.stage == v1::STAGE_END_TO_END || entry.second.state() == v1::TASK_STATE_DONE;
    });
    if (all_done) {
      DemandGang(draft, view);
    } else if (view.layers.empty()) {  // all that is open is held by workers that have not come back
      view.waits_for = "its holders have not registered since the orchestrator's restart";
      return view;
    } else {
      view.table = TableOf(run.record, view.costs, view.layers);
      DemandForLayers(draft, view);
    }
  }
  FindEligible(draft, view);
  if (view.stage == v1::STAGE_END_TO_END) FitRanks(draft, view);
  return view;
}

}  // namespace retort::orchestrator
