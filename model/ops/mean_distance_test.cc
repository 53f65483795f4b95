#include "model/ops/mean_distance.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "model/ops/testing_ops.h"

namespace retort {
namespace {

constexpr double kTolerance = 2e-6;  // sums of 60 squares and 100 distances

TEST(MeanDistanceOp, IsThePlainNormForAnyShareAndLayout) {
  at::manual_seed(5);
  const at::Tensor s = at::randn({2, 60, 50}).transpose(1, 2).requires_grad_(), t = at::randn({2, 50, 60});
  const at::Tensor wide = s.detach().to(at::kDouble).requires_grad_();
  const at::Tensor got = FusedMeanDistance(s, t),
                   plain = at::linalg_vector_norm(wide - t.to(at::kDouble), 2, at::IntArrayRef({-1})).mean();
  ExpectClose(got, plain, kTolerance, "the mean");
  (got * 0.25).backward();
  (plain * 0.25).backward();
  ExpectClose(s.grad(), wide.grad(), kTolerance, "the gradient");
}

TEST(MeanDistanceOp, RefusesWhatItCannotTakeByName) {
  const at::Tensor s = at::ones({3, 4}), trains = at::ones({3, 4}).requires_grad_();
  ExpectRefused(
      [&] {
        FusedMeanDistance(s, at::ones({3, 5}));
      },
      "retort::mean_distance: t is [3, 5]; it must be s's = [3, 4]");
  ExpectRefused(
      [&] {
        FusedMeanDistance(at::ones({0, 4}), at::ones({0, 4}));
      },
      "retort::mean_distance: s is [0, 4]; it must be [..., E] with rows and elements");
  ExpectRefused([&] { FusedMeanDistance(s, trains).backward(); },
                "retort::mean_distance has no gradient by t");
  ExpectRefused(
      [&] {
        torch::autograd::grad({FusedMeanDistance(trains, s)}, {trains}, {}, true, /*create_graph=*/true);
      },
      "retort::mean_distance is differentiable once");
}

TEST(MeanDistanceOp, KnowsItsShapesWithoutData) {
  const at::Tensor meta = at::empty({2, 7, 6}, at::device(at::kMeta));
  EXPECT_EQ(FusedMeanDistance(meta, meta).dim(), 0);
}

}  // namespace
}  // namespace retort
