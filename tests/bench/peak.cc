#include "tests/bench/peak.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <unistd.h>

#include <atomic>

#include "model/ops/executor.h"
#include "tests/bench/bench.h"

namespace retort {

double MeasuredPeakFlops() {
  const auto burn = RETORT_SIMD_CHOOSE(ActiveInstructionSet(), BurnFlops);
  const int64_t threads = at::get_num_threads();
  std::atomic<double> flops{0};
  const auto run = [&] { TorchExecutor().Run(threads, [&](int64_t) { flops = burn(1 << 20); }); };
  const double seconds = TimeInterleaved(5, {run})[0];
  return flops * static_cast<double>(threads) / seconds;
}

double MeasuredUpdateBandwidth(int64_t bytes) {
  at::Tensor values = at::ones({bytes / 4});
  return 2.0 * bytes / TimeInterleaved(5, {[&] { values.mul_(0.999); }})[0];
}

int64_t LastLevelCacheBytes() {
  const int64_t bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
  return bytes > 0 ? bytes : 32 << 20;
}

}  // namespace retort
