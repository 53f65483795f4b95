#include <cstring>

#include "kernels/lm_head_kd/lm_head_kd_simd.h"

namespace retort {

void LmHeadKdRows(const LmHeadKdArgs& args, const Executor& executor, InstructionSet set) {
  const auto row_body = RETORT_SIMD_CHOOSE(set, LmHeadKdRow);
  executor.Run(args.rows, [&](int64_t row) {
    if (args.mask_R == nullptr || args.mask_R[row]) return row_body(args, row);
    args.loss_R[row] = 0;
    std::memset(args.student.data + row * args.student.stride, 0, args.vocabulary * sizeof(float));
  });
}

}  // namespace retort
