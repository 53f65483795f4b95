#include "model/io/shared_tensors.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/base/files.h"

namespace retort {
namespace {

namespace fs = std::filesystem;

class SharedTensorsTest : public testing::Test {
 protected:
  SharedTensorsTest() { fs::remove_all(directory_); }
  ~SharedTensorsTest() override { fs::remove_all(directory_); }

  at::Tensor Get(SharedTensors& tensors, float value) {
    return tensors
        .Get("w", {2, 3},
             [&]() -> absl::StatusOr<at::Tensor> {
               ++made_;
               return at::full({2, 3}, value);
             })
        .value();
  }

  const fs::path directory_ = fs::path(testing::TempDir()) / "retort_shared_tensors_test";
  int made_ = 0;
};

TEST_F(SharedTensorsTest, AreMadeOnceAndMappedByAll) {
  SharedTensors one(directory_), other(directory_);
  const at::Tensor first = Get(one, 7), second = Get(other, 8);
  EXPECT_EQ(made_, 1);
  EXPECT_TRUE(first.equal(at::full({2, 3}, 7)));
  EXPECT_TRUE(second.equal(first));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first.data_ptr()) % 4096, 0U);
  EXPECT_EQ(one.mapped_bytes(), 24U);
  EXPECT_FALSE(one.IsOwn("w"));
  EXPECT_EQ(other.mapped_bytes(), 24U);
}

TEST_F(SharedTensorsTest, OutliveTheirFile) {
  SharedTensors tensors(directory_);
  const at::Tensor tensor = Get(tensors, 7);
  fs::remove_all(directory_);
  EXPECT_TRUE(tensor.equal(at::full({2, 3}, 7)));
}

TEST_F(SharedTensorsTest, ReplaceAFileOfAnotherLength) {
  fs::create_directories(directory_);
  ASSERT_TRUE(WriteFileAtomically(directory_ / "w", "short").ok());
  SharedTensors tensors(directory_);
  EXPECT_TRUE(Get(tensors, 7).equal(at::full({2, 3}, 7)));
  EXPECT_EQ(made_, 1);
  EXPECT_EQ(fs::file_size(directory_ / "w"), 24U);
}

TEST_F(SharedTensorsTest, AreTheProcesssOwnWhereNothingCanBeWritten) {
  ASSERT_TRUE(WriteFileAtomically(directory_, "a file, not a directory").ok());
  SharedTensors tensors(directory_);
  EXPECT_TRUE(Get(tensors, 7).equal(at::full({2, 3}, 7)));
  EXPECT_EQ(tensors.mapped_bytes(), 0U);
  EXPECT_TRUE(tensors.IsOwn("w"));
  EXPECT_NE(std::string(tensors.failure().message()).find(directory_), std::string::npos)
      << tensors.failure();
}

TEST_F(SharedTensorsTest, PassOnWhatKeepsThemFromBeingMade) {
  SharedTensors tensors(directory_);
  const auto fail = [] { return absl::DataLossError("cut short"); };
  EXPECT_TRUE(absl::IsDataLoss(tensors.Get("w", {2, 3}, fail).status()));
  EXPECT_FALSE(fs::exists(directory_ / "w"));
}

}  // namespace
}  // namespace retort
