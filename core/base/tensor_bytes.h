// How many bytes a tensor of a checkpoint has, and in which pieces they travel and lie. Thread-safe.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "retort/v1/work.pb.h"

namespace retort {

// A chunk's `data`; a tensor's last may be shorter.
inline constexpr uint64_t kChunkBytes = uint64_t{1} << 20;

// INVALID_ARGUMENT, naming the tensor, for an unknown type or a size beyond 2^52 bytes.
absl::StatusOr<uint64_t> TensorBytes(const v1::TensorInfo& info);

}  // namespace retort
