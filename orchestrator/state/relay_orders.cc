#include "orchestrator/state/relay_orders.h"

#include <algorithm>
#include <map>
#include <optional>

#include "orchestrator/state/costs.h"
#include "orchestrator/state/open_layers.h"

namespace retort::orchestrator {
namespace {

// Heartbeats that a worker may miss before nobody waits for it any more.
constexpr int64_t kSilentIntervals = 3;

// The rows of a lease of stage 1 or 2.
struct HeldRange {
  const Lease* lease = nullptr;
  uint32_t first_layer = 0;
  uint32_t last_layer = 0;
  uint64_t low_step = 0;  // the lowest next one
};

// By token. As before the decision, and without the rows that end or begin in it.
std::map<uint64_t, HeldRange> HeldRanges(const Draft& draft, uint64_t run_id) {
  std::map<uint64_t, HeldRange> ranges;
  for (const auto& [id, task] : draft.state().run(run_id).tasks) {
    if (task.state() != v1::TASK_STATE_LEASED || id.stage == v1::STAGE_PREPARE) continue;
    if (id.stage == v1::STAGE_END_TO_END) continue;
    const auto [found, is_new] = ranges.try_emplace(task.token());
    HeldRange& range = found->second;
    if (is_new) range = {draft.FindLease(task.token()), id.layer, id.layer, UINT64_MAX};
    range.first_layer = std::min(range.first_layer, id.layer);
    range.last_layer = std::max(range.last_layer, id.layer);
    range.low_step = std::min(range.low_step, ReportedStep(range.lease, task));
  }
  return ranges;
}

bool IsHeard(const Draft& draft, const Worker* worker) {
  return worker != nullptr && draft.now().steady_ms - worker->last_heartbeat_steady_ms <=
                                  kSilentIntervals * draft.options().heartbeat_interval_ms;
}

// Whom one can pull from.
const Worker* Server(const Draft& draft, const HeldRange& range) {
  if (range.lease == nullptr) return nullptr;
  const Worker* const worker = draft.FindWorker(range.lease->record.worker_id());
  return IsHeard(draft, worker) && !worker->registration.activation_address().empty() ? worker : nullptr;
}

void SetUpstream(const Draft& draft, const std::map<uint64_t, HeldRange>& ranges, uint32_t first_layer,
                 v1::RelayOrders& orders) {
  for (const auto& [token, range] : ranges) {
    const Worker* const worker = Server(draft, range);
    if (worker == nullptr || range.last_layer >= first_layer) continue;
    if (orders.has_upstream() && orders.upstream().boundary() > range.last_layer) continue;
    orders.mutable_upstream()->set_worker_name(worker->name());
    orders.mutable_upstream()->set_address(worker->registration.activation_address());
    orders.mutable_upstream()->set_boundary(range.last_layer + 1);
  }
}

void LowerStep(uint64_t step, v1::RelayOrders& orders) {
  if (!orders.has_low_step() || step < orders.low_step()) orders.set_low_step(step);
}

// Those that shall have layers above and hold nothing of any run.
void CountExpected(const Draft& draft, const Lease& lease, uint32_t last_layer, v1::RelayOrders& orders) {
  const State& state = draft.state();
  const uint64_t run_id = lease.record.run_id();
  for (const auto& [worker_id, target] : state.placement.targets) {
    const bool is_above = target.run_id == run_id && target.stage == v1::STAGE_UNSPECIFIED &&
                          target.first_layer > last_layer && worker_id != lease.record.worker_id();
    if (!is_above || state.LeaseOf(worker_id) != nullptr || !IsHeard(draft, draft.FindWorker(worker_id))) {
      continue;
    }
    const v1::TaskRecord* const task = state.FindTask(run_id, {lease.record.stage(), target.first_layer});
    if (task != nullptr && task->state() == v1::TASK_STATE_PENDING) LowerStep(task->step(), orders);
  }
}

}  // namespace

v1::InputSource ChooseInput(const Draft& draft, uint64_t run_id, uint64_t worker_id, v1::Stage stage,
                            uint32_t first_layer) {
  if (stage != v1::STAGE_MATRIX_ORIENTATION && stage != v1::STAGE_HIDDEN_STATE_ALIGNMENT) {
    return v1::INPUT_SOURCE_RECOMPUTE;
  }
  std::optional<uint32_t> below;
  const auto consider = [&](uint32_t last_layer) {
    if (last_layer < first_layer) below = std::max(below.value_or(0), last_layer);
  };
  for (const auto& [token, range] : HeldRanges(draft, run_id)) {
    if (Server(draft, range) != nullptr) consider(range.last_layer);
  }
  for (const auto& [other_id, target] : draft.state().placement.targets) {
    const bool is_others = other_id != worker_id && target.run_id == run_id;
    if (is_others && target.stage == v1::STAGE_UNSPECIFIED) consider(target.last_layer);
  }
  if (!below) return v1::INPUT_SOURCE_RECOMPUTE;
  return CostsOf(draft.state(), draft.options(), draft.state().run(run_id)).InputOf(stage, below);
}

v1::RelayOrders RelayOrdersOf(const Draft& draft, const Lease& lease, bool is_grant) {
  const v1::LeaseRecord& record = lease.record;
  const std::vector<uint32_t> held = draft.HeldLayers(lease);
  v1::RelayOrders orders;
  if (held.empty()) return orders;
  std::map<uint64_t, HeldRange> ranges = HeldRanges(draft, record.run_id());
  ranges.erase(record.token());
  if (record.input() == v1::INPUT_SOURCE_RELAY) SetUpstream(draft, ranges, held.front(), orders);
  for (const auto& [token, range] : ranges) {
    if (range.lease == nullptr || range.first_layer <= held.back()) continue;
    const v1::LeaseRecord& above = range.lease->record;
    if (above.input() != v1::INPUT_SOURCE_RELAY || above.stage() > record.stage()) continue;
    if (!IsHeard(draft, draft.FindWorker(above.worker_id()))) continue;
    LowerStep(above.stage() == record.stage() ? range.low_step : 0, orders);
  }
  if (is_grant) CountExpected(draft, lease, held.back(), orders);
  return orders;
}

}  // namespace retort::orchestrator
