// The goldens are Phi-Mamba's mixer, token by token; tests/golden/discrete_mamba2/README.md.
#include <ATen/ATen.h>

#include <map>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/io/safetensors.h"
#include "model/io/testing_tensors.h"
#include "model/layers/mamba2.h"

namespace retort {
namespace {

using W = Mamba2Weights;

constexpr double kNoEps = 0;  // there is no norm
// float32, relative to an array's largest element; sums over 21 tokens in another order.
constexpr double kTolerance = 1e-5;
constexpr int64_t kHidden = 32;

// Where each tensor lies in the golden's joined ones: rows `first` to `first + rows` of `name`.
struct Part {
  at::Tensor W::*member;
  const char* name;
  int64_t first, rows;
};

class DiscreteMamba2 : public testing::TestWithParam<int64_t> {
 protected:
  DiscreteMamba2() {
    const auto file = SafetensorsFile::Open(RETORT_SOURCE_DIR "/tests/golden/discrete_mamba2/groups" +
                                            std::to_string(GetParam()) + ".safetensors");
    EXPECT_TRUE(file.ok()) << file.status();
    for (const std::string& name : file->names()) golden_[name] = *file->Read(name);
    for (const Part& part : Parts()) weights_.*part.member = Find(part, "").clone();
  }

  std::vector<Part> Parts() const {
    const int64_t inner = shape_.inner(), group = shape_.group_channels(), heads = shape_.heads;
    const int64_t channels = inner + 2 * group;
    return {{&W::x_proj, "in_proj.weight", 0, inner},
            {&W::b_proj, "in_proj.weight", inner, group},
            {&W::c_proj, "in_proj.weight", inner + group, group},
            {&W::z_proj, "in_proj.weight", channels, inner},
            {&W::a_proj, "in_proj.weight", channels + inner, heads},
            {&W::conv_x, "conv1d.weight", 0, inner},
            {&W::conv_b, "conv1d.weight", inner, group},
            {&W::conv_c, "conv1d.weight", inner + group, group},
            {&W::conv_x_bias, "conv1d.bias", 0, inner},
            {&W::conv_b_bias, "conv1d.bias", inner, group},
            {&W::conv_c_bias, "conv1d.bias", inner + group, group},
            {&W::z_bias, "z_bias", 0, inner},
            {&W::d, "D", 0, heads},
            {&W::out_proj, "out_proj.weight", 0, kHidden}};
  }
  at::Tensor Find(const Part& part, const std::string& prefix) const {
    const at::Tensor rows = golden_.at(prefix + part.name).narrow(0, part.first, part.rows);
    return rows.dim() == 3 ? rows.squeeze(1) : rows;
  }
  void ExpectFinalState(const Mamba2State& state) const {
    ExpectClose(state.ssm_BHPN, golden_.at("ssm_state"), kTolerance, "ssm");
    ExpectClose(at::cat({state.conv_x, state.conv_b, state.conv_c}, -1), golden_.at("conv_state"), kTolerance,
                "conv");
  }

