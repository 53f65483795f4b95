// For tests: a State with a virtual clock, and the calls of users and workers as verbs. Every decision is
// applied as the service would, its events are kept, and the invariants are checked after it.
#pragma once

#include <string>
#include <vector>

#include "core/base/random.h"
#include "gtest/gtest.h"
#include "orchestrator/state/gang.h"
#include "orchestrator/state/give_back.h"
#include "orchestrator/state/grant.h"
#include "orchestrator/state/invariants.h"
#include "orchestrator/state/membership.h"
#include "orchestrator/state/publish.h"
#include "orchestrator/state/replan.h"
#include "orchestrator/state/run_control.h"

namespace retort::orchestrator {

// A job of six layers of which all are converted: 40 steps of stage 1, 60 of stage 2, 10 of stage 3.
inline v1::JobSpec SixLayerJob(const std::string& name = "six") {
  v1::JobSpec job;
  job.set_name(name);
  job.mutable_teacher()->set_path("teacher");
  job.mutable_student()->set_mixer(v1::MIXER_KIND_MAMBA2);
  job.mutable_student()->set_state_size(64);
  job.mutable_student()->set_groups(1);
  job.mutable_data()->add_train("train.bin");
  job.mutable_data()->set_eval("eval.bin");
  job.mutable_data()->set_seq_len(128);
  job.set_micro_batch(4);
  job.mutable_checkpoint()->set_every_steps(10);
  const auto set = [](v1::StageBudget& budget, uint64_t steps) {
    budget.set_tokens(steps * 512);
    budget.set_tokens_per_step(512);
    budget.set_lr(1e-3);
  };
  set(*job.mutable_stages()->mutable_matrix_orientation()->mutable_budget(), 40);
  set(*job.mutable_stages()->mutable_hidden_state_alignment()->mutable_budget(), 60);
  set(*job.mutable_stages()->mutable_end_to_end()->mutable_budget(), 10);
  job.mutable_stages()->mutable_end_to_end()->set_world_size(1);
  return job;
}

inline v1::ModelShape ShapeOf(uint32_t layers) {
  v1::ModelShape shape;
  shape.set_layers(layers);
  shape.set_hidden_size(256);
  shape.set_intermediate_size(768);
  shape.set_query_heads(4);
  shape.set_kv_heads(2);
  shape.set_head_dim(64);
  shape.set_vocab_size(1000);
  shape.set_tied_head(true);
  return shape;
}

inline v1::PreparedRun Prepared(const v1::JobSpec& job, uint32_t layers) {
  v1::PreparedRun prepared;
  *prepared.mutable_shape() = ShapeOf(layers);
  prepared.mutable_inputs()->set_teacher_sha256(std::string(32, 't'));
  for (int i = 0; i < job.data().train_size() + 1; ++i) {
    prepared.mutable_inputs()->add_data()->set_sha256(std::string(32, 'd'));
  }
  return prepared;
}

class TestCluster {
 public:
  explicit TestCluster(const Options& with = {}) : options(with) {
    StoredRecords fresh;
    fresh.meta.set_epoch(1);
    state = LoadState(now, options, std::move(fresh));
  }

  // Applies a decision of the present moment.
  template <class Reply>
  Decision<Reply> Do(Decision<Reply> decision) {
    const State before = check_progress ? state : State{};
    Apply(decision.changes, state);
    events.insert(events.end(), decision.changes.events.begin(), decision.changes.events.end());
    for (const std::string& wrong : CheckInvariants(state))
      ADD_FAILURE() << wrong << "\n" << DebugString(state);
    if (check_progress) {
      for (const std::string& wrong : CheckProgress(before, state)) ADD_FAILURE() << wrong;
    }
    ++now.random;
    return decision;
  }

  void Advance(int64_t ms) {
    now.steady_ms += ms;
    now.unix_ms += ms;
  }

  // Another orchestrator on what was stored.
  void Restart() {
    StoredRecords records;
    records.meta.set_epoch(state.epoch + 1);
    records.meta.set_next_run_id(state.next_run_id);
    records.meta.set_next_token(state.next_token);
    for (const auto& [run_id, run] : state.runs) {
      records.runs.push_back(run.record);
      for (const auto& [id, task] : run.tasks) records.tasks.push_back(task);
    }
    for (const auto& [token, lease] : state.leases) {
      records.leases.push_back(lease.record);
      records.attempts.push_back(lease.attempt);
    }
    for (const auto& request : state.requests) records.requests.push_back(request);
    state = LoadState(now, options, std::move(records));
    for (const std::string& wrong : CheckInvariants(state)) ADD_FAILURE() << wrong;
  }

  uint64_t Submit(const v1::JobSpec& job, int32_t priority = 0) {
    v1::SubmitRequest request;
    request.set_request_id("submit " + job.name());
    *request.mutable_job() = job;
    request.set_priority(priority);
    const auto decision = Do(DecideSubmit(now, state, options, request));
    EXPECT_TRUE(decision.status.ok()) << decision.status;
    return decision.reply.run_id();
  }

