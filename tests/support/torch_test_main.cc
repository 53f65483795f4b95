// The main of every test program that uses LibTorch: the numeric process settings of the real programs, and
// two compute threads whatever the machine, so that sums are cut the same way everywhere.
#include <ATen/Parallel.h>
#include <signal.h>

#include "core/base/process.h"
#include "gtest/gtest.h"
#include "model/ops/vector_math.h"

int main(int argc, char** argv) {
  retort::PrepareNumericProcess();
  retort::ChooseVectorMath();
  at::set_num_threads(2);
  signal(SIGPIPE, SIG_IGN);  // as in retort-worker
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
