// The goldens are what transformers computes; tests/golden/llama/README.md, tests/golden/teachers/README.md.
#include "model/teacher/teacher.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <map>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/io/safetensors.h"
#include "model/io/testing_tensors.h"

namespace retort {
namespace {

using ::testing::HasSubstr;

constexpr double kTolerance = 1e-4;
constexpr char kGolden[] = RETORT_SOURCE_DIR "/tests/golden/";

LanguageModel Load(const std::string& directory) {
  auto model = LoadTeacher(kGolden + directory);
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

SafetensorsFile OpenGolden(const std::string& file) {
  auto golden = SafetensorsFile::Open(kGolden + file);
  EXPECT_TRUE(golden.ok()) << golden.status();
  return *std::move(golden);
}

class TeacherLogits : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Random, TeacherLogits,
                         testing::Values("llama/untied_mha", "llama/gqa_wide_heads_bf16", "llama/sharded_gqa",
                                         "teachers/llama3", "teachers/mistral", "teachers/phi",
                                         "teachers/phi_two_fifths_turn", "teachers/qwen2", "teachers/qwen3"));

TEST_P(TeacherLogits, EqualTransformers) {
  const std::string directory = GetParam();
  const SafetensorsFile golden = OpenGolden(directory + "/golden.safetensors");
  ExpectNear(Logits(Load(directory), *golden.Read("ids")), *golden.Read("logits"), kTolerance, GetParam());
}

// The tiny teacher's forward pass, block by block.
class TinyTeacher : public testing::Test {
 protected:
  TinyTeacher() {
    const at::Tensor ids = *golden_.Read("ids");
    const RotaryTable rotary = RotaryFor(model_, ids.size(1));
    at::Tensor hidden = Embed(model_, ids);
    taps_.resize(model_.config.num_layers());
    for (int64_t l = 0; l < model_.config.num_layers(); ++l) {
      hidden = RunBlock(model_, l, hidden, rotary, &taps_[l]);
    }
  }
  at::Tensor Expected(size_t layer, const std::string& name) const {
    return *golden_.Read("layers." + std::to_string(layer) + "." + name);
  }