  // The worker `name`, whose id is made from it.
  absl::Status TryRegister(const std::string& name, double gflops = 100,
                           uint64_t memory_bytes = uint64_t{8} << 30) {
    v1::RegisterRequest request = RegistrationOf(name);
    request.mutable_capabilities()->set_measured_gflops(gflops);
    request.mutable_capabilities()->set_memory_bytes(memory_bytes);
    if (workers_serve) request.set_activation_address(name + ":7");
    return Do(DecideRegister(now, state, options, request)).status;
  }

  static uint64_t IdOfWorker(const std::string& name) {
    uint64_t id = 17;
    for (const char c : name) id = id * 31 + static_cast<uint64_t>(c);
    return id;
  }

  static v1::RegisterRequest RegistrationOf(const std::string& name) {
    v1::RegisterRequest request;
    request.set_protocol_version(1);
    request.set_worker_id(IdOfWorker(name));
    request.set_name(name);
    v1::Capabilities& has = *request.mutable_capabilities();
    has.set_numerics_id("n1");
    has.set_compute_path(v1::COMPUTE_PATH_AVX2);
    has.set_device(v1::DEVICE_KIND_CPU);
    has.set_threads(2);
    has.set_memory_bytes(uint64_t{8} << 30);
    has.set_measured_gflops(100);
    return request;
  }

  // As soon as one may be made.
  std::string Replan() {
    const int64_t due_ms = state.placement.made_steady_ms + options.replan_interval_ms;
    if (due_ms > now.steady_ms) Advance(due_ms - now.steady_ms);
    return Do(DecideReplan(now, state, options)).reason;
  }
  std::string Sweep() { return Do(DecideSweep(now, state, options)).reason; }

  Decision<v1::LeaseReply> Lease(const std::string& name) {
    v1::LeaseRequest request;
    Name(name, request);
    return Do(DecideLease(now, state, options, request));
  }

  // A new plan, and the slice that it has for the worker.
  v1::Slice TakeSlice(const std::string& name) {
    if (state.placement_stale) Replan();
    return Lease(name).reply.slice();
  }

  // All held layers at `step`, each with these rates.
  Decision<v1::HeartbeatReply> Heartbeat(const std::string& name, uint64_t step = 0, double train_seconds = 0,
                                         double teacher_seconds = 0) {
    v1::HeartbeatRequest request;
    Name(name, request);
    const orchestrator::Lease* const lease = state.LeaseOf(IdOfWorker(name));
    if (lease != nullptr) {
      v1::SliceProgress& progress = *request.mutable_progress();
      progress.set_token(lease->record.token());
      progress.set_phase(v1::SLICE_PHASE_TRAINING);
      progress.set_teacher_seconds_per_step(teacher_seconds);
      progress.set_received_bytes(received_bytes);
      progress.set_receive_seconds(receive_seconds);
      for (const uint32_t layer : HeldLayers(state.run(lease->record.run_id()), *lease)) {
        v1::LayerProgress& reported = *progress.add_layers();
        reported.set_layer(layer);
        reported.set_step(step);
        reported.set_train_seconds_per_step(train_seconds);
      }
    }
    return Do(DecideHeartbeat(now, state, options, request));
  }

  // Begin and commit of these layers, all at `step`.
  absl::Status TryPublish(const std::string& name, uint64_t token, const std::vector<uint32_t>& layers,
                          uint64_t step, double loss = 1,
                          v1::PublishKind kind = v1::PUBLISH_KIND_CHECKPOINT) {
    v1::BeginPublishRequest begin;
    Name(name, begin);
    begin.set_token(token);
    begin.set_kind(kind);
    const auto rows = state.rows_of_token.find(token);
    if (rows != state.rows_of_token.end()) {
      begin.set_identity_sha256(state.run(rows->second.run_id).record.identity_sha256());
    }
    for (const uint32_t layer : layers) {
      v1::LayerCheckpoint& checkpoint = *begin.add_layers();
      checkpoint.set_layer(layer);
      checkpoint.set_step(step);
      checkpoint.set_loss(loss);
    }
    const auto begun = Do(DecideBeginPublish(now, state, options, begin));
    if (!begun.status.ok()) return begun.status;
    v1::CommitPublishRequest commit;
    Name(name, commit);
    commit.set_token(token);
    commit.set_publish(next_publish++);
    return Do(DecideCommitPublish(now, state, options, commit, &begin)).status;
  }

  Decision<v1::JoinGangReply> JoinGang(const std::string& name, uint64_t token,
                                       uint64_t after_generation = 0) {
    v1::JoinGangRequest request;
    Name(name, request);
    request.set_token(token);
    request.set_after_generation(after_generation);
    return Do(DecideJoinGang(now, state, options, request));
  }

  absl::Status TryComplete(const std::string& name, uint64_t token, const std::vector<uint32_t>& layers,
                           const v1::PreparedRun* prepared = nullptr) {
    v1::CompleteRequest request;
    Name(name, request);
    request.set_token(token);
    request.mutable_layers()->Add(layers.begin(), layers.end());
    if (prepared != nullptr) *request.mutable_prepared() = *prepared;
    return Do(DecideComplete(now, state, options, request)).status;
  }

