#include "kernels/adamw/adamw.h"

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/adamw/adamw_ref.h"
#include "kernels/base/testing_threads.h"

namespace retort {
namespace {

constexpr double kEpsilon = std::numeric_limits<float>::epsilon();

AdamWOptions OptionsAt(int64_t step) {
  return {.lr = 1e-2, .beta1 = 0.9, .beta2 = 0.95, .weight_decay = 0.1, .eps = 1e-8, .step = step};
}

struct Tensor {
  explicit Tensor(int64_t count, uint64_t seed = 1) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (std::vector<float>* values : {&value, &gradient, &first, &second}) {
      for (int64_t i = 0; i < count; ++i) values->push_back(normal(random));
    }
    for (float& v : second) v *= v;
  }
  AdamWTensor Pointers() {
    return {static_cast<int64_t>(value.size()), value.data(), gradient.data(), first.data(), second.data()};
  }
  std::vector<float> value, gradient, first, second;
};

class AdamWKernel : public testing::TestWithParam<InstructionSet> {
 protected:
  void Update(std::vector<Tensor>& tensors, int64_t step, const Executor& executor = SerialExecutor()) {
    std::vector<AdamWTensor> pointers;
    for (Tensor& tensor : tensors) pointers.push_back(tensor.Pointers());
    AdamWUpdate(pointers.data(), static_cast<int64_t>(pointers.size()), OptionsAt(step), executor,
                GetParam());
  }
};

INSTANTIATE_TEST_SUITE_P(, AdamWKernel, testing::ValuesIn(SupportedInstructionSets()),
                         [](const auto& info) { return std::string(Name(info.param)); });

// m and v are sums of two rounded products; the update has six roundings more, and is subtracted.
TEST_P(AdamWKernel, IsTheReferenceForAllCounts) {
  const std::vector<int64_t> counts = {0, 1, 3, 15, 16, 17, 100, 16383, 16384, 16385, 40000};
  for (const int64_t step : {1, 2, 1000}) {
    std::vector<Tensor> tensors;
    for (const int64_t count : counts) tensors.emplace_back(count, count);
    std::vector<Tensor> given = tensors;
    Update(tensors, step);
    for (size_t t = 0; t < tensors.size(); ++t) {
      const auto doubles = [](const std::vector<float>& v) {
        return std::vector<double>(v.begin(), v.end());
      };
      std::vector<double> value = doubles(given[t].value), m = doubles(given[t].first),
                          v = doubles(given[t].second);
      AdamWUpdateRef(OptionsAt(step), doubles(given[t].gradient), value, m, v);
      for (size_t i = 0; i < value.size(); ++i) {
        const double size = std::abs(given[t].first[i]) + std::abs(given[t].gradient[i]);
        ASSERT_LE(std::abs(tensors[t].first[i] - m[i]), 2 * kEpsilon * size) << t << " " << i;
        ASSERT_LE(std::abs(tensors[t].second[i] - v[i]), 3 * kEpsilon * v[i]) << t << " " << i;
        const double update = OptionsAt(step).lr * 10 * size / std::sqrt(v[i]);
        ASSERT_LE(std::abs(tensors[t].value[i] - value[i]), kEpsilon * (std::abs(value[i]) + 8 * update))
            << t << " " << i;
      }
    }
  }
}

TEST_P(AdamWKernel, LeavesAValueThatNeverHadAGradient) {
  std::vector<Tensor> tensors = {Tensor(20)};
  for (std::vector<float>* values : {&tensors[0].gradient, &tensors[0].first, &tensors[0].second}) {
    values->assign(20, 0.0f);
  }
  const std::vector<float> before = tensors[0].value;
  Update(tensors, 1);
  for (int i = 0; i < 20; ++i) EXPECT_FLOAT_EQ(tensors[0].value[i], before[i] * 0.999f);
}

TEST_P(AdamWKernel, GivesTheSameBitsOnAnyNumberOfThreads) {
  std::vector<Tensor> one = {Tensor(50001), Tensor(7), Tensor(20000)}, two = one;
  Update(one, 3);
  Update(two, 3, TestingThreads(2));
  for (size_t t = 0; t < one.size(); ++t) {
    EXPECT_EQ(one[t].value, two[t].value);
    EXPECT_EQ(one[t].first, two[t].first);
    EXPECT_EQ(one[t].second, two[t].second);
  }
}

TEST_P(AdamWKernel, KeepsANanAtItsPlace) {
  std::vector<Tensor> tensors = {Tensor(40)};
  tensors[0].gradient[21] = NAN;
  Update(tensors, 1);
  for (int i = 0; i < 40; ++i) ASSERT_EQ(std::isnan(tensors[0].value[i]), i == 21) << i;
}

}  // namespace
}  // namespace retort
