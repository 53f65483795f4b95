#include "model/student/make_student.h"

#include <ATen/ATen.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/teacher/teacher.h"

namespace retort {
namespace {

using ::testing::ElementsAre;
using ::testing::StartsWith;

constexpr MixerType kAttention = MixerType::kAttention, kMamba2 = MixerType::kMamba2;

// 4 layers, hidden 64, 4 query heads on 2 KV heads of width 16.
LanguageModel TinyTeacher() {
  auto model = LoadTeacher(RETORT_SOURCE_DIR "/tests/golden/tiny/teacher");
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

v1::StudentSpec Spec(const std::vector<uint32_t>& keep, uint32_t groups = 4, uint32_t state_size = 16) {
  v1::StudentSpec spec;
  spec.set_groups(groups);
  spec.set_state_size(state_size);
  for (uint32_t layer : keep) spec.mutable_keep_attention()->add_layers(layer);
  return spec;
}

v1::StudentSpec SpecKeepingEvery(uint32_t every, uint32_t offset) {
  v1::StudentSpec spec = Spec({});
  spec.mutable_keep_attention()->set_every(every);
  spec.mutable_keep_attention()->set_offset(offset);
  return spec;
}

std::vector<MixerType> Layers(const v1::StudentSpec& spec) {
  const auto config = StudentConfig(TinyTeacher().config, spec);
  EXPECT_TRUE(config.ok()) << config.status();
  return config->layers;
}

LanguageModel Student(const LanguageModel& teacher, const v1::StudentSpec& spec, v1::StudentInit init,
                      uint64_t seed = 1) {
  const auto config = StudentConfig(teacher.config, spec);
  EXPECT_TRUE(config.ok()) << config.status();
  return MakeStudent(teacher, *config, init, seed);
}

const Mamba2Weights& Mixer(const LanguageModel& model, int64_t layer) {
  return std::get<Mamba2Weights>(model.blocks[layer].mixer);
}

// Which of a mixer's tensors differ from another's, by name.
std::vector<std::string> Differences(const Mamba2Weights& a, const Mamba2Weights& b) {
  std::vector<std::string> names;
  for (const Mamba2Tensor& tensor : Mamba2Tensors(Mamba2Form::kStock)) {
    if (!at::equal(a.*tensor.member, b.*tensor.member)) names.push_back(tensor.name);
  }
  return names;
}

TEST(StudentConfig, KeepsTheListedLayers) {
  EXPECT_THAT(Layers(Spec({1, 3})), ElementsAre(kMamba2, kAttention, kMamba2, kAttention));
}

TEST(StudentConfig, KeepsEveryNthLayerFromTheOffset) {
  EXPECT_THAT(Layers(SpecKeepingEvery(2, 0)), ElementsAre(kAttention, kMamba2, kAttention, kMamba2));
  EXPECT_THAT(Layers(SpecKeepingEvery(3, 2)), ElementsAre(kMamba2, kMamba2, kAttention, kMamba2));
}

TEST(StudentConfig, PrefersTheListToEvery) {
  v1::StudentSpec spec = SpecKeepingEvery(2, 0);
  spec.mutable_keep_attention()->add_layers(3);
  EXPECT_THAT(Layers(spec), ElementsAre(kMamba2, kMamba2, kMamba2, kAttention));
}

TEST(StudentConfig, ConvertsAllLayersWhenNoneIsKept) {
  EXPECT_THAT(Layers(Spec({})), ElementsAre(kMamba2, kMamba2, kMamba2, kMamba2));
}

TEST(StudentConfig, GivesEachQueryHeadAnSsmHeadOfItsWidth) {
  const auto config = StudentConfig(TinyTeacher().config, Spec({0}, 2, 24));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->mamba2.heads, 4);
  EXPECT_EQ(config->mamba2.head_dim, 16);
  EXPECT_EQ(config->mamba2.state_size, 24);
  EXPECT_EQ(config->mamba2.groups, 2);
  EXPECT_EQ(config->mamba2.conv_kernel, 4);
  EXPECT_EQ(config->hidden_size, 64);
  EXPECT_EQ(config->kv_heads, 2);
}

TEST(StudentConfig, NamesWhatItRefuses) {
  const std::pair<v1::StudentSpec, const char*> refusals[] = {
      {Spec({1, 4}), "student.keep_attention names layer 4, but the teacher's layers are 0 to 3"},
      {Spec({UINT32_MAX}), "student.keep_attention names layer 4294967295"},
      {Spec({0, 1, 2, 3}), "student.keep_attention keeps all 4 layers"},
      {SpecKeepingEvery(1, 0), "student.keep_attention keeps all 4 layers"},
      {Spec({}, 3), "student.groups is 3, which does not divide the teacher's 4 query heads"},
      {Spec({}, 8), "student.groups is 8, which does not divide"},
      {Spec({}, 0), "student.groups is 0, which does not divide"},
  };
  for (const auto& [spec, message] : refusals) {
    const absl::Status status = StudentConfig(TinyTeacher().config, spec).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), StartsWith(message));
  }
}

