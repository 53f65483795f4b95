// scheduler_bench [--json]: how long the orchestrator's decisions take in a cluster of 1,024 workers and 16
// runs of 96 layers.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>
#include <vector>

#include "core/base/check.h"
#include "orchestrator/state/grant.h"
#include "orchestrator/state/membership.h"
#include "orchestrator/state/prepared.h"
#include "orchestrator/state/replan.h"
#include "tests/bench/report.h"

namespace retort::orchestrator {
namespace {

constexpr uint64_t kWorkers = 1024;
constexpr uint64_t kRuns = 16;
constexpr uint32_t kLayers = 96;
constexpr int kRounds = 20;

template <class Function>
double Milliseconds(const Function& function) {
  const auto begin = std::chrono::steady_clock::now();
  function();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

v1::JobSpec BenchJob(uint64_t run_id) {
  v1::JobSpec job;
  job.set_name("run" + std::to_string(run_id));
  job.mutable_student()->set_mixer(v1::MIXER_KIND_MAMBA2);
  job.mutable_student()->set_state_size(128);
  job.mutable_student()->set_groups(1);
  job.mutable_data()->set_seq_len(512);
  job.set_micro_batch(4);
  const auto set = [](v1::StageBudget& budget) {
    budget.set_tokens(uint64_t{2048} * 1000);
    budget.set_tokens_per_step(2048);
  };
  set(*job.mutable_stages()->mutable_matrix_orientation()->mutable_budget());
  set(*job.mutable_stages()->mutable_hidden_state_alignment()->mutable_budget());
  set(*job.mutable_stages()->mutable_end_to_end()->mutable_budget());
  return job;
}

void AddRun(uint64_t run_id, State& state) {
  Run& run = state.runs[run_id];
  run.record.set_run_id(run_id);
  *run.record.mutable_job() = BenchJob(run_id);
  run.record.set_state(v1::RUN_STATE_RUNNING);
  v1::ModelShape& shape = *run.record.mutable_shape();
  shape.set_layers(kLayers);
  shape.set_hidden_size(2048);
  shape.set_intermediate_size(8192);
  shape.set_query_heads(32);
  shape.set_kv_heads(8);
  shape.set_head_dim(64);
  shape.set_vocab_size(50'000);
  const auto tasks = MakeTasks(run.record);
  RETORT_CHECK(tasks.ok()) << tasks.status();
  for (const v1::TaskRecord& task : *tasks) {
    v1::TaskRecord& row = run.tasks[IdOf(task)] = task;
    // Measured so that recomputing the teacher hardly counts: then every worker is useful.
    row.set_train_seconds_per_step(1);
    row.set_teacher_seconds_per_step(1e-4);
    row.set_measured_gflops(100);
  }
  v1::TaskRecord& prepare = run.tasks[kPrepare];
  prepare.set_run_id(run_id);
  prepare.set_stage(v1::STAGE_PREPARE);
  prepare.set_state(v1::TASK_STATE_DONE);
  state.next_run_id = run_id + 1;
}

void AddWorker(uint64_t worker_id, const Moment& now, State& state) {
  Worker worker;
  v1::RegisterRequest& registration = worker.registration;
  registration.set_worker_id(worker_id);
  registration.set_name("worker" + std::to_string(worker_id));
  registration.mutable_capabilities()->set_threads(8);
  registration.mutable_capabilities()->set_compute_path(v1::COMPUTE_PATH_AVX512);
  registration.mutable_capabilities()->set_device(v1::DEVICE_KIND_CPU);
  registration.mutable_capabilities()->set_memory_bytes(uint64_t{256} << 30);
  registration.mutable_capabilities()->set_measured_gflops(100.0 +
                                                           static_cast<double>(worker_id * 7919 % 300));
  worker.last_heartbeat_steady_ms = now.steady_ms;
  state.worker_named[registration.name()] = worker_id;
  state.workers[worker_id] = std::move(worker);
}

void Bench() {
  const Options options;
  Moment now = {.steady_ms = 1'000'000, .unix_ms = 1'700'000'000'000, .random = 1};
  State state;
  state.epoch = 1;
  for (uint64_t run_id = 1; run_id <= kRuns; ++run_id) AddRun(run_id, state);
  for (uint64_t worker_id = 1; worker_id <= kWorkers; ++worker_id) AddWorker(worker_id, now, state);

  const double first_ms = Milliseconds([&] { Apply(DecideReplan(now, state, options).changes, state); });
  Report("plan of all, nothing held", first_ms, "ms", AtMost(1000));

  double slowest_lease_ms = 0;
  size_t granted = 0;
  for (uint64_t worker_id = 1; worker_id <= kWorkers; ++worker_id) {
    v1::LeaseRequest request;
    request.set_worker_id(worker_id);
    request.set_epoch(1);
    Decision<v1::LeaseReply> decision;
    const double decide_ms = Milliseconds([&] { decision = DecideLease(now, state, options, request); });
    const double apply_ms = Milliseconds([&] { Apply(decision.changes, state); });
    slowest_lease_ms = std::max(slowest_lease_ms, decide_ms + apply_ms);
    granted += decision.reply.has_slice();
  }
  Report("lease decision, slowest of 1024", slowest_lease_ms, "ms", AtMost(10));
  RETORT_CHECK(granted > kWorkers * 3 / 4) << granted << " leases";

  double slowest_plan_ms = 0, slowest_sweep_ms = 0, slowest_heartbeat_ms = 0;
  for (int round = 0; round < kRounds; ++round) {
    now.steady_ms += 1'000;
    now.unix_ms += 1'000;
    slowest_plan_ms = std::max(slowest_plan_ms, Milliseconds([&] { DecideReplan(now, state, options); }));
    slowest_sweep_ms = std::max(slowest_sweep_ms, Milliseconds([&] { DecideSweep(now, state, options); }));
    for (const auto& [token, lease] : state.leases) {
      v1::HeartbeatRequest request;
      request.set_worker_id(lease.record.worker_id());
      request.set_epoch(1);
      request.mutable_progress()->set_token(token);
      request.mutable_progress()->set_phase(v1::SLICE_PHASE_TRAINING);
      request.mutable_progress()->add_layers()->set_layer(lease.record.first_layer());
      const double ms = Milliseconds([&] { DecideHeartbeat(now, state, options, request); });
      slowest_heartbeat_ms = std::max(slowest_heartbeat_ms, ms);
    }
  }
  Report("plan of all, everything held", slowest_plan_ms, "ms", AtMost(1000));
  Report("sweep, slowest: the last one ends all leases", slowest_sweep_ms, "ms");
  Report("heartbeat, slowest", slowest_heartbeat_ms, "ms");
}

}  // namespace
}  // namespace retort::orchestrator

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "--json") == 0) retort::ReportAsJson();
  retort::orchestrator::Bench();
  return 0;
}
