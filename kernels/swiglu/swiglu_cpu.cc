#include <algorithm>

#include "kernels/swiglu/swiglu_simd.h"

namespace retort {
namespace {

constexpr int64_t kItemFloats = 16384;  // some 10 us, worth handing over; a multiple of every vector

template <class Args>
void RunItems(const Args& args, void (*range_body)(const Args&, int64_t, int64_t), const Executor& executor) {
  executor.Run((args.count + kItemFloats - 1) / kItemFloats, [&](int64_t item) {
    range_body(args, item * kItemFloats, std::min((item + 1) * kItemFloats, args.count));
  });
}

}  // namespace

void SwigluForward(const SwigluForwardArgs& args, const Executor& executor, InstructionSet set) {
  RunItems(args, RETORT_SIMD_CHOOSE(set, SwigluForwardRange), executor);
}

void SwigluBackward(const SwigluBackwardArgs& args, const Executor& executor, InstructionSet set) {
  RunItems(args, RETORT_SIMD_CHOOSE(set, SwigluBackwardRange), executor);
}

}  // namespace retort
