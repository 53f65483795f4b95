#include <algorithm>

#include "kernels/row_distance/row_distance_simd.h"

namespace retort {

void RowDistance(const RowDistanceArgs& args, const Executor& executor, InstructionSet set) {
  constexpr int64_t kItemFloats = 16384;  // some 5 us, worth handing over
  const auto rows_body = RETORT_SIMD_CHOOSE(set, RowDistanceRows);
  const int64_t item_rows = std::max<int64_t>(kItemFloats / args.width, 1);
  executor.Run((args.rows + item_rows - 1) / item_rows, [&](int64_t item) {
    rows_body(args, item * item_rows, std::min((item + 1) * item_rows, args.rows));
  });
}

}  // namespace retort
