#include "tests/sim/simulation.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace retort::sim {
namespace {

using orchestrator::Coordinator;

constexpr int64_t kDisturbEveryMs = 500;
// Long enough for a run's last back-offs, re-cuts and stages on the slowest workers.
constexpr int64_t kMendedMs = 3'600'000;

v1::JobSpec DrawJob(World& world, uint64_t number, uint64_t workers) {
  v1::JobSpec job;
  job.set_name(absl::StrCat(world.Chance(0.1) ? "doomed" : "run", number));
  job.mutable_teacher()->set_path("teacher");
  job.mutable_student()->set_mixer(v1::MIXER_KIND_MAMBA2);
  job.mutable_student()->set_state_size(64);
  job.mutable_student()->set_groups(1);
  if (world.Chance(0.5)) {
    job.mutable_student()->mutable_keep_attention()->set_every(3);
    job.mutable_student()->mutable_keep_attention()->set_offset(2);
  }
  job.mutable_data()->add_train("train.bin");
  job.mutable_data()->set_eval("eval.bin");
  job.mutable_data()->set_seq_len(128);
  job.mutable_data()->set_seed(world.Draw(1, 1'000'000));
  job.set_micro_batch(4);
  job.mutable_checkpoint()->set_every_steps(static_cast<uint32_t>(world.Draw(2, 8)));
  const auto set = [&](v1::StageBudget& budget) {
    budget.set_tokens(world.Draw(4, 40) * 512);
    budget.set_tokens_per_step(512);
    budget.set_lr(1e-3);
  };
  if (world.Chance(0.8)) set(*job.mutable_stages()->mutable_matrix_orientation()->mutable_budget());
  if (world.Chance(0.8)) set(*job.mutable_stages()->mutable_hidden_state_alignment()->mutable_budget());
  if (world.Chance(0.8)) {
    v1::EndToEndSpec& end_to_end = *job.mutable_stages()->mutable_end_to_end();
    set(*end_to_end.mutable_budget());
    // Of the four sequences of a step; in half of the jobs as many as fit.
    const uint64_t most = std::min<uint64_t>(workers, 4), drawn = world.Draw(1, 2 * most);
    end_to_end.set_world_size(static_cast<uint32_t>(drawn > most ? 0 : drawn));
    end_to_end.set_elastic(world.Chance(0.5));
  }
  const bool converts = job.stages().has_matrix_orientation() || job.stages().has_hidden_state_alignment();
  if (converts && !job.student().has_keep_attention() && number % 2 == 1) {
    job.mutable_student()->mutable_keep_attention()->set_auto_layers(1);
    job.mutable_student()->mutable_keep_attention()->set_probe_steps(24);
  }
  return job;
}

}  // namespace

void Tally::Add(const Tally& other) {
  succeeded += other.succeeded;
  failed += other.failed;
  cancelled += other.cancelled;
  starts += other.starts;
  stale_writes += other.stale_writes;
  recuts += other.recuts;
  yields += other.yields;
  expiries += other.expiries;
  publishes += other.publishes;
  fewer_ranks += other.fewer_ranks;
  pulled += other.pulled;
  by_teacher += other.by_teacher;
  recomputed_for_want += other.recomputed_for_want;
  virtual_ms += other.virtual_ms;
}

orchestrator::Options Simulation::DrawOptions(World& world) {
  orchestrator::Options options;
  options.infrastructure_budget = world.Chance(0.3) ? 3 : 1'000;
  options.preemption_budget = world.Chance(0.1) ? 3 : 1'000;
  options.backoff_max_ms = 10'000;
  // Cut anew as often as anything can be gained.
  options.recut_cost_ms = 500;
  options.recut_min_gain = 0.02;
  options.recut_interval_ms = 5'000;
  options.rebalance_interval_ms = 5'000;
  if (world.Chance(0.6)) options.relay = orchestrator::RelayPolicy::kAlways;
  return options;
}

Simulation::Simulation(uint64_t seed, bool is_traced)
    : world_(seed, is_traced),
      network_(world_),
      options_(DrawOptions(world_)),
      teacher_layers_(static_cast<uint32_t>(world_.Draw(2, 6))),
      oracle_(world_, options_, teacher_layers_),
      orchestrator_(world_, network_, oracle_, options_) {}

