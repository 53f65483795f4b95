#include "kernels/base/workspace.h"

#include <cstdio>
#include <cstdlib>

namespace retort {

Workspace::Workspace(int64_t floats) {
  const int64_t bytes = (floats * static_cast<int64_t>(sizeof(float)) / 64 + 1) * 64;
  data_ = static_cast<float*>(std::aligned_alloc(64, bytes));
  if (data_ == nullptr) {
    std::fprintf(stderr, "out of memory: a kernel's workspace of %lld bytes\n",
                 static_cast<long long>(bytes));
    std::abort();
  }
}

Workspace::~Workspace() { std::free(data_); }

}  // namespace retort
