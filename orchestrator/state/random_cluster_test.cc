// Users, workers and faults drawn at random play against the decisions, on a virtual clock, until every run
// has ended. The invariants are checked after every decision.
#include <algorithm>
#include <map>
#include <optional>
#include <string>

#include "gtest/gtest.h"
#include "orchestrator/state/testing_cluster.h"

namespace retort::orchestrator {
namespace {

constexpr uint64_t kWorkers = 5;
constexpr int64_t kFaultsEndMs = 600'000;
constexpr int64_t kEndMs = 6'000'000;

// A process: what it believes to hold, and where its layers stand. It obeys the protocol, late or not at all
// when faults say so.
struct Process {
  std::string name;
  uint64_t worker_id = 0;
  bool is_alive = false;
  bool ignores_verdicts = false;  // trains and writes on whatever it is told
  int64_t deaf_until_ms = 0;      // partitioned: its calls do not arrive
  uint64_t epoch = 0;
  std::optional<v1::Slice> slice;
  std::map<uint32_t, uint64_t> steps;
  std::map<uint32_t, uint64_t> published;
  uint64_t generation = 0;        // of its gang, that it is or was in last
  int64_t measures_until_ms = 0;  // and joins no gang before
  int64_t renewed_ms = 0;
  double seconds_per_step = 0.5;
};

class Play {
 public:
  explicit Play(uint64_t seed) : seed_(seed) {
    Options options;
    options.infrastructure_budget = 4;
    // Cut anew as often as anything can be gained.
    options.recut_cost_ms = 500;
    options.recut_min_gain = 0.02;
    options.recut_interval_ms = 5'000;
    options.rebalance_interval_ms = 5'000;
    cluster_ = TestCluster(options);
    cluster_.check_progress = false;  // once a round is enough, and faster
    begin_ms_ = cluster_.now.steady_ms;
    const uint64_t workers = seed % 3 == 0 ? 2 : kWorkers;  // few, so that a gang has nobody to spare
    for (uint64_t i = 0; i < workers; ++i) processes_.emplace_back().name = "w" + std::to_string(i);
  }

  void Run() {
    Submit();
    while (Elapsed() < kEndMs && !(Elapsed() > kFaultsEndMs && AllEnded())) {
      const State before = cluster_.state;
      cluster_.Advance(static_cast<int64_t>(Draw(50, 900)));
      cluster_.now.random = Draw(0, ~uint64_t{0} >> 1);
      if (Elapsed() < kFaultsEndMs) {
        Disturb();
      } else {
        Mend();
      }
      cluster_.Sweep();
      if (NextReplanSteadyMs(cluster_.now, cluster_.state, cluster_.options) <= cluster_.now.steady_ms) {
        cluster_.Do(DecideReplan(cluster_.now, cluster_.state, cluster_.options));
      }
      for (Process& process : processes_) Act(process);
      for (const std::string& wrong : CheckProgress(before, cluster_.state)) ADD_FAILURE() << wrong;
      if (testing::Test::HasFailure()) return;
    }
    ASSERT_TRUE(AllEnded()) << DebugString(cluster_.state);
    CheckCompletions();
  }

  size_t succeeded() const {
    return std::count_if(cluster_.state.runs.begin(), cluster_.state.runs.end(), [](const auto& run) {
      return run.second.record.state() == v1::RUN_STATE_SUCCEEDED;
    });
  }
  size_t Count(v1::EventKind kind) const { return cluster_.EventsOf(kind).size(); }
  size_t fewer_ranks() const {
    size_t count = 0;
    for (const auto& event : cluster_.EventsOf(v1::EVENT_KIND_NUMERICS_RESOLVED))
      count += event.text().find("instead of") != std::string::npos;
    return count;
  }
  size_t CountYields(v1::EndCause cause) const {
    size_t count = 0;
    for (const auto& event : cluster_.EventsOf(v1::EVENT_KIND_LEASE_YIELD_ASKED))
      count += event.cause() == cause;
    return count;
  }

