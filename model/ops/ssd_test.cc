#include "model/ops/ssd.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/io/safetensors.h"
#include "model/layers/ssd.h"

namespace retort {
namespace {

// Arguments as they come out of one projection: slices of wider rows. Batch 2, 4 heads of width 16, 2 groups
// of state 32.
struct Arguments {
  at::Tensor x, log_decay, b, c, dt, d, initial_state;

  explicit Arguments(int64_t tokens, at::ScalarType type = at::kFloat) {
    auto generator = at::make_generator<at::CPUGeneratorImpl>(7);
    const at::Tensor rows =
        at::empty({2, tokens, 4 * 16 + 2 * 2 * 32 + 3}, at::kFloat).normal_(0, 1, generator);
    x = rows.slice(-1, 0, 64).unflatten(-1, {4, 16});
    b = rows.slice(-1, 64, 128).unflatten(-1, {2, 32});
    c = rows.slice(-1, 128, 192).unflatten(-1, {2, 32});
    log_decay = -at::empty({2, tokens, 4}, at::kFloat).uniform_(0, 1, generator);
    dt = at::empty({2, tokens, 4}, at::kFloat).uniform_(0, 2, generator);
    d = at::empty({4}, at::kFloat).normal_(0, 1, generator);
    initial_state = at::empty({2, 4, 16, 32}, at::kFloat).normal_(0, 1, generator);
    for (at::Tensor* value : All()) *value = value->to(type);
  }
  std::vector<at::Tensor*> All() { return {&x, &log_decay, &b, &c, &dt, &d, &initial_state}; }
  std::tuple<at::Tensor, at::Tensor> Fused() const {
    return FusedSsd(x, log_decay, b, c, dt, d, initial_state);
  }
  std::tuple<at::Tensor, at::Tensor> Plain() const {
    const SsdResult result = SsdChunked({x * dt.unsqueeze(-1), log_decay, b, c}, 8, initial_state);
    return {result.y_BTHP + x * d.unsqueeze(-1), result.state_BHPN};
  }
  void RequireGradients() {
    for (at::Tensor* value : All()) *value = value->detach().requires_grad_();
  }
};

at::Tensor Weights(const at::Tensor& like) {
  return at::arange(like.numel(), at::kDouble).view(like.sizes()).cos().to(like.scalar_type());
}

double Distance(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

// Sums of some hundred products of size 1, in float: 1e2 * 6e-8 * a margin for their size.
constexpr double kTolerance = 1e-4;

TEST(FusedSsd, EqualsThePlainLayerInDoubles) {
  for (const int64_t tokens : {1, 32, 45}) {
    const auto [y, state] = Arguments(tokens).Fused();
    const auto [plain_y, plain_state] = Arguments(tokens, at::kDouble).Plain();
    EXPECT_LT(Distance(y, plain_y), kTolerance) << tokens;
    EXPECT_LT(Distance(state, plain_state), kTolerance) << tokens;
  }
}

TEST(FusedSsd, HasThePlainLayersGradientsInDoubles) {
  Arguments fused(45), plain(45, at::kDouble);
  fused.RequireGradients();
  plain.RequireGradients();
  const auto loss = [](const std::tuple<at::Tensor, at::Tensor>& result) {
    const auto& [y, state] = result;
    return (y * Weights(y)).sum() + (state * Weights(state)).sum();
  };
  loss(fused.Fused()).backward();
  loss(plain.Plain()).backward();
  for (size_t i = 0; i < fused.All().size(); ++i) {
    const at::Tensor &got = fused.All()[i]->grad(), &want = plain.All()[i]->grad();
    EXPECT_LT(Distance(got, want), kTolerance * std::max(1.0, want.abs().max().item<double>())) << i;
  }
}

// tests/golden/ssd: computed in float64, stored in float32.
TEST(FusedSsd, EqualsThePublishedMinimalSsd) {
  const auto file = SafetensorsFile::Open(RETORT_SOURCE_DIR "/tests/golden/ssd/ssd_minimal.safetensors");
  ASSERT_TRUE(file.ok()) << file.status();
  const auto read = [&](const std::string& name) { return *file->Read(name); };
  std::map<std::string, at::Tensor> inputs;
  for (const char* name : {"x", "log_decay", "b", "c", "initial_state"}) {
    inputs[name] = read(name).requires_grad_();
  }
  const auto [y, final_state] = FusedSsd(inputs["x"], inputs["log_decay"], inputs["b"], inputs["c"],
                                         at::Tensor(), at::Tensor(), inputs["initial_state"]);
  EXPECT_LT(Distance(y, read("y")), kTolerance);
  EXPECT_LT(Distance(final_state, read("final_state")), kTolerance);
  ((y * read("r")).sum() + (final_state * read("s")).sum()).backward();
  for (const auto& [name, input] : inputs) {
    const at::Tensor want = read("grad." + name);
    EXPECT_LT(Distance(input.grad(), want), kTolerance * std::max(1.0, want.abs().max().item<double>()))
        << name;
  }
}

TEST(FusedSsd, TakesAnyIncomingGradient) {
  const auto gradient_of_x = [](const auto& loss) {
    Arguments arguments(20);
    arguments.RequireGradients();
    const auto [y, state] = arguments.Fused();
    loss(y, state).backward();
    return arguments.x.grad();
  };
  // Expanded (from a sum), transposed, of one output only.
  const at::Tensor expanded = gradient_of_x([](auto y, auto) { return y.sum(); });
  EXPECT_LT(Distance(expanded, gradient_of_x([](auto y, auto) { return (y * at::ones_like(y)).sum(); })),
            1e-6);
  const at::Tensor transposed =
      gradient_of_x([](auto y, auto) { return (y.transpose(2, 3) * Weights(y.transpose(2, 3))).sum(); });
  const at::Tensor straight = gradient_of_x(
      [](auto y, auto) { return (y * Weights(y.transpose(2, 3)).transpose(2, 3).contiguous()).sum(); });
  EXPECT_LT(Distance(transposed, straight), 1e-6);
  EXPECT_GT(gradient_of_x([](auto, auto state) { return state.sum(); }).abs().min().item<float>(), 0);
}

TEST(FusedSsd, WorksWithoutTokensDOrState) {
  const Arguments none(0);
  const auto [y, state] = none.Fused();
  EXPECT_EQ(y.numel(), 0);
  EXPECT_TRUE(at::equal(state, none.initial_state));
  const Arguments some(5);
  const auto [without, ignored] =
      FusedSsd(some.x, some.log_decay, some.b, some.c, at::Tensor(), at::Tensor(), at::Tensor());
  const auto [zeros, also_ignored] = FusedSsd(some.x, some.log_decay, some.b, some.c, at::ones({2, 5, 4}),
                                              at::zeros({4}), at::zeros({2, 4, 16, 32}));
  EXPECT_TRUE(at::equal(without, zeros));
}

TEST(FusedSsd, RefusesASecondDerivative) {
  Arguments arguments(5);
  arguments.RequireGradients();
  const at::Tensor y = std::get<0>(arguments.Fused());
  EXPECT_THROW(torch::autograd::grad({y.square().sum()}, {arguments.x}, {}, /*retain_graph=*/true,
                                     /*create_graph=*/true),
               c10::NotImplementedError);
}

TEST(FusedSsd, GivesShapesOfMetaTensors) {
  Arguments arguments(5);
  for (at::Tensor* value : arguments.All()) *value = value->to(at::kMeta);
  const auto [y, state] = arguments.Fused();
  EXPECT_EQ(y.sizes(), (std::vector<int64_t>{2, 5, 4, 16}));
  EXPECT_EQ(state.sizes(), (std::vector<int64_t>{2, 4, 16, 32}));
}

std::string RefusalOf(const std::function<void(Arguments&)>& spoil) {
  Arguments arguments(5);
  spoil(arguments);
  try {
    arguments.Fused();
  } catch (const c10::Error& error) {
    return error.what_without_backtrace();
  }
  return "accepted";
}

TEST(FusedSsd, SaysWhatIsWrong) {
  using testing::HasSubstr;
  EXPECT_THAT(RefusalOf([](Arguments& a) { a.x = a.x[0]; }),
              HasSubstr("retort::ssd: x is [5, 4, 16]; it must be [B, T, H, P]"));
  EXPECT_THAT(RefusalOf([](Arguments& a) { a.c = a.c.slice(1, 0, 4); }),
              HasSubstr("c is [2, 4, 2, 32]; it must be [B, T, G, N] = [2, 5, 2, 32]"));
  EXPECT_THAT(RefusalOf([](Arguments& a) {
                a.b = a.b.repeat({1, 1, 3, 1});
              }),
              HasSubstr("b is [2, 5, 6, 32]; it must be [B, T, G, N] with N > 0 and G a divisor of H = 4"));
  EXPECT_THAT(RefusalOf([](Arguments& a) { a.log_decay = a.log_decay.to(at::kDouble); }),
              HasSubstr("log_decay is Double on cpu; it must be float32 on cpu"));
  EXPECT_THAT(RefusalOf([](Arguments& a) { a.d = a.d.to(at::kMeta); }),
              HasSubstr("d is Float on meta; it must be float32 on cpu"));
  EXPECT_THAT(RefusalOf([](Arguments& a) {
                a.x = at::randn({2, 5, 16, 4}).transpose(2, 3);
              }),
              HasSubstr("x's last dimension has stride 4; it must be contiguous"));
  EXPECT_THAT(RefusalOf([](Arguments& a) { a.log_decay = a.log_decay + 2; }), HasSubstr("must be <= 0"));
}

TEST(FusedSsdStep, EqualsTheScanWithoutStepSizes) {
  Arguments arguments(3);
  arguments.dt = at::Tensor();
  const auto [y, final_state] = arguments.Fused();
  const at::Tensor state = arguments.initial_state.clone();
  for (int64_t t = 0; t < 3; ++t) {
    const auto at_t = [t](const at::Tensor& tensor) { return tensor.select(1, t); };
    const at::Tensor y_t = FusedSsdStep(at_t(arguments.x), at_t(arguments.log_decay), at_t(arguments.b),
                                        at_t(arguments.c), arguments.d, state);
    EXPECT_LT(Distance(y_t, at_t(y)), kTolerance);
  }
  EXPECT_LT(Distance(state, final_state), kTolerance);
}

TEST(FusedSsdStep, RefusesGradients) {
  Arguments arguments(1);
  arguments.RequireGradients();
  EXPECT_THROW(
      FusedSsdStep(arguments.x.select(1, 0), arguments.log_decay.select(1, 0), arguments.b.select(1, 0),
                   arguments.c.select(1, 0), arguments.d, arguments.initial_state),
      c10::NotImplementedError);
}

}  // namespace
}  // namespace retort
