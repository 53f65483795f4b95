// training_service_bench [--json]: what the service costs training. A worker's agent trains stage 2 of layers
// of SmolLM2-135M's sizes for a real orchestrator on this machine, with a checkpoint every 100 steps (the
// job's default) that is copied, hashed, sent and stored while training goes on. Beside it the bare loop of
// the same layers, in turns of 100 steps, each with one checkpoint in its middle.

#include <algorithm>
#include <condition_variable>
#include <iostream>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/files.h"
#include "core/base/machine_memory.h"
#include "core/base/mutex.h"
#include "tests/bench/bench.h"
#include "tests/bench/bench_inputs.h"
#include "tests/support/cluster.h"
#include "worker/agent/agent_process.h"
#include "worker/run/testing_gang.h"
#include "worker/run/this_machine.h"
#include "worker/run/torch_workshop.h"

namespace retort {
namespace {

constexpr int kLayers = 4, kVocabulary = 4096, kTurns = 5;
constexpr int64_t kSeqLen = 256;
constexpr size_t kTurnSteps = 100;  // checkpoint.every_steps
// The first turn begins here: what warms up is over, and checkpoints lie in the middle of turns.
constexpr size_t kFirstStep = 50;
constexpr uint64_t kSteps = kFirstStep + kTurns * kTurnSteps + 1;

v1::JobSpec BenchJob() {
  v1::JobSpec job = JobOverInputs("bench", kSeqLen, 4);
  job.mutable_checkpoint()->set_every_steps(kTurnSteps);
  v1::HiddenStateAlignmentSpec& stage = *job.mutable_stages()->mutable_hidden_state_alignment();
  const uint64_t step_tokens = job.micro_batch() * kSeqLen;
  stage.mutable_budget()->set_tokens(kSteps * step_tokens);
  stage.mutable_budget()->set_tokens_per_step(step_tokens);
  stage.mutable_budget()->set_lr(1e-4);
  stage.set_target(v1::ALIGNMENT_TARGET_MIXER);
  stage.set_train(v1::TRAIN_SCOPE_MIXER);
  return job;
}

// Lets one of the two loops train at a time, and keeps the agent's times.
class Turns {
 public:
  // Before the agent's step `step`; where a turn begins it waits until the bare loop has had its own.
  void BeforeAgentStep(size_t step) {
    MutexLock lock(mutex_);
    if (step >= kFirstStep && (step - kFirstStep) % kTurnSteps == 0) {
      if (step > kFirstStep) turn_seconds_.push_back(MonotonicSeconds() - turn_begin_);
      agent_trains_ = false;
      changed_.notify_all();
      while (!agent_trains_ && !over_) changed_.wait(mutex_);
      turn_begin_ = last_end_ = MonotonicSeconds();
    }
    if (step > kFirstStep) pauses_seconds_ += MonotonicSeconds() - last_end_;
  }
  void AfterAgentStep() {
    MutexLock lock(mutex_);
    last_end_ = MonotonicSeconds();
  }

  void AwaitBareTurn() {
    MutexLock lock(mutex_);
    while (agent_trains_) changed_.wait(mutex_);
  }
  void GiveAgentTurn() {
    MutexLock lock(mutex_);
    agent_trains_ = true;
    changed_.notify_all();
  }
  void End() {
    MutexLock lock(mutex_);
    over_ = true;
    changed_.notify_all();
  }

  std::vector<double> turn_seconds() const {
    MutexLock lock(mutex_);
    return turn_seconds_;
  }
  // Between the agent's steps: orders, and the copies of checkpoints.
  double pauses_seconds() const {
    MutexLock lock(mutex_);
    return pauses_seconds_;
  }

 private:
  mutable Mutex mutex_;
  std::condition_variable_any changed_;
  bool agent_trains_ ABSL_GUARDED_BY(mutex_) = true, over_ ABSL_GUARDED_BY(mutex_) = false;
  double turn_begin_ ABSL_GUARDED_BY(mutex_) = 0, last_end_ ABSL_GUARDED_BY(mutex_) = 0;
  double pauses_seconds_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<double> turn_seconds_ ABSL_GUARDED_BY(mutex_);
};

// The torch workshop's slice of stage 2, step by step in turns.
class TimedWork : public SliceWork {
 public:
  TimedWork(std::unique_ptr<SliceWork> work, Turns& turns) : work_(std::move(work)), turns_(turns) {}

  absl::StatusOr<StepReport> Step(const std::atomic<bool>& stop) override {
    turns_.BeforeAgentStep(step_++);
    absl::StatusOr<StepReport> report = work_->Step(stop);
    turns_.AfterAgentStep();
    return report;
  }
  std::vector<uint32_t> failed_layers() const override { return work_->failed_layers(); }
  std::vector<SavedLayer> Copy(const std::vector<uint32_t>& layers) override { return work_->Copy(layers); }
  void Drop(const std::vector<uint32_t>& layers) override { work_->Drop(layers); }
  absl::StatusOr<SavedLayer> MakeResult(const std::atomic<bool>& stop) override {
    return work_->MakeResult(stop);
  }

