#include "train/optim/schedule.h"

#include <algorithm>

namespace retort {

double WsdRate(int64_t step, int64_t steps, double peak) {
  const int64_t ramp = std::max<int64_t>(steps / 10, 1);
  const double rise = static_cast<double>(step + 1) / ramp;
  const double fall = static_cast<double>(steps - step) / ramp;
  return peak * std::min({rise, 1.0, fall});
}

}  // namespace retort
