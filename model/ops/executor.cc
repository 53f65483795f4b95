#include "model/ops/executor.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>

namespace retort {
namespace {

class PoolExecutor : public Executor {
 public:
  void Run(int64_t items, ItemBody body) const override {
    const int64_t takers = std::min<int64_t>(items, at::in_parallel_region() ? 1 : at::get_num_threads());
    if (takers <= 1) return SerialExecutor().Run(items, body);
    std::atomic<int64_t> next{0};
    at::parallel_for(0, takers, /*grain_size=*/1, [&](int64_t, int64_t) {
      for (int64_t item = next++; item < items; item = next++) body(item);
    });
  }
};

}  // namespace

const Executor& TorchExecutor() {
  static const PoolExecutor executor;
  return executor;
}

}  // namespace retort
