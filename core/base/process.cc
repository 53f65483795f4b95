#include "core/base/process.h"

#include <limits.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// MKL, which is inside LibTorch, asks this function whether the processor is Intel's, and takes slower
// kernels if not; it still looks at what the processor can do. docs/design/0001-mkl-on-amd.md has the
// figures.
extern "C" int mkl_serv_intel_cpu_true() { return 1; }

namespace retort {
namespace {

// The heap's addresses, for three quarters of the machine's memory, are taken once and given back to malloc,
// which keeps them: what lies there and is touched later comes in pages of 2 MiB, which the kernel gives only
// to ranges that were asked for. glibc can ask by itself, but only if a variable was set before the program
// began.
void AskForHugePages() {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  const size_t page_bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t bytes = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) / 4 * 3 * page_bytes;
  char* const block = static_cast<char*>(malloc(bytes));
  if (block == nullptr) return;  // memory is limited by addresses: small pages then
  const size_t skipped = page_bytes - reinterpret_cast<uintptr_t>(block) % page_bytes;
  madvise(block + skipped, (bytes - skipped) / page_bytes * page_bytes, MADV_HUGEPAGE);
  free(block);
#endif
}

}  // namespace

void PrepareNumericProcess() {
#if defined(__x86_64__)
  _MM_SET_FLUSH_ZERO_MODE(_MM_FLUSH_ZERO_ON);
  _MM_SET_DENORMALS_ZERO_MODE(_MM_DENORMALS_ZERO_ON);
#endif
  // STRICT: bits do not depend on the alignment or the position of a row within a matrix.
  setenv("MKL_CBWR", "AUTO,STRICT", /*overwrite=*/1);
  // LibTorch's record of collectives, kept for debuggers, is one per process and without a lock: two ranks in
  // one process, as tests have them, crash it.
  setenv("TORCH_FR_BUFFER_SIZE", "0", /*overwrite=*/1);
  mallopt(M_MMAP_MAX, 0);  // M_MMAP_THRESHOLD stops at 32 MiB, so blocks are kept by never mapping them.
  mallopt(M_TRIM_THRESHOLD, -1);  // never give back: a step would fault its gigabytes in again
  mallopt(M_TOP_PAD, 64 << 20);
  mallopt(M_ARENA_MAX, 1);  // other threads' arenas are mapped and given back in pieces of 64 MiB
  AskForHugePages();
}

void SetWaitingOfThreads() {
  // Waiting threads that spin for long lose a factor of 7 and more beside a busy neighbour; threads that
  // sleep at once cost 12 to 16 % alone on two cores, because a step has thousands of parallel regions a few
  // microseconds apart. Spinning for about 20 microseconds first costs 2 % alone and 9 % beside a neighbour.
  setenv("OMP_WAIT_POLICY", "passive", /*overwrite=*/0);
  setenv("GOMP_SPINCOUNT", "1000", /*overwrite=*/0);
}

void EnsureWaitingOfThreads(char** argv) {
  if (getenv("OMP_WAIT_POLICY") != nullptr) return;
  SetWaitingOfThreads();
  char program[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);
  if (length < 0) return;
  program[length] = '\0';
  execv(program, argv);
}

}  // namespace retort