TEST(MakeStudent, MakesSingleLayersFromTheirOwnBlocksAlone) {
  const LanguageModel teacher = TinyTeacher();
  LanguageModel whole = Student(teacher, Spec({1}), v1::STUDENT_INIT_QKVO);
  LanguageModel part = EmptyModel(teacher.config);
  part.blocks[2] = teacher.blocks[2];
  LanguageModel student = MakeStudentLayers(part, whole.config, v1::STUDENT_INIT_QKVO, /*seed=*/1, {2});
  for (const auto& tensor : ModelTensors(student)) {
    EXPECT_EQ(tensor.value->defined(), tensor.place == 2) << tensor.name;
  }
  const auto& ours = std::get<Mamba2Weights>(student.blocks[2].mixer);
  const auto& theirs = std::get<Mamba2Weights>(whole.blocks[2].mixer);
  for (const Mamba2Tensor& tensor : Mamba2Tensors(Mamba2Form::kStock)) {
    EXPECT_TRUE(at::equal(ours.*tensor.member, theirs.*tensor.member)) << tensor.name;
  }
}

TEST(MakeStudent, SharesAllThatItDoesNotConvert) {
  LanguageModel teacher = TinyTeacher();
  LanguageModel student = Student(teacher, Spec({1}), v1::STUDENT_INIT_QKVO);
  std::map<std::string, at::Tensor> of_teacher;
  for (const auto& tensor : ModelTensors(teacher)) of_teacher[tensor.name] = *tensor.value;
  for (const auto& tensor : ModelTensors(student)) {
    const std::string& name = tensor.name;
    const bool converted = name.find(".mamba.") != std::string::npos;
    EXPECT_EQ(tensor.of_student_mixer, converted) << name;
    EXPECT_EQ(of_teacher.count(name) == 1 && tensor.value->is_same(of_teacher[name]), !converted) << name;
  }
  EXPECT_TRUE(student.head_VE.is_same(teacher.head_VE));
  EXPECT_TRUE(SharesBlock(student, teacher, 1));
  for (int64_t l : {0, 2, 3}) EXPECT_FALSE(SharesBlock(student, teacher, l)) << l;
}

TEST(MakeStudent, LeavesTheTeachersMixersUntouchedWhenTrained) {
  // One KV head per query head: nothing to repeat, so a missing copy would share memory.
  auto loaded = LoadTeacher(RETORT_SOURCE_DIR "/tests/golden/llama/untied_mha");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const LanguageModel& teacher = *loaded;
  const LanguageModel student = Student(teacher, Spec({}, 4, 4), v1::STUDENT_INIT_QKVO);
  const auto& attention = std::get<AttentionWeights>(teacher.blocks[0].mixer);
  const at::Tensor v = attention.v_proj.clone(), o = attention.o_proj.clone(), q = attention.q_proj.clone(),
                   k = attention.k_proj.clone();
  EXPECT_TRUE(at::equal(Mixer(student, 0).x_proj, v));
  for (const Mamba2Tensor& tensor : Mamba2Tensors(Mamba2Form::kStock))
    (Mixer(student, 0).*tensor.member).zero_();
  EXPECT_TRUE(at::equal(attention.v_proj, v));
  EXPECT_TRUE(at::equal(attention.o_proj, o));
  EXPECT_TRUE(at::equal(attention.q_proj, q));
  EXPECT_TRUE(at::equal(attention.k_proj, k));
}

TEST(MakeStudent, GivesEveryTensorItsShape) {
  for (v1::StudentInit init : {v1::STUDENT_INIT_PAPER, v1::STUDENT_INIT_QKVO}) {
    LanguageModel student = Student(TinyTeacher(), Spec({1}, 2, 24), init);
    for (const auto& tensor : ModelTensors(student)) {
      EXPECT_EQ(tensor.value->sizes().vec(), tensor.shape) << tensor.name;
    }
  }
}

// True when all values lie in [low, high] and come near both ends.
void ExpectFills(const at::Tensor& values, double low, double high, double slack) {
  EXPECT_GE(values.min().item<double>(), low - 1e-6);
  EXPECT_LE(values.max().item<double>(), high + 1e-6);
  EXPECT_LT(values.min().item<double>(), low + slack);
  EXPECT_GT(values.max().item<double>(), high - slack);
}

