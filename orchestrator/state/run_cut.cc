#include "orchestrator/state/run_cut.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/counted.h"

namespace retort::orchestrator {
namespace {

bool IsHolder(const CutCandidate& worker) { return worker.held_begin < worker.held_end; }

// Speeds within a fifth of each other count as one, lest noise of a measurement moves layers.
int SpeedClass(const CutCandidate& worker) {
  return static_cast<int>(std::floor(std::log(worker.limits.speed) / std::log(1.2)));
}

std::vector<const CutCandidate*> BottomUp(std::vector<const CutCandidate*> workers) {
  const auto rank = [](const CutCandidate* worker) {
    const size_t place = IsHolder(*worker)       ? worker->held_begin
                         : worker->planned_begin ? *worker->planned_begin
                                                 : static_cast<size_t>(-1);
    return std::tuple(SpeedClass(*worker), place, worker->worker_id);
  };
  std::sort(workers.begin(), workers.end(), [&](auto* a, auto* b) { return rank(a) < rank(b); });
  return workers;
}

// Adds the cut of [begin, end) over the workers; false: does not fit.
bool AddCut(const RangeTable& table, size_t begin, size_t end,
            const std::vector<const CutCandidate*>& workers, RunCut& cut) {
  std::vector<CutWorker> limits;
  for (const CutCandidate* worker : workers) limits.push_back(worker->limits);
  const std::optional<Cut> part = CutLayers(table, begin, end, limits);
  if (!part) return false;
  for (size_t w = 0; w < workers.size(); ++w) {
    if (begin < part->ends[w]) cut.ranges[workers[w]->worker_id] = {begin, part->ends[w]};
    begin = part->ends[w];
  }
  cut.seconds = std::max(cut.seconds, part->seconds);
  return true;
}

// A range that nobody holds, with the workers that shall cut it and the holders beside it.
struct Gap {
  size_t begin;
  size_t end;
  const CutCandidate* below = nullptr;
  const CutCandidate* above = nullptr;
  std::vector<const CutCandidate*> workers;
};

std::vector<Gap> FindGaps(size_t layers, std::vector<const CutCandidate*> holders) {
  std::sort(holders.begin(), holders.end(), [](auto* a, auto* b) { return a->held_begin < b->held_begin; });
  std::vector<Gap> gaps;
  size_t from = 0;
  const CutCandidate* below = nullptr;
  for (const CutCandidate* holder : holders) {
    if (from < holder->held_begin) gaps.push_back({from, holder->held_begin, below, holder, {}});
    from = holder->held_end;
    below = holder;
  }
  if (from < layers) gaps.push_back({from, layers, below, nullptr, {}});
  return gaps;
}

// Every gap gets a worker before one gets two; further ones go where the most work is for each.
void StaffGaps(const RangeTable& table, std::vector<const CutCandidate*> free, std::vector<Gap>& gaps) {
  std::vector<size_t> counts(gaps.size());
  for (size_t i = 0; i < free.size(); ++i) {
    std::optional<size_t> neediest;
    const auto need = [&](size_t g) {
      const double work = table.work(gaps[g].begin, gaps[g].end);
      return std::tuple(counts[g] == 0, work / static_cast<double>(std::max<size_t>(counts[g], 1)));
    };
    for (size_t g = 0; g < gaps.size(); ++g) {
      if (counts[g] == gaps[g].end - gaps[g].begin) continue;
      if (!neediest || need(g) > need(*neediest)) neediest = g;
    }
    if (!neediest) break;
    ++counts[*neediest];
  }
  std::vector<size_t> largest_first(gaps.size());
  std::iota(largest_first.begin(), largest_first.end(), 0);
  std::stable_sort(largest_first.begin(), largest_first.end(), [&](size_t a, size_t b) {
    return table.work(gaps[a].begin, gaps[a].end) > table.work(gaps[b].begin, gaps[b].end);
  });
  for (const size_t g : largest_first) {
    // Whoever the last plan saw there has its teacher blocks loaded; else the fastest.
    const auto rank = [&](const CutCandidate* worker) {
      const bool was_here = worker->planned_begin && *worker->planned_begin >= gaps[g].begin &&
                            *worker->planned_begin < gaps[g].end;
      return std::tuple(!was_here, -worker->limits.speed, worker->worker_id);
    };
    std::sort(free.begin(), free.end(), [&](auto* a, auto* b) { return rank(a) < rank(b); });
    gaps[g].workers.assign(free.begin(), free.begin() + static_cast<std::ptrdiff_t>(counts[g]));
    free.erase(free.begin(), free.begin() + static_cast<std::ptrdiff_t>(counts[g]));
  }
}

// What the holders do: their slices, and then the gaps that were added below and above.
class HolderLoads {
 public:
  HolderLoads(const RangeTable& table, const std::vector<const CutCandidate*>& holders) : table_(table) {
    for (const CutCandidate* holder : holders) {
      loads_[holder] = {{holder->held_begin, holder->held_end},
                        table.work(holder->held_begin, holder->held_end) / holder->limits.speed};
    }
  }

