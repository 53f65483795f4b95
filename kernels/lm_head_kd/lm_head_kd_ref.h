// kernels/lm_head_kd in float64, by log-softmax as the definition stands: what the fast versions are tested
// against.
#pragma once

#include <vector>

#include "kernels/lm_head_kd/lm_head_kd.h"

namespace retort {

struct LmHeadKdRefRow {
  double loss;
  std::vector<double> gradient;  // of the loss by the student's logits
};

// One row against a teacher's logits.
LmHeadKdRefRow LmHeadKdRef(const std::vector<double>& student, const std::vector<double>& teacher,
                           LmHeadKdLoss loss, double temperature);

// One row against a token.
LmHeadKdRefRow LmHeadKdRef(const std::vector<double>& student, int64_t id, double temperature);

}  // namespace retort