TEST(MakeStudent, StartsInTheRangesOfThePaper) {
  const LanguageModel student = Student(TinyTeacher(), Spec({}), v1::STUDENT_INIT_PAPER);
  const Mamba2Weights& w = Mixer(student, 2);
  for (const at::Tensor& rows : {w.z_proj, w.x_proj, w.b_proj, w.c_proj, w.dt_proj}) {
    ExpectFills(rows, -0.125, 0.125, 0.01);  // 1/sqrt(64)
  }
  ExpectFills(w.out_proj, -0.0625, 0.0625, 0.01);  // 1/sqrt(64) / sqrt(4 layers)
  for (const at::Tensor& conv : {w.conv_x, w.conv_b, w.conv_c}) {
    EXPECT_TRUE(at::equal(conv, at::tensor({0.0f, 0.0f, 0.0f, 1.0f}).expand({64, 4})));
  }
  for (const at::Tensor& zero : {w.conv_x_bias, w.conv_b_bias, w.conv_c_bias}) {
    EXPECT_TRUE(at::equal(zero, at::zeros({64})));
  }
  EXPECT_TRUE(at::equal(w.d, at::ones({4})));
  EXPECT_TRUE(at::equal(w.norm, at::ones({64})));
}

LanguageModel PhiTeacher() {
  auto model = LoadTeacher(RETORT_SOURCE_DIR "/tests/golden/teachers/phi");
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

v1::StudentSpec DiscreteSpec(uint32_t groups, uint32_t state_size) {
  v1::StudentSpec spec = Spec({}, groups, state_size);
  spec.set_mixer(v1::MIXER_KIND_DISCRETE_MAMBA2);
  return spec;
}

TEST(StudentConfig, GivesEachHeadOfTheDiscreteFormItsOwnGroup) {
  const auto config = StudentConfig(TinyTeacher().config, DiscreteSpec(/*groups=*/0, 16));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->mamba2.form, Mamba2Form::kDiscrete);
  EXPECT_EQ(config->mamba2.groups, 4);
  EXPECT_EQ(StudentConfig(TinyTeacher().config, DiscreteSpec(2, 16))->mamba2.groups, 2);
}

TEST(MakeStudent, StartsTheDiscreteFormAsThePaper) {
  const LanguageModel student = Student(TinyTeacher(), DiscreteSpec(0, 16), v1::STUDENT_INIT_PAPER);
  const Mamba2Weights& w = Mixer(student, 2);
  for (const at::Tensor& rows : {w.x_proj, w.b_proj, w.c_proj, w.a_proj}) {
    ExpectFills(rows, -0.125, 0.125, 0.01);  // 1/sqrt(64)
  }
  ExpectFills(w.out_proj, -0.0625, 0.0625, 0.01);  // 1/sqrt(64) / sqrt(4 layers)
  EXPECT_TRUE(at::equal(w.conv_b, at::tensor({0.0f, 0.0f, 0.0f, 1.0f}).expand({64, 4})));
  EXPECT_TRUE(at::equal(w.conv_x_bias, at::zeros({64})));
  EXPECT_TRUE(at::equal(w.d, at::ones({4})));
  EXPECT_TRUE(at::equal(w.z_proj, at::zeros({64, 64})));
  EXPECT_TRUE(at::equal(w.z_bias, at::full({64}, 1.278464542761)));
  EXPECT_TRUE(at::allclose(at::silu(w.z_bias), at::ones({64}), 1e-6, 0));
  for (const at::Tensor& stock : {w.dt_proj, w.dt_bias, w.a_log, w.norm}) EXPECT_FALSE(stock.defined());
}

// With the convolution at identity, B, C and x of the student are the teacher's k, q (before rotary) and v.
TEST(MakeStudent, CarriesTheAttentionsBiasesOver) {
  const LanguageModel teacher = PhiTeacher();
  const LanguageModel student = Student(teacher, DiscreteSpec(0, 16), v1::STUDENT_INIT_QKVO);
  const auto& attention = std::get<AttentionWeights>(teacher.blocks[1].mixer);
  const at::Tensor u = at::randn({1, 5, 32});
  const Mamba2MatrixParts parts = MatrixParts(u, Mixer(student, 1), student.config.mamba2);
  const at::Tensor q = at::linear(u, attention.q_proj, attention.q_bias) / 2.0;  // 16^(1/4)
  const at::Tensor k = at::linear(u, attention.k_proj, attention.k_bias) / 2.0;
  EXPECT_TRUE(at::allclose(parts.c_BTGN.flatten(2), q, 1e-4, 1e-5));
  EXPECT_TRUE(at::allclose(parts.b_BTGN.flatten(2), k, 1e-4, 1e-5));
  EXPECT_TRUE(at::equal(Mixer(student, 1).conv_x_bias, attention.v_bias));
}

