// What becomes of the memory of CPU tensors that are no more.
#pragma once

namespace retort {

// From now on it is kept for the next tensor of about its size, the most recent first, which the caches may
// still hold: a training step asks for the same few thousand blocks each time, and malloc takes some
// microseconds for a large one. Blocks above 16 MiB are not kept, nor more than 1 GiB in all. Without effect
// under sanitizers, which want to see each block's end. Call it once, in main; tensors from before stay
// valid.
void KeepTensorMemory();

}  // namespace retort
