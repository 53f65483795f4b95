#include "model/lm/decoding.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <string>

#include "gtest/gtest.h"
#include "model/io/safetensors.h"
#include "model/student/make_student.h"
#include "model/teacher/teacher.h"

namespace retort {
namespace {

// Prefill computes attention by softmax where the full pass uses LibTorch's flash attention, and Mamba-2
// steps sum in another order than chunks do: float32 differences on logits of size 10.
constexpr double kTolerance = 1e-4;
constexpr char kGolden[] = RETORT_SOURCE_DIR "/tests/golden/";

LanguageModel TinyTeacher() {
  auto model = LoadTeacher(kGolden + std::string("tiny/teacher"));
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

// Layers 0 and 2 Mamba-2, 1 and 3 attention.
LanguageModel HybridStudent() {
  const LanguageModel teacher = TinyTeacher();
  v1::StudentSpec spec;
  spec.set_state_size(16);
  spec.set_groups(2);
  spec.mutable_keep_attention()->add_layers(1);
  spec.mutable_keep_attention()->add_layers(3);
  return MakeStudent(teacher, *StudentConfig(teacher.config, spec), v1::STUDENT_INIT_QKVO, 7);
}

LanguageModel PhiTeacher() {
  auto model = LoadTeacher(kGolden + std::string("teachers/phi"));
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

// Layer 0 discrete Mamba-2, layer 1 attention.
LanguageModel PhiStudent() {
  const LanguageModel teacher = PhiTeacher();
  v1::StudentSpec spec;
  spec.set_mixer(v1::MIXER_KIND_DISCRETE_MAMBA2);
  spec.set_state_size(16);
  spec.mutable_keep_attention()->add_layers(1);
  return MakeStudent(teacher, *StudentConfig(teacher.config, spec), v1::STUDENT_INIT_QKVO, 7);
}

// The first tokens of two held-out documents, [2, tokens].
at::Tensor Prompts(int64_t tokens) {
  const auto golden = SafetensorsFile::Open(kGolden + std::string("llama/tiny_teacher.safetensors"));
  EXPECT_TRUE(golden.ok()) << golden.status();
  return golden->Read("ids")->narrow(1, 0, tokens).clone();
}

class Decoding : public testing::TestWithParam<LanguageModel (*)()> {
 protected:
  at::Tensor FullPass(const at::Tensor& ids_BT) const {
    const c10::NoGradGuard no_grad;
    return Logits(model_, ids_BT);
  }
  const LanguageModel model_ = GetParam()();
};
INSTANTIATE_TEST_SUITE_P(TeacherAndStudent, Decoding,
                         testing::Values(TinyTeacher, HybridStudent, PhiTeacher, PhiStudent));

TEST_P(Decoding, EqualsTheFullPassAtEachPosition) {
  const at::Tensor ids = Prompts(24);
  const at::Tensor expected_BTV = FullPass(ids);
  for (int64_t prompt : {1, 5, 23}) {
    DecodeState state;
    at::Tensor logits_BV = Prefill(model_, ids.narrow(1, 0, prompt), 24, state);
    for (int64_t t = prompt;; ++t) {
      ASSERT_EQ(logits_BV.sizes(), at::IntArrayRef({2, 512}));
      EXPECT_EQ(state.position, t);
      EXPECT_LT((logits_BV - expected_BTV.select(1, t - 1)).abs().max().item<double>(), kTolerance)
          << "prompt of " << prompt << ", position " << t - 1;
      if (t == 24) break;
      logits_BV = DecodeStep(model_, ids.select(1, t), state);
    }
  }
}

TEST_P(Decoding, KeepsTheSequencesOfABatchApart) {
  const at::Tensor ids = Prompts(12);
  for (int64_t row : {0, 1}) {
    const at::Tensor alone = ids.narrow(0, row, 1);
    DecodeState both, one;
    at::Tensor logits_both = Prefill(model_, ids.narrow(1, 0, 6), 12, both);
    at::Tensor logits_one = Prefill(model_, alone.narrow(1, 0, 6), 12, one);
    for (int64_t t = 6; t < 12; ++t) {
      logits_both = DecodeStep(model_, ids.select(1, t), both);
      logits_one = DecodeStep(model_, alone.select(1, t), one);
    }
    EXPECT_LT((logits_both[row] - logits_one[0]).abs().max().item<double>(), kTolerance) << row;
  }
}

TEST_P(Decoding, StartsAfreshOnEveryPrefill) {
  const at::Tensor ids = Prompts(20);
  DecodeState state;
  const at::Tensor first = Prefill(model_, ids.narrow(1, 0, 8), 20, state);
  DecodeStep(model_, ids.select(1, 8), state);
  EXPECT_TRUE(at::equal(Prefill(model_, ids.narrow(1, 0, 8), 20, state), first));
  EXPECT_EQ(state.position, 8);
}

TEST_P(Decoding, KeepsNoGraph) {
  LanguageModel model = model_;
  for (const auto& tensor : ModelTensors(model)) {
    *tensor.value = tensor.value->detach().clone().requires_grad_();
  }
  if (model.config.tied_head) model.head_VE = model.embedding_VE;
  DecodeState state;
  EXPECT_FALSE(Prefill(model, Prompts(4), 5, state).requires_grad());
  EXPECT_FALSE(DecodeStep(model, Prompts(1).select(1, 0), state).requires_grad());
}

TEST_P(Decoding, ContinuesWithTheMostLikelyTokens) {
  for (int64_t prompt : {1, 9}) {
    at::Tensor ids = Prompts(prompt);
    const at::Tensor continuation = GreedyContinuation(model_, ids, 8, /*stop=*/false).value();
    ASSERT_EQ(continuation.sizes(), at::IntArrayRef({2, 8}));
    for (int64_t i = 0; i < 8; ++i) {
      const at::Tensor next_B = FullPass(ids).select(1, ids.size(1) - 1).argmax(-1);
      EXPECT_TRUE(at::equal(continuation.select(1, i), next_B)) << "prompt of " << prompt << ", token " << i;
      ids = at::cat({ids, next_B.unsqueeze(1)}, 1);
    }
  }
}

}  // namespace
}  // namespace retort
