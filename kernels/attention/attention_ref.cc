#include "kernels/attention/attention_ref.h"

#include <algorithm>
#include <cmath>

namespace retort {

AttentionResult AttentionRef(const AttentionKernelShape& shape, const std::vector<double>& q_BTHD,
                             const std::vector<double>& k_BTKD, const std::vector<double>& v_BTKD) {
  const auto& [batch, tokens, heads, key_heads, width] = shape;
  AttentionResult result = {std::vector<double>(q_BTHD.size()), std::vector<double>(batch * heads * tokens),
                            std::vector<double>(q_BTHD.size())};
  std::vector<double> s(tokens);
  for (int64_t row = 0; row < batch * tokens * heads; ++row) {
    const int64_t b = row / (tokens * heads), i = row / heads % tokens, h = row % heads;
    const auto key_row = [&, keys = key_heads, count = tokens, floats = width, per_key = heads / key_heads](
                             int64_t j) { return ((b * count + j) * keys + h / per_key) * floats; };
    double most = -INFINITY, sum = 0;
    for (int64_t j = 0; j <= i; ++j) {
      s[j] = 0;
      for (int64_t d = 0; d < width; ++d) s[j] += q_BTHD[row * width + d] * k_BTKD[key_row(j) + d];
      s[j] /= std::sqrt(static_cast<double>(width));
      most = std::max(most, s[j]);
    }
    for (int64_t j = 0; j <= i; ++j) sum += std::exp(s[j] - most);
    const double lse = most + std::log(sum);
    result.lse_BHT[(b * heads + h) * tokens + i] = lse;
    for (int64_t j = 0; j <= i; ++j) {
      const double share = std::exp(s[j] - lse);
      for (int64_t d = 0; d < width; ++d) {
        result.y_BTHD[row * width + d] += share * v_BTKD[key_row(j) + d];
        result.magnitudes_BTHD[row * width + d] += share * std::abs(v_BTKD[key_row(j) + d]);
      }
    }
  }
  return result;
}

}  // namespace retort