TEST(MakeStudent, DrawsStepsLogUniformlyAndDecaysUniformly) {
  std::vector<at::Tensor> steps, rates;
  for (uint64_t seed = 0; seed < 25; ++seed) {
    const LanguageModel student = Student(TinyTeacher(), Spec({}), v1::STUDENT_INIT_PAPER, seed);
    for (int64_t l = 0; l < 4; ++l) {
      steps.push_back(at::softplus(Mixer(student, l).dt_bias));
      rates.push_back(Mixer(student, l).a_log.exp());
    }
  }
  ExpectFills(at::cat(steps).log(), std::log(1e-3), std::log(1e-1), 0.04);
  EXPECT_NEAR(at::cat(steps).log().mean().item<double>(), std::log(1e-2), 0.25);  // 400 draws: 4 sigma
  ExpectFills(at::cat(rates), 1.0, 16.0, 0.5);
  EXPECT_NEAR(at::cat(rates).mean().item<double>(), 8.5, 0.9);
}

TEST(MakeStudent, RepeatsKeyValueHeadsForTheirQueryHeads) {
  const LanguageModel teacher = TinyTeacher();
  const LanguageModel student = Student(teacher, Spec({0}), v1::STUDENT_INIT_QKVO);
  const auto& attention = std::get<AttentionWeights>(teacher.blocks[2].mixer);
  const Mamba2Weights& w = Mixer(student, 2);
  const int64_t kv_head_of[] = {0, 0, 1, 1};
  for (int64_t head = 0; head < 4; ++head) {
    for (int64_t row = 0; row < 16; ++row) {
      const int64_t to = head * 16 + row, from = kv_head_of[head] * 16 + row;
      EXPECT_TRUE(at::equal(w.x_proj[to], attention.v_proj[from])) << "head " << head << ", row " << row;
      EXPECT_TRUE(at::allclose(w.b_proj[to], attention.k_proj[from] / 2.0, 1e-6, 0)) << to;  // 16^(1/4) = 2
      EXPECT_TRUE(at::allclose(w.c_proj[to], attention.q_proj[to] / 2.0, 1e-6, 0)) << to;
    }
  }
  EXPECT_TRUE(at::equal(w.out_proj, attention.o_proj));
}

TEST(MakeStudent, CopiesKeysAndQueriesOnlyWhereTheShapesAllow) {
  const LanguageModel teacher = TinyTeacher();
  const auto copied = [&](uint32_t groups, uint32_t state_size) {
    const v1::StudentSpec spec = Spec({}, groups, state_size);
    return Differences(Mixer(Student(teacher, spec, v1::STUDENT_INIT_PAPER), 1),
                       Mixer(Student(teacher, spec, v1::STUDENT_INIT_QKVO), 1));
  };
  EXPECT_THAT(copied(4, 16),
              ElementsAre("x_proj.weight", "b_proj.weight", "c_proj.weight", "out_proj.weight"));
  EXPECT_THAT(copied(2, 16), ElementsAre("x_proj.weight", "out_proj.weight"));
  EXPECT_THAT(copied(2, 32), ElementsAre("x_proj.weight", "out_proj.weight"));
  EXPECT_THAT(copied(4, 8), ElementsAre("x_proj.weight", "out_proj.weight"));
  EXPECT_THAT(copied(1, 64), ElementsAre("x_proj.weight", "out_proj.weight"));
}

TEST(MakeStudent, StartsALayerTheSameWhateverElseIsConverted) {
  const LanguageModel teacher = TinyTeacher();
  for (v1::StudentInit init : {v1::STUDENT_INIT_PAPER, v1::STUDENT_INIT_QKVO}) {
    const LanguageModel few = Student(teacher, Spec({0, 1, 3}), init), all = Student(teacher, Spec({}), init);
    EXPECT_THAT(Differences(Mixer(few, 2), Mixer(all, 2)), ElementsAre());
  }
}

TEST(MakeStudent, StartsEachLayerAndSeedDifferently) {
  const LanguageModel teacher = TinyTeacher();
  const auto random = ElementsAre("z_proj.weight", "x_proj.weight", "b_proj.weight", "c_proj.weight",
                                  "dt_proj.weight", "dt_bias", "A_log", "out_proj.weight");
  const LanguageModel first = Student(teacher, Spec({}), v1::STUDENT_INIT_PAPER, 1);
  const LanguageModel second = Student(teacher, Spec({}), v1::STUDENT_INIT_PAPER, 2);
  EXPECT_THAT(Differences(Mixer(first, 0), Mixer(second, 0)), random);
  EXPECT_THAT(Differences(Mixer(first, 0), Mixer(first, 1)), random);
  EXPECT_FALSE(at::equal(Mixer(first, 0).b_proj, Mixer(first, 0).c_proj));
}

}  // namespace
}  // namespace retort