  const Mamba2Shape shape_ = {.heads = 4,
                              .head_dim = 8,
                              .state_size = 16,
                              .groups = GetParam(),
                              .conv_kernel = 4,
                              .form = Mamba2Form::kDiscrete};
  std::map<std::string, at::Tensor> golden_;
  Mamba2Weights weights_;
};
INSTANTIATE_TEST_SUITE_P(Groups, DiscreteMamba2, testing::Values(4, 2));

TEST_P(DiscreteMamba2, GivesTheReferencesOutputAndState) {
  Mamba2State state;
  ExpectClose(Mamba2(golden_["u"], weights_, shape_, kNoEps, &state), golden_["out"], kTolerance, "out");
  ExpectFinalState(state);
}

TEST_P(DiscreteMamba2, GivesTheReferencesGradients) {
  for (const Part& part : Parts()) (weights_.*part.member).requires_grad_();
  const at::Tensor u = golden_["u"].clone().requires_grad_();
  (Mamba2(u, weights_, shape_, kNoEps, nullptr) * golden_["r"]).sum().backward();
  ExpectClose(u.grad(), golden_["grad.u"], kTolerance, "u");
  for (const Part& part : Parts()) {
    ExpectClose((weights_.*part.member).grad(), Find(part, "grad."), kTolerance,
                std::string(part.name) + " from row " + std::to_string(part.first));
  }
}

TEST_P(DiscreteMamba2, ContinuesTokenByTokenFromAPrefix) {
  const at::Tensor u = golden_["u"];
  for (int64_t prefix : {1, 3, 5}) {
    Mamba2State state;
    std::vector<at::Tensor> outputs = {Mamba2(u.narrow(1, 0, prefix), weights_, shape_, kNoEps, &state)};
    for (int64_t t = prefix; t < u.size(1); ++t) {
      outputs.push_back(Mamba2Step(u.narrow(1, t, 1), weights_, shape_, kNoEps, state));
    }
    ExpectClose(at::cat(outputs, 1), golden_["out"], kTolerance, "prefix of " + std::to_string(prefix));
    ExpectFinalState(state);
  }
}

TEST_P(DiscreteMamba2, HasTheReferencesMatrix) {
  ExpectClose(Mamba2Matrix(golden_["u"], weights_, shape_), golden_["matrix"], kTolerance, "matrix");
}

TEST_P(DiscreteMamba2, ListsEveryTensorAndThoseThatEnterTheMatrix) {
  EXPECT_EQ(Mamba2Tensors(shape_.form).size(), Parts().size());
  for (const Mamba2Tensor& tensor : Mamba2Tensors(shape_.form)) {
    EXPECT_EQ((weights_.*tensor.member).sizes().vec(), Mamba2TensorShape(tensor, shape_, kHidden))
        << tensor.name;
    (weights_.*tensor.member).requires_grad_();
  }
  Mamba2Matrix(golden_["u"], weights_, shape_).square().sum().backward();
  for (const Mamba2Tensor& tensor : Mamba2Tensors(shape_.form)) {
    EXPECT_EQ((weights_.*tensor.member).grad().defined(), tensor.in_matrix) << tensor.name;
  }
}

// x / softplus(a), as the published layer computes it, overflows here.
TEST_P(DiscreteMamba2, SumsItsStateWhereADecaysNothing) {
  weights_.a_proj = at::zeros_like(weights_.a_proj);
  weights_.a_proj.select(1, 0).fill_(-1000);
  at::Tensor u_BTE = golden_["u"].clone();
  u_BTE.select(2, 0).fill_(1.0);  // a = -1000: softplus is 0 and the decay 1
  for (at::Tensor W::*conv : {&W::conv_x, &W::conv_b, &W::conv_c}) {
    (weights_.*conv).zero_().select(1, shape_.conv_kernel - 1).fill_(1);  // the token itself
  }
  for (at::Tensor W::*bias : {&W::conv_x_bias, &W::conv_b_bias, &W::conv_c_bias}) (weights_.*bias).zero_();
  const int64_t batch = u_BTE.size(0), tokens = u_BTE.size(1);
  const auto of_heads = [&](const at::Tensor& projection) {
    const at::Tensor grouped =
        at::linear(u_BTE, projection).view({batch, tokens, shape_.groups, shape_.state_size});
    return grouped.repeat_interleave(shape_.heads / shape_.groups, 2);
  };
  const at::Tensor x_BTHP =
      at::linear(u_BTE, weights_.x_proj).view({batch, tokens, shape_.heads, shape_.head_dim});
  const at::Tensor sums_BTHPN =
      (x_BTHP.unsqueeze(-1) * of_heads(weights_.b_proj).unsqueeze(3)).cumsum(1, at::kDouble).to(at::kFloat);
  const at::Tensor y_BTHP = (sums_BTHPN * of_heads(weights_.c_proj).unsqueeze(3)).sum(-1) +
                            weights_.d.view({shape_.heads, 1}) * x_BTHP;
  const at::Tensor gate_BTM = at::silu(at::linear(u_BTE, weights_.z_proj) + weights_.z_bias);

  Mamba2State state;
  ExpectClose(Mamba2(u_BTE, weights_, shape_, kNoEps, &state),
              at::linear(y_BTHP.flatten(2) * gate_BTM, weights_.out_proj), kTolerance, "out");
  ExpectClose(state.ssm_BHPN, sums_BTHPN.select(1, tokens - 1), kTolerance, "ssm");
}

}  // namespace
}  // namespace retort
