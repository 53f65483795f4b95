// What a job would do, from its file alone.
#pragma once

#include <string>

#include "retort/v1/job.pb.h"

namespace retort {

// A table of the stages: steps, tokens (whole steps), tokens per step, micro-batches added up per step,
// learning rate. `job` is one that LoadJob accepted.
std::string RenderPlan(const v1::JobSpec& job);

}  // namespace retort
