#include "orchestrator/state/reach.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace retort::orchestrator {
namespace {

const std::string& HostOf(const Worker& worker) { return worker.registration.capabilities().host(); }

bool AreOnOneMachine(const Worker& one, const Worker& other) {
  return one.id() == other.id() || (!HostOf(one).empty() && HostOf(one) == HostOf(other));
}

}  // namespace

bool IsOnLoopback(const Worker& worker) {
  const std::string& address = worker.registration.activation_address();
  return absl::StartsWith(address, "127.") || absl::StartsWith(address, "[::1]:") ||
         absl::StartsWith(address, "localhost:");
}

bool IsReachedFrom(const Worker& worker, const Worker& other) {
  return !IsOnLoopback(worker) || AreOnOneMachine(worker, other);
}

std::vector<uint64_t> ReachingEachOther(const Draft& draft, const std::vector<uint64_t>& workers,
                                        uint64_t run_id) {
  const auto those = [&](const auto& fits) {
    std::vector<uint64_t> some;
    std::copy_if(workers.begin(), workers.end(), std::back_inserter(some),
                 [&](uint64_t id) { return fits(*draft.FindWorker(id)); });
    return some;
  };
  std::vector<std::vector<uint64_t>> parts = {
      those([](const Worker& worker) { return !IsOnLoopback(worker); })};
  std::set<std::string> machines;
  for (const uint64_t id : workers) {
    const Worker& worker = *draft.FindWorker(id);
    if (!IsOnLoopback(worker)) continue;
    if (!HostOf(worker).empty() && !machines.insert(HostOf(worker)).second) continue;
    parts.push_back(those([&](const Worker& other) { return AreOnOneMachine(worker, other); }));
  }
  const auto merit = [&](const std::vector<uint64_t>& part) {
    const auto held = std::count_if(part.begin(), part.end(), [&](uint64_t id) {
      const Lease* const lease = draft.state().LeaseOf(id);
      return lease != nullptr && lease->record.run_id() == run_id;
    });
    return std::make_tuple(held, part.size());
  };
  return *std::max_element(parts.begin(), parts.end(),
                           [&](const auto& a, const auto& b) { return merit(a) < merit(b); });
}

std::string WhyNotReached(const State& state) {
  const auto found = std::find_if(state.workers.begin(), state.workers.end(),
                                  [](const auto& entry) { return IsOnLoopback(entry.second); });
  if (found == state.workers.end()) return "";
  const Worker& worker = found->second;
  // One is enough to ask: where all others are on its machine, they reach each other too.
  const bool is_reached = std::all_of(state.workers.begin(), state.workers.end(),
                                      [&](const auto& entry) { return IsReachedFrom(worker, entry.second); });
  if (is_reached) return "";
  return absl::StrCat("worker ", worker.name(), " listens on ", worker.registration.activation_address(),
                      ", which other machines do not reach: start it with --host ADDRESS");
}

}  // namespace retort::orchestrator