  // Gives the gap to the neighbour that is through with it first; false: it fits neither.
  bool Add(const Gap& gap) {
    const CutCandidate* best = nullptr;
    for (const CutCandidate* holder : {gap.below, gap.above}) {
      if (holder == nullptr) continue;
      const CutWorker& limits = holder->limits;
      if (table_.bytes(gap.begin, gap.end, limits.teacher_part) > limits.memory_bytes) continue;
      if (best == nullptr || SecondsWith(holder, gap) < SecondsWith(best, gap)) best = holder;
    }
    if (best == nullptr) return false;
    Load& load = loads_[best];
    load.seconds = SecondsWith(best, gap);
    load.range.begin = std::min(load.range.begin, gap.begin);
    load.range.end = std::max(load.range.end, gap.end);
    return true;
  }

  void AddTo(RunCut& cut) const {
    for (const auto& [holder, load] : loads_) {
      cut.ranges[holder->worker_id] = load.range;
      cut.seconds = std::max(cut.seconds, load.seconds);
    }
  }

 private:
  struct Load {
    WorkerRange range;
    double seconds = 0;
  };

  double SecondsWith(const CutCandidate* holder, const Gap& gap) const {
    return loads_.at(holder).seconds + table_.work(gap.begin, gap.end) / holder->limits.speed;
  }

  const RangeTable& table_;
  std::map<const CutCandidate*, Load> loads_;
};

}  // namespace

std::optional<RunCut> KeepCut(const RangeTable& table, const std::vector<CutCandidate>& workers) {
  std::vector<const CutCandidate*> holders, free;
  for (const CutCandidate& worker : workers) (IsHolder(worker) ? holders : free).push_back(&worker);
  std::vector<Gap> gaps = FindGaps(table.layers(), holders);
  StaffGaps(table, std::move(free), gaps);
  HolderLoads loads(table, holders);
  RunCut cut;
  for (const Gap& gap : gaps) {
    const bool fits =
        gap.workers.empty() ? loads.Add(gap) : AddCut(table, gap.begin, gap.end, BottomUp(gap.workers), cut);
    if (!fits) return std::nullopt;
  }
  loads.AddTo(cut);
  return cut;
}

std::optional<RunCut> CutAnew(const RangeTable& table, const std::vector<CutCandidate>& workers) {
  std::vector<const CutCandidate*> all;
  for (const CutCandidate& worker : workers) all.push_back(&worker);
  RunCut cut;
  if (!AddCut(table, 0, table.layers(), BottomUp(std::move(all)), cut)) return std::nullopt;
  return cut;
}

std::optional<ChosenCut> ChooseCut(const RangeTable& table, const std::vector<CutCandidate>& workers,
                                   const RecutRules& rules, std::string& reason) {
  if (workers.empty()) {
    reason = "no worker is free for it";
    return std::nullopt;
  }
  const std::optional<RunCut> kept = KeepCut(table, workers);
  const std::optional<RunCut> anew = CutAnew(table, workers);
  const bool has_holders = std::any_of(workers.begin(), workers.end(), IsHolder);
  if (!has_holders) {
    const std::optional<RunCut>& cut = anew ? anew : kept;
    if (!cut) {
      reason = absl::StrFormat(
          "does not fit: a slice needs %.1f GiB",
          table.bytes(table.layers() - 1, table.layers(), workers.front().limits.teacher_part) /
              1073741824.0);
      return std::nullopt;
    }
    reason = absl::StrFormat("first cut over %s: %.4g s", Counted(workers.size(), "worker"), cut->seconds);
    return ChosenCut{*cut, /*is_recut=*/false, reason};
  }
  if (!kept && !anew) {
    reason = "what is not held does not fit into its workers' memory; the holders go on";
    ChosenCut chosen;
    for (const CutCandidate& worker : workers) {
      if (IsHolder(worker)) chosen.cut.ranges[worker.worker_id] = {worker.held_begin, worker.held_end};
    }
    chosen.reason = reason;
    return chosen;
  }
  const double gain = kept && anew ? kept->seconds - anew->seconds : 0;
  const double needed = kept ? std::max(rules.cost_seconds, rules.min_gain * kept->seconds) : 0;
  const bool pays = anew && (!kept || gain > needed);
  if (pays && rules.is_allowed) {
    reason =
        kept
            ? absl::StrFormat(
                  "cut anew over %s: %.4g s instead of %.4g s, which saves more than the %.4g s that it must",
                  Counted(workers.size(), "worker"), anew->seconds, kept->seconds, needed)
            : absl::StrFormat("cut anew over %s: %.4g s; as held it does not fit",
                              Counted(workers.size(), "worker"), anew->seconds);
    return ChosenCut{*anew, /*is_recut=*/true, reason};
  }
  if (!kept) {
    reason = "waits until it may be cut anew: as held it does not fit";
    return std::nullopt;
  }
  reason = pays ? absl::StrFormat("kept at %.4g s; a new cut (%.4g s) waits for the last one to settle",
                                  kept->seconds, anew->seconds)
                : absl::StrFormat("kept at %.4g s: a new cut would save %.4g s and must save %.4g s",
                                  kept->seconds, std::max(gain, 0.0), needed);
  return ChosenCut{*kept, /*is_recut=*/false, reason};
}

}  // namespace retort::orchestrator
