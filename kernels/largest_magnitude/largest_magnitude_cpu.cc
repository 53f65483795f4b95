#include <algorithm>
#include <vector>

#include "kernels/largest_magnitude/largest_magnitude_simd.h"

namespace retort {

void LargestMagnitudes(const FloatArray* arrays, int64_t array_count, float* largest,
                       const Executor& executor, InstructionSet set) {
  constexpr int64_t kItemFloats = 65536;  // some 10 us out of a cache, worth handing over
  const auto largest_of = RETORT_SIMD_CHOOSE(set, LargestMagnitudeOf);
  std::vector<int64_t> ends(array_count);  // of each array's items
  int64_t items = 0;
  for (int64_t i = 0; i < array_count; ++i) {
    ends[i] = items += (arrays[i].count + kItemFloats - 1) / kItemFloats;
  }
  std::vector<float> parts(items);
  executor.Run(items, [&](int64_t item) {
    const int64_t i = std::upper_bound(ends.begin(), ends.end(), item) - ends.begin();
    const int64_t begin = (item - (i == 0 ? 0 : ends[i - 1])) * kItemFloats;
    parts[item] = largest_of(arrays[i].data + begin, std::min(kItemFloats, arrays[i].count - begin));
  });
  int64_t item = 0;
  for (int64_t i = 0; i < array_count; ++i) {
    largest[i] = 0;
    for (; item < ends[i]; ++item) {
      if (!(parts[item] <= largest[i])) largest[i] = parts[item];
      if (largest[i] != largest[i]) break;
    }
    item = ends[i];
  }
}

}  // namespace retort