  absl::Status TryRelease(const std::string& name, uint64_t token, const std::vector<uint32_t>& layers,
                          v1::EndCause cause) {
    v1::ReleaseLeaseRequest request;
    Name(name, request);
    request.set_token(token);
    request.mutable_layers()->Add(layers.begin(), layers.end());
    request.set_cause(cause);
    return Do(DecideReleaseLease(now, state, options, request)).status;
  }

  absl::Status TryFail(const std::string& name, uint64_t token, const std::vector<uint32_t>& layers,
                       v1::EndCause cause, const std::string& message) {
    v1::FailRequest request;
    Name(name, request);
    request.set_token(token);
    request.mutable_layers()->Add(layers.begin(), layers.end());
    request.set_cause(cause);
    request.set_message(message);
    return Do(DecideFail(now, state, options, request)).status;
  }

  absl::Status TryLeave(const std::string& name) {
    v1::LeaveRequest request;
    Name(name, request);
    return Do(DecideLeave(now, state, options, request)).status;
  }

  // The same, and OK is expected.
  template <class... Arguments>
  void Register(const Arguments&... arguments) {
    EXPECT_EQ(TryRegister(arguments...), absl::OkStatus());
  }
  template <class... Arguments>
  void Leave(const Arguments&... arguments) {
    EXPECT_EQ(TryLeave(arguments...), absl::OkStatus());
  }
  void Publish(const std::string& name, uint64_t token, const std::vector<uint32_t>& layers, uint64_t step,
               double loss = 1, v1::PublishKind kind = v1::PUBLISH_KIND_CHECKPOINT) {
    EXPECT_EQ(TryPublish(name, token, layers, step, loss, kind), absl::OkStatus());
  }
  void Complete(const std::string& name, uint64_t token, const std::vector<uint32_t>& layers,
                const v1::PreparedRun* prepared = nullptr) {
    EXPECT_EQ(TryComplete(name, token, layers, prepared), absl::OkStatus());
  }
  void Release(const std::string& name, uint64_t token, const std::vector<uint32_t>& layers,
               v1::EndCause cause) {
    EXPECT_EQ(TryRelease(name, token, layers, cause), absl::OkStatus());
  }
  void Fail(const std::string& name, uint64_t token, const std::vector<uint32_t>& layers, v1::EndCause cause,
            const std::string& message) {
    EXPECT_EQ(TryFail(name, token, layers, cause, message), absl::OkStatus());
  }

  template <class Request>
  Request ForRun(uint64_t run_id) {
    Request request;
    request.set_request_id("request " + std::to_string(++requests_));
    request.mutable_run()->set_id(run_id);
    return request;
  }

  // A run past PREPARE, which `name` did.
  uint64_t SubmitPrepared(const v1::JobSpec& job, const std::string& name, int32_t priority = 0,
                          uint32_t layers = 6) {
    const uint64_t run_id = Submit(job, priority);
    const v1::Slice slice = TakeSlice(name);
    const v1::PreparedRun prepared = Prepared(job, layers);
    Complete(name, slice.token(), {0}, &prepared);
    return run_id;
  }

  // Publishes the slice at its total and completes it.
  void Finish(const std::string& name, const v1::Slice& slice) {
    const std::vector<uint32_t> layers = LayersOf(slice);
    Publish(name, slice.token(), layers, slice.layers(0).total_steps());
    Complete(name, slice.token(), layers);
  }

  static std::vector<uint32_t> LayersOf(const v1::Slice& slice) {
    std::vector<uint32_t> layers;
    for (const v1::SliceLayer& layer : slice.layers()) layers.push_back(layer.layer());
    return layers;
  }

  const v1::TaskRecord& Task(uint64_t run_id, v1::Stage stage, uint32_t layer) const {
    return *state.FindTask(run_id, {stage, layer});
  }
  v1::RunState RunStateOf(uint64_t run_id) const { return state.run(run_id).record.state(); }

  std::vector<v1::EventRecord> EventsOf(v1::EventKind kind) const {
    std::vector<v1::EventRecord> found;
    for (const v1::EventRecord& event : events) {
      if (event.kind() == kind) found.push_back(event);
    }
    return found;
  }

  template <class Request>
  void Name(const std::string& name, Request& request) const {
    request.set_worker_id(IdOfWorker(name));
    request.set_epoch(state.epoch);
  }

  Options options;
  Moment now = {.steady_ms = 1'000'000, .unix_ms = 1'700'000'000'000, .random = 1};
  State state;
  std::vector<v1::EventRecord> events;
  uint64_t next_publish = 1;  // the store's
  bool check_progress = true;
  bool workers_serve = false;   // those that register from now on
  uint64_t received_bytes = 0;  // that workers report
  double receive_seconds = 0;

 private:
  uint64_t requests_ = 0;
};

}  // namespace retort::orchestrator
