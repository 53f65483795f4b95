// What this machine can do at most, to set figures beside.
#pragma once

#include <cstdint>

#include "kernels/base/instruction_set.h"

namespace retort {

// Runs `rounds` rounds of multiply-adds in registers and returns the number of floating-point operations.
RETORT_SIMD_DECLARE(double BurnFlops(int64_t rounds))

// FLOP/s of all of LibTorch's threads together.
double MeasuredPeakFlops();

// Bytes read plus bytes written per second, by all of LibTorch's threads, scaling `bytes` of floats in place.
double MeasuredUpdateBandwidth(int64_t bytes);

// Of the last level of the cache, 32 MiB if the system does not say.
int64_t LastLevelCacheBytes();

}  // namespace retort
