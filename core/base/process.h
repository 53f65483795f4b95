// What every Retort process sets before its first thread exists.
#pragma once

namespace retort {

// Call on the first line of main. Sets flush-to-zero and denormals-are-zero (inherited by threads made later:
// decays underflow by the million, and denormals cost up to 28x), fixes MKL's code path so that equal inputs
// give equal bits, turns off LibTorch's record of collectives, and keeps large freed blocks in the heap
// (1.2-1.8x on large temporaries), in pages of 2 MiB where the system has them (2 to 6 % of a training step):
// the process shows three quarters of the machine's memory as addresses, and occupies what it uses.
void PrepareNumericProcess();

// How threads of LibTorch wait for each other, in programs that this process executes from now on; what the
// environment says already stays. OpenMP reads it when it is loaded, before main.
void SetWaitingOfThreads();

// For a main that computes and may have been started by anybody: executes the program again, in this process,
// when nobody has set that. Returns when it is set, or cannot be.
void EnsureWaitingOfThreads(char** argv);

}  // namespace retort
