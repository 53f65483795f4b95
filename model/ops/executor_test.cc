#include "model/ops/executor.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <atomic>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort {
namespace {

TEST(TorchExecutor, RunsEachItemOnce) {
  std::vector<int> seen(1000);
  TorchExecutor().Run(1000, [&](int64_t item) { ++seen[item]; });
  EXPECT_THAT(seen, testing::Each(1));
}

TEST(TorchExecutor, RunsNothingForNoItems) {
  TorchExecutor().Run(0, [](int64_t) { ADD_FAILURE() << "called"; });
}

// at::parallel_for is inlined and silently serial in a file compiled without -fopenmp. Each of two items
// waits for the other to have begun.
TEST(TorchExecutor, UsesTwoThreads) {
  std::atomic<int> begun{0};
  TorchExecutor().Run(2, [&](int64_t) {
    ++begun;
    while (begun < 2) std::this_thread::yield();
  });
  EXPECT_EQ(begun, 2);
}

#if defined(__x86_64__)
bool FlushesDenormals() { return (_mm_getcsr() & 0x8040) == 0x8040; }  // flush-to-zero, denormals-are-zero

TEST(PrepareNumericProcess, ReachesTheThreadsOfThePool) {
  std::vector<int> flushes(2);
  std::atomic<int> begun{0};
  TorchExecutor().Run(2, [&](int64_t item) {
    flushes[item] = FlushesDenormals();
    ++begun;
    while (begun < 2) std::this_thread::yield();
  });
  EXPECT_THAT(flushes, testing::Each(1));
}

struct Observed : torch::autograd::Function<Observed> {
  static inline bool flushes = false;
  static at::Tensor forward(torch::autograd::AutogradContext*, const at::Tensor& x) { return x.clone(); }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext*,
                                                 torch::autograd::variable_list gradients) {
    flushes = FlushesDenormals();
    return gradients;
  }
};

TEST(PrepareNumericProcess, ReachesTheBackwardPass) {
  const at::Tensor x = at::ones({2}).requires_grad_();
  Observed::apply(x).sum().backward();
  EXPECT_TRUE(Observed::flushes);
}
#endif

}  // namespace
}  // namespace retort
