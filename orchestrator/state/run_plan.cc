#include "orchestrator/state/run_plan.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/counted.h"
#include "core/base/job_work.h"
#include "core/base/status_macros.h"
#include "orchestrator/state/model_work.h"
#include "orchestrator/state/prepared.h"
#include "orchestrator/state/reach.h"
#include "orchestrator/state/run_control.h"
#include "orchestrator/state/run_cut.h"
#include "orchestrator/state/run_view.h"

namespace retort::orchestrator {
namespace {

constexpr v1::Stage kLayerStages[] = {v1::STAGE_MATRIX_ORIENTATION, v1::STAGE_HIDDEN_STATE_ALIGNMENT};
constexpr double kGiB = 1073741824.0;

v1::Figure MakeFigure(double value, const StageCosts& costs) {
  v1::Figure figure;
  figure.set_value(value);
  figure.set_basis(costs.basis);
  figure.set_measured_run_id(costs.measured_run_id);
  return figure;
}

const char* BasisText(v1::Basis basis) { return basis == v1::BASIS_MEASURED ? "measured" : "assumed"; }

v1::Figure Assumed(double value) { return MakeFigure(value, StageCosts{}); }

// A run that is not there: the job's, all to do.
absl::StatusOr<Run> RunOfJob(const v1::PlanJob& job) {
  Run run;
  *run.record.mutable_job() = job.job();
  *run.record.mutable_shape() = job.shape();
  ASSIGN_OR_RETURN(std::vector<v1::TaskRecord> tasks, MakeTasks(run.record));
  for (v1::TaskRecord& task : tasks) run.tasks[IdOf(task)] = std::move(task);
  v1::TaskRecord& prepare = run.tasks[kPrepare];
  prepare.set_stage(v1::STAGE_PREPARE);
  prepare.set_state(v1::TASK_STATE_DONE);
  return run;
}

absl::StatusOr<Run> SubjectOf(const State& state, const v1::PlanRequest& request) {
  if (request.subject_case() == v1::PlanRequest::kJob) return RunOfJob(request.job());
  ASSIGN_OR_RETURN(const uint64_t run_id, ResolveRun(state, request.run()));
  const Run& run = state.run(run_id);
  if (IsEnded(run.record.state()) || !run.record.has_shape()) {
    return absl::FailedPreconditionError(absl::StrCat(
        NameOf(run.record), run.record.has_shape()
                                ? " has ended: there is nothing to plan"
                                : " is not prepared: no worker has read its teacher yet; plan its job file"));
  }
  return run;
}

class PlanMaker {
 public:
  PlanMaker(const Moment& now, const State& state, const Options& options, Run run)
      : draft_(now, state, options), run_(std::move(run)), costs_(CostsOf(state, options, run_)) {
    const RunView view = ViewRun(draft_, run_, costs_);
    layers_ = view.layers;
    if (state.workers.empty()) {
      CutCandidate assumed;
      assumed.limits = {options.assumed_gflops, std::numeric_limits<double>::infinity()};
      workers_.push_back(assumed);
    }
    for (const uint64_t worker_id : view.demand.eligible) {
      const Worker& worker = *state.FindWorker(worker_id);
      CutCandidate& candidate = workers_.emplace_back();
      candidate.worker_id = worker_id;
      candidate.name = worker.name();
      candidate.limits = LimitsOf(worker);
    }
    std::stable_sort(workers_.begin(), workers_.end(),
                     [](const auto& a, const auto& b) { return a.limits.speed > b.limits.speed; });
    if (workers_.empty()) Say(view.waits_for);
    const v1::KeepAttention& keep = run_.record.job().student().keep_attention();
    if (AwaitsProbe(keep)) {
      Say(absl::StrFormat(
          "a probe will choose the %d layers that stay attention; the first ones stand for them "
          "here",
          keep.auto_layers()));
    }
  }

