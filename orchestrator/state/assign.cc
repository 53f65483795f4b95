#include "orchestrator/state/assign.h"

#include <algorithm>
#include <set>
#include <tuple>

namespace retort::orchestrator {
namespace {

// How much a run would like a worker: its own ones, then idle ones, then those of the least important run.
enum class Tie { kHolds, kPlanned, kIdle, kBusyElsewhere };

struct Candidate {
  Tie tie;
  int32_t busy_priority;  // of the run that it works for; kBusyElsewhere only
  double speed;
  uint64_t worker_id;

  auto Rank() const { return std::tuple(tie, busy_priority, -speed, worker_id); }
};

Candidate CandidateOf(const Draft& draft, uint64_t run_id, uint64_t worker_id) {
  const State& state = draft.state();
  Candidate candidate = {Tie::kIdle, 0, draft.FindWorker(worker_id)->speed_gflops(), worker_id};
  const auto planned = state.placement.targets.find(worker_id);
  if (planned != state.placement.targets.end() && planned->second.run_id == run_id)
    candidate.tie = Tie::kPlanned;
  const Lease* const lease = state.LeaseOf(worker_id);
  if (lease == nullptr) return candidate;
  if (lease->record.run_id() == run_id) {
    candidate.tie = Tie::kHolds;
  } else {
    candidate.tie = Tie::kBusyElsewhere;
    candidate.busy_priority = state.run(lease->record.run_id()).record.priority();
  }
  return candidate;
}

// One run's place in the hand-out of its priority.
struct Share {
  size_t wanted;
  size_t at_least;
  std::vector<Candidate> candidates;  // best first
  size_t next = 0;
  std::vector<uint64_t> workers = {};

  bool holds_any() const { return !candidates.empty() && candidates.front().tie == Tie::kHolds; }
};

// Hands workers out one at a time, to the share that has fewest; `shares` are in order of age.
void HandOut(std::vector<Share>& shares, std::set<uint64_t>& taken) {
  while (true) {
    Share* poorest = nullptr;
    for (Share& share : shares) {
      while (share.next < share.candidates.size() &&
             taken.count(share.candidates[share.next].worker_id) != 0) {
        ++share.next;
      }
      if (share.next == share.candidates.size() || share.workers.size() >= share.wanted) continue;
      if (poorest == nullptr || share.workers.size() < poorest->workers.size()) poorest = &share;
    }
    if (poorest == nullptr) return;
    const uint64_t worker_id = poorest->candidates[poorest->next++].worker_id;
    poorest->workers.push_back(worker_id);
    taken.insert(worker_id);
  }
}

// The same without those that would get less than they can use; the oldest gets its share first.
void HandOutWhole(std::vector<Share>& shares, std::set<uint64_t>& taken) {
  while (true) {
    std::set<uint64_t> tried = taken;
    HandOut(shares, tried);
    const auto too_few = std::find_if(shares.rbegin(), shares.rend(), [](const Share& share) {
      return !share.workers.empty() && share.workers.size() < share.at_least && !share.holds_any();
    });
    if (too_few == shares.rend()) {
      taken = std::move(tried);
      return;
    }
    too_few->wanted = 0;
    for (Share& share : shares) {
      share.next = 0;
      share.workers.clear();
    }
  }
}

}  // namespace

v1::Numerics NumericsOn(const v1::JobSpec& job, const v1::Capabilities& capabilities) {
  v1::Numerics numerics;
  numerics.set_micro_batch(job.micro_batch());
  numerics.set_threads(capabilities.threads());
  numerics.set_compute_path(capabilities.compute_path());
  numerics.set_device(capabilities.device());
  numerics.set_boundary_dtype(capabilities.device() == v1::DEVICE_KIND_CUDA ? v1::DATA_TYPE_BF16
                                                                            : v1::DATA_TYPE_F32);
  numerics.set_numerics_id(capabilities.numerics_id());
  return numerics;
}

bool MatchesNumerics(const v1::RunRecord& run, const v1::Capabilities& capabilities) {
  if (!run.has_numerics()) return true;
  const v1::Numerics& numerics = run.numerics();
  return numerics.threads() == capabilities.threads() &&
         numerics.compute_path() == capabilities.compute_path() &&
         numerics.device() == capabilities.device() && numerics.numerics_id() == capabilities.numerics_id();
}

bool MayOffer(const Moment& now, const Run& run, const Worker& worker, bool trains) {
  return !worker.draining && FindRefusal(now, run, worker.id()) == nullptr &&
         (!trains || MatchesNumerics(run.record, worker.registration.capabilities()));
}

std::map<uint64_t, std::vector<uint64_t>> AssignWorkers(const Draft& draft, std::vector<Demand> demands) {
  std::sort(demands.begin(), demands.end(), [](const Demand& a, const Demand& b) {
    return std::tuple(-a.priority, a.run_id) < std::tuple(-b.priority, b.run_id);
  });
  std::map<uint64_t, std::vector<uint64_t>> assigned;
  std::set<uint64_t> taken;
  for (size_t first = 0; first < demands.size();) {
    size_t end = first;
    std::vector<Share> shares;
    for (; end < demands.size() && demands[end].priority == demands[first].priority; ++end) {
      Share& share = shares.emplace_back(
          Share{.wanted = demands[end].workers, .at_least = demands[end].at_least, .candidates = {}});
      for (const uint64_t worker_id : demands[end].eligible) {
        share.candidates.push_back(CandidateOf(draft, demands[end].run_id, worker_id));
      }
      std::sort(share.candidates.begin(), share.candidates.end(),
                [](const Candidate& a, const Candidate& b) { return a.Rank() < b.Rank(); });
    }
    HandOutWhole(shares, taken);
    for (size_t i = first; i < end; ++i) assigned[demands[i].run_id] = std::move(shares[i - first].workers);
    first = end;
  }
  return assigned;
}

}  // namespace retort::orchestrator
