#include "worker/run/report_json.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <functional>
#include <numeric>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "core/base/plain_text.h"
#include "core/base/status_macros.h"
#include "model/lm/decoding.h"
#include "model/lm/torch_seam.h"
#include "train/data/tokenizer.h"
#include "train/data/utf8.h"

namespace retort {
namespace {

using nlohmann::json;

constexpr int64_t kMatrixTokens = 64;
constexpr int64_t kSamples = 3;

int64_t Parameters(const LanguageModel& model) {
  int64_t sum = 0;
  for (const auto& tensor : ModelTensors(model)) {
    sum += std::accumulate(tensor.shape.begin(), tensor.shape.end(), int64_t{1}, std::multiplies<>());
  }
  return sum;
}

// [T, T] of the first head.
at::Tensor HeadMatrix(const LanguageModel& model, const LanguageModel& teacher, int64_t layer,
                      const at::Tensor& ids_T) {
  const RotaryTable rotary = RotaryFor(teacher, ids_T.size(0));
  at::Tensor hidden_BTE = Embed(teacher, ids_T.unsqueeze(0));
  for (int64_t below = 0; below < layer; ++below) {
    hidden_BTE = RunBlock(teacher, below, hidden_BTE, rotary, nullptr);
  }
  const BlockTaps taps = TapMixer(teacher, layer, hidden_BTE, rotary);
  if (!model.converted(layer)) return AttentionMatrix(taps.attention)[0][0];
  return Mamba2Matrix(taps.normed_BTE, std::get<Mamba2Weights>(model.blocks[layer].mixer),
                      model.config.mamba2)[0][0];
}

double ThreeDigits(double value) {
  double rounded = 0;
  // What is not finite becomes null in JSON either way.
  return absl::SimpleAtod(absl::StrFormat("%.3g", value), &rounded) ? rounded : value;
}

// A run of tokens may begin or end inside a character, which JSON cannot hold.
std::string Words(const Tokenizer& tokenizer, const at::Tensor& ids_T) {
  const at::Tensor ids = ids_T.to(at::kInt).contiguous();
  std::string storage;
  const std::string bytes = tokenizer.Decode({ids.data_ptr<int32_t>(), static_cast<size_t>(ids.numel())});
  return std::string(ToValidUtf8(bytes, &storage));
}

}  // namespace

json ArchitectureJson(const LanguageModel& teacher, const LanguageModel& student) {
  return {{"hidden_size", teacher.config.hidden_size}, {"heads", teacher.config.heads},
          {"kv_heads", teacher.config.kv_heads},       {"vocab_size", teacher.config.vocab_size},
          {"teacher_parameters", Parameters(teacher)}, {"student_parameters", Parameters(student)}};
}

std::optional<int64_t> ShownLayer(const ModelConfig& student) {
  std::vector<int64_t> converted;
  for (int64_t l = 0; l < student.num_layers(); ++l) {
    if (student.layers[l] != MixerType::kAttention) converted.push_back(l);
  }
  if (converted.empty()) return std::nullopt;
  return converted[converted.size() / 2];
}

absl::StatusOr<json> HeadMatrixJson(const LanguageModel& model, const LanguageModel& teacher, int64_t layer,
                                    const std::vector<int32_t>& window) {
  return CatchTorch("the matrix of a head", [&]() -> absl::StatusOr<json> {
    const c10::NoGradGuard no_grad;
    const int64_t tokens = std::min(kMatrixTokens, static_cast<int64_t>(window.size()));
    const at::Tensor ids_T = at::tensor(window, at::kInt).to(at::kLong).narrow(0, 0, tokens);
    const at::Tensor matrix_TT = HeadMatrix(model, teacher, layer, ids_T).to(at::kDouble).contiguous();
    json lower = json::array();
    for (int64_t row = 0; row < tokens; ++row) {
      const double* values = matrix_TT.data_ptr<double>() + row * tokens;
      std::transform(values, values + row + 1, std::back_inserter(lower), &ThreeDigits);
    }
    return lower;
  });
}

absl::StatusOr<json> SamplesJson(const LanguageModel& student, const FreeRunningReference& reference,
                                 const std::filesystem::path& teacher_directory,
                                 const std::atomic<bool>& stop) {
  json report = {{"samples", json::array()}};
  if (!reference.prompts_BT.defined()) return report;
  const auto tokenizer = Tokenizer::Load(teacher_directory);
  if (absl::IsNotFound(tokenizer.status())) return report;
  if (!tokenizer.ok()) {
    report["no_samples"] = PlainText(std::string(tokenizer.status().message()));
    return report;
  }
  return CatchTorch("the student's continuations", [&]() -> absl::StatusOr<json> {
    const int64_t count = std::min(kSamples, reference.prompts_BT.size(0));
    const at::Tensor prompts_BT = reference.prompts_BT.narrow(0, 0, count);
    ASSIGN_OR_RETURN(const at::Tensor own_BS,
                     GreedyContinuation(student, prompts_BT, reference.continuations_BS.size(1), stop));
    for (int64_t i = 0; i < count; ++i) {
      report["samples"].push_back({{"prompt", Words(**tokenizer, prompts_BT[i])},
                                   {"teacher", Words(**tokenizer, reference.continuations_BS[i])},
                                   {"student", Words(**tokenizer, own_BS[i])}});
    }
    return report;
  });
}

}  // namespace retort
