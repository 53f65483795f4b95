// How good a model is on held-out text, alone and beside its teacher.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "model/lm/language_model.h"

namespace retort {

using TokenWindows = std::vector<std::vector<int32_t>>;

// Of a student measured beside its teacher, over the same predicted tokens.
struct TeacherComparison {
  double teacher_perplexity = 0;
  double kl = 0;              // mean KL(teacher || student), nats per predicted token
  double top1_agreement = 0;  // share of predicted tokens where both rank the same token first
  // Per layer, MOHAWK's hidden-state distance: mean over all tokens of ||student block(h_l) - h_{l+1}||_2
  // with the teacher's h_l for input. Zero for layers that are still the teacher's.
  std::vector<double> hidden_distance;
};

struct Quality {
  uint64_t tokens = 0;    // predicted: every token of a window but its first
  double perplexity = 0;  // exp of the mean negative log-likelihood over them
  std::optional<TeacherComparison> beside_teacher;
};

// Each window on its own, from position 0; `on_window` is called after each. `teacher` may be null; else its
// vocabulary and layers match the model's. INTERNAL when the numbers are not finite or LibTorch fails;
// CANCELLED soon after `stop` is set.
absl::StatusOr<Quality> Evaluate(const LanguageModel& model, const LanguageModel* teacher,
                                 const TokenWindows& windows, const std::atomic<bool>& stop,
                                 const std::function<void()>& on_window);

}  // namespace retort