  v1::PlanReply Make() {
    if (layers_.empty() || workers_.empty()) {
      PlanEndToEnd();
      return std::move(reply_);
    }
    const RangeTable table = TableOf(run_.record, costs_, layers_);
    std::vector<CutCandidate> used = workers_;
    used.resize(std::min(used.size(), UsefulWorkers(table)));
    const std::optional<RunCut> cut = CutAnew(table, used);
    if (!cut) {
      Say(absl::StrFormat(
          "does not fit: layer %d needs %.1f GiB on one worker, the largest offers %.1f GiB",
          layers_.back().layer,
          table.bytes(layers_.size() - 1, layers_.size(), LargestWorker().limits.teacher_part) / kGiB,
          LargestWorker().limits.memory_bytes / kGiB));
    } else {
      for (const v1::Stage stage : kLayerStages) PlanStage(stage, *cut);
      seconds_ = cut->seconds;
      SayWhoIsIdle(*cut);
      SayInputSource(*cut);
    }
    PlanEndToEnd();
    return std::move(reply_);
  }

 private:
  void Say(std::string sentence) { reply_.add_reasons(std::move(sentence)); }

  const CutCandidate& LargestWorker() const {
    return *std::max_element(workers_.begin(), workers_.end(), [](const auto& a, const auto& b) {
      return a.limits.memory_bytes < b.limits.memory_bytes;
    });
  }

  const CutCandidate& WorkerOf(uint64_t worker_id) const {
    return *std::find_if(workers_.begin(), workers_.end(),
                         [&](const CutCandidate& worker) { return worker.worker_id == worker_id; });
  }

  // Steps that the layer has left in the stage.
  static uint64_t StepsIn(v1::Stage stage, const OpenLayer& layer) {
    if (layer.stage == stage) return layer.remaining;
    return stage == v1::STAGE_HIDDEN_STATE_ALIGNMENT ? layer.later_steps : 0;
  }

  void PlanStage(v1::Stage stage, const RunCut& cut) {
    v1::PlannedStage planned;
    planned.set_stage(stage);
    double seconds = 0;
    for (const auto& [worker_id, range] : cut.ranges) {
      double worker_seconds = 0;
      for (size_t begin = range.begin; begin < range.end;) {
        size_t end = begin + 1;
        while (end < range.end && layers_[end - 1].position + 1 == layers_[end].position &&
               (StepsIn(stage, layers_[end]) > 0) == (StepsIn(stage, layers_[begin]) > 0)) {
          ++end;
        }
        if (StepsIn(stage, layers_[begin]) > 0) {
          worker_seconds += AddSlice(stage, WorkerOf(worker_id), Below(range), begin, end, planned);
        }
        begin = end;
      }
      seconds = std::max(seconds, worker_seconds);
    }
    if (planned.slices().empty()) return;
    std::sort(planned.mutable_slices()->begin(), planned.mutable_slices()->end(),
              [](const auto& a, const auto& b) { return a.first_layer() < b.first_layer(); });
    *planned.mutable_seconds() = MakeFigure(seconds, costs_.stages.at(stage));
    *reply_.add_stages() = std::move(planned);
  }

  // The last layer of the slices below the range.
  std::optional<uint32_t> Below(const WorkerRange& range) const {
    if (range.begin == 0) return std::nullopt;
    return layers_[range.begin - 1].layer;
  }

  // Teacher blocks that a slice runs.
  uint32_t TeacherBlocks(v1::Stage stage, std::optional<uint32_t> below, uint32_t last_layer) const {
    const bool pulls = costs_.InputOf(stage, below) == v1::INPUT_SOURCE_RELAY;
    return pulls ? last_layer - *below : last_layer + 1;
  }

