#include "orchestrator/state/relay_orders.h"

#include <algorithm>
#include <map>
#include <optional>

#include "orchestrator/state/costs.h"
#include "orchestrator/state/open_layers.h"
#include "orchestrator/state/reach.h"

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

const Worker* HolderOf(const Draft& draft, const HeldRange& range) {
  return range.lease == nullptr ? nullptr : draft.FindWorker(range.lease->record.worker_id());
}

bool IsHeard(const Draft& draft, const Worker* worker) {
  return worker != nullptr && draft.now().steady_ms - worker->last_heartbeat_steady_ms <=
                                  kSilentIntervals * draft.options().heartbeat_interval_ms;
}

// Whether `puller` can pull from it.
bool Serves(const Draft& draft, const Worker* worker, uint64_t puller_id) {
  const Worker* const puller = draft.FindWorker(puller_id);
  return IsHeard(draft, worker) && puller != nullptr && !worker->registration.activation_address().empty() &&
         IsReachedFrom(*worker, *puller);
}

void OfferUpstream(const Draft& draft, const Worker* worker, uint64_t puller_id, uint32_t last_layer,
                   v1::RelayOrders& orders) {
  const uint32_t boundary = last_layer + 1;
  if (!Serves(draft, worker, puller_id) ||
      (orders.has_upstream() && orders.upstream().boundary() >= boundary))
    return;
  orders.mutable_upstream()->set_worker_name(worker->name());
  orders.mutable_upstream()->set_address(worker->registration.activation_address());
  orders.mutable_upstream()->set_boundary(boundary);
}

void LowerStep(uint64_t step, v1::RelayOrders& orders) {
  if (!orders.has_low_step() || step < orders.low_step()) orders.set_low_step(step);
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
    if (Serves(draft, HolderOf(draft, range), worker_id)) consider(range.last_layer);
  }
  for (const auto& [other_id, target] : draft.state().placement.targets) {
    const bool is_others = other_id != worker_id && target.run_id == run_id;
    if (is_others && target.stage == v1::STAGE_UNSPECIFIED) consider(target.last_layer);
  }
  if (!below) return v1::INPUT_SOURCE_RECOMPUTE;
  return CostsOf(draft.state(), draft.options(), draft.state().run(run_id)).InputOf(stage, below);
}

v1::RelayOrders RelayOrdersOf(const Draft& draft, const Lease& lease) {
  const State& state = draft.state();
  const v1::LeaseRecord& record = lease.record;
  const std::vector<uint32_t> held = draft.HeldLayers(lease);
  v1::RelayOrders orders;
  if (held.empty()) return orders;
  const bool pulls = record.input() == v1::INPUT_SOURCE_RELAY;
  for (const auto& [token, range] : HeldRanges(draft, record.run_id())) {
    if (token == record.token() || range.lease == nullptr) continue;
    const Worker* const holder = HolderOf(draft, range);
    const v1::LeaseRecord& other = range.lease->record;
    if (pulls && range.last_layer < held.front()) {
      OfferUpstream(draft, holder, record.worker_id(), range.last_layer, orders);
    }
    const bool is_above = range.first_layer > held.back() && other.input() == v1::INPUT_SOURCE_RELAY &&
                          other.stage() <= record.stage();
    if (is_above && IsHeard(draft, holder)) {
      LowerStep(other.stage() == record.stage() ? range.low_step : 0, orders);
    }
  }
  // Those that hold nothing yet, and come in the next moment.
  for (const auto& [worker_id, target] : state.placement.targets) {
    const bool comes = target.run_id == record.run_id() && target.stage == v1::STAGE_UNSPECIFIED &&
                       worker_id != record.worker_id() && state.LeaseOf(worker_id) == nullptr;
    if (!comes) continue;
    const Worker* const worker = draft.FindWorker(worker_id);
    if (pulls && target.last_layer < held.front()) {
      OfferUpstream(draft, worker, record.worker_id(), target.last_layer, orders);
    }
    if (target.first_layer <= held.back() || !IsHeard(draft, worker)) continue;
    const v1::TaskRecord* const task = state.FindTask(record.run_id(), {record.stage(), target.first_layer});
    if (task != nullptr && task->state() == v1::TASK_STATE_PENDING) LowerStep(task->step(), orders);
  }
  return orders;
}

}  // namespace retort::orchestrator
