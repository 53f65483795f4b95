// How much memory a slice will take at its peak, from shapes alone. A worker says it before it loads.
#pragma once

#include <cstdint>
#include <vector>

#include "model/io/model_config.h"
#include "retort/v1/job.pb.h"
#include "train/stages/stage_plan.h"

namespace retort {

// Of the teacher's tensors at places below `blocks` (ModelTensor::place).
uint64_t TeacherBytes(const ModelConfig& teacher, int64_t blocks);

// Teacher blocks up to the last of `layers`, ascending; the layers' own tensors, gradients and moments; two
// copies of a checkpoint, of which one is being sent; what one pass of one layer leaves for its backward
// pass.
uint64_t PlanLayersBytes(const StagePlan& plan, const ModelConfig& teacher, const ModelConfig& student,
                         const std::vector<int64_t>& layers);

// Teacher and student whole, what END_TO_END trains with gradients and moments, two copies of its checkpoint
// or the result, one pass through all layers, one window of the evaluation.
uint64_t PlanEndToEndBytes(const v1::JobSpec& job, const ModelConfig& teacher, const ModelConfig& student);

}  // namespace retort
