// Warm-up, stable, decay: the learning rate of one stage. Each stage starts its own (mohawk: "restarted
// independently in each stage").
#pragma once

#include <cstdint>

namespace retort {

// The rate of step `step` (0-based) of `steps`: a linear rise over the first tenth, `peak`, a linear fall
// over the last tenth. Never zero: the first step gets peak / warm-up steps, the last peak / decay steps.
double WsdRate(int64_t step, int64_t steps, double peak);

}  // namespace retort