 private:
  const std::unique_ptr<SliceWork> work_;
  Turns& turns_;
  size_t step_ = 0;
};

class TimedWorkshop : public Workshop {
 public:
  TimedWorkshop(Workshop& workshop, Turns& turns) : workshop_(workshop), turns_(turns) {}

  absl::StatusOr<v1::PreparedRun> Prepare(const v1::Slice& slice, const std::atomic<bool>& stop) override {
    return workshop_.Prepare(slice, stop);
  }
  absl::StatusOr<std::unique_ptr<SliceWork>> Load(
      const v1::Slice& slice, CheckpointSource& source, GangCalls& gang, const std::atomic<bool>& stop,
      const std::function<void(const LoadProgress&)>& on_progress) override {
    auto work = workshop_.Load(slice, source, gang, stop, on_progress);
    if (!work.ok() || slice.stage() != v1::STAGE_HIDDEN_STATE_ALIGNMENT) return work;
    return std::make_unique<TimedWork>(*std::move(work), turns_);
  }

 private:
  Workshop& workshop_;
  Turns& turns_;
};

// For a slice without checkpoints.
class NoCheckpoints : public CheckpointSource {
 public:
  absl::StatusOr<SavedLayer> Fetch(const v1::CheckpointRef&, std::string_view) override {
    return absl::NotFoundError("no checkpoint");
  }
};

v1::Slice WholeSlice(const v1::JobSpec& job, const v1::PreparedRun& prepared) {
  v1::Slice slice;
  slice.set_stage(v1::STAGE_HIDDEN_STATE_ALIGNMENT);
  *slice.mutable_job() = job;
  *slice.mutable_inputs() = prepared.inputs();
  *slice.mutable_numerics() = NumericsHere(job.micro_batch());
  for (uint32_t layer = 0; layer < kLayers; ++layer) {
    slice.add_layers()->set_layer(layer);
    slice.mutable_layers(static_cast<int>(layer))->set_total_steps(kSteps);
  }
  return slice;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void Bench() {
  const BenchInputs inputs(kLayers, kVocabulary, 64 * kSeqLen, kSeqLen);
  const v1::JobSpec job = BenchJob();
  const std::atomic<bool> never = false;
  std::atomic<bool> stop = false;
  LogBuffer shipped;
  Log log(v1::LOG_LEVEL_WARNING, UnixMilliseconds, {StreamSink(std::cerr), shipped.Sink()});
  const WorkshopOptions options = {.roots = {inputs.directory()}, .memory_bytes = MachineMemoryBytes()};
  TorchWorkshop bare_workshop(options, log), workshop(options, log);
  v1::Slice prepare;
  *prepare.mutable_job() = job;
  const v1::Slice slice = WholeSlice(job, bare_workshop.Prepare(prepare, never).value());
  NoCheckpoints no_checkpoints;
  NoGang no_gang;
  const auto bare =
      bare_workshop.Load(slice, no_checkpoints, no_gang, never, [](const LoadProgress&) {}).value();
  for (size_t step = 0; step < kFirstStep; ++step) RETORT_CHECK(bare->Step(never).ok());

  Turns turns;
  TimedWorkshop timed(workshop, turns);
  Cluster cluster(RETORT_BIN_DIR);
  const AgentOptions agent = {.address = cluster.address(),
                              .name = "bench",
                              .build_version = "bench",
                              .capabilities = MeasureCapabilities(options.memory_bytes)};
  std::thread training([&] {
    const absl::Status end = RunAgent(agent, timed, log, shipped, stop);
    RETORT_CHECK(end.ok()) << end.ToString();
  });
  const uint64_t run_id = cluster.Submit(job);
  const RunHistory history(cluster.address(), run_id);

  std::vector<double> bare_seconds;
  for (int turn = 0; turn < kTurns; ++turn) {
    turns.AwaitBareTurn();
    const double begin = MonotonicSeconds();
    for (size_t step = 0; step < kTurnSteps; ++step) RETORT_CHECK(bare->Step(never).ok());
    bare_seconds.push_back(MonotonicSeconds() - begin);
    turns.GiveAgentTurn();
  }
  turns.AwaitBareTurn();
  turns.End();
  stop = true;
  training.join();

  std::vector<double> ratios;
  double service_seconds = 0;
  for (int turn = 0; turn < kTurns; ++turn) {
    ratios.push_back(turns.turn_seconds()[turn] / bare_seconds[turn]);
    service_seconds += turns.turn_seconds()[turn];
  }
  RETORT_CHECK(history.OfKind(v1::EVENT_KIND_CHECKPOINT_PUBLISHED).size() >= kTurns) << history.Render();
  Report("bare training step of 4 layers, stage 2", Median(bare_seconds) / kTurnSteps, "s");
  Report("training under the service over the bare loop", 100 * (Median(ratios) - 1), "%", AtMost(3));
  Report("training stands still for checkpoints and orders", 100 * turns.pauses_seconds() / service_seconds,
         "%", AtMost(2));
}

const bool registered = RegisterBench("training under the service", &Bench);

}  // namespace
}  // namespace retort
