#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/adamw/adamw_simd.h"

namespace retort {

void AdamWUpdate(const AdamWTensor* tensors, int64_t tensor_count, const AdamWOptions& options,
                 const Executor& executor, InstructionSet set) {
  constexpr int64_t kItemFloats = 16384;  // some 10 us, worth handing over; a multiple of every vector
  const auto power = static_cast<double>(options.step);
  const double first_correction = 1 - std::pow(options.beta1, power),
               second_correction = 1 - std::pow(options.beta2, power);
  const AdamWFactors factors = {static_cast<float>(1 - options.lr * options.weight_decay),
                                static_cast<float>(1 - options.beta1),
                                static_cast<float>(options.beta2),
                                static_cast<float>(1 - options.beta2),
                                static_cast<float>(options.lr / first_correction),
                                static_cast<float>(1 / std::sqrt(second_correction)),
                                static_cast<float>(options.eps)};
  std::vector<int64_t> ends(tensor_count);  // of each tensor's items
  int64_t items = 0;
  for (int64_t i = 0; i < tensor_count; ++i) {
    ends[i] = items += (tensors[i].count + kItemFloats - 1) / kItemFloats;
  }
  const auto update_range = RETORT_SIMD_CHOOSE(set, AdamWUpdateRange);
  executor.Run(items, [&](int64_t item) {
    const int64_t i = std::upper_bound(ends.begin(), ends.end(), item) - ends.begin();
    const int64_t begin = (item - (i == 0 ? 0 : ends[i - 1])) * kItemFloats;
    update_range(tensors[i], factors, begin, std::min(begin + kItemFloats, tensors[i].count));
  });
}

}  // namespace retort
