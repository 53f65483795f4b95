// Stage 1 of MOHAWK (arXiv 2408.10189): how far a student's mixing matrix is from a teacher's attention
// matrix, with the gradients, and no T x T array. For each batch b and query head h, over i >= j,
//     P_ij = exp(q_i . k_j / sqrt(Q) - lse_i)                                  the teacher, constant
//     M_ij = (c_i . b_j) exp(l_{j+1} + ... + l_i) dt_j + D_h [i = j]           the student
//     S_bh = sum_ij (M_ij - P_ij)^2
// and, for the gradients of sum_bh w_bh S_bh, with E = M - P, L_ij the exponential, F_ij = 2 w E_ij L_ij dt_j
// and W_ij = 2 w E_ij (M_ij - D_h [i = j]),
//     dc_i = sum_hj F_ij b_j        db_j = sum_hi F_ij c_i        dD = sum_bi 2 w E_ii
//     ddt_j = sum_i 2 w E_ij L_ij (c_i . b_j)        dl_t = sum over i >= t > j of W_ij
// l <= 0 is the log-decay: 0 keeps everything, -infinity starts a new document.
//
// Tiles of 64 x 64 are recomputed from q, k and lse where they are needed. Two walks over them serve students
// whose heads share groups: forward for S, and backward, where the weights w are known (for a mean of roots
// they depend on all of S), for the gradients. So the heads of a group share not only the products c_i . b_j
// but also those that give dc and db, and nothing is kept. Where each head is a group, one walk makes S and
// each head's gradients for w = 1, which are then scaled. Tiles in which decay has left less than 1e-20 of
// the student cost only their P.
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
struct MixingLossInput {
  MixingLossShape shape;
  HeadRows<Real> q_BTHQ, k_BTKQ, lse_BTH;  // lse: the log-sum-exp of each row's scaled causal scores
  HeadRows<Real> c_BTGN, b_BTGN;
  HeadRows<Real> log_decay_BTH;  // no data: no decay, l = 0
  HeadRows<Real> dt_BTH;         // no data: dt = 1
  const Real* d_H = nullptr;     // null: D = 0
};

template <class Real>
struct MixingLossGradients {
  Real *c_BTGN = nullptr, *b_BTGN = nullptr;
  Real* log_decay_BTH = nullptr;  // this and the next two: null exactly where the input has no data
  Real* dt_BTH = nullptr;
  Real* d_H = nullptr;
};

// State sizes that the kernel takes: multiples of 16 from 16 to 256. Head widths: 1 to 256.
bool MixingLossTakesStateSize(int64_t state_size);
bool MixingLossTakesHeadDim(int64_t head_dim);

// fp32. Results do not depend on the executor: the work items and the order of every sum follow from the
// shape. Sizes that the kernel does not take are the caller's error and end the process. Memory, in floats:
// (K Q + 2 G N + 6 H) B T, backward up to 8 times B T (G N + H) more, and 64 (H / G) Q + 64 N for each
// running item.
void MixingLossForward(const MixingLossInput<float>& input, float* loss_BH, InstructionSet set,
                       const Executor& executor);
void MixingLossBackward(const MixingLossInput<float>& input, const float* weight_BH,
                        const MixingLossGradients<float>& gradients, InstructionSet set,
                        const Executor& executor);
// Both in one walk with w = 1, where groups == heads; memory as backward's. gradients.d_H is null: that of D
// goes to grad_d_BH, null exactly where there is no D.
void MixingLossForwardBackward(const MixingLossInput<float>& input, float* loss_BH,
                               const MixingLossGradients<float>& gradients, float* grad_d_BH,
                               InstructionSet set, const Executor& executor);

}  // namespace retort