 private:
  int64_t Elapsed() const { return cluster_.now.steady_ms - begin_ms_; }
  uint64_t Draw(uint64_t low, uint64_t high) { return low + MixSeed(seed_, {++draws_}) % (high - low + 1); }
  bool Chance(uint64_t one_in) { return Draw(1, one_in) == 1; }

  bool AllEnded() const {
    return std::all_of(cluster_.state.runs.begin(), cluster_.state.runs.end(),
                       [](const auto& run) { return IsEnded(run.second.record.state()); });
  }

  void Submit() {
    v1::JobSpec job = SixLayerJob("run" + std::to_string(cluster_.state.next_run_id));
    if (Chance(4)) job.mutable_stages()->clear_matrix_orientation();
    if (Chance(4)) {
      job.mutable_stages()->clear_end_to_end();
    } else if (Chance(2)) {
      job.mutable_stages()->mutable_end_to_end()->set_world_size(
          Chance(2) ? 0 : static_cast<uint32_t>(Draw(1, std::min<size_t>(3, processes_.size()))));
      job.mutable_stages()->mutable_end_to_end()->set_elastic(Chance(3));
    }
    cluster_.Submit(job, static_cast<int32_t>(Draw(0, 2)) - 1);
  }

  void Disturb() {
    if (Chance(200) && cluster_.state.runs.size() < 4) Submit();
    if (Chance(150)) AskAboutARun();
    if (Chance(400)) cluster_.Restart();
    for (Process& process : processes_) {
      if (!process.is_alive && Chance(30)) Start(process);
      if (process.is_alive && Chance(300)) process.is_alive = false;
      if (process.is_alive && Chance(300)) Terminate(process);
      if (process.is_alive && Chance(150)) {
        process.deaf_until_ms = cluster_.now.steady_ms + static_cast<int64_t>(Draw(1'000, 60'000));
      }
      if (process.is_alive && Chance(600)) {
        v1::DrainWorkerRequest drain;
        drain.set_request_id("drain " + std::to_string(draws_));
        drain.set_worker_name(process.name);
        cluster_.Do(DecideDrainWorker(cluster_.now, cluster_.state, cluster_.options, drain));
      }
      if (Chance(400)) process.seconds_per_step = 0.1 * static_cast<double>(Draw(1, 20));
    }
  }

  void Mend() {
    for (Process& process : processes_) {
      if (!process.is_alive) Start(process);
      process.ignores_verdicts = false;
    }
    for (const auto& [run_id, run] : cluster_.state.runs) {
      if (run.record.state() != v1::RUN_STATE_PAUSED) continue;
      cluster_.Do(DecideResume(cluster_.now, cluster_.state, cluster_.options,
                               cluster_.ForRun<v1::ResumeRequest>(run_id)));
    }
  }

  void AskAboutARun() {
    const uint64_t run_id = Draw(1, cluster_.state.next_run_id - 1);
    const auto& [now, state, options] = std::tie(cluster_.now, cluster_.state, cluster_.options);
    switch (Draw(0, 6)) {
      case 0:
      case 1:
        cluster_.Do(DecidePause(now, state, options, cluster_.ForRun<v1::PauseRequest>(run_id)));
        break;
      case 2:
        if (Chance(3))
          cluster_.Do(DecideCancel(now, state, options, cluster_.ForRun<v1::CancelRequest>(run_id)));
        break;
      case 3:
      case 4:
        cluster_.Do(DecideRetry(now, state, options, cluster_.ForRun<v1::RetryRequest>(run_id)));
        break;
      default:
        cluster_.Do(DecideResume(now, state, options, cluster_.ForRun<v1::ResumeRequest>(run_id)));
    }
  }

