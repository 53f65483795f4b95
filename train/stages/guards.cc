#include "train/stages/guards.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace retort {
namespace {

// NaN if any element is. One pass without a temporary.
double LargestMagnitude(const at::Tensor& x) {
  const auto [least, most] = x.aminmax();
  return std::max(-least.item<double>(), most.item<double>());
}

}  // namespace

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
  for (const Trainable& trainable : trainables) {
    const at::Tensor& gradient = trainable.value.grad();
    std::string what;
    if (!gradient.defined()) {
      what = "no gradient";
    } else if (const double largest = LargestMagnitude(gradient); step == 0 && largest == 0.0) {
      what = "a gradient of zero everywhere";
    } else if (!std::isfinite(largest)) {
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