  const c10::NoGradGuard no_grad_;
  const SafetensorsFile golden_ = OpenGolden("llama/tiny_teacher.safetensors");
  const LanguageModel model_ = Load("tiny/teacher");
  std::vector<BlockTaps> taps_;
};

TEST(PhiTeacher, EachLayersSignalsEqualTransformers) {
  const c10::NoGradGuard no_grad;
  const SafetensorsFile golden = OpenGolden("teachers/phi/golden.safetensors");
  const LanguageModel model = Load("teachers/phi");
  const at::Tensor ids = *golden.Read("ids");
  const RotaryTable rotary = RotaryFor(model, ids.size(1));
  at::Tensor hidden = Embed(model, ids);
  for (int64_t l = 0; l < model.config.num_layers(); ++l) {
    BlockTaps taps;
    hidden = RunBlock(model, l, hidden, rotary, &taps);
    const auto expect = [&](const at::Tensor& actual, const std::string& name) {
      const std::string at_layer = "layers." + std::to_string(l) + "." + name;
      ExpectNear(actual, *golden.Read(at_layer), kTolerance, at_layer);
    };
    expect(taps.input_BTE, "input");
    expect(taps.mixer_BTE, "mixer");
    expect(taps.attention.q_BHTD, "q");
    expect(taps.attention.k_BKTD, "k");
    expect(taps.attention.lse_BHT, "lse");
    expect(taps.output_BTE, "output");
  }
}

TEST_F(TinyTeacher, LogitsEqualTransformers) {
  ExpectNear(Logits(model_, *golden_.Read("ids")), *golden_.Read("logits"), kTolerance, "logits");
}

TEST_F(TinyTeacher, EachLayersSignalsEqualTransformers) {
  ASSERT_EQ(taps_.size(), 4u);
  for (size_t l = 0; l < taps_.size(); ++l) {
    const std::string layer = " of layer " + std::to_string(l);
    ExpectNear(taps_[l].input_BTE, Expected(l, "input"), kTolerance, "input" + layer);
    ExpectNear(taps_[l].mixer_BTE, Expected(l, "mixer"), kTolerance, "mixer" + layer);
    ExpectNear(taps_[l].attention.q_BHTD, Expected(l, "q"), kTolerance, "q" + layer);
    ExpectNear(taps_[l].attention.k_BKTD, Expected(l, "k"), kTolerance, "k" + layer);
    ExpectNear(taps_[l].attention.lse_BHT, Expected(l, "lse"), kTolerance, "lse" + layer);
    ExpectNear(taps_[l].output_BTE, Expected(l, "output"), kTolerance, "output" + layer);
  }
}

TEST_F(TinyTeacher, TheLastOutputIsNotNormed) {
  const at::Tensor& last = taps_.back().output_BTE;
  ExpectNear(last, Expected(3, "output"), kTolerance, "output");
  const at::Tensor logits = at::linear(FinalNorm(model_, last), model_.embedding_VE);
  ExpectNear(logits, *golden_.Read("logits"), kTolerance, "logits");
  EXPECT_GT((FinalNorm(model_, last) - last).abs().max().item<double>(), 0.1);
}

TEST_F(TinyTeacher, TheMixersInputIsTheNormedLayerInput) {
  const RotaryTable rotary = RotaryFor(model_, 48);
  for (int64_t l = 0; l < 4; ++l) {
    const at::Tensor x = Expected(l, "input");
    const at::Tensor normed = x / (x.square().mean({-1}, true) + 1e-5).sqrt() * model_.blocks[l].input_norm_E;
    ExpectNear(taps_[l].normed_BTE, normed, kTolerance, "normed");
    ExpectNear(RunMixer(model_, l, taps_[l].normed_BTE, rotary), Expected(l, "mixer"), kTolerance, "mixer");
  }
}

TEST_F(TinyTeacher, ABlockRunsTheSameWithoutTaps) {
  const RotaryTable rotary = RotaryFor(model_, 48);
  for (int64_t l = 0; l < 4; ++l) {
    EXPECT_TRUE(at::equal(RunBlock(model_, l, taps_[l].input_BTE, rotary, nullptr), taps_[l].output_BTE));
  }
}

TEST_F(TinyTeacher, AttentionMatrixIsTheCausalSoftmax) {
  for (const BlockTaps& taps : taps_) {
    const at::Tensor matrix_BHTT = AttentionMatrix(taps.attention);
    EXPECT_EQ(matrix_BHTT.triu(1).abs().max().item<double>(), 0.0);
    ExpectNear(matrix_BHTT.sum(-1), at::ones({2, 4, 48}), kTolerance, "row sums");
    const at::Tensor keys = taps.attention.k_BKTD.repeat_interleave(2, 1);  // heads 0, 1 share KV head 0
    const at::Tensor scores = at::matmul(taps.attention.q_BHTD, keys.transpose(2, 3)) / 4.0;  // sqrt(16)
    const at::Tensor future = at::ones({48, 48}, at::kBool).triu(1);
    ExpectNear(matrix_BHTT, at::softmax(scores.masked_fill(future, -INFINITY), -1), kTolerance, "softmax");
  }
}

TEST(LoadTeacher, TiesTheHeadOnlyWhenTheConfigurationSaysSo) {
  const LanguageModel tied = Load("tiny/teacher"), untied = Load("llama/untied_mha");
  EXPECT_TRUE(tied.head_VE.is_same(tied.embedding_VE));
  EXPECT_FALSE(at::equal(untied.head_VE, untied.embedding_VE));
}

TEST(LoadTeacher, ListsEveryTensorOfTheFilesOnce) {
  for (const char* directory : {"tiny/teacher", "llama/untied_mha", "teachers/phi", "teachers/qwen2",
                                "teachers/qwen3", "teachers/mistral"}) {
    LanguageModel model = Load(directory);
    const SafetensorsFile file = OpenGolden(std::string(directory) + "/model.safetensors");
    std::vector<std::string> names;
    for (const auto& tensor : ModelTensors(model)) {
      names.push_back(tensor.name);
      EXPECT_EQ(tensor.value->scalar_type(), at::kFloat) << tensor.name;
    }
    EXPECT_THAT(names, testing::UnorderedElementsAreArray(file.names())) << directory;
  }
}

TEST(LoadBlocks, ReadsNoMoreThanItIsAskedForAndGoesOnFromThere) {
  const std::string directory = kGolden + std::string("llama/untied_mha");
  const LanguageModel whole = Load("llama/untied_mha");
  LanguageModel model = EmptyModel(whole.config);
  ASSERT_TRUE(LoadBlocks(directory, 1, model).ok());
  EXPECT_TRUE(at::equal(model.embedding_VE, whole.embedding_VE));
  EXPECT_TRUE(at::equal(model.blocks[0].mlp.down_proj, whole.blocks[0].mlp.down_proj));
  EXPECT_FALSE(model.blocks[1].input_norm_E.defined());
  const at::Tensor first = model.blocks[0].input_norm_E;
  ASSERT_TRUE(LoadBlocks(directory, whole.config.num_layers(), model).ok());
  EXPECT_TRUE(model.blocks[0].input_norm_E.is_same(first));
  for (const auto& tensor : ModelTensors(model)) {
    EXPECT_EQ(tensor.value->defined(), tensor.place < whole.config.num_layers()) << tensor.name;
  }
  ASSERT_TRUE(LoadBlocks(directory, whole.config.num_layers() + 1, model).ok());
  EXPECT_TRUE(at::equal(model.head_VE, whole.head_VE));
}

TEST(LoadTeacher, RefusesADirectoryThatIsNoModel) {
  EXPECT_EQ(LoadTeacher(kGolden + std::string("nowhere")).status().code(), absl::StatusCode::kNotFound);
}

// A copy of a teacher's directory that a test may spoil.
class SpoiltTeacher : public testing::Test {
 protected:
  void SetUp() override { Copy("llama/untied_mha"); }
  void Copy(const std::string& teacher) {
    std::filesystem::remove_all(directory_);
    std::filesystem::copy(kGolden + teacher, directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  // Replaces `from` in config.json.
  void Reconfigure(const std::string& from, const std::string& to) {
    std::string text = *ReadFile(directory_ / "config.json");
    ASSERT_NE(text.find(from), std::string::npos);
    text.replace(text.find(from), from.size(), to);
    std::ofstream(directory_ / "config.json") << text;
  }

  // Writes the weights anew after `edit`.
  void Reweigh(const std::function<void(std::map<std::string, at::Tensor>&)>& edit) {
    std::map<std::string, at::Tensor> tensors;
    {
      const SafetensorsFile file = *SafetensorsFile::Open(directory_ / "model.safetensors");
      for (const std::string& name : file.names()) tensors[name] = *file.Read(name);
    }
    edit(tensors);
    const NamedTensors written(tensors.begin(), tensors.end());
    ASSERT_TRUE(WriteSafetensors(directory_ / "model.safetensors", written, {}).ok());
  }

  void ExpectRefused(absl::StatusCode code, const std::string& message) const {
    const absl::Status status = LoadTeacher(directory_).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }

  const std::filesystem::path directory_ =
      testing::TempDir() + "/teacher_test_" + testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(SpoiltTeacher, NamesATensorOfAnotherShape) {
  Reconfigure("\"intermediate_size\": 24", "\"intermediate_size\": 25");
  ExpectRefused(absl::StatusCode::kInvalidArgument, "mlp.gate_proj.weight has shape [24, 16]");
}

TEST_F(SpoiltTeacher, NamesAMissingTensor) {
  Reconfigure("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
  ExpectRefused(absl::StatusCode::kNotFound, "no tensor model.layers.2.input_layernorm.weight");
}

TEST_F(SpoiltTeacher, NamesAMissingBias) {
  Copy("teachers/phi");
  Reweigh([](auto& tensors) { tensors.erase("lm_head.bias"); });
  ExpectRefused(absl::StatusCode::kNotFound, "no tensor lm_head.bias");
}

TEST_F(SpoiltTeacher, NamesATensorThatItsFamilyLacks) {
  Reweigh([](auto& tensors) { tensors["model.layers.1.self_attn.q_proj.bias"] = at::ones({16}); });
  ExpectRefused(absl::StatusCode::kInvalidArgument,
                "tensor model.layers.1.self_attn.q_proj.bias is not one of the 21 that a model_type "
                "\"llama\" of this config.json has");
}

TEST_F(SpoiltTeacher, NamesALayerMoreThanItsConfigurationHas) {
  Reconfigure("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1");
  ExpectRefused(absl::StatusCode::kInvalidArgument,
                "tensor model.layers.1.input_layernorm.weight is not one");
}

TEST_F(SpoiltTeacher, NamesATensorThatHoldsANaN) {
  Copy("teachers/qwen2");
  Reweigh([](auto& tensors) { tensors["model.layers.0.self_attn.k_proj.bias"][3] = NAN; });
  ExpectRefused(absl::StatusCode::kInvalidArgument,
                "model.layers.0.self_attn.k_proj.bias holds a NaN or an infinity");
}

TEST_F(SpoiltTeacher, DoesWithoutTensorsThatFollowFromTheConfiguration) {
  Copy("teachers/llama3");  // tied
  Reweigh([](auto& tensors) {
    tensors["lm_head.weight"] = at::zeros({64, 32});
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = at::zeros({8});
  });
  const auto model = LoadTeacher(directory_);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_TRUE(model->head_VE.is_same(model->embedding_VE));
}

TEST_F(SpoiltTeacher, SeesThatItsWeightsAreCutShort) {
  std::filesystem::resize_file(directory_ / "model.safetensors", 20000);
  EXPECT_EQ(LoadTeacher(directory_).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace retort
