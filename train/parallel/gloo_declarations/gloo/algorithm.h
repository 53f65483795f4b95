// Empty: c10d's ProcessGroupGloo.hpp includes this header of gloo, which LibTorch's wheel lacks, and uses
// nothing of it. The five headers here declare what that one file needs, for the gloo inside libtorch_cpu;
// nothing of gloo may be constructed in our code (the classes are incomplete).
#pragma once
