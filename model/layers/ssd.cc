#include "model/layers/ssd.h"

#include <ATen/ATen.h>

#include <cmath>

namespace retort {
namespace {

// exp(cs_i - cs_j) for j <= i, else 0, over the last axis: [..., Q] -> [..., Q, Q]. Masked before exp: the
// upper triangle's positive differences could overflow, and inf * 0 in the backward pass is NaN.
at::Tensor DecayMatrix(const at::Tensor& cumulative) {
  const int64_t q = cumulative.size(-1);
  const at::Tensor difference = cumulative.unsqueeze(-1) - cumulative.unsqueeze(-2);
  const at::Tensor future = at::ones({q, q}, at::kBool).triu(1);
  return difference.masked_fill(future, -INFINITY).exp();
}

at::Tensor PadTokens(const at::Tensor& x, int64_t padding) {
  if (padding == 0) return x;
  std::vector<int64_t> shape = x.sizes().vec();
  shape[1] = padding;
  return at::cat({x, at::zeros(shape, x.options())}, 1);
}

}  // namespace

SsdResult SsdChunked(const SsdInputs& inputs, int64_t chunk, const at::Tensor& initial_state_BHPN) {
  const int64_t batch = inputs.x_BTHP.size(0), tokens = inputs.x_BTHP.size(1);
  const int64_t heads = inputs.x_BTHP.size(2), width = inputs.x_BTHP.size(3);
  const int64_t groups = inputs.b_BTGN.size(2), state = inputs.b_BTGN.size(3), shared = heads / groups;
  const int64_t chunks = (tokens + chunk - 1) / chunk, padding = chunks * chunk - tokens;

  // Letters: C chunks, Q tokens of a chunk, R heads of a group, W = R*P. A padded token has x = b = c = 0 and
  // decay 1, so it leaves the state alone.
  const auto by_chunk = [&](const at::Tensor& x) {
    return PadTokens(x, padding).unflatten(1, {chunks, chunk});
  };
  const at::Tensor x_BCGRQP =
      by_chunk(inputs.x_BTHP).unflatten(3, {groups, shared}).permute({0, 1, 3, 4, 2, 5});
  const at::Tensor b_BCGQN = by_chunk(inputs.b_BTGN).transpose(2, 3).contiguous();
  const at::Tensor c_BCGQN = by_chunk(inputs.c_BTGN).transpose(2, 3).contiguous();
  const at::Tensor cs_BCGRQ =
      by_chunk(inputs.log_decay_BTH).unflatten(3, {groups, shared}).permute({0, 1, 3, 4, 2}).cumsum(-1);

  // Within chunks: the masked matrix form.
  const at::Tensor scores_BCGQQ = at::matmul(c_BCGQN, b_BCGQN.transpose(3, 4));
  const at::Tensor within = at::matmul(DecayMatrix(cs_BCGRQ) * scores_BCGQQ.unsqueeze(3), x_BCGRQP);

  // What each chunk adds to the state, and the state that enters each chunk.
  const at::Tensor total_BCGR = cs_BCGRQ.select(-1, chunk - 1);
  const at::Tensor to_end = (total_BCGR.unsqueeze(-1) - cs_BCGRQ).exp();
  const at::Tensor added_BCGWN = at::matmul(
      (x_BCGRQP * to_end.unsqueeze(-1)).transpose(4, 5).reshape({batch, chunks, groups, -1, chunk}), b_BCGQN);
  at::Tensor state_BGWN = initial_state_BHPN.defined()
                              ? initial_state_BHPN.reshape({batch, groups, shared * width, state})
                              : at::zeros({batch, groups, shared * width, state}, inputs.x_BTHP.options());
  const at::Tensor decay_BCGW1 =
      total_BCGR.exp().unsqueeze(-1).expand({-1, -1, -1, -1, width}).flatten(3, 4).unsqueeze(-1);
  std::vector<at::Tensor> entering;
  for (int64_t c = 0; c < chunks; ++c) {
    entering.push_back(state_BGWN);
    state_BGWN = state_BGWN * decay_BCGW1.select(1, c) + added_BCGWN.select(1, c);
  }
  const at::Tensor carried = at::matmul(c_BCGQN, at::stack(entering, 1).transpose(3, 4))
                                 .unflatten(-1, {shared, width})
                                 .permute({0, 1, 2, 4, 3, 5});
  const at::Tensor y_BCGRQP = within + carried * cs_BCGRQ.exp().unsqueeze(-1);
  const at::Tensor y_BTHP = y_BCGRQP.permute({0, 1, 4, 2, 3, 5}).reshape({batch, -1, heads, width});
  return {y_BTHP.narrow(1, 0, tokens), state_BGWN.reshape({batch, heads, width, state})};
}

at::Tensor SsdStep(const at::Tensor& x_BHP, const at::Tensor& log_decay_BH, const at::Tensor& b_BGN,
                   const at::Tensor& c_BGN, at::Tensor& state_BHPN) {
  const int64_t shared = x_BHP.size(1) / b_BGN.size(1);
  const at::Tensor b_BHN = b_BGN.repeat_interleave(shared, 1), c_BHN = c_BGN.repeat_interleave(shared, 1);
  state_BHPN =
      state_BHPN * log_decay_BH.exp().unsqueeze(-1).unsqueeze(-1) + x_BHP.unsqueeze(-1) * b_BHN.unsqueeze(-2);
  return at::matmul(state_BHPN, c_BHN.unsqueeze(-1)).squeeze(-1);
}

at::Tensor SsdMatrix(const at::Tensor& log_decay_BTH, const at::Tensor& b_BTGN, const at::Tensor& c_BTGN) {
  const int64_t shared = log_decay_BTH.size(2) / b_BTGN.size(2);
  const at::Tensor scores_BGTT = at::matmul(c_BTGN.transpose(1, 2), b_BTGN.permute({0, 2, 3, 1}));
  const at::Tensor decay_BHTT = DecayMatrix(log_decay_BTH.transpose(1, 2).cumsum(-1));
  return (decay_BHTT.unflatten(1, {-1, shared}) * scores_BGTT.unsqueeze(2)).flatten(1, 2);
}

}  // namespace retort
