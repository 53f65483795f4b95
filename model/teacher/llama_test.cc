// The goldens are transformers' LlamaForCausalLM; tests/golden/llama/README.md.
#include "model/teacher/llama.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/io/safetensors.h"

namespace retort {
namespace {

using ::testing::HasSubstr;

constexpr double kTolerance = 1e-4;
constexpr char kGolden[] = RETORT_SOURCE_DIR "/tests/golden/";

LanguageModel Load(const std::string& directory) {
  auto model = LoadLlama(kGolden + directory);
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

SafetensorsFile OpenGolden(const std::string& file) {
  auto golden = SafetensorsFile::Open(kGolden + file);
  EXPECT_TRUE(golden.ok()) << golden.status();
  return *std::move(golden);
}

void ExpectClose(const at::Tensor& actual, const at::Tensor& expected, const std::string& what) {
  ASSERT_EQ(actual.sizes(), expected.sizes()) << what;
  EXPECT_LT((actual - expected).abs().max().item<double>(), kTolerance) << what;
}

class LlamaLogits : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Random, LlamaLogits,
                         testing::Values("untied_mha", "gqa_wide_heads_bf16", "sharded_gqa"));

TEST_P(LlamaLogits, EqualTransformers) {
  const std::string directory = std::string("llama/") + GetParam();
  const SafetensorsFile golden = OpenGolden(directory + "/golden.safetensors");
  ExpectClose(Logits(Load(directory), *golden.Read("ids")), *golden.Read("logits"), GetParam());
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

TEST_F(TinyTeacher, LogitsEqualTransformers) {
  ExpectClose(Logits(model_, *golden_.Read("ids")), *golden_.Read("logits"), "logits");
}

TEST_F(TinyTeacher, EachLayersSignalsEqualTransformers) {
  ASSERT_EQ(taps_.size(), 4u);
  for (size_t l = 0; l < taps_.size(); ++l) {
    const std::string layer = " of layer " + std::to_string(l);
    ExpectClose(taps_[l].input_BTE, Expected(l, "input"), "input" + layer);
    ExpectClose(taps_[l].mixer_BTE, Expected(l, "mixer"), "mixer" + layer);
    ExpectClose(taps_[l].attention.q_BHTD, Expected(l, "q"), "q" + layer);
    ExpectClose(taps_[l].attention.k_BKTD, Expected(l, "k"), "k" + layer);
    ExpectClose(taps_[l].attention.lse_BHT, Expected(l, "lse"), "lse" + layer);
    ExpectClose(taps_[l].output_BTE, Expected(l, "output"), "output" + layer);
  }
}

TEST_F(TinyTeacher, TheLastOutputIsNotNormed) {
  const at::Tensor& last = taps_.back().output_BTE;
  ExpectClose(last, Expected(3, "output"), "output");
  const at::Tensor logits = at::linear(FinalNorm(model_, last), model_.embedding_VE);
  ExpectClose(logits, *golden_.Read("logits"), "logits");
  EXPECT_GT((FinalNorm(model_, last) - last).abs().max().item<double>(), 0.1);
}

TEST_F(TinyTeacher, TheMixersInputIsTheNormedLayerInput) {
  const RotaryTable rotary = RotaryFor(model_, 48);
  for (int64_t l = 0; l < 4; ++l) {
    const at::Tensor x = Expected(l, "input");
    const at::Tensor normed = x / (x.square().mean({-1}, true) + 1e-5).sqrt() * model_.blocks[l].input_norm_E;
    ExpectClose(taps_[l].normed_BTE, normed, "normed");
    ExpectClose(RunMixer(model_, l, taps_[l].normed_BTE, rotary), Expected(l, "mixer"), "mixer");
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
    ExpectClose(matrix_BHTT.sum(-1), at::ones({2, 4, 48}), "row sums");
    const at::Tensor keys = taps.attention.k_BKTD.repeat_interleave(2, 1);  // heads 0, 1 share KV head 0
    const at::Tensor scores = at::matmul(taps.attention.q_BHTD, keys.transpose(2, 3)) / 4.0;  // sqrt(16)
    const at::Tensor future = at::ones({48, 48}, at::kBool).triu(1);
    ExpectClose(matrix_BHTT, at::softmax(scores.masked_fill(future, -INFINITY), -1), "softmax");
  }
}

TEST(LoadLlama, TiesTheHeadOnlyWhenTheConfigurationSaysSo) {
  const LanguageModel tied = Load("tiny/teacher"), untied = Load("llama/untied_mha");
  EXPECT_TRUE(tied.head_VE.is_same(tied.embedding_VE));
  EXPECT_FALSE(at::equal(untied.head_VE, untied.embedding_VE));
}

TEST(LoadLlama, ListsEveryTensorOfTheFilesOnce) {
  for (const char* directory : {"tiny/teacher", "llama/untied_mha"}) {
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

TEST(LoadLlama, RefusesADirectoryThatIsNoModel) {
  EXPECT_EQ(LoadLlama(kGolden + std::string("nowhere")).status().code(), absl::StatusCode::kNotFound);
}

// A copy of the untied model's directory that a test may spoil.
class SpoiltTeacher : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(directory_);
    std::filesystem::copy(kGolden + std::string("llama/untied_mha"), directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  // Replaces `from` in config.json.
  void Reconfigure(const std::string& from, const std::string& to) {
    std::string text = *ReadFile(directory_ / "config.json");
    ASSERT_NE(text.find(from), std::string::npos);
    text.replace(text.find(from), from.size(), to);
    std::ofstream(directory_ / "config.json") << text;
  }

  const std::filesystem::path directory_ =
      testing::TempDir() + "/llama_test_" + testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(SpoiltTeacher, NamesATensorOfAnotherShape) {
  Reconfigure("\"intermediate_size\": 24", "\"intermediate_size\": 25");
  const absl::Status status = LoadLlama(directory_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("mlp.gate_proj.weight has shape [24, 16]"));
}

TEST_F(SpoiltTeacher, NamesAMissingTensor) {
  Reconfigure("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
  const absl::Status status = LoadLlama(directory_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no tensor model.layers.2.input_layernorm.weight"));
}

TEST_F(SpoiltTeacher, SeesThatItsWeightsAreCutShort) {
  std::filesystem::resize_file(directory_ / "model.safetensors", 20000);
  EXPECT_EQ(LoadLlama(directory_).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace retort
