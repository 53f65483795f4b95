// Stage 3's loss over rows of logits, with its gradient written over the student's: the step between the
// GEMMs that make a chunk of logits and those that carry the gradient on (model/ops/lm_head_kd.h). For one
// row, s = softmax(z / tau) of the student's logits z and labels p:
//     cross-entropy  -sum_v p_v log s_v,      divergence  sum_v p_v (log p_v - log s_v),
//     gradient of both by z  (s - p) / tau
// p is softmax(z' / tau) of the teacher's logits z', or one-hot at an id. With e_v = exp((z_v - max z) /
// tau), Z its sum, e'_v and Z' the teacher's: the divergence is
//     sum_v e'_v (z'_v - max z' - z_v + max z) / (tau Z') - log Z' + log Z,
// which needs neither log p nor a difference of large numbers; cross-entropy leaves out the teacher's terms.
// A teacher's logit of -inf is a label of 0. A row whose teacher or student has no finite logit gives NaN.
// Legend: R rows (tokens), V vocabulary. float32 logits, sums in float64. Rows are independent, so a NaN
// stays in its row. The caller owns every array. Bits do not depend on the executor. Thread-safe.
#pragma once

#include <cstdint>

#include "kernels/base/executor.h"
#include "kernels/base/instruction_set.h"

namespace retort {

enum class LmHeadKdLoss { kCrossEntropy, kDivergence };

// [R, V]; `stride` elements from row to row.
struct LmHeadKdLogits {
  float* data;
  int64_t stride;
};

struct LmHeadKdArgs {
  int64_t rows, vocabulary;
  LmHeadKdLogits student;  // in: logits; out: gradient_scale (s - p)
  LmHeadKdLogits teacher;  // in: logits; out: unspecified. data is null where `ids_R` gives the labels
  const int64_t* ids_R;    // in [0, V) for rows that count; or null. The loss is then the cross-entropy
  const bool* mask_R;      // false: the row counts for nothing, loss and gradient 0; null: all rows count
  LmHeadKdLoss loss;
  float temperature;     // tau > 0
  float gradient_scale;  // of (s - p): 1 / (tau n) for the gradient of a mean over n rows
  double* loss_R;
};
void LmHeadKdRows(const LmHeadKdArgs& args, const Executor& executor, InstructionSet set);

}  // namespace retort
