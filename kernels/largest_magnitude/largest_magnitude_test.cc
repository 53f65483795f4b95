#include "kernels/largest_magnitude/largest_magnitude.h"

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/testing_threads.h"

namespace retort {
namespace {

std::vector<float> Random(int64_t count) {
  std::mt19937 random(count);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(uniform(random));
  return values;
}

class LargestMagnitudeKernel : public testing::TestWithParam<InstructionSet> {
 protected:
  std::vector<float> Largest(const std::vector<std::vector<float>>& arrays,
                             const Executor& executor = SerialExecutor()) {
    std::vector<FloatArray> pointers;
    for (const std::vector<float>& array : arrays) {
      pointers.push_back({array.data(), static_cast<int64_t>(array.size())});
    }
    std::vector<float> largest(arrays.size(), NAN);
    LargestMagnitudes(pointers.data(), static_cast<int64_t>(pointers.size()), largest.data(), executor,
                      GetParam());
    return largest;
  }
};

INSTANTIATE_TEST_SUITE_P(, LargestMagnitudeKernel, testing::ValuesIn(SupportedInstructionSets()),
                         [](const auto& info) { return std::string(Name(info.param)); });

TEST_P(LargestMagnitudeKernel, FindsItWhereverItLies) {
  for (const int64_t count : {1, 3, 15, 16, 17, 64, 100, 65535, 65536, 65537, 200000}) {
    for (const int64_t place : {int64_t{0}, count / 2, count - 1}) {
      std::vector<float> array = Random(count);
      array[place] = place % 2 == 0 ? -3.0f : 3.0f;
      EXPECT_EQ(Largest({{0.5f}, array, {}, {-0.25f}}), (std::vector<float>{0.5f, 3.0f, 0.0f, 0.25f}))
          << count << " " << place;
    }
  }
}

TEST_P(LargestMagnitudeKernel, IsNanWhereAnythingIsNotFinite) {
  for (const int64_t count : {1, 17, 100, 65537, 200000}) {
    for (const int64_t place : {int64_t{0}, count / 2, count - 1}) {
      for (const float value : {NAN, INFINITY, -INFINITY}) {
        std::vector<float> array = Random(count);
        array[place] = value;
        const std::vector<float> largest = Largest({array, {1.0f}}, TestingThreads(2));
        EXPECT_TRUE(std::isnan(largest[0])) << count << " " << place << " " << value;
        EXPECT_EQ(largest[1], 1.0f);
      }
    }
  }
}

TEST_P(LargestMagnitudeKernel, IsZeroForZerosOfEitherSign) {
  EXPECT_EQ(Largest({std::vector<float>(50, -0.0f)}), std::vector<float>{0.0f});
}

}  // namespace
}  // namespace retort
