#include "orchestrator/state/costs.h"

#include <algorithm>
#include <optional>
#include <string>

#include "core/base/check.h"
#include "core/base/job_memory.h"
#include "orchestrator/state/model_work.h"
#include "orchestrator/state/reach.h"

namespace retort::orchestrator {
namespace {

const v1::StageBudget* BudgetOf(const v1::JobSpec& job, v1::Stage stage) {
  const v1::StagesSpec& stages = job.stages();
  switch (stage) {
    case v1::STAGE_MATRIX_ORIENTATION:
      return stages.has_matrix_orientation() ? &stages.matrix_orientation().budget() : nullptr;
    case v1::STAGE_HIDDEN_STATE_ALIGNMENT:
      return stages.has_hidden_state_alignment() ? &stages.hidden_state_alignment().budget() : nullptr;
    case v1::STAGE_END_TO_END:
      return stages.has_end_to_end() ? &stages.end_to_end().budget() : nullptr;
    default:
      return nullptr;
  }
}

// What must agree for one run's times to be another's: all that decides the operations of a step.
std::string CostKey(const v1::RunRecord& run, v1::Stage stage) {
  v1::JobSpec decisive;
  *decisive.mutable_student() = run.job().student();
  decisive.mutable_data()->set_seq_len(run.job().data().seq_len());
  decisive.set_micro_batch(run.job().micro_batch());
  v1::StagesSpec& stages = *decisive.mutable_stages();
  const v1::StageBudget* const budget = BudgetOf(run.job(), stage);
  RETORT_CHECK(budget != nullptr) << stage;
  if (stage == v1::STAGE_MATRIX_ORIENTATION) {
    stages.mutable_matrix_orientation();
  } else if (stage == v1::STAGE_HIDDEN_STATE_ALIGNMENT) {
    *stages.mutable_hidden_state_alignment() = run.job().stages().hidden_state_alignment();
    stages.mutable_hidden_state_alignment()->clear_budget();
  } else {
    *stages.mutable_end_to_end() = run.job().stages().end_to_end();
    stages.mutable_end_to_end()->clear_budget();
  }
  return std::to_string(budget->tokens_per_step()) + decisive.SerializeAsString() +
         run.shape().SerializeAsString();
}

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// nullopt: no row of the stage was measured.
std::optional<StageCosts> MeasuredCosts(const Run& run, v1::Stage stage) {
  StageCosts costs;
  std::vector<double> teacher, train;
  for (auto it = run.tasks.lower_bound({stage, 0}); it != run.tasks.end() && it->first.stage == stage; ++it) {
    const v1::TaskRecord& task = it->second;
    if (!(task.train_seconds_per_step() > 0) || !(task.measured_gflops() > 0)) continue;
    train.push_back(task.train_seconds_per_step() * task.measured_gflops());
    costs.train_work[task.layer()] = train.back();
    if (task.teacher_seconds_per_step() > 0) {
      teacher.push_back(task.teacher_seconds_per_step() * task.measured_gflops());
    }
  }
  if (train.empty() || (teacher.empty() && stage != v1::STAGE_END_TO_END)) return std::nullopt;
  costs.typical_train_work = Median(std::move(train));
  if (!teacher.empty()) costs.teacher_work = Median(std::move(teacher));
  costs.basis = v1::BASIS_MEASURED;
  costs.measured_run_id = run.record.run_id();
  return costs;
}

StageCosts AssumedCosts(const Options& options, const v1::RunRecord& run, v1::Stage stage) {
  const StepFlops flops = CountStepFlops(run.job(), run.shape(), stage);
  StageCosts costs;
  costs.teacher_work = flops.teacher_block / 1e9 / options.assumed_efficiency;
  costs.typical_train_work = flops.train / 1e9 / options.assumed_efficiency;
  return costs;
}

StageCosts CostsOfStage(const State& state, const Options& options, const Run& run, v1::Stage stage) {
  if (std::optional<StageCosts> own = MeasuredCosts(run, stage)) return *std::move(own);
  const std::string key = CostKey(run.record, stage);
  for (auto other = state.runs.rbegin(); other != state.runs.rend(); ++other) {
    const v1::RunRecord& record = other->second.record;
    if (!record.has_shape() || BudgetOf(record.job(), stage) == nullptr || CostKey(record, stage) != key) {
      continue;
    }
    if (std::optional<StageCosts> measured = MeasuredCosts(other->second, stage)) return *std::move(measured);
  }
  return AssumedCosts(options, run.record, stage);
}

// How long a step's activations are on the way, as measured in `measured`, a stage of `run`; nullopt: nothing
// was.
std::optional<double> MeasuredHopSeconds(const Run& run, v1::Stage measured, v1::Stage stage) {
  std::vector<double> seconds;
  for (auto it = run.tasks.lower_bound({measured, 0}); it != run.tasks.end() && it->first.stage == measured;
       ++it) {
    const v1::TaskRecord& task = it->second;
    if (task.hop_seconds_per_step() > 0) seconds.push_back(task.hop_seconds_per_step());
  }
  if (seconds.empty()) return std::nullopt;
  const auto bytes_in = [&](v1::Stage of) {
    return BoundaryBytesPerStep(run.record.job(), run.record.shape(), of);
  };
  return Median(std::move(seconds)) * bytes_in(stage) / bytes_in(measured);
}

std::optional<double> MeasuredHopSeconds(const State& state, const Run& run, v1::Stage stage) {
  constexpr v1::Stage kOthers[] = {v1::STAGE_MATRIX_ORIENTATION, v1::STAGE_HIDDEN_STATE_ALIGNMENT};
  if (std::optional<double> own = MeasuredHopSeconds(run, stage, stage)) return own;
  for (const v1::Stage other : kOthers) {
    if (std::optional<double> own = MeasuredHopSeconds(run, other, stage)) return own;
  }
  const std::string key = CostKey(run.record, stage);
  for (auto other = state.runs.rbegin(); other != state.runs.rend(); ++other) {
    const v1::RunRecord& record = other->second.record;
    const bool is_alike =
        record.has_shape() && BudgetOf(record.job(), stage) != nullptr && CostKey(record, stage) == key;
    if (!is_alike) continue;
    if (std::optional<double> measured = MeasuredHopSeconds(other->second, stage, stage)) return measured;
  }
  return std::nullopt;
}

// The same before anything was measured.
double AssumedHopSeconds(const Options& options, const v1::RunRecord& run, v1::Stage stage) {
  const double bytes = BoundaryBytesPerStep(run.job(), run.shape(), stage);
  const double tokens = static_cast<double>(BudgetOf(run.job(), stage)->tokens_per_step());
  const double micro_batches = tokens / (double{1} * run.job().micro_batch() * run.job().data().seq_len());
  return bytes / options.hop_bytes_per_second + micro_batches * options.hop_seconds;
}

// A network is not faster for a faster worker, but what is weighed against it is in work.
double TypicalSpeed(const State& state, const Options& options) {
  std::vector<double> speeds;
  for (const auto& [id, worker] : state.workers) speeds.push_back(worker.speed_gflops());
  return speeds.empty() ? options.assumed_gflops : Median(std::move(speeds));
}

}  // namespace

double RunCosts::TrainWork(v1::Stage stage, uint32_t layer) const {
  const StageCosts& costs = stages.at(stage);
  const auto measured = costs.train_work.find(layer);
  return measured != costs.train_work.end() ? measured->second : costs.typical_train_work;
}

double RunCosts::PrefixWork(v1::Stage stage, uint32_t layer) const {
  return (layer + 1.0) * stages.at(stage).teacher_work;
}

v1::InputSource RunCosts::InputOf(v1::Stage stage, std::optional<uint32_t> below) const {
  if (!below || relay == RelayPolicy::kNever) return v1::INPUT_SOURCE_RECOMPUTE;
  const bool pays = stages.at(stage).hop_work < PrefixWork(stage, *below);
  return relay == RelayPolicy::kAlways || pays ? v1::INPUT_SOURCE_RELAY : v1::INPUT_SOURCE_RECOMPUTE;
}

double RunCosts::TeacherWork(v1::Stage stage, std::optional<uint32_t> below, uint32_t layer) const {
  if (InputOf(stage, below) == v1::INPUT_SOURCE_RECOMPUTE) return PrefixWork(stage, layer);
  const double hop_work = relay == RelayPolicy::kAlways ? 0 : stages.at(stage).hop_work;
  return hop_work + (layer - *below) * stages.at(stage).teacher_work;
}

RunCosts CostsOf(const State& state, const Options& options, const Run& run) {
  RunCosts costs;
  const bool all_serve = std::all_of(state.workers.begin(), state.workers.end(), [](const auto& worker) {
    return !worker.second.registration.activation_address().empty();
  });
  if (all_serve && WhyNotReached(state).empty()) costs.relay = options.relay;
  for (const v1::Stage stage :
       {v1::STAGE_MATRIX_ORIENTATION, v1::STAGE_HIDDEN_STATE_ALIGNMENT, v1::STAGE_END_TO_END}) {
    if (BudgetOf(run.record.job(), stage) != nullptr) {
      costs.stages[stage] = CostsOfStage(state, options, run, stage);
      if (stage == v1::STAGE_END_TO_END) continue;
      const std::optional<double> hop = MeasuredHopSeconds(state, run, stage);
      costs.stages[stage].hop_basis = hop ? v1::BASIS_MEASURED : v1::BASIS_ASSUMED;
      costs.stages[stage].hop_seconds = hop.value_or(AssumedHopSeconds(options, run.record, stage));
      costs.stages[stage].hop_work = costs.stages[stage].hop_seconds * TypicalSpeed(state, options);
    }
  }
  return costs;
}

std::optional<double> MeasuredSpeedRatio(const RunCosts& costs, const Lease& lease, double measured_gflops) {
  const auto stage = costs.stages.find(lease.record.stage());
  const v1::SliceProgress& progress = lease.progress;
  if (stage == costs.stages.end() || stage->second.basis != v1::BASIS_MEASURED) return std::nullopt;
  if (progress.layers().empty() || !(progress.teacher_seconds_per_step() > 0)) return std::nullopt;
  uint32_t last = 0;
  double train_seconds = 0;
  for (const v1::LayerProgress& layer : progress.layers()) {
    if (!(layer.train_seconds_per_step() > 0)) return std::nullopt;
    train_seconds += layer.train_seconds_per_step();
    last = std::max(last, layer.layer());
  }
  // By the stage's typical layer: the layers of a teacher have one shape, so what these were measured at
  // tells of their worker, and is not held against the layers.
  const double expected_seconds = (costs.PrefixWork(lease.record.stage(), last) +
                                   progress.layers_size() * stage->second.typical_train_work) /
                                  measured_gflops;
  const double seconds = (last + 1.0) * progress.teacher_seconds_per_step() + train_seconds;
  return std::clamp(expected_seconds / seconds, 1.0 / 16, 16.0);
}

double SliceBytes(const v1::JobSpec& job, const v1::ModelShape& shape, uint32_t last_layer, size_t layers) {
  return static_cast<double>(
      SliceMemory(job, shape, v1::STAGE_HIDDEN_STATE_ALIGNMENT, last_layer, layers).peak());
}

double TeacherBytes(const v1::JobSpec& job, const v1::ModelShape& shape, uint32_t last_layer) {
  return static_cast<double>(
      SliceMemory(job, shape, v1::STAGE_HIDDEN_STATE_ALIGNMENT, last_layer, /*layers=*/1).teacher);
}

double EndToEndBytes(const v1::JobSpec& job, const v1::ModelShape& shape, uint64_t ranks,
                     double teacher_part) {
  return static_cast<double>(EndToEndMemory(job, shape, ranks).peak(teacher_part));
}

double EvaluationWork(const Options& options, const v1::JobSpec& job, const v1::ModelShape& shape) {
  const ModelParameters parameters = CountParameters(job, shape);
  const auto forward =
      static_cast<double>(2 * (shape.layers() * parameters.teacher_block + parameters.embedding));
  const v1::StagesSpec& stages = job.stages();
  // The teacher; then the initial student and the student after each stage, beside the teacher on held-out
  // text.
  const int students =
      1 + stages.has_matrix_orientation() + stages.has_hidden_state_alignment() + stages.has_end_to_end();
  const int texts = job.data().off_domain().empty() ? 1 : 2;
  const int passes = texts + students * (texts + 1);
  return passes * forward * static_cast<double>(job.evaluation().tokens()) / 1e9 / options.assumed_efficiency;
}

}  // namespace retort::orchestrator
