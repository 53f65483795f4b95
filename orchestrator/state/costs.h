// What a run's steps cost: measured where steps were taken, else counted from shapes.
//
// Work is in gigaflop as the workers' own measure counts them: the seconds that something takes times the
// speed (Worker::speed_gflops) of the worker that took them. So work divided by a worker's speed is seconds
// on that worker, and what was measured on one worker plans another.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "orchestrator/state/state.h"
#include "retort/v1/run_service.pb.h"

namespace retort::orchestrator {

// One stage's work in one step.
struct StageCosts {
  double teacher_work = 0;  // one block's forward pass
  // A layer's own part (loss, backward pass, optimiser); END_TO_END: the whole step, under layer 0. Those
  // that were not measured have the median of those that were.
  std::map<uint32_t, double> train_work;
  double typical_train_work = 0;  // that median
  double hop_seconds = 0;         // to receive a step's activations from the worker below, by the clock
  double hop_work = 0;            // what a worker of the typical speed of those registered does meanwhile
  v1::Basis hop_basis = v1::BASIS_ASSUMED;
  v1::Basis basis = v1::BASIS_ASSUMED;  // of the work
  uint64_t measured_run_id = 0;
};

struct RunCosts {
  std::map<v1::Stage, StageCosts> stages;   // of the stages that the job has
  RelayPolicy relay = RelayPolicy::kNever;  // never, too, while one registered worker does not serve another

  double TrainWork(v1::Stage stage, uint32_t layer) const;
  // Teacher blocks 0 to `layer`: what a slice whose last layer this is runs in every step when it recomputes.
  double PrefixWork(v1::Stage stage, uint32_t layer) const;
  // How a slice gets its input when the one below it ends with layer `below` (nullopt: there is none).
  v1::InputSource InputOf(v1::Stage stage, std::optional<uint32_t> below) const;
  // What a slice whose last layer this is runs of the teacher in every step, with its input.
  double TeacherWork(v1::Stage stage, std::optional<uint32_t> below, uint32_t layer) const;
};

// Of a run that has its shape. Measured on this run; else on the newest run with the same teacher shape,
// student, sequences and stage; else assumed. A hop of the other of stages 1 and 2 counts by its bytes.
RunCosts CostsOf(const State& state, const Options& options, const Run& run);

// How fast the holder of `lease` is beside its measured_gflops, judged by what its layers should take; within
// [1/16, 16]. nullopt: nothing was measured to judge by.
std::optional<double> MeasuredSpeedRatio(const RunCosts& costs, const Lease& lease, double measured_gflops);

// Bytes that a slice needs on its worker (core/base/job_memory.h); of stages 1 and 2 what the second needs,
// which trains more.
double SliceBytes(const v1::JobSpec& job, const v1::ModelShape& shape, uint32_t last_layer, size_t layers);
// Of the teacher's weights in it.
double TeacherBytes(const v1::JobSpec& job, const v1::ModelShape& shape, uint32_t last_layer);
// Of one of `ranks` ranks: the more there are, the smaller a pass may be.
double EndToEndBytes(const v1::JobSpec& job, const v1::ModelShape& shape, uint64_t ranks,
                     double teacher_part = 1);

// Work of measuring teacher and student in END_TO_END, from shapes alone.
double EvaluationWork(const Options& options, const v1::JobSpec& job, const v1::ModelShape& shape);

}  // namespace retort::orchestrator
