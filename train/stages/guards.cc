#include "train/stages/guards.h"

#include <ATen/ATen.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "model/ops/largest_magnitude.h"

namespace retort {
absl::Status CheckLoss(Stage stage, int64_t step, const std::string& where, double loss, int64_t vocab_size) {
  const std::string place = absl::StrCat(StageName(stage), ", step ", step + 1, ", ", where);
  if (!std::isfinite(loss)) {
    return absl::InternalError(absl::StrCat(place, ": the loss is ", loss,
                                            "; training stopped. Lower this stage's lr and begin "
                                            "anew with another --out, or look at the data"));
  }
  constexpr double kLayerCeiling = 1e5;
  const double ceiling =
      stage == Stage::kEndToEnd ? 10.0 * std::log(static_cast<double>(vocab_size)) : kLayerCeiling;
  if (step == 0 && loss > ceiling) {
    return absl::InternalError(absl::StrCat(place, ": the first loss is ", loss, ", above any sound start (",
                                            ceiling,
                                            "); training stopped. Check that teacher and tokens belong "
                                            "together, and the earlier stages"));
  }
  return absl::OkStatus();
}

absl::Status CheckGradients(Stage stage, int64_t step, const std::string& where,
                            const std::vector<Trainable>& trainables) {
  std::vector<at::Tensor> gradients;
  for (const Trainable& trainable : trainables) {
    if (trainable.value.grad().defined()) gradients.push_back(trainable.value.grad());
  }
  const std::vector<double> largest = LargestMagnitudes(gradients);
  auto next = largest.begin();
  for (const Trainable& trainable : trainables) {
    std::string what;
    if (!trainable.value.grad().defined()) {
      what = "no gradient";
    } else if (*next == 0.0 && step == 0) {
      what = "a gradient of zero everywhere";
    } else if (!std::isfinite(*next++)) {
      what = "a gradient that is not finite";
    }
    if (!what.empty()) {
      return absl::InternalError(absl::StrCat(StageName(stage), ", step ", step + 1, ", ", where, ": tensor ",
                                              trainable.name, " has ", what,
                                              " although this stage trains it; training stopped"));
    }
  }
  return absl::OkStatus();
}

}  // namespace retort
