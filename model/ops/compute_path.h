// Layers and losses compute by the kernels; the plain LibTorch formulas beside them are the reference that
// the kernels are tested against, the path for float64 and for sizes that no kernel takes, and a switch
// away: RETORT_KERNELS=off.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace retort {

// False when RETORT_KERNELS is "off". Decided at the first call; ends the process with a message and status 2
// when it is something else than "on" or "off". Thread-safe.
bool KernelsOn();

// Whether a kernel may compute with `x`: KernelsOn() and float32 on the CPU.
bool KernelsTake(const at::Tensor& x);

// What computes: "plain", or the kernels' instruction set, such as "avx512". Decides a run's bits.
std::string ComputePath();

}  // namespace retort
