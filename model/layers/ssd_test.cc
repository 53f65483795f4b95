#include "model/layers/ssd.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/io/testing_tensors.h"

namespace retort {
namespace {

constexpr double kTolerance = 1e-11;  // float64, sums of some tens of terms of size 1

// Random inputs of batch 2, 4 heads, head width 3, state size 5.
SsdInputs RandomInputs(int64_t tokens, int64_t groups, uint64_t seed) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  const auto normal = [&](const std::vector<int64_t>& shape) {
    return at::empty(shape, at::kDouble).normal_(0, 1, generator);
  };
  return {normal({2, tokens, 4, 3}), -normal({2, tokens, 4}).abs(), normal({2, tokens, groups, 5}),
          normal({2, tokens, groups, 5})};
}

SsdInputs Slice(const SsdInputs& all, int64_t first, int64_t tokens) {
  return {all.x_BTHP.narrow(1, first, tokens), all.log_decay_BTH.narrow(1, first, tokens),
          all.b_BTGN.narrow(1, first, tokens), all.c_BTGN.narrow(1, first, tokens)};
}

// The definition, head by head and token by token, with nothing shared with the code under test.
SsdResult Definition(const SsdInputs& in, const at::Tensor& initial_state_BHPN) {
  const int64_t batch = in.x_BTHP.size(0), tokens = in.x_BTHP.size(1), heads = in.x_BTHP.size(2);
  const int64_t shared = heads / in.b_BTGN.size(2);
  SsdResult result = {at::zeros_like(in.x_BTHP), initial_state_BHPN.clone()};
  for (int64_t n = 0; n < batch; ++n) {
    for (int64_t h = 0; h < heads; ++h) {
      at::Tensor state_PN = result.state_BHPN[n][h];
      for (int64_t t = 0; t < tokens; ++t) {
        const at::Tensor b_N = in.b_BTGN[n][t][h / shared], c_N = in.c_BTGN[n][t][h / shared];
        state_PN.mul_(in.log_decay_BTH[n][t][h].exp()).add_(at::outer(in.x_BTHP[n][t][h], b_N));
        result.y_BTHP[n][t][h].copy_(state_PN.matmul(c_N));
      }
    }
  }
  return result;
}

at::Tensor ZeroState() { return at::zeros({2, 4, 3, 5}, at::kDouble); }

struct Case {
  int64_t tokens, chunk, groups;
  std::string name() const {
    return std::to_string(tokens) + " tokens, chunks of " + std::to_string(chunk) + ", " +
           std::to_string(groups) + " groups";
  }
};
// One token; one whole chunk; a short sequence in a long chunk; whole chunks; two chunks and one token; a
// short last chunk; chunks of one token.
const Case kCases[] = {{1, 4, 1}, {1, 1, 4},  {4, 4, 2},  {3, 8, 2}, {12, 4, 1},
                       {9, 4, 2}, {17, 8, 4}, {11, 4, 2}, {5, 1, 1}};

TEST(SsdChunked, EqualsTheDefinition) {
  for (const Case& c : kCases) {
    const SsdInputs inputs = RandomInputs(c.tokens, c.groups, 1);
    const SsdResult expected = Definition(inputs, ZeroState());
    const SsdResult chunked = SsdChunked(inputs, c.chunk, at::Tensor());
    ExpectNear(chunked.y_BTHP, expected.y_BTHP, kTolerance, c.name());
    ExpectNear(chunked.state_BHPN, expected.state_BHPN, kTolerance, c.name());
  }
}

TEST(SsdChunked, ContinuesFromAState) {
  const SsdInputs inputs = RandomInputs(11, 2, 2);
  const at::Tensor initial = at::arange(2 * 4 * 3 * 5, at::kDouble).view({2, 4, 3, 5}).sin();
  const SsdResult expected = Definition(inputs, initial);
  const SsdResult chunked = SsdChunked(inputs, 4, initial);
  ExpectNear(chunked.y_BTHP, expected.y_BTHP, kTolerance, "y");
  ExpectNear(chunked.state_BHPN, expected.state_BHPN, kTolerance, "state");
}

TEST(SsdChunked, SplitsAnywhereWhenTheStateIsCarried) {
  const SsdInputs inputs = RandomInputs(9, 2, 3);
  const SsdResult whole = SsdChunked(inputs, 4, at::Tensor());
  for (int64_t split = 1; split < 9; ++split) {
    const SsdResult head = SsdChunked(Slice(inputs, 0, split), 4, at::Tensor());
    const SsdResult tail = SsdChunked(Slice(inputs, split, 9 - split), 4, head.state_BHPN);
    const std::string what = "split at " + std::to_string(split);
    ExpectNear(at::cat({head.y_BTHP, tail.y_BTHP}, 1), whole.y_BTHP, kTolerance, what);
    ExpectNear(tail.state_BHPN, whole.state_BHPN, kTolerance, what);
  }
}

TEST(SsdStep, EqualsTheDefinitionTokenByToken) {
  for (int64_t groups : {1, 2, 4}) {
    const SsdInputs inputs = RandomInputs(7, groups, 4);
    const SsdResult expected = Definition(inputs, ZeroState());
    at::Tensor state = ZeroState();
    for (int64_t t = 0; t < 7; ++t) {
      const at::Tensor y_BHP = SsdStep(inputs.x_BTHP.select(1, t), inputs.log_decay_BTH.select(1, t),
                                       inputs.b_BTGN.select(1, t), inputs.c_BTGN.select(1, t), state);
      ExpectNear(y_BHP, expected.y_BTHP.select(1, t), kTolerance, "token " + std::to_string(t));
    }
    ExpectNear(state, expected.state_BHPN, kTolerance, "state");
  }
}

TEST(SsdStep, LeavesTheOldStateAsItWas) {
  const SsdInputs inputs = RandomInputs(1, 1, 5);
  const at::Tensor before = ZeroState() + 1;
  at::Tensor state = before;
  SsdStep(inputs.x_BTHP.select(1, 0), inputs.log_decay_BTH.select(1, 0), inputs.b_BTGN.select(1, 0),
          inputs.c_BTGN.select(1, 0), state);
  EXPECT_TRUE(at::equal(before, ZeroState() + 1));
}

TEST(SsdMatrix, TimesTheInputEqualsTheDefinition) {
  for (const Case& c : kCases) {
    const SsdInputs inputs = RandomInputs(c.tokens, c.groups, 6);
    const at::Tensor matrix_BHTT = SsdMatrix(inputs.log_decay_BTH, inputs.b_BTGN, inputs.c_BTGN);
    const at::Tensor y_BHTP = at::matmul(matrix_BHTT, inputs.x_BTHP.transpose(1, 2));
    ExpectNear(y_BHTP.transpose(1, 2), Definition(inputs, ZeroState()).y_BTHP, kTolerance, c.name());
  }
}

TEST(SsdMatrix, IsZeroAboveTheDiagonal) {
  const SsdInputs inputs = RandomInputs(6, 2, 7);
  const at::Tensor matrix = SsdMatrix(inputs.log_decay_BTH, inputs.b_BTGN, inputs.c_BTGN);
  EXPECT_EQ(matrix.triu(1).abs().max().item<double>(), 0.0);
}

TEST(SsdChunked, SeesNoLaterToken) {
  const SsdInputs inputs = RandomInputs(11, 2, 8);
  const at::Tensor y = SsdChunked(inputs, 4, at::Tensor()).y_BTHP;
  for (int64_t changed : {3, 4, 6}) {
    SsdInputs other = RandomInputs(11, 2, 9);
    for (auto member :
         {&SsdInputs::x_BTHP, &SsdInputs::log_decay_BTH, &SsdInputs::b_BTGN, &SsdInputs::c_BTGN}) {
      (other.*member).narrow(1, 0, changed).copy_((inputs.*member).narrow(1, 0, changed));
    }
    const at::Tensor difference = (SsdChunked(other, 4, at::Tensor()).y_BTHP - y).abs();
    EXPECT_EQ(difference.narrow(1, 0, changed).max().item<double>(), 0.0) << "changed from token " << changed;
    EXPECT_GT(difference.select(1, changed).min().item<double>(), 0.0) << "changed from token " << changed;
  }
}

TEST(SsdChunked, StaysFiniteUnderStrongDecay) {
  for (at::ScalarType type : {at::kDouble, at::kFloat}) {
    SsdInputs inputs = RandomInputs(21, 2, 10);
    inputs.log_decay_BTH = at::full_like(inputs.log_decay_BTH, -50.0);
    const std::vector<at::Tensor*> values = {&inputs.x_BTHP, &inputs.log_decay_BTH, &inputs.b_BTGN,
                                             &inputs.c_BTGN};
    for (at::Tensor* value : values) *value = value->to(type).requires_grad_();
    const SsdResult result = SsdChunked(inputs, 8, at::Tensor());
    EXPECT_TRUE(result.y_BTHP.isfinite().all().item<bool>());
    const at::Tensor matrix = SsdMatrix(inputs.log_decay_BTH, inputs.b_BTGN, inputs.c_BTGN);
    EXPECT_TRUE(matrix.isfinite().all().item<bool>());
    (result.y_BTHP.square().sum() + result.state_BHPN.square().sum() + matrix.square().sum()).backward();
    for (at::Tensor* value : values) EXPECT_TRUE(value->grad().isfinite().all().item<bool>());
    EXPECT_GT(inputs.x_BTHP.grad().abs().min().item<double>(), 0.0);
  }
}

// A loss that weighs every output and every element of the last state differently.
at::Tensor Loss(const SsdInputs& inputs, const at::Tensor& initial) {
  const SsdResult result = SsdChunked(inputs, 4, initial);
  const auto weighted = [](const at::Tensor& value) {
    return (value * at::arange(value.numel(), at::kDouble).view(value.sizes()).cos()).sum();
  };
  return weighted(result.y_BTHP) + weighted(result.state_BHPN);
}

TEST(SsdChunked, GradientsEqualFiniteDifferences) {
  SsdInputs inputs = RandomInputs(6, 2, 11);
  at::Tensor initial = at::arange(2 * 4 * 3 * 5, at::kDouble).view({2, 4, 3, 5}).sin();
  const std::vector<std::pair<const char*, at::Tensor*>> values = {{"x", &inputs.x_BTHP},
                                                                   {"log_decay", &inputs.log_decay_BTH},
                                                                   {"b", &inputs.b_BTGN},
                                                                   {"c", &inputs.c_BTGN},
                                                                   {"initial", &initial}};
  for (const auto& [name, value] : values) value->requires_grad_();
  Loss(inputs, initial).backward();
  constexpr double kStep = 1e-5;  // the error is about kStep^2
  for (const auto& [name, value] : values) {
    const at::Tensor gradient = value->grad().flatten();
    const at::Tensor numbers =
        value->detach().flatten();  // shares the memory: writing here changes the input
    for (int64_t i = 0; i < numbers.numel(); ++i) {
      const double middle = numbers[i].item<double>();
      numbers[i].fill_(middle + kStep);
      const double above = Loss(inputs, initial).item<double>();
      numbers[i].fill_(middle - kStep);
      const double below = Loss(inputs, initial).item<double>();
      numbers[i].fill_(middle);
      ASSERT_NEAR(gradient[i].item<double>(), (above - below) / (2 * kStep), 1e-7) << name << " " << i;
    }
  }
}

}  // namespace
}  // namespace retort
