// Operations of teacher and student, counted from a job and its teacher's shape:
// what plans assume where nothing was measured. Pure arithmetic.
#pragma once

#include <cstdint>
#include <vector>

#include "retort/v1/job.pb.h"
#include "retort/v1/work.pb.h"

namespace retort::orchestrator {

// Floating-point operations of one step (a multiplication and an addition are two).
struct StepFlops {
  double teacher_block = 0;
  double train = 0;  // stages 1 and 2: one layer's own part; END_TO_END: the whole step
};
StepFlops CountStepFlops(const v1::JobSpec& job, const v1::ModelShape& shape, v1::Stage stage);

// The layers that do not stay attention, ascending.
std::vector<uint32_t> ConvertedIn(const v1::JobSpec& job, const v1::ModelShape& shape);

// What a relay would send over one boundary in one step.
double BoundaryBytesPerStep(const v1::JobSpec& job, const v1::ModelShape& shape, v1::Stage stage);

}  // namespace retort::orchestrator
