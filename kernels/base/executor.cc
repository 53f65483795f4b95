#include "kernels/base/executor.h"

namespace retort {

void SerialExecutor::Run(int64_t items, ItemBody body) const {
  for (int64_t item = 0; item < items; ++item) body(item);
}

}  // namespace retort
