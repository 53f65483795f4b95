// What every Retort process sets before its first thread exists.
#pragma once

namespace retort {

// Call on the first line of main. Sets flush-to-zero and denormals-are-zero (inherited by threads made later:
// decays underflow by the million, and denormals cost up to 28x), fixes MKL's code path so that equal inputs
// give equal bits, and keeps large freed blocks in the heap (1.2-1.8x on large temporaries), in pages of 2
// MiB where the system has them (2 to 6 % of a training step): the process shows three quarters of the
// machine's memory as addresses, and occupies what it uses.
void PrepareNumericProcess();

}  // namespace retort
