// MKL's vector functions, through which LibTorch takes exp, log, sqrt and their like.
#pragma once

namespace retort {

// Call in main, after PrepareNumericProcess and before a second thread computes. MKL chooses each function's
// code at its first call, and where two threads make that call together one of them may take the code of half
// the accuracy for it (github.com/pytorch/pytorch/issues/188792): wrong in the tenth digit, once in thousands
// of processes. This makes the first calls here.
void ChooseVectorMath();

}  // namespace retort
