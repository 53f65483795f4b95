#include "train/eval/evaluate.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "model/lm/torch_seam.h"

namespace retort {
namespace {

constexpr int64_t kHeadChunk = 256;  // positions whose logits exist at once

struct Sums {
  double nll = 0, teacher_nll = 0, kl = 0, agreements = 0;
  uint64_t predicted = 0, tokens = 0;
  std::vector<double> distance;
};

// Adds what the head says of one window. Hidden states are normed; position i predicts token i + 1.
void AddHeadSums(const LanguageModel& model, const at::Tensor& hidden_TE, const LanguageModel* teacher,
                 const at::Tensor& teacher_hidden_TE, const at::Tensor& ids_T, Sums& sums) {
  const int64_t predicted = ids_T.size(0) - 1;
  for (int64_t begin = 0; begin < predicted; begin += kHeadChunk) {
    const int64_t count = std::min(kHeadChunk, predicted - begin);
    const at::Tensor log_p = at::log_softmax(HeadLogits(model, hidden_TE.narrow(0, begin, count)), -1);
    const at::Tensor next = ids_T.narrow(0, begin + 1, count).unsqueeze(1);
    sums.nll -= log_p.gather(1, next).sum(at::kDouble).item<double>();
    if (teacher == nullptr) continue;
    const at::Tensor log_t =
        at::log_softmax(HeadLogits(*teacher, teacher_hidden_TE.narrow(0, begin, count)), -1);
    sums.teacher_nll -= log_t.gather(1, next).sum(at::kDouble).item<double>();
    sums.kl += (log_t.exp() * (log_t - log_p)).sum(at::kDouble).item<double>();
    sums.agreements += log_t.argmax(-1).eq(log_p.argmax(-1)).sum().item<double>();
  }
  sums.predicted += predicted;
}

// Adds the distance of one layer on the teacher's input.
void AddDistance(const LanguageModel& student, int64_t layer, const at::Tensor& input,
                 const at::Tensor& output, const RotaryTable& rotary, Sums& sums) {
  const at::Tensor difference = RunBlock(student, layer, input, rotary, nullptr) - output;
  sums.distance[layer] += at::linalg_vector_norm(difference, 2, at::IntArrayRef({-1})).sum().item<double>();
}

void AddWindow(const LanguageModel& model, const LanguageModel* teacher, const std::vector<int32_t>& window,
               Sums& sums) {
  const at::Tensor ids_T = at::tensor(window, at::kInt).to(at::kLong);
  const RotaryTable rotary = RotaryFor(model, ids_T.size(0));
  at::Tensor hidden = Embed(model, ids_T.unsqueeze(0)), teacher_hidden;
  if (teacher != nullptr) teacher_hidden = Embed(*teacher, ids_T.unsqueeze(0));
  for (int64_t l = 0; l < model.config.num_layers(); ++l) {
    hidden = RunBlock(model, l, hidden, rotary, nullptr);
    if (teacher == nullptr) continue;
    const at::Tensor input = teacher_hidden;
    teacher_hidden = RunBlock(*teacher, l, input, rotary, nullptr);
    if (!SharesBlock(model, *teacher, l)) AddDistance(model, l, input, teacher_hidden, rotary, sums);
  }
  if (teacher != nullptr) teacher_hidden = FinalNorm(*teacher, teacher_hidden)[0];
  AddHeadSums(model, FinalNorm(model, hidden)[0], teacher, teacher_hidden, ids_T, sums);
  sums.tokens += window.size();
}

}  // namespace

absl::StatusOr<Quality> Evaluate(const LanguageModel& model, const LanguageModel* teacher,
                                 const TokenWindows& windows, const std::atomic<bool>& stop,
                                 const std::function<void()>& on_window) {
  return CatchTorch("evaluation", [&]() -> absl::StatusOr<Quality> {
    const c10::NoGradGuard no_grad;
    Sums sums;
    sums.distance.assign(model.config.num_layers(), 0.0);
    for (const std::vector<int32_t>& window : windows) {
      if (stop.load()) return absl::CancelledError("evaluation stopped");
      AddWindow(model, teacher, window, sums);
      on_window();
    }
    const double predicted = static_cast<double>(sums.predicted);
    Quality quality = {sums.predicted, std::exp(sums.nll / predicted), std::nullopt};
    if (!std::isfinite(sums.nll) || sums.predicted == 0) {
      return absl::InternalError(
          absl::StrCat("evaluation over ", sums.predicted, " predicted tokens: the loss is ", sums.nll));
    }
    if (teacher != nullptr) {
      for (double& distance : sums.distance) distance /= static_cast<double>(sums.tokens);
      quality.beside_teacher = TeacherComparison{std::exp(sums.teacher_nll / predicted), sums.kl / predicted,
                                                 sums.agreements / predicted, sums.distance};
    }
    return quality;
  });
}

}  // namespace retort
