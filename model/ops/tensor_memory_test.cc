#include "model/ops/tensor_memory.h"

#include <ATen/ATen.h>

#include "gtest/gtest.h"

namespace retort {
namespace {

const void* FreedMemory(int64_t floats) { return at::empty({floats}).data_ptr(); }

TEST(TensorMemory, ServesTheNextTensorOfItsSize) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "nothing is kept under sanitizers";
#endif
  KeepTensorMemory();
  const void* const freed = FreedMemory(100000);
  const at::Tensor larger = at::empty({200000}), same = at::empty({100000 + 1}), other = at::empty({100000});
  EXPECT_EQ(same.data_ptr(), freed);
  EXPECT_NE(other.data_ptr(), freed);
}

TEST(TensorMemory, IsAlignedForVectors) {
  KeepTensorMemory();
  for (const int64_t floats : {1, 100, 5000, 100000, 8 << 20}) {
    const at::Tensor tensor = at::empty({floats});
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.data_ptr()) % 64, 0) << floats;
  }
}

TEST(TensorMemory, OfNothingIsNothing) {
  KeepTensorMemory();
  EXPECT_EQ(at::empty({0}).data_ptr(), nullptr);
}

}  // namespace
}  // namespace retort
