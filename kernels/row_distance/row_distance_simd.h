// Rows `begin` to `end`, per instruction set.
#pragma once

#include "kernels/row_distance/row_distance.h"

namespace retort {

RETORT_SIMD_DECLARE(void RowDistanceRows(const RowDistanceArgs& args, int64_t begin, int64_t end))

}  // namespace retort
