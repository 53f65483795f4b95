#include "train/data/mixture.h"

#include <functional>
#include <numeric>
#include <queue>
#include <utility>

#include "core/base/check.h"

namespace retort {
namespace {

// The smallest comes first: a time, then the source.
using Line = std::priority_queue<std::pair<uint64_t, uint32_t>, std::vector<std::pair<uint64_t, uint32_t>>,
                                 std::greater<>>;

}  // namespace

Mixture::Mixture(std::vector<uint32_t> weights) : weights_(std::move(weights)) {
  uint32_t divisor = 0;
  for (const uint32_t weight : weights_) {
    RETORT_CHECK(weight > 0) << "of " << weights_.size() << " weights one is 0";
    divisor = std::gcd(divisor, weight);
  }
  RETORT_CHECK(divisor > 0) << "a mixture without sources";
  uint64_t total = 0;
  for (uint32_t& weight : weights_) total += weight /= divisor;
  period_.reserve(total);
  std::vector<uint32_t> taken(weights_.size());
  Line waiting, ready;  // by the first place allowed; by the end of those allowed
  for (uint32_t source = 0; source < weights_.size(); ++source) waiting.emplace(0, source);
  for (uint64_t place = 0; place < total; ++place) {
    while (!waiting.empty() && waiting.top().first <= place) {
      const uint32_t source = waiting.top().second;
      const uint64_t weight = weights_[source];
      ready.emplace(((taken[source] + 1) * total + weight - 1) / weight, source);
      waiting.pop();
    }
    RETORT_CHECK(!ready.empty() && ready.top().first > place) << "place " << place << " of " << total;
    const uint32_t source = ready.top().second;
    ready.pop();
    period_.push_back({source, taken[source]++});
    waiting.emplace(taken[source] * total / weights_[source], source);
  }
}

Mixture::Place Mixture::At(uint64_t n) const {
  const PeriodPlace& place = period_[n % period_.size()];
  return {place.source, n / period_.size() * weights_[place.source] + place.rank};
}

uint64_t Mixture::Count(size_t source, uint64_t n) const {
  uint64_t count = n / period_.size() * weights_[source];
  for (uint64_t place = 0; place < n % period_.size(); ++place) count += period_[place].source == source;
  return count;
}

}  // namespace retort
