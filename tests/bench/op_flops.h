// Multiplications and additions that an operation's products take, without exponentials and the like: over a
// measured peak rate, the least time that a kernel which computes them can take.
#pragma once

#include <cstdint>

namespace retort {

inline double CausalPairs(int64_t tokens) { return 0.5 * static_cast<double>(tokens * (tokens + 1)); }

// Softmax attention's forward pass: scores and, `with_output`, the weighted sum.
inline double AttentionFlops(int64_t tokens, int64_t heads, int64_t width, bool with_output) {
  return CausalPairs(tokens) * static_cast<double>(heads * (with_output ? 4 : 2) * width);
}

// The scan with its gradients: its products with the state. Those within chunks come on top, and are the
// fewer the shorter the chunks.
inline double ScanFlops(int64_t tokens, int64_t heads, int64_t width, int64_t state_size) {
  return 12.0 * static_cast<double>(tokens * heads * width * state_size);
}

// Stage 1's loss with its gradients. In two walks q_i . k_j and c_i . b_j twice and the gradients of c and b
// once, products with c and b once a group; in one walk, where each head is a group, everything once.
inline double MixingLossFlops(int64_t tokens, int64_t heads, int64_t groups, int64_t width,
                              int64_t state_size) {
  const int64_t of_pair =
      groups == heads ? heads * (2 * width + 6 * state_size) : heads * 4 * width + groups * 8 * state_size;
  return CausalPairs(tokens) * static_cast<double>(of_pair);
}

}  // namespace retort
