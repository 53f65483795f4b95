// Stage 1 of MOHAWK (arXiv 2408.10189): how far a student's mixing matrix is from a teacher's attention
// matrix, with the gradients, and no T x T array. For each batch b and query head h, over i >= j,
//     P_ij = exp(q_i . k_j / sqrt(Q) - lse_i)                                  the teacher, constant
//     M_ij = (c_i . b_j) exp(l_{j+1} + ... + l_i) dt_j + D_h [i = j]           the student
//     S_bh = sum_ij (M_ij - P_ij)^2
// and, with E = M - P, L_ij the exponential, F_ij = 2 E_ij L_ij dt_j and W_ij = 2 E_ij (M_ij - D_h [i = j]),
//     dS/dc_i = sum_j F_ij b_j                dS/db_j = sum_i F_ij c_i         dS/dD = sum_i 2 E_ii
//     dS/dt_j = sum_i 2 E_ij L_ij (c_i . b_j)         dS/dl_t = sum over i >= t > j of W_ij
// l <= 0 is the log-decay: 0 keeps everything, -infinity starts a new document.
//
// One pass over 64 x 64 tiles computes the loss and every gradient, because the caller's loss weights S_bh
// by what is known only after the pass (mean of roots): gradients come per query head, unweighted. Tiles in
// which decay has left less than 1e-20 of the student add sum P^2 alone.
//
// B batch, T tokens, H query heads, K key heads, G groups of the student, Q head width, N state size. Query
// head h reads key head h / (H / K) and group h / (H / G). Inputs lie as [B, T, heads, width] with any
// strides of the first three and unit stride of the last; outputs are contiguous. The caller owns all memory;
// inputs and outputs must not overlap. Functions are thread-safe for distinct outputs.
#pragma once

#include <cstdint>

#include "kernels/base/executor.h"
#include "kernels/base/instruction_set.h"

namespace retort {

// Rows of a tensor: element [b, t, h, n] is data[b * batch + t * token + h * head + n]. Strides in elements.
template <class Real>
struct HeadRows {
  const Real* data = nullptr;
  int64_t batch = 0, token = 0, head = 0;

  __attribute__((always_inline)) const Real* Row(int64_t b, int64_t t, int64_t h) const {
    return data + b * batch + t * token + h * head;
  }
};

struct MixingLossShape {
  int64_t batch = 0, tokens = 0;
  int64_t heads = 0, key_heads = 0, groups = 0;  // key_heads and groups divide heads
  int64_t head_dim = 0;                          // Q
  int64_t state_size = 0;                        // N
};

template <class Real>
struct MixingLossArgs {
  MixingLossShape shape;
  HeadRows<Real> q_BTHQ, k_BTKQ, lse_BTH;  // lse: the log-sum-exp of each row's scaled causal scores
  HeadRows<Real> c_BTGN, b_BTGN;
  HeadRows<Real> log_decay_BTH;  // no data: no decay, l = 0
  HeadRows<Real> dt_BTH;         // no data: dt = 1
  const Real* d_H = nullptr;     // null: D = 0

  Real* loss_BH = nullptr;
  Real *grad_c_BHTN = nullptr, *grad_b_BHTN = nullptr;
  Real* grad_log_decay_BHT = nullptr;  // null exactly where the input has no data
  Real* grad_dt_BHT = nullptr;
  Real* grad_d_BH = nullptr;
};

// State sizes that the kernel takes: multiples of 16 from 16 to 256. Head widths: 1 to 256.
bool MixingLossTakesStateSize(int64_t state_size);
bool MixingLossTakesHeadDim(int64_t head_dim);

// fp32. The results do not depend on the executor: its work items and the order of every sum follow from the
// shape. Allocates about (K Q + G N) B T floats and 200 KB for each item that runs. Sizes that the kernel
// does not take are the caller's error and end the process.
void MixingLoss(const MixingLossArgs<float>& args, InstructionSet set, const Executor& executor);

}  // namespace retort
