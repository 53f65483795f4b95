// The fast form of model/layers/ssd.h: retort::ssd, retort::ssd_backward and retort::ssd_step in LibTorch's
// dispatcher, on the kernels of kernels/ssd. float32 on CPUs; Meta tensors give shapes. Autograd passes
// through FusedSsd once: a second derivative is refused. All arguments have float32 and one device; x, b and
// c a contiguous last dimension, otherwise any strides (slices of one projection's output need no copy).
// Log-decays are from -inf to 0, NaN passes. A wrong argument is a c10::Error that names the op, the
// argument, what came and what is allowed. Thread-safe. B batch, T tokens, H heads, P head width, G groups
// (of H / G heads), N state size; none but T may be 0.
#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

namespace retort {

// y [B,T,H,P] and the state after the last token [B,H,P,N] of
//     S_t = exp(l_t) S_{t-1} + dt_t x_t b_t^T,    y_t = S_t c_t + d x_t.
// `dt_BTH` undefined means 1, `d_H` none, `initial_state_BHPN` undefined means zero.
std::tuple<at::Tensor, at::Tensor> FusedSsd(const at::Tensor& x_BTHP, const at::Tensor& log_decay_BTH,
                                            const at::Tensor& b_BTGN, const at::Tensor& c_BTGN,
                                            const at::Tensor& dt_BTH, const at::Tensor& d_H,
                                            const at::Tensor& initial_state_BHPN);

// One token, of dt = 1: returns y [B,H,P] and replaces the contiguous state in place. Not differentiable:
// refused where an argument requires a gradient and gradients are on.
at::Tensor FusedSsdStep(const at::Tensor& x_BHP, const at::Tensor& log_decay_BH, const at::Tensor& b_BGN,
                        const at::Tensor& c_BGN, const at::Tensor& d_H, const at::Tensor& state_BHPN);

}  // namespace retort
