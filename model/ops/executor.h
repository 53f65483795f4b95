// The kernels' way to LibTorch's threads.
#pragma once

#include "kernels/base/executor.h"

namespace retort {

// Runs items on at::get_num_threads() threads of LibTorch's pool; each thread takes the next item when it has
// finished one, so unequal items and busy neighbours cost little. Serial inside a parallel region. An
// exception thrown by the body ends the process.
const Executor& TorchExecutor();

}  // namespace retort
