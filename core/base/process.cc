#include "core/base/process.h"

#include <malloc.h>
#include <stdlib.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// MKL, which is inside LibTorch, asks this function whether the processor is Intel's, and takes slower kernels
// if not; it still looks at what the processor can do. docs/design/0001-mkl-on-amd.md has the figures.
extern "C" int mkl_serv_intel_cpu_true() { return 1; }

namespace retort {

void PrepareNumericProcess() {
#if defined(__x86_64__)
  _MM_SET_FLUSH_ZERO_MODE(_MM_FLUSH_ZERO_ON);
  _MM_SET_DENORMALS_ZERO_MODE(_MM_DENORMALS_ZERO_ON);
#endif
  // STRICT: bits do not depend on the alignment or the position of a row within a matrix.
  setenv("MKL_CBWR", "AUTO,STRICT", /*overwrite=*/1);
  mallopt(M_MMAP_MAX, 0);  // M_MMAP_THRESHOLD stops at 32 MiB, so blocks are kept by never mapping them.
  mallopt(M_TRIM_THRESHOLD, -1);  // never give back: a step would fault its gigabytes in again
  mallopt(M_TOP_PAD, 64 << 20);
}

}  // namespace retort