Simulation::~Simulation() = default;

void Simulation::DrawFaults() {
  const auto kind = [&](double probability, double most) {
    return world_.Chance(probability) ? world_.DrawUnit() * most : 0;
  };
  faults_end_ms_ = world_.DrawMs(20'000, 200'000);
  faults_.orchestrator_crashes = kind(0.6, 6);
  faults_.kills = kind(0.5, 6);
  faults_.stops = kind(0.5, 6);
  faults_.terms = kind(0.4, 6);
  faults_.cuts = kind(0.5, 8);
  faults_.drains = kind(0.3, 3);
  faults_.questions = kind(0.5, 10);
  faults_.stragglers = kind(0.4, 8);
  faults_.wall_jumps = kind(0.3, 4);
  faults_.disk_errors = kind(0.3, 8);
  faults_.full_disks = kind(0.3, 3);
  network_.SetWeather({.loss = kind(0.5, 0.1), .duplicate = kind(0.5, 0.2), .slow = kind(0.4, 0.1)});
}

void Simulation::AddWorkers() {
  const uint64_t count = world_.Draw(1, 5);
  const WorkerFaults faults = {.machine = world_.Chance(0.3) ? 0.02 : 0,
                               .wrong_input = world_.Chance(0.2) ? 0.05 : 0,
                               .late_write = world_.Chance(0.4) ? 0.05 : 0};
  const bool all_serve = world_.Chance(0.8);
  chunk_ms_ = world_.Chance(0.4) ? world_.DrawMs(50, 5'000) : 10;
  for (uint64_t i = 0; i < count; ++i) {
    SimWorker::Profile profile;
    profile.name = absl::StrCat("w", i);
    profile.seconds_per_layer = 0.05 * static_cast<double>(world_.Draw(1, 12));
    // Two clocks may differ by 1 % of a lease.
    profile.clock_rate = 0.996 + 0.008 * world_.DrawUnit();
    profile.teacher_layers = teacher_layers_;
    profile.chunk_ms = chunk_ms_;
    profile.serves = all_serve;
    workers_.push_back(
        std::make_unique<SimWorker>(world_, network_, orchestrator_, oracle_, peers_, profile));
    peers_[profile.name] = workers_.back().get();
    workers_.back()->SetFaults(faults);
    SimWorker* const worker = workers_.back().get();
    world_.At(world_.DrawMs(0, world_.Chance(0.3) ? 30'000 : 2'000), [worker] { worker->Start(); });
  }
}

template <class Reply, class Request>
void Simulation::Ask(const std::string& name, SimOrchestrator::Method<Reply, Request> method,
                     Request request) {
  if (request.request_id().empty()) {
    request.set_request_id(absl::StrCat(name, " ", ++questions_));
    ++open_questions_;
  }
  network_.Call<Reply>(
      "user", 10'000,
      [=, this](Delivery, const Respond<Reply>& respond) {
        orchestrator_.Serve<Reply>(name, method, request, {.is_awaited = false}, respond);
      },
      [=, this](const absl::StatusOr<Reply>& reply) {
        world_.Trace("user: ", request.request_id(), ": ", reply.status().ToString());
        const bool is_answered =
            !absl::IsUnavailable(reply.status()) && !absl::IsDeadlineExceeded(reply.status());
        if (is_answered) --open_questions_;
        // Sometimes the answer is lost on the user, who asks once more.
        if (is_answered && !world_.Chance(0.2)) return;
        if (is_answered) ++open_questions_;
        world_.After(world_.DrawMs(100, 5'000), [=, this] { Ask<Reply, Request>(name, method, request); });
      });
}

template <class Request>
Request Simulation::ForRun(uint64_t run_id) {
  Request request;
  request.mutable_run()->set_id(run_id);
  return request;
}

void Simulation::SubmitRuns() {
  const uint64_t count = world_.Chance(0.4) ? world_.Draw(2, 3) : 1;
  for (uint64_t number = 1; number <= count; ++number) {
    v1::SubmitRequest request;
    *request.mutable_job() = DrawJob(world_, number, workers_.size());
    request.set_priority(static_cast<int32_t>(world_.Draw(0, 2)) - 1);
    const int64_t at_ms = number == 1 ? world_.DrawMs(0, 3'000) : world_.DrawMs(0, faults_end_ms_);
    world_.At(at_ms, [this, request] { Ask("Submit", &Coordinator::Submit, request); });
  }
  submitted_ = count;
}

void Simulation::AskAboutARun() {
  if (orchestrator_.state().runs.empty()) return;
  const uint64_t run_id = world_.Draw(1, orchestrator_.state().runs.rbegin()->first);
  switch (world_.Draw(0, 7)) {
    case 0:
    case 1:
      return Ask("Pause", &Coordinator::Pause, ForRun<v1::PauseRequest>(run_id));
    case 2:
      if (world_.Chance(0.3)) Ask("Cancel", &Coordinator::Cancel, ForRun<v1::CancelRequest>(run_id));
      return;
    case 3:
      return Ask("Retry", &Coordinator::Retry, ForRun<v1::RetryRequest>(run_id));
    case 4:
      return Ask("Delete", &Coordinator::Delete, ForRun<v1::DeleteRequest>(run_id));
    default:
      return Ask("Resume", &Coordinator::Resume, ForRun<v1::ResumeRequest>(run_id));
  }
}

void Simulation::Disturb() {
  if (world_.now_ms() >= faults_end_ms_) return Mend();
  const double rounds = static_cast<double>(faults_end_ms_) / kDisturbEveryMs;
  const auto strikes = [&](double expected) { return world_.Chance(expected / rounds); };
  const auto any = [&]() -> SimWorker& { return *workers_[world_.Draw(0, workers_.size() - 1)]; };
  if (strikes(faults_.orchestrator_crashes)) {
    if (world_.Chance(0.6)) {
      orchestrator_.CrashWithin(world_.DrawMs(1, 40));
    } else {
      orchestrator_.Crash(world_.Chance(0.7), world_.DrawMs(100, 30'000));
    }
  }
  if (strikes(faults_.kills)) any().Kill();
  if (strikes(faults_.stops))
    any().Stop(world_.Chance(0.3) ? world_.DrawMs(100, 5'000) : world_.DrawMs(10'000, 50'000));
  if (strikes(faults_.terms)) any().Terminate(world_.DrawMs(300, 25'000));
  if (strikes(faults_.cuts))
    network_.Cut(any().name(), world_.now_ms() + world_.DrawMs(1'000, 45'000), world_.Chance(0.3));
  if (strikes(faults_.stragglers)) any().SetSpeed(0.05 * static_cast<double>(world_.Draw(1, 40)));
  if (strikes(faults_.wall_jumps)) orchestrator_.JumpWallClock(world_.DrawMs(0, 20'000) - 10'000);
  if (strikes(faults_.disk_errors)) orchestrator_.disk().FailOnce(world_.Chance(0.2));
  if (strikes(faults_.full_disks)) {
    orchestrator_.disk().SetFull(true);
    world_.After(world_.DrawMs(1'000, 30'000), [this] { orchestrator_.disk().SetFull(false); });
  }
  if (strikes(faults_.questions)) AskAboutARun();
  if (strikes(faults_.drains)) {
    v1::DrainWorkerRequest request;
    request.set_worker_name(any().name());
    Ask("DrainWorker", &Coordinator::DrainWorker, request);
  }
  world_.After(kDisturbEveryMs, [this] { Disturb(); });
}

// From here on nothing goes wrong, and what users have paused or what has spent a budget is taken up again.
void Simulation::Mend() {
  if (world_.now_ms() < faults_end_ms_ + kDisturbEveryMs) {
    world_.Trace("the faults end");
    network_.SetWeather({});
    network_.MendAll();
    orchestrator_.CrashWithin(-1);
    orchestrator_.disk().Mend();
    for (const auto& worker : workers_) {
      worker->Continue();
      worker->SetFaults({});
      worker->SetSpeed(0.1);
    }
  }
  for (const auto& [run_id, run] : orchestrator_.state().runs) {
    const v1::RunState run_state = run.record.state();
    if (run_state == v1::RUN_STATE_PAUSED) {
      Ask("Resume", &Coordinator::Resume, ForRun<v1::ResumeRequest>(run_id));
    } else if (run_state == v1::RUN_STATE_FAILED && !IsDoomed(run.record.job())) {
      Ask("Retry", &Coordinator::Retry, ForRun<v1::RetryRequest>(run_id));
    }
  }
  world_.After(20'000, [this] { Mend(); });
}

bool Simulation::HasEnded() const {
  const orchestrator::State& state = orchestrator_.state();
  return world_.now_ms() > faults_end_ms_ + 1'000 && orchestrator_.is_up() && open_questions_ == 0 &&
         state.next_run_id == submitted_ + 1 && state.leases.empty() &&
         std::all_of(state.runs.begin(), state.runs.end(), [](const auto& entry) {
           const v1::RunState run_state = entry.second.record.state();
           return run_state == v1::RUN_STATE_SUCCEEDED || run_state == v1::RUN_STATE_CANCELLED ||
                  (run_state == v1::RUN_STATE_FAILED && IsDoomed(entry.second.record.job()));
         });
}

void Simulation::Run() {
  DrawFaults();
  AddWorkers();
  SubmitRuns();
  orchestrator_.SetClockRate(0.998 + 0.004 * world_.DrawUnit());
  orchestrator_.Start();
  world_.After(kDisturbEveryMs, [this] { Disturb(); });
  const int64_t end_ms = faults_end_ms_ + kMendedMs;
  while (world_.violations().empty() && world_.now_ms() < end_ms && !HasEnded()) {
    if (!world_.RunNext()) break;
  }
  tally_.virtual_ms = world_.now_ms();
  tally_.starts = orchestrator_.starts();
  if (!world_.violations().empty()) return;
  if (!HasEnded()) {
    return world_.Violation("the faults have ended, the runs have not:\n",
                            DebugString(orchestrator_.state()));
  }
  CheckEnd();
}

void Simulation::CheckEnd() {
  for (const auto& [run_id, run] : orchestrator_.state().runs) {
    const v1::RunState run_state = run.record.state();
    tally_.succeeded += run_state == v1::RUN_STATE_SUCCEEDED;
    tally_.failed += run_state == v1::RUN_STATE_FAILED;
    tally_.cancelled += run_state == v1::RUN_STATE_CANCELLED;
    if (run_state != v1::RUN_STATE_SUCCEEDED) continue;
    const absl::StatusOr<std::string> result = orchestrator_.DownloadResult(run_id);
    if (!result.ok()) {
      world_.Violation("no result of run ", run_id, ": ", result.status().ToString());
    } else if (*result != oracle_.UndisturbedOf(run).ResultFile()) {
      world_.Violation("run ", run_id, " ends with '", *result, "', an undisturbed one with '",
                       oracle_.UndisturbedOf(run).ResultFile(), "'");
    }
  }
  CountEvents();
  for (const auto& worker : workers_) {
    tally_.pulled += worker->inputs().pulled;
    tally_.by_teacher += worker->inputs().by_teacher;
    tally_.recomputed_for_want += worker->inputs().recomputed_for_want;
  }
  orchestrator_.VerifyStored();
}

void Simulation::CountEvents() {
  for (const v1::EventRecord& event : orchestrator_.Events()) {
    tally_.stale_writes += event.kind() == v1::EVENT_KIND_STALE_WRITE_REFUSED;
    tally_.publishes += event.kind() == v1::EVENT_KIND_CHECKPOINT_PUBLISHED;
    tally_.yields += event.kind() == v1::EVENT_KIND_LEASE_YIELD_ASKED;
    tally_.recuts += event.kind() == v1::EVENT_KIND_LEASE_YIELD_ASKED && event.cause() == v1::END_CAUSE_RECUT;
    tally_.fewer_ranks += event.kind() == v1::EVENT_KIND_NUMERICS_RESOLVED &&
                          event.text().find("instead of") != std::string::npos;
    tally_.expiries +=
        event.kind() == v1::EVENT_KIND_LEASE_ENDED && event.text().find("expired") != std::string::npos;
  }
}

}  // namespace retort::sim
