// The goldens are transformers' Mamba-2 mixer; tests/golden/mamba2/README.md.
#include "model/layers/mamba2.h"

#include <ATen/ATen.h>

#include <map>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/io/safetensors.h"
#include "model/io/testing_tensors.h"

namespace retort {
namespace {

using W = Mamba2Weights;

constexpr double kEps = 1e-5;
// float32: the golden itself is 2e-6 from the exact values; gradients are sums over 42 tokens and reach 100.
constexpr double kTolerance = 1e-5;

// Where each tensor lies in the golden's joined ones: rows `first` to `first + rows` of `name`.
struct Part {
  at::Tensor W::*member;
  const char* name;
  int64_t first, rows;
};

struct Golden {
  Mamba2Shape shape;
  std::map<std::string, at::Tensor> tensors;
  Mamba2Weights weights;

  const at::Tensor& operator[](const std::string& name) const { return tensors.at(name); }

  std::vector<Part> Parts() const {
    const int64_t inner = shape.inner(), group = shape.group_channels(), heads = shape.heads, hidden = 32;
    const int64_t b = 2 * inner, c = b + group, dt = c + group;
    return {{&W::z_proj, "in_proj.weight", 0, inner},
            {&W::x_proj, "in_proj.weight", inner, inner},
            {&W::b_proj, "in_proj.weight", b, group},
            {&W::c_proj, "in_proj.weight", c, group},
            {&W::dt_proj, "in_proj.weight", dt, heads},
            {&W::conv_x, "conv1d.weight", 0, inner},
            {&W::conv_b, "conv1d.weight", inner, group},
            {&W::conv_c, "conv1d.weight", inner + group, group},
            {&W::conv_x_bias, "conv1d.bias", 0, inner},
            {&W::conv_b_bias, "conv1d.bias", inner, group},
            {&W::conv_c_bias, "conv1d.bias", inner + group, group},
            {&W::dt_bias, "dt_bias", 0, heads},
            {&W::a_log, "A_log", 0, heads},
            {&W::d, "D", 0, heads},
            {&W::norm, "norm.weight", 0, inner},
            {&W::out_proj, "out_proj.weight", 0, hidden}};
  }
  // The part of `prefix` + its name, without the convolution's middle axis.
  at::Tensor Find(const Part& part, const std::string& prefix) const {
    const at::Tensor rows = tensors.at(prefix + part.name).narrow(0, part.first, part.rows);
    return rows.dim() == 3 ? rows.squeeze(1) : rows;
  }
};

Golden LoadGolden(int64_t groups) {
  const auto file = SafetensorsFile::Open(RETORT_SOURCE_DIR "/tests/golden/mamba2/groups" +
                                          std::to_string(groups) + ".safetensors");
  EXPECT_TRUE(file.ok()) << file.status();
  Golden golden;
  for (const std::string& name : file->names()) golden.tensors[name] = *file->Read(name);
  golden.shape = {.heads = 4, .head_dim = 16, .state_size = 8, .groups = groups, .conv_kernel = 4};
  for (const Part& part : golden.Parts()) golden.weights.*part.member = golden.Find(part, "").clone();
  return golden;
}

class Mamba2Golden : public testing::TestWithParam<int64_t> {
 protected:
  const Golden golden_ = LoadGolden(GetParam());
};
INSTANTIATE_TEST_SUITE_P(Groups, Mamba2Golden, testing::Values(1, 2));

TEST_P(Mamba2Golden, GivesTransformersOutput) {
  ExpectClose(Mamba2(golden_["x"], golden_.weights, golden_.shape, kEps, nullptr), golden_["y"], kTolerance,
              "y");
}

TEST_P(Mamba2Golden, GivesTransformersGradients) {
  Mamba2Weights weights = golden_.weights;
  for (const Mamba2Tensor& tensor : Mamba2Tensors(Mamba2Form::kStock))
    (weights.*tensor.member).requires_grad_();
  const at::Tensor x = golden_["x"].clone().requires_grad_();
  (Mamba2(x, weights, golden_.shape, kEps, nullptr) * golden_["r"]).sum().backward();
  ExpectClose(x.grad(), golden_["grad.x"], kTolerance, "x");
  for (const Part& part : golden_.Parts()) {
    ExpectClose((weights.*part.member).grad(), golden_.Find(part, "grad."), kTolerance,
                std::string(part.name) + " from row " + std::to_string(part.first));
  }
}

// The state after the last token, against transformers' caches: four rows of convolution inputs, of which the
// next token needs three.
void ExpectFinalState(const Mamba2State& state, const Golden& golden) {
  ExpectClose(state.ssm_BHPN, golden["final_state"], kTolerance, "ssm");
  const at::Tensor conv = at::cat({state.conv_x, state.conv_b, state.conv_c}, -1);
  ExpectClose(conv, golden["final_conv"].narrow(2, 1, 3).transpose(1, 2), kTolerance, "conv");
}

TEST_P(Mamba2Golden, LeavesTransformersState) {
  Mamba2State state;
  ExpectClose(Mamba2(golden_["x"], golden_.weights, golden_.shape, kEps, &state), golden_["y"], kTolerance,
              "y");
  ExpectFinalState(state, golden_);
}

TEST_P(Mamba2Golden, ContinuesTokenByTokenFromAPrefix) {
  const at::Tensor& x = golden_["x"];
  // Prefixes shorter than, as long as and longer than the three tokens that the convolution remembers.
  for (int64_t prefix : {1, 2, 3, 5}) {
    Mamba2State state;
    std::vector<at::Tensor> outputs = {
        Mamba2(x.narrow(1, 0, prefix), golden_.weights, golden_.shape, kEps, &state)};
    for (int64_t t = prefix; t < x.size(1); ++t) {
      outputs.push_back(Mamba2Step(x.narrow(1, t, 1), golden_.weights, golden_.shape, kEps, state));
    }
    ExpectClose(at::cat(outputs, 1), golden_["y_recurrent"], kTolerance,
                "prefix of " + std::to_string(prefix));
    ExpectFinalState(state, golden_);
  }
}

// SiLU of the causal convolution of u x_proj^T, written with LibTorch's own convolution.
at::Tensor ConvolvedX(const Golden& golden) {
  const at::Tensor x_BMT = at::linear(golden["x"], golden.weights.x_proj).transpose(1, 2);
  const int64_t tokens = x_BMT.size(2);
  const at::Tensor y_BMT = at::conv1d(x_BMT, golden.weights.conv_x.unsqueeze(1), golden.weights.conv_x_bias,
                                      /*stride=*/1, /*padding=*/3, /*dilation=*/1, x_BMT.size(1));
  return at::silu(y_BMT.narrow(2, 0, tokens)).transpose(1, 2);
}

TEST_P(Mamba2Golden, MatrixTimesTheConvolvedInputIsTheScansOutput) {
  const Mamba2Shape& shape = golden_.shape;
  const at::Tensor x_BHTP = ConvolvedX(golden_).unflatten(-1, {shape.heads, shape.head_dim}).transpose(1, 2);
  const at::Tensor matrix_BHTT = Mamba2Matrix(golden_["x"], golden_.weights, shape);
  const at::Tensor y_BTM = at::matmul(matrix_BHTT, x_BHTP).transpose(1, 2).flatten(2);
  // What follows the scan, written out: the gate, the norm within each group, out_proj.
  const at::Tensor gated = y_BTM * at::silu(at::linear(golden_["x"], golden_.weights.z_proj));
  const at::Tensor by_group = gated.unflatten(-1, {shape.groups, -1});
  const at::Tensor normed = by_group / (by_group.square().mean({-1}, true) + kEps).sqrt();
  const at::Tensor y = at::linear(normed.flatten(-2) * golden_.weights.norm, golden_.weights.out_proj);
  ExpectClose(y, golden_["y"], kTolerance, "y");
}

TEST_P(Mamba2Golden, MatrixIsCausal) {
  const at::Tensor matrix = Mamba2Matrix(golden_["x"], golden_.weights, golden_.shape);
  EXPECT_EQ(matrix.triu(1).abs().max().item<float>(), 0.0f);
}

TEST_P(Mamba2Golden, MatrixHoldsDOnItsDiagonal) {
  Mamba2Weights other = golden_.weights;
  other.d = other.d + at::tensor({1.0f, -2.0f, 0.5f, 3.0f});
  const at::Tensor change = Mamba2Matrix(golden_["x"], other, golden_.shape) -
                            Mamba2Matrix(golden_["x"], golden_.weights, golden_.shape);
  const at::Tensor expected = at::tensor({1.0f, -2.0f, 0.5f, 3.0f}).view({4, 1, 1}) * at::eye(21);
  ExpectClose(change, expected.expand({2, 4, 21, 21}), kTolerance, "change");
}

TEST(Mamba2, ContinuesALongSequenceAcrossChunks) {
  const Golden golden = LoadGolden(2);
  const at::Tensor u = golden["x"].repeat({1, 7, 1});  // 147 tokens: two chunks of 64 and a short one
  const at::Tensor whole = Mamba2(u, golden.weights, golden.shape, kEps, nullptr);
  for (int64_t prefix : {64, 128, 140}) {
    Mamba2State state;
    std::vector<at::Tensor> outputs = {
        Mamba2(u.narrow(1, 0, prefix), golden.weights, golden.shape, kEps, &state)};
    for (int64_t t = prefix; t < u.size(1); ++t) {
      outputs.push_back(Mamba2Step(u.narrow(1, t, 1), golden.weights, golden.shape, kEps, state));
    }
    ExpectClose(at::cat(outputs, 1), whole, kTolerance, "prefix of " + std::to_string(prefix));
  }
}

TEST(Mamba2Tensors, HaveTheShapesOfTheGoldens) {
  const Golden golden = LoadGolden(2);
  for (const Mamba2Tensor& tensor : Mamba2Tensors(Mamba2Form::kStock)) {
    EXPECT_EQ((golden.weights.*tensor.member).sizes().vec(), Mamba2TensorShape(tensor, golden.shape, 32))
        << tensor.name;
  }
}

TEST(Mamba2Tensors, NameThoseThatEnterTheMatrix) {
  const Golden golden = LoadGolden(2);
  Mamba2Weights weights = golden.weights;
  for (const Mamba2Tensor& tensor : Mamba2Tensors(Mamba2Form::kStock))
    (weights.*tensor.member).requires_grad_();
  Mamba2Matrix(golden["x"], weights, golden.shape).square().sum().backward();
  for (const Mamba2Tensor& tensor : Mamba2Tensors(Mamba2Form::kStock)) {
    EXPECT_EQ((weights.*tensor.member).grad().defined(), tensor.in_matrix) << tensor.name;
  }
}

}  // namespace
}  // namespace retort
