// The items of lm_head_kd_cpu.cc, compiled once per instruction set. Items of one phase may run at the same
// time; a phase begins when the one before it has ended.
// Legend: R tokens, C tokens padded to whole vectors, V vocabulary, N runs of it, G groups of runs, E width.
#pragma once

#include "kernels/lm_head_kd/lm_head_kd.h"

namespace retort {

constexpr int64_t kLmHeadKdRunRows = 96;  // rows of the heads, whose logits stay in the second-level cache
constexpr int64_t kLmHeadKdGroups = 16;   // partial sums of grad_hidden: no more threads than this share it
constexpr int64_t kLmHeadKdPanel = 64;    // columns of a packed right operand
constexpr int64_t kLmHeadKdStatistics = 16;  // tokens of an item of LmHeadKdCombine

// One call's memory.
struct LmHeadKdWork {
  LmHeadKdArgs args;
  int64_t runs, groups, columns;
  int64_t padded_width;  // E padded to whole vectors

  // Panels of 64 tokens, each [E, 64], the last one as wide as it has to be; absent tokens are zeros.
  float* student_panels = nullptr;
  float* teacher_panels = nullptr;
  float* hidden_panels = nullptr;  // panels of 64 columns, each [R, 64]

  float* student_VC = nullptr;  // z, then e relative to the run's largest, then the gradient by z
  float* teacher_VC = nullptr;  // z', then e'
  // Of a run: the largest logit, the sum of e and that of the loss's terms. Later the sums become the factors
  // that turn e and e' into the gradient.
  float* student_largest_NC = nullptr;
  float* student_sum_NC = nullptr;
  float* teacher_largest_NC = nullptr;
  float* teacher_sum_NC = nullptr;
  float* term_sum_NC = nullptr;
  float* id_logit_C = nullptr;       // where ids give the labels
  float* grad_hidden_GRE = nullptr;  // each group's part, E padded
};

// The runs of group `group`: logits, exponentials, statistics.
RETORT_SIMD_DECLARE(void LmHeadKdGroupLogits(const LmHeadKdWork& work, int64_t group))
// A vector's worth of tokens: losses and factors from the statistics of all runs.
RETORT_SIMD_DECLARE(void LmHeadKdCombine(const LmHeadKdWork& work, int64_t item))
// The runs of group `group`: gradient by the logits, grad_head, the group's part of grad_hidden.
RETORT_SIMD_DECLARE(void LmHeadKdGroupGradients(const LmHeadKdWork& work, int64_t group))
// Adds up the groups' parts for one token.
RETORT_SIMD_DECLARE(void LmHeadKdFinishToken(const LmHeadKdWork& work, int64_t token))

}  // namespace retort
