#include "kernels/lm_head_kd/lm_head_kd_ref.h"

#include <algorithm>
#include <cmath>

namespace retort {
namespace {

std::vector<double> LogSoftmax(const std::vector<double>& logits, double temperature) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const double z : logits) sum += std::exp((z - largest) / temperature);
  std::vector<double> result;
  for (const double z : logits) result.push_back((z - largest) / temperature - std::log(sum));
  return result;
}

// -sum_v p_v log s_v with its gradient.
LmHeadKdRefRow CrossEntropy(const std::vector<double>& log_s, const std::vector<double>& p,
                            double temperature) {
  LmHeadKdRefRow row = {0.0, {}};
  for (size_t v = 0; v < log_s.size(); ++v) {
    if (p[v] > 0) row.loss -= p[v] * log_s[v];
    row.gradient.push_back((std::exp(log_s[v]) - p[v]) / temperature);
  }
  return row;
}

}  // namespace

LmHeadKdRefRow LmHeadKdRef(const std::vector<double>& student, const std::vector<double>& teacher,
                           LmHeadKdLoss loss, double temperature) {
  const std::vector<double> log_p = LogSoftmax(teacher, temperature);
  std::vector<double> p;
  for (const double log : log_p) p.push_back(std::exp(log));
  LmHeadKdRefRow row = CrossEntropy(LogSoftmax(student, temperature), p, temperature);
  if (loss == LmHeadKdLoss::kCrossEntropy) return row;
  for (size_t v = 0; v < p.size(); ++v) {
    if (p[v] > 0) row.loss += p[v] * log_p[v];
  }
  return row;
}

LmHeadKdRefRow LmHeadKdRef(const std::vector<double>& student, int64_t id, double temperature) {
  std::vector<double> p(student.size());
  p[id] = 1;
  return CrossEntropy(LogSoftmax(student, temperature), p, temperature);
}

}  // namespace retort
