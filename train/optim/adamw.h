// AdamW with betas (0.9, 0.95), eps 1e-8 and decoupled weight decay 0.1 on matrices only.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

namespace retort {

// One tensor that an optimiser owns for a stage.
struct Trainable {
  std::string name;  // as in the model's files
  at::Tensor value;  // a leaf with requires_grad; updated in place
  bool decays;       // weight decay applies
};

// Not thread-safe. Gradients are those that backward passes left in each value's grad().
class AdamW {
 public:
  explicit AdamW(std::vector<Trainable> trainables);

  // One update from the gradients present; every trainable must have one. Clears them (ClearGradients).
  void Step(double lr);

  // Multiplies all gradients by `share` (1/n makes the mean of n passes that were added up), and then so that
  // their joint L2 norm is at most `limit`. Returns the norm between the two.
  double ClipGradients(double limit, double share = 1.0);

  // Forgets gradients, as of a step that will not be applied; sets them to zero where they stand when another
  // owns their memory (GradientReducer).
  void ClearGradients();
  void set_keeps_gradient_memory(bool keeps) { keeps_gradient_memory_ = keeps; }

  const std::vector<Trainable>& trainables() const { return trainables_; }

  // First and second moments in trainables' order, aliases of this optimiser's memory: writing to them
  // restores a state together with set_steps.
  std::vector<std::pair<at::Tensor, at::Tensor>> moments() const;
  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps) { steps_ = steps; }

 private:
  struct Group {
    double weight_decay;
    std::vector<at::Tensor> values, first_moments, second_moments;
  };

  std::vector<Trainable> trainables_;
  Group groups_[2];                         // with and without decay
  std::vector<std::pair<int, int>> where_;  // of each trainable: group, index
  int64_t steps_ = 0;
  bool keeps_gradient_memory_ = false;
};

}  // namespace retort