  void Start(Process& process) {
    Process fresh;
    fresh.name = process.name;
    fresh.seconds_per_step = process.seconds_per_step;
    process = fresh;
    process.worker_id = Draw(1, ~uint64_t{0} >> 1);
    process.is_alive = true;
    process.ignores_verdicts = Chance(6);
  }

  template <class Request>
  Request Call(const Process& process) {
    Request request;
    request.set_worker_id(process.worker_id);
    request.set_epoch(process.epoch);
    return request;
  }

  void Register(Process& process) {
    v1::RegisterRequest request = TestCluster::RegistrationOf(process.name);
    request.set_worker_id(process.worker_id);
    request.mutable_capabilities()->set_measured_gflops(50 / process.seconds_per_step);
    const auto reply = cluster_.Do(DecideRegister(cluster_.now, cluster_.state, cluster_.options, request));
    if (reply.status.code() == absl::StatusCode::kFailedPrecondition) process.is_alive = false;
    if (reply.status.ok()) process.epoch = reply.reply.epoch();
  }

  // SIGTERM: what can be saved is, then good-bye.
  void Terminate(Process& process) {
    if (process.slice && Chance(2)) Publish(process, TestCluster::LayersOf(*process.slice));
    cluster_.Do(DecideLeave(cluster_.now, cluster_.state, cluster_.options, Call<v1::LeaveRequest>(process)));
    process.is_alive = false;
  }

  // Whether the call got through; registers again where the answer says so.
  bool Obey(Process& process, const absl::Status& status) {
    if (status.code() == absl::StatusCode::kAborted) Register(process);
    return status.ok();
  }

  void Act(Process& process) {
    if (!process.is_alive || process.deaf_until_ms > cluster_.now.steady_ms) return;
    if (process.epoch == 0) Register(process);
    if (!process.is_alive) return;
    if (Chance(3)) Heartbeat(process);
    if (!process.is_alive) return;
    if (!process.slice) {
      const auto lease = cluster_.Do(
          DecideLease(cluster_.now, cluster_.state, cluster_.options, Call<v1::LeaseRequest>(process)));
      const bool is_lost = Chance(20);  // the reply
      if (Obey(process, lease.status) && lease.reply.has_slice() && !is_lost)
        Take(process, lease.reply.slice());
      return;
    }
    const bool may_work =
        process.renewed_ms != 0 && cluster_.now.steady_ms - process.renewed_ms <
                                       cluster_.options.lease_ttl_ms - cluster_.options.lease_margin_ms;
    if (may_work) Work(process);
  }

