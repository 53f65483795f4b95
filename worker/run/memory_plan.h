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

// Teacher blocks up to the last of `layers`, ascending; the layers' own tensors, gradients and moments; a
// checkpoint that is being sent, and beside it the next one or one layer's pass.
uint64_t PlanLayersBytes(const StagePlan& plan, const ModelConfig& teacher, const ModelConfig& student,
                         const std::vector<int64_t>& layers);

// The same of END_TO_END: teacher and student whole, a pass through all layers or the result's bytes.
// As one of `ranks` ranks.
uint64_t PlanEndToEndBytes(const v1::JobSpec& job, const ModelConfig& teacher, const ModelConfig& student,
                           uint64_t ranks);

}  // namespace retort
