// Stage 3's loss through the language-model heads, for as many tokens as the workspace has room for. For one
// token, z = head hidden are the student's logits, s = softmax(z / tau), and with labels p
//     cross-entropy  -sum_v p_v log s_v,      divergence  sum_v p_v (log p_v - log s_v),
//     gradient of both by z  (s - p) / tau
// p is softmax(z' / tau) of the teacher's logits z', or one-hot at an id. With e_v = exp((z_v - max z) /
// tau), Z its sum, e'_v and Z' the teacher's: the divergence is
//     sum_v e'_v (z'_v - max z' - z_v + max z) / (tau Z') - log Z' + log Z,
// which needs neither log p nor a difference of large numbers; cross-entropy leaves out the teacher's terms.
// A teacher's logit of -inf is a label of 0. A token whose teacher or student has no finite logit gives NaN.
// The walk is in docs/kernels.md, and why its products are its own in docs/design/0003-lm-head-products.md.
// Legend: R tokens, V vocabulary, E width (the teacher's may differ). float32, sums over the vocabulary in
// float64. A token's loss and gradient depend on no other token, so a NaN stays in its row of grad_hidden.
// The caller owns every array. Bits do not depend on the executor. Thread-safe.
#pragma once

#include <cstdint>

#include "kernels/base/executor.h"
#include "kernels/base/instruction_set.h"

namespace retort {

enum class LmHeadKdLoss { kCrossEntropy, kDivergence };

struct LmHeadKdShape {
  int64_t rows, vocabulary;
  int64_t width, teacher_width;  // teacher_width is 0 where ids give the labels
};

// hidden [R, E], any strides; head [V, E], adjacent columns.
struct LmHeadKdSide {
  const float* hidden;
  int64_t hidden_row, hidden_column;
  const float* head;
  int64_t head_row;
};

struct LmHeadKdArgs {
  LmHeadKdShape shape;
  LmHeadKdSide student;
  LmHeadKdSide teacher;  // unused where `ids_R` gives the labels
  const int64_t* ids_R;  // in [0, V); or null. The loss is then the cross-entropy
  LmHeadKdLoss loss;
  float temperature;     // tau > 0
  float gradient_scale;  // of (s - p): 1 / (tau n) for the gradient of a mean over n tokens
  double* loss_R;
  // [R, E] and [V, E], adjacent columns; null: not wanted. grad_hidden is written, grad_head is added to.
  float* grad_hidden;
  int64_t grad_hidden_row;
  float* grad_head;
  int64_t grad_head_row;
};

// What LmHeadKdChunk needs, in floats at a 64-byte boundary. Rises with the number of rows.
int64_t LmHeadKdWorkspaceFloats(const LmHeadKdShape& shape);

void LmHeadKdChunk(const LmHeadKdArgs& args, float* workspace, const Executor& executor, InstructionSet set);

}  // namespace retort
