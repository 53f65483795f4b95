#include "orchestrator/state/run_status.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "orchestrator/state/costs.h"
#include "orchestrator/state/open_layers.h"
#include "orchestrator/state/run_view.h"

namespace retort::orchestrator {
namespace {

constexpr uint32_t kDefaultPageRuns = 100;
constexpr int64_t kSilentIntervals = 3;

// The lease that holds the task's row; nullptr: none.
const Lease* HolderOf(const State& state, const v1::TaskRecord& task) {
  return task.state() == v1::TASK_STATE_LEASED ? state.FindLease(task.token()) : nullptr;
}

const v1::LayerProgress* ReportOf(const Lease* lease, uint32_t layer) {
  if (lease == nullptr) return nullptr;
  for (const v1::LayerProgress& report : lease->progress.layers()) {
    if (report.layer() == layer) return &report;
  }
  return nullptr;
}

// Of a slice that trains: all its layers together, since they step together. 0: none now.
double StepsPerSecond(const Lease& lease) {
  const v1::SliceProgress& progress = lease.progress;
  if (progress.phase() != v1::SLICE_PHASE_TRAINING) return 0;
  double seconds = 0;
  uint32_t last_layer = 0;
  for (const v1::LayerProgress& layer : progress.layers()) {
    if (!(layer.train_seconds_per_step() > 0)) continue;
    seconds += layer.train_seconds_per_step();
    last_layer = std::max(last_layer, layer.layer());
  }
  if (!(seconds > 0)) return 0;
  // END_TO_END reports the whole step.
  if (lease.record.stage() != v1::STAGE_END_TO_END) {
    seconds += (last_layer + 1.0) * progress.teacher_seconds_per_step();
  }
  return 1 / seconds;
}

v1::TaskStatus StatusOfTask(const State& state, const v1::TaskRecord& task) {
  v1::TaskStatus status;
  status.set_stage(task.stage());
  status.set_layer(task.layer());
  status.set_state(task.state());
  status.set_token(task.token());
  status.set_step(task.step());
  status.set_published_step(task.step());
  status.set_total_steps(task.total_steps());
  status.set_loss(task.last_loss());
  status.set_user_errors(task.user_errors());
  status.set_infrastructure_losses(task.infrastructure_losses());
  status.set_preemptions(task.preemptions());
  status.set_not_before_unix_ms(task.not_before_unix_ms());
  status.set_message(task.message());
  const Lease* const lease = HolderOf(state, task);
  if (lease == nullptr) return status;
  status.set_worker_name(lease->record.worker_name());
  const v1::LayerProgress* const report = ReportOf(lease, task.layer());
  if (report == nullptr || report->step() < task.step()) return status;
  status.set_step(std::min(report->step(), task.total_steps()));
  if (report->step() > task.step()) status.set_loss(report->loss());
  if (report->step() < task.total_steps()) status.set_steps_per_second(StepsPerSecond(*lease));
  return status;
}

// Work of one step of a task in gigaflop, with one teacher block for the share of a slice's teacher.
double StepWork(const RunCosts& costs, const TaskId& id) {
  const auto stage = costs.stages.find(id.stage);
  if (stage == costs.stages.end()) return 0;
  return costs.TrainWork(id.stage, id.layer) +
         (id.stage == v1::STAGE_END_TO_END ? 0 : stage->second.teacher_work);
}

double DoneFraction(const State& state, const Options& options, const Run& run, const RunCosts& costs) {
  double done = 0, total = 0;
  for (const auto& [id, task] : run.tasks) {
    const double work = StepWork(costs, id);
    total += work * static_cast<double>(task.total_steps());
    done += work * static_cast<double>(StatusOfTask(state, task).step());
    if (id == kEndToEnd) total += EvaluationWork(options, run.record.job(), run.record.shape());
  }
  return total > 0 ? done / total : 0;
}

// By what the holders have now: the slowest of them, then what nobody holds by all of them together, then
// END_TO_END on the fastest. Negative: nobody works on the run, or its shape is not known.
double RemainingSeconds(const Moment& now, const State& state, const Options& options, const Run& run,
                        const RunCosts& costs) {
  const std::vector<OpenLayer> open = OpenLayersOf(now, state, run);
  const RangeTable table = TableOf(run.record, costs, open);
  double all_speeds = 0, fastest = 0, seconds = 0, unheld_work = 0;
  for (const auto& [token, lease] : state.leases) {
    const Worker* const worker = state.FindWorker(lease.record.worker_id());
    if (lease.record.run_id() != run.record.run_id() || worker == nullptr) continue;
    all_speeds += worker->speed_gflops();
    fastest = std::max(fastest, worker->speed_gflops());
  }
  if (!(fastest > 0)) return -1;
  for (size_t begin = 0, end = 0; begin < open.size(); begin = end) {
    for (end = begin + 1; end < open.size() && open[end].token == open[begin].token;) ++end;
    const double work = table.work(begin, end);
    const Lease* const lease = open[begin].token == 0 ? nullptr : state.FindLease(open[begin].token);
    if (lease == nullptr) {
      unheld_work += work;
    } else {
      seconds = std::max(seconds, work / state.FindWorker(lease->record.worker_id())->speed_gflops());
    }
  }
  const v1::TaskRecord& last = run.tasks.at(kEndToEnd);
  const auto left = static_cast<double>(last.total_steps() - StatusOfTask(state, last).step());
  const double ranks = std::max<uint32_t>(1, run.record.world_size());
  const double end_work =
      left * StepWork(costs, kEndToEnd) / ranks + EvaluationWork(options, run.record.job(), run.record.shape());
  return seconds + unheld_work / all_speeds + end_work / fastest;
}

void ShowLease(const State& state, const Lease& lease, v1::WorkerStatus& status) {
  const Run& run = state.run(lease.record.run_id());
  const std::vector<uint32_t> layers = HeldLayers(run, lease);
  status.set_token(lease.record.token());
  status.set_run_id(lease.record.run_id());
  status.set_run_name(run.record.job().name());
  status.set_stage(lease.record.stage());
  status.mutable_layers()->Add(layers.begin(), layers.end());
  status.set_planned_memory_bytes(lease.progress.planned_memory_bytes());
}

std::string WhyIdle(const State& state, const Worker& worker) {
  if (worker.draining) return "told to leave";
  if (state.placement.targets.count(worker.id()) != 0) return "its slice is not free yet";
  return state.placement_stale ? "a new plan is due" : state.placement.idle_reason;
}

}  // namespace

v1::RunSummary SummaryOf(const Moment& now, const State& state, const Options& options, const Run& run) {
  const v1::RunRecord& record = run.record;
  v1::RunSummary summary;
  summary.set_run_id(record.run_id());
  summary.set_name(record.job().name());
  summary.set_state(record.state());
  summary.set_reason(record.reason());
  summary.set_priority(record.priority());
  summary.set_created_unix_ms(record.created_unix_ms());
  summary.set_finished_unix_ms(record.finished_unix_ms());
  const auto holds = [&](const auto& entry) { return entry.second.record.run_id() == record.run_id(); };
  summary.set_workers(static_cast<uint32_t>(std::count_if(state.leases.begin(), state.leases.end(), holds)));
  const auto planned = state.placement.run_reason.find(record.run_id());
  if (IsGrantable(record.state()) && planned != state.placement.run_reason.end() &&
      !planned->second.empty()) {
    summary.set_reason(planned->second);
  }
  summary.set_remaining_seconds(-1);
  if (record.state() == v1::RUN_STATE_SUCCEEDED) {
    summary.set_done_fraction(1);
    summary.set_remaining_seconds(0);
  } else if (record.has_shape() && record.state() != v1::RUN_STATE_CANCELLED) {
    const RunCosts costs = CostsOf(state, options, run);
    summary.set_done_fraction(DoneFraction(state, options, run, costs));
    if (!IsEnded(record.state())) {
      summary.set_remaining_seconds(RemainingSeconds(now, state, options, run, costs));
    }
  }
  return summary;
}

v1::RunStatus StatusOf(const Moment& now, const State& state, const Options& options, const Run& run) {
  v1::RunStatus status;
  *status.mutable_summary() = SummaryOf(now, state, options, run);
  if (run.record.has_numerics()) *status.mutable_numerics() = run.record.numerics();
  if (run.record.has_inputs()) *status.mutable_inputs() = run.record.inputs();
  for (const auto& [id, task] : run.tasks) *status.add_tasks() = StatusOfTask(state, task);
  return status;
}

v1::ListReply ListRuns(const Moment& now, const State& state, const Options& options,
                       const v1::ListRequest& request) {
  const size_t page = request.page_size() == 0 ? kDefaultPageRuns : request.page_size();
  v1::ListReply reply;
  for (auto run = state.runs.rbegin(); run != state.runs.rend(); ++run) {
    if (request.before_run_id() != 0 && run->first >= request.before_run_id()) continue;
    const bool wanted =
        request.states().empty() ||
        std::count(request.states().begin(), request.states().end(), run->second.record.state()) != 0;
    if (!wanted) continue;
    if (static_cast<size_t>(reply.runs_size()) == page) {
      reply.set_next_before_run_id(reply.runs(reply.runs_size() - 1).run_id());
      break;
    }
    *reply.add_runs() = SummaryOf(now, state, options, run->second);
  }
  return reply;
}

v1::ListWorkersReply ListWorkers(const Moment& now, const State& state, const Options& options) {
  std::map<std::string, const Worker*> by_name;
  for (const auto& [id, worker] : state.workers) by_name[worker.name()] = &worker;
  v1::ListWorkersReply reply;
  for (const auto& [name, worker] : by_name) {
    const v1::Capabilities& has = worker->registration.capabilities();
    const Lease* const lease = state.LeaseOf(worker->id());
    const int64_t age_ms = now.steady_ms - worker->last_heartbeat_steady_ms;
    v1::WorkerStatus& status = *reply.add_workers();
    status.set_name(name);
    status.set_state(age_ms > kSilentIntervals * options.heartbeat_interval_ms ? v1::WORKER_STATE_SILENT
                     : worker->draining                                        ? v1::WORKER_STATE_DRAINING
                     : lease != nullptr                                        ? v1::WORKER_STATE_BUSY
                                                                               : v1::WORKER_STATE_IDLE);
    status.set_build_version(worker->registration.build_version());
    status.set_device(has.device());
    status.set_compute_path(has.compute_path());
    status.set_threads(has.threads());
    status.set_memory_bytes(has.memory_bytes());
    status.set_measured_gflops(has.measured_gflops());
    status.set_registered_unix_ms(worker->registered_unix_ms);
    status.set_heartbeat_age_ms(static_cast<uint64_t>(std::max<int64_t>(age_ms, 0)));
    if (lease != nullptr) {
      ShowLease(state, *lease, status);
    } else {
      status.set_reason(WhyIdle(state, *worker));
    }
  }
  return reply;
}

v1::Attempt ShowAttempt(const v1::AttemptRecord& record) {
  v1::Attempt attempt;
  attempt.set_token(record.token());
  attempt.set_stage(record.stage());
  attempt.set_worker_name(record.worker_name());
  attempt.set_started_unix_ms(record.started_unix_ms());
  attempt.set_ended_unix_ms(record.ended_unix_ms());
  for (const v1::AttemptLayer& layer : record.layers()) {
    v1::LayerAttempt& shown = *attempt.add_layers();
    shown.set_layer(layer.layer());
    shown.set_from_step(layer.from_step());
    shown.set_to_step(layer.to_step());
    shown.set_cause(layer.cause());
  }
  attempt.set_message(record.message());
  return attempt;
}

v1::Event ShowEvent(const v1::EventRecord& record) {
  v1::Event event;
  event.set_sequence(record.sequence());
  event.set_time_unix_ms(record.time_unix_ms());
  event.set_kind(record.kind());
  event.set_run_id(record.run_id());
  event.set_stage(record.stage());
  *event.mutable_layers() = record.layers();
  *event.mutable_steps() = record.steps();
  event.set_token(record.token());
  event.set_worker_name(record.worker_name());
  event.set_cause(record.cause());
  event.set_run_state(record.run_state());
  event.set_text(record.text());
  return event;
}

}  // namespace retort::orchestrator
