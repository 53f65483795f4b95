#include "train/optim/adamw.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "core/base/check.h"

namespace retort {
namespace {

constexpr double kBeta1 = 0.9, kBeta2 = 0.95, kEps = 1e-8, kWeightDecay = 0.1;

}  // namespace

AdamW::AdamW(std::vector<Trainable> trainables) : trainables_(std::move(trainables)) {
  groups_[0].weight_decay = kWeightDecay;
  groups_[1].weight_decay = 0.0;
  for (const Trainable& trainable : trainables_) {
    const int index = trainable.decays ? 0 : 1;
    Group& group = groups_[index];
    where_.emplace_back(index, static_cast<int>(group.values.size()));
    group.values.push_back(trainable.value);
    group.first_moments.push_back(at::zeros_like(trainable.value));
    group.second_moments.push_back(at::zeros_like(trainable.value));
  }
}

void AdamW::Step(double lr) {
  const c10::NoGradGuard no_grad;
  ++steps_;
  for (Group& group : groups_) {
    if (group.values.empty()) continue;
    std::vector<at::Tensor> gradients;  // contiguous: LibTorch's reads them as if they were
    for (const at::Tensor& value : group.values) {
      RETORT_CHECK(value.grad().defined()) << "a trainable without a gradient reached the optimiser";
      gradients.push_back(value.grad().contiguous());
    }
    const std::vector<at::Tensor> steps(group.values.size(),
                                        at::full({}, static_cast<double>(steps_), at::kFloat));
    at::_fused_adamw_(group.values, gradients, group.first_moments, group.second_moments,
                      /*max_exp_avg_sqs=*/{}, steps, lr, kBeta1, kBeta2, group.weight_decay, kEps,
                      /*amsgrad=*/false, /*maximize=*/false);
  }
  ClearGradients();
}

double AdamW::ClipGradients(double limit, double share) {
  const c10::NoGradGuard no_grad;
  double sum = 0.0;
  for (const Trainable& trainable : trainables_) {
    const double norm = trainable.value.grad().norm().item<double>();
    sum += norm * norm;
  }
  const double norm = share * std::sqrt(sum);
  const double factor = norm > limit ? share * limit / norm : share;
  if (factor != 1.0) {
    for (Trainable& trainable : trainables_) trainable.value.mutable_grad().mul_(factor);
  }
  return norm;
}

void AdamW::ClearGradients() {
  for (Trainable& trainable : trainables_) {
    at::Tensor& gradient = trainable.value.mutable_grad();
    if (!keeps_gradient_memory_) {
      gradient.reset();
    } else if (gradient.defined()) {
      gradient.zero_();
    }
  }
}

std::vector<std::pair<at::Tensor, at::Tensor>> AdamW::moments() const {
  std::vector<std::pair<at::Tensor, at::Tensor>> moments;
  for (const auto& [group, index] : where_) {
    moments.emplace_back(groups_[group].first_moments[index], groups_[group].second_moments[index]);
  }
  return moments;
}

}  // namespace retort