  // The slice's seconds.
  double AddSlice(v1::Stage stage, const CutCandidate& worker, std::optional<uint32_t> below, size_t begin,
                  size_t end, v1::PlannedStage& planned) {
    const uint32_t last_layer = layers_[end - 1].layer;
    double work = costs_.TeacherWork(stage, below, last_layer);
    const v1::RunRecord& record = run_.record;
    const double bytes = SliceBytes(record.job(), record.shape(), last_layer, end - begin);
    const double own_bytes = bytes - TeacherBytes(record.job(), record.shape(), last_layer);
    const double teacher_bytes = static_cast<double>(SharedTeacherBytes(record.job(), record.shape()));
    uint64_t steps = 0;
    for (size_t i = begin; i < end; ++i) {
      work += costs_.TrainWork(stage, layers_[i].layer);
      steps = std::max(steps, StepsIn(stage, layers_[i]));
    }
    const StageCosts& costs = costs_.stages.at(stage);
    v1::PlannedSlice& slice = *planned.add_slices();
    slice.set_first_layer(layers_[begin].layer);
    slice.set_layer_count(last_layer - layers_[begin].layer + 1);
    slice.set_worker_name(worker.name);
    *slice.mutable_seconds_per_step() = MakeFigure(work / worker.limits.speed, costs);
    *slice.mutable_memory_bytes() =
        Assumed(BytesOn(worker.limits.teacher_part, teacher_bytes, bytes, own_bytes));
    slice.set_input(costs_.InputOf(stage, below));
    const bool pulls = slice.input() == v1::INPUT_SOURCE_RELAY;
    *slice.mutable_hop_bytes_per_step() =
        Assumed(pulls ? BoundaryBytesPerStep(record.job(), record.shape(), stage) : 0);
    slice.set_teacher_passes(double{1} * TeacherBlocks(stage, below, last_layer) / record.shape().layers());
    planned.set_steps(std::max(planned.steps(), steps));
    return static_cast<double>(steps) * work / worker.limits.speed;
  }

  void SayWhoIsIdle(const RunCut& cut) {
    const size_t registered = draft_.state().workers.size();
    if (registered > layers_.size()) {
      Say(
          absl::StrFormat("more workers than converted layers times runs cannot be busy in stages 1 and 2: "
                          "this run has %s, %d workers are registered",
                          Counted(layers_.size(), "layer"), registered));
    }
    if (workers_.size() > cut.ranges.size()) {
      Say(absl::StrFormat("%d of %d workers stay idle: over %s the slowest slice cannot be shared further",
                          workers_.size() - cut.ranges.size(), workers_.size(),
                          Counted(cut.ranges.size(), "worker")));
    }
  }

  // Whether slices pull or recompute what lies below them, and why.
  void SayInputSource(const RunCut& cut) {
    const v1::Stage stage = layers_.front().stage;
    const v1::RunRecord& record = run_.record;
    const double layers = record.shape().layers();
    double passes = 0, passes_recomputed = 0;
    for (const auto& [worker_id, range] : cut.ranges) {
      const uint32_t last_layer = layers_[range.end - 1].layer;
      passes += TeacherBlocks(stage, Below(range), last_layer) / layers;
      passes_recomputed += (last_layer + 1) / layers;
    }
    if (cut.ranges.size() == 1) {
      return Say(absl::StrFormat("input is recomputed: one slice runs %.2f of the teacher a step", passes));
    }
    const double hop_megabytes = BoundaryBytesPerStep(record.job(), record.shape(), stage) / 1e6;
    if (costs_.relay == RelayPolicy::kNever) {
      return Say(absl::StrFormat(
          "input is recomputed, because %s: %d slices run %.2f teacher passes a step together; a relay would "
          "run 1 and send %.1f MB a step over each boundary",
          WhyNoRelay(), cut.ranges.size(), passes, hop_megabytes));
    }
    for (const auto& [worker_id, range] : cut.ranges) SayBoundary(range, WorkerOf(worker_id));
    Say(absl::StrFormat(
        "%d slices run %.2f teacher passes a step together; if all recomputed their input it would be %.2f",
        cut.ranges.size(), passes, passes_recomputed));
  }

  std::string WhyNoRelay() const {
    if (draft_.options().relay == RelayPolicy::kNever)
      return "the orchestrator was started with --relay never";
    const std::string why_not = WhyNotReached(draft_.state());
    return why_not.empty() ? "not every worker serves activations" : why_not;
  }

  void SayBoundary(const WorkerRange& range, const CutCandidate& worker) {
    const std::optional<uint32_t> below = Below(range);
    if (!below) return;
    const v1::Stage stage = layers_.front().stage;
    const bool pulls = costs_.InputOf(stage, below) == v1::INPUT_SOURCE_RELAY;
    const StageCosts& costs = costs_.stages.at(stage);
    Say(absl::StrFormat(
        "layers %d to %d %s their input: a step's hop of %.1f MB takes %.2g s (%s), teacher blocks 0 to %d "
        "%.2g s (%s)",
        layers_[range.begin].layer, layers_[range.end - 1].layer, pulls ? "pull" : "recompute",
        BoundaryBytesPerStep(run_.record.job(), run_.record.shape(), stage) / 1e6, costs.hop_seconds,
        BasisText(costs.hop_basis), *below, costs_.PrefixWork(stage, *below) / worker.limits.speed,
        BasisText(costs.basis)));
  }

