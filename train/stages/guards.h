// Training that cannot succeed stops at once, with the reason: silent no-op training and broken starts are
// what users of distillation scripts lose days to.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "train/optim/adamw.h"
#include "train/stages/stage_plan.h"

namespace retort {

// INTERNAL when the loss is not finite, or when it is the stage's first and absurd: above 1e5 in stages 1 and
// 2 (a broken start gives 1e8 and more), above ten times the entropy of a uniform guess, 10 ln V, in stage 3.
// `where` names the layer, or the student.
absl::Status CheckLoss(Stage stage, int64_t step, const std::string& where, double loss, int64_t vocab_size);

// Before a step is applied: INTERNAL when a tensor that should train has no gradient or one that is not
// finite, and at a stage's first step also when it is zero everywhere.
absl::Status CheckGradients(Stage stage, int64_t step, const std::string& where,
                            const std::vector<Trainable>& trainables);

}  // namespace retort