  void Take(Process& process, const v1::Slice& slice) {
    process.slice = slice;
    process.renewed_ms = 0;
    process.generation = 0;
    process.measures_until_ms = cluster_.now.steady_ms + static_cast<int64_t>(Draw(0, 60'000));
    process.steps.clear();
    for (const v1::SliceLayer& layer : slice.layers()) process.steps[layer.layer()] = layer.next_step();
    process.published = process.steps;
  }

  void Heartbeat(Process& process) {
    auto request = Call<v1::HeartbeatRequest>(process);
    if (process.slice) {
      request.mutable_progress()->set_token(process.slice->token());
      request.mutable_progress()->set_phase(v1::SLICE_PHASE_TRAINING);
      request.mutable_progress()->set_teacher_seconds_per_step(process.seconds_per_step / 10);
      for (const auto& [layer, step] : process.steps) {
        v1::LayerProgress& reported = *request.mutable_progress()->add_layers();
        reported.set_layer(layer);
        reported.set_step(step);
        reported.set_train_seconds_per_step(process.seconds_per_step);
      }
    }
    const auto reply = cluster_.Do(DecideHeartbeat(cluster_.now, cluster_.state, cluster_.options, request));
    EXPECT_FALSE(reply.changes.is_durable());
    if (!Obey(process, reply.status) || Chance(20)) return;  // or the reply is lost
    if (process.slice) FollowVerdict(process, reply.reply.verdict());
    if (reply.reply.command() == v1::WORKER_COMMAND_LEAVE && !process.slice) Terminate(process);
  }

  void FollowVerdict(Process& process, const v1::LeaseVerdict& verdict) {
    const std::vector<uint32_t> layers(verdict.layers().begin(), verdict.layers().end());
    const bool is_renewed = verdict.action() != v1::LEASE_ACTION_STOP;
    if (is_renewed || process.ignores_verdicts) process.renewed_ms = cluster_.now.steady_ms;
    if (process.ignores_verdicts) return;
    if (verdict.action() == v1::LEASE_ACTION_YIELD) {
      if (Chance(4)) return;  // slow
      if (Chance(8)) return Fail(process, v1::END_CAUSE_INFRASTRUCTURE);
      if (!Publish(process, layers)) return;
    }
    if (verdict.action() != v1::LEASE_ACTION_CONTINUE) Release(process, layers, verdict.cause());
  }

  void Release(Process& process, const std::vector<uint32_t>& layers, v1::EndCause cause) {
    auto request = Call<v1::ReleaseLeaseRequest>(process);
    request.set_token(process.slice->token());
    request.mutable_layers()->Add(layers.begin(), layers.end());
    request.set_cause(cause);
    const auto reply =
        cluster_.Do(DecideReleaseLease(cluster_.now, cluster_.state, cluster_.options, request));
    EXPECT_NE(reply.status.code(), absl::StatusCode::kInvalidArgument) << reply.status;
    if (Obey(process, reply.status)) Forget(process, layers);
  }

  void Forget(Process& process, const std::vector<uint32_t>& layers) {
    for (const uint32_t layer : layers) process.steps.erase(layer);
    if (process.steps.empty()) process.slice.reset();
  }

  void Fail(Process& process, v1::EndCause cause) {
    auto request = Call<v1::FailRequest>(process);
    request.set_token(process.slice->token());
    request.add_layers(process.steps.begin()->first);
    request.set_cause(cause);
    request.set_message("drawn");
    if (Obey(process,
             cluster_.Do(DecideFail(cluster_.now, cluster_.state, cluster_.options, request)).status)) {
      process.slice.reset();
    }
  }

  uint64_t TotalOf(const Process& process, uint32_t layer) {
    for (const v1::SliceLayer& slice : process.slice->layers()) {
      if (slice.layer() == layer) return slice.total_steps();
    }
    return 0;
  }

  void Work(Process& process) {
    if (process.slice->stage() == v1::STAGE_PREPARE) return Complete(process, {0});
    if (Elapsed() < kFaultsEndMs && Chance(150)) return Fail(process, v1::END_CAUSE_USER_ERROR);
    if (Elapsed() < kFaultsEndMs && Chance(500)) return Fail(process, v1::END_CAUSE_WRONG_INPUT);
    if (process.slice->gang().world_size() > 1) {
      const auto& [rank, step] = *process.steps.begin();
      const bool has_steps = rank != 0 || step < TotalOf(process, rank);
      if (has_steps && !MayStepTogether(process)) return;
    }
    const int64_t steps = 1 + static_cast<int64_t>(1 / process.seconds_per_step);
    for (int64_t i = 0; i < steps; ++i) TakeStep(process);
    std::vector<uint32_t> layers, done;
    bool is_due = false;
    for (const auto& [layer, step] : process.steps) {
      layers.push_back(layer);
      is_due = is_due || step >= process.published[layer] + 10 || step == TotalOf(process, layer);
      if (step == TotalOf(process, layer)) done.push_back(layer);
    }
    if (is_due && !Publish(process, layers)) return;
    if (!done.empty()) Complete(process, done);
  }

  // Whether it is rank 0 of a generation whose members all train; joins the next one otherwise. What rank 0
  // takes in steps stands for all.
  bool MayStepTogether(Process& process) {
    const Gang gang = cluster_.state.run(process.slice->run_id()).gang;
    const bool is_whole =
        process.generation != 0 && gang.generation == process.generation &&
        std::all_of(gang.members.begin(), gang.members.end(), [&](const auto& member) {
          return std::any_of(processes_.begin(), processes_.end(), [&](const Process& other) {
            return other.is_alive && other.deaf_until_ms <= cluster_.now.steady_ms && other.slice &&
                   other.slice->token() == member.second && other.generation == gang.generation;
          });
        });
    const uint32_t rank = process.slice->layers(0).layer();
    if (is_whole) {
      if (rank == 0) CheckRanks(process.slice->run_id(), gang.members.size());
      return rank == 0;
    }
    if (cluster_.now.steady_ms < process.measures_until_ms) return false;
    auto request = Call<v1::JoinGangRequest>(process);
    request.set_token(process.slice->token());
    request.set_after_generation(process.generation);
    const auto joined = cluster_.Do(DecideJoinGang(cluster_.now, cluster_.state, cluster_.options, request));
    if (Obey(process, joined.status) && joined.reply.generation() != 0)
      process.generation = joined.reply.generation();
    return false;
  }

  // Where the gang is not elastic every step has as many ranks as the run has from the first one on.
  void CheckRanks(uint64_t run_id, size_t ranks) {
    const orchestrator::Run& run = cluster_.state.run(run_id);
    if (run.record.job().stages().end_to_end().elastic()) return;
    EXPECT_EQ(ranks, run.record.world_size());
    const bool has_stepped = run.tasks.at(kEndToEnd).step() > 0;
    size_t& before = ranks_of_run_[run_id];
    EXPECT_TRUE(!has_stepped || before == 0 || before == ranks) << before << " ranks, then " << ranks;
    before = ranks;
  }

  // A layer trains on a batch only when that is its next: the slowest ones step.
  void TakeStep(Process& process) {
    uint64_t slowest = ~uint64_t{0};
    for (const auto& [layer, step] : process.steps) {
      if (step < TotalOf(process, layer)) slowest = std::min(slowest, step);
    }
    for (auto& [layer, step] : process.steps) {
      if (step == slowest) ++step;
    }
  }

  bool Publish(Process& process, const std::vector<uint32_t>& layers,
               v1::PublishKind kind = v1::PUBLISH_KIND_CHECKPOINT) {
    const bool is_other_rank =
        process.slice->stage() == v1::STAGE_END_TO_END && process.slice->layers(0).layer() != 0;
    if (process.slice->stage() == v1::STAGE_PREPARE || is_other_rank) return true;
    auto begin = Call<v1::BeginPublishRequest>(process);
    begin.set_token(process.slice->token());
    begin.set_kind(kind);
    begin.set_identity_sha256(process.slice->identity_sha256());
    for (const uint32_t layer : layers) {
      if (process.steps.count(layer) == 0) continue;
      v1::LayerCheckpoint& checkpoint = *begin.add_layers();
      checkpoint.set_layer(layer);
      checkpoint.set_step(process.steps[layer]);
      checkpoint.set_loss(1.0 + static_cast<double>(Draw(0, 100)));
    }
    if (begin.layers().empty()) return true;
    const auto begun = cluster_.Do(DecideBeginPublish(cluster_.now, cluster_.state, cluster_.options, begin));
    EXPECT_NE(begun.status.code(), absl::StatusCode::kFailedPrecondition) << begun.status;
    if (!Obey(process, begun.status) || Chance(30)) return false;
    auto commit = Call<v1::CommitPublishRequest>(process);
    commit.set_token(begin.token());
    commit.set_publish(cluster_.next_publish++);
    for (int copies = Chance(10) ? 2 : 1; copies > 0; --copies) {
      const auto committed =
          cluster_.Do(DecideCommitPublish(cluster_.now, cluster_.state, cluster_.options, commit, &begin));
      if (!Obey(process, committed.status)) return false;
      ExpectHeld(process, layers);
    }
    for (const v1::LayerCheckpoint& layer : begin.layers()) process.published[layer.layer()] = layer.step();
    return true;
  }

  // What was accepted from it was its own to write.
  void ExpectHeld(const Process& process, const std::vector<uint32_t>& layers) {
    for (const uint32_t layer : layers) {
      if (process.steps.count(layer) == 0) continue;
      const TaskId id = {process.slice->stage(), layer};
      EXPECT_EQ(cluster_.state.FindTask(process.slice->run_id(), id)->token(), process.slice->token());
    }
  }

  void Complete(Process& process, const std::vector<uint32_t>& layers) {
    if (process.slice->stage() == v1::STAGE_END_TO_END &&
        !Publish(process, layers, v1::PUBLISH_KIND_RESULT)) {
      return;
    }
    auto request = Call<v1::CompleteRequest>(process);
    request.set_token(process.slice->token());
    request.mutable_layers()->Add(layers.begin(), layers.end());
    if (process.slice->stage() == v1::STAGE_PREPARE)
      *request.mutable_prepared() = Prepared(process.slice->job(), 6);
    const auto reply = cluster_.Do(DecideComplete(cluster_.now, cluster_.state, cluster_.options, request));
    EXPECT_NE(reply.status.code(), absl::StatusCode::kFailedPrecondition) << reply.status;
    if (Obey(process, reply.status) && !Chance(10)) Forget(process, layers);  // or the reply is lost
  }

  // Exactly one accepted completion for each task that is DONE, and none for the others.
  void CheckCompletions() {
    std::map<std::pair<uint64_t, TaskId>, int> completions;
    for (const v1::EventRecord& event : cluster_.EventsOf(v1::EVENT_KIND_TASK_COMPLETED)) {
      for (const uint32_t layer : event.layers()) ++completions[{event.run_id(), {event.stage(), layer}}];
    }
    for (const auto& [run_id, run] : cluster_.state.runs) {
      for (const auto& [id, task] : run.tasks) {
        const bool is_other_rank = id.stage == v1::STAGE_END_TO_END && id.layer != 0;
        const int expected = task.state() == v1::TASK_STATE_DONE && !is_other_rank ? 1 : 0;
        EXPECT_EQ((completions[{run_id, id}]), expected)
            << "run " << run_id << " stage " << id.stage << " layer " << id.layer;
      }
    }
  }

  uint64_t seed_;
  uint64_t draws_ = 0;
  int64_t begin_ms_ = 0;
  TestCluster cluster_;
  std::vector<Process> processes_;
  std::map<uint64_t, size_t> ranks_of_run_;  // that took its last steps of END_TO_END
};

TEST(RandomCluster, EndsEveryRunAndBreaksNoInvariant) {
  size_t succeeded = 0, recuts = 0, preempted = 0, stale = 0, failed_tasks = 0, fewer_ranks = 0;
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Play play(seed);
    play.Run();
    if (HasFailure()) break;
    succeeded += play.succeeded();
    recuts += play.CountYields(v1::END_CAUSE_RECUT);
    preempted += play.CountYields(v1::END_CAUSE_PREEMPTION);
    stale += play.Count(v1::EVENT_KIND_STALE_WRITE_REFUSED);
    failed_tasks += play.Count(v1::EVENT_KIND_TASK_FAILED);
    fewer_ranks += play.fewer_ranks();
  }
  // The plays reach what they are for.
  EXPECT_GT(succeeded, 300u);
  EXPECT_GT(recuts, 300u);
  EXPECT_GT(preempted, 300u);
  EXPECT_GT(stale, 300u);
  EXPECT_GT(failed_tasks, 50u);
  EXPECT_GT(fewer_ranks, 5u);
}

}  // namespace
}  // namespace retort::orchestrator