  // Ranks of END_TO_END: as many as the run has or asks for, else as fit.
  uint64_t Ranks() const {
    const uint32_t asked = run_.record.job().stages().end_to_end().world_size();
    if (run_.record.world_size() != 0) return run_.record.world_size();
    if (asked != 0) return asked;
    std::vector<uint64_t> ids;
    for (const CutCandidate& worker : workers_) {
      if (worker.worker_id != 0) ids.push_back(worker.worker_id);
    }
    return RanksAmong(draft_, run_.record, ids);
  }

  void PlanEndToEnd() {
    const v1::RunRecord& record = run_.record;
    const v1::TaskRecord& task = run_.tasks.at(kEndToEnd);
    const uint64_t ranks = Ranks();
    const auto bytes_on = [&](const CutCandidate& worker) {
      return EndToEndBytes(record.job(), record.shape(), ranks, worker.limits.teacher_part);
    };
    std::vector<const CutCandidate*> fitting;
    for (const CutCandidate& worker : workers_) {
      if (worker.limits.memory_bytes >= bytes_on(worker) && fitting.size() < ranks)
        fitting.push_back(&worker);
    }
    if (fitting.empty()) {
      if (!workers_.empty()) {
        Say(absl::StrFormat(
            "does not fit: end_to_end needs %.1f GiB on one worker, the largest offers %.1f GiB",
            bytes_on(LargestWorker()) / kGiB, LargestWorker().limits.memory_bytes / kGiB));
      }
      return;
    }
    StageCosts costs;
    double work = 0;
    if (const auto found = costs_.stages.find(v1::STAGE_END_TO_END); found != costs_.stages.end()) {
      costs = found->second;
      work = costs.typical_train_work / static_cast<double>(ranks);
    }
    const uint64_t steps = task.total_steps() - task.step();
    const double slowest = fitting.back()->limits.speed;
    const double evaluation =
        EvaluationWork(draft_.options(), record.job(), record.shape()) / fitting.front()->limits.speed;
    const double seconds = static_cast<double>(steps) * work / slowest + evaluation;
    v1::PlannedStage& planned = *reply_.add_stages();
    planned.set_stage(v1::STAGE_END_TO_END);
    planned.set_steps(steps);
    *planned.mutable_seconds() = Assumed(seconds);  // the measurements in it are
    for (const CutCandidate* rank : fitting) {
      v1::PlannedSlice& slice = *planned.add_slices();
      slice.set_layer_count(record.shape().layers());
      slice.set_worker_name(rank->name);
      *slice.mutable_seconds_per_step() = MakeFigure(work / slowest, costs);
      *slice.mutable_memory_bytes() = Assumed(bytes_on(*rank));
      *slice.mutable_hop_bytes_per_step() = Assumed(0);
      slice.set_teacher_passes(record.job().stages().has_end_to_end() ? 1.0 / static_cast<double>(ranks) : 0);
    }
    Say(absl::StrFormat(
        "end_to_end runs on %s, and takes %.4g s of its %.4g s to measure teacher and student",
        ranks == 1 ? "one worker" : absl::StrCat(ranks, " workers together"), evaluation, seconds));
    if (fitting.size() < ranks) {
      Say(absl::StrFormat("end_to_end waits for %s: its %d ranks train together",
                          Counted(ranks - fitting.size(), "more worker"), ranks));
    }
    if (layers_.empty() || reply_.stages_size() > 1) *reply_.mutable_seconds() = Assumed(seconds_ + seconds);
  }

  Draft draft_;
  Run run_;
  RunCosts costs_;
  std::vector<OpenLayer> layers_;
  std::vector<CutCandidate> workers_;  // fastest first
  double seconds_ = 0;                 // of stages 1 and 2
  v1::PlanReply reply_;
};

}  // namespace

absl::StatusOr<v1::PlanReply> MakePlan(const Moment& now, const State& state, const Options& options,
                                       const v1::PlanRequest& request) {
  ASSIGN_OR_RETURN(Run run, SubjectOf(state, request));
  return PlanMaker(now, state, options, std::move(run)).Make();
}

}  // namespace retort::orchestrator
