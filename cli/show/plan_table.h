// `retort plan` for people: when, where, with what memory, and what each number rests on.
#pragma once

#include <string>

#include "retort/v1/run_service.pb.h"

namespace retort {

// A row per stage, a row per slice, the whole time, the reasons. Each figure is followed by "assumed" or
// "measured(run N)".
std::string RenderPlanReply(const v1::PlanReply& plan);

}  // namespace retort
