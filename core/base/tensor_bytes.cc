#include "core/base/tensor_bytes.h"

#include "absl/strings/str_cat.h"

namespace retort {
namespace {

uint64_t ElementBytes(v1::DataType type) {
  switch (type) {
    case v1::DATA_TYPE_U8:
      return 1;
    case v1::DATA_TYPE_BF16:
      return 2;
    case v1::DATA_TYPE_F32:
      return 4;
    case v1::DATA_TYPE_F64:
      return 8;
    default:
      return 0;
  }
}

}  // namespace

absl::StatusOr<uint64_t> TensorBytes(const v1::TensorInfo& info) {
  constexpr uint64_t kMaxBytes = uint64_t{1} << 52;
  uint64_t bytes = ElementBytes(info.dtype());
  if (bytes == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", info.name(), " has type ", info.dtype(), ", which is none"));
  }
  for (const uint64_t size : info.shape()) {
    if (size == 0) return 0;
  }
  for (const uint64_t size : info.shape()) {
    if (bytes > kMaxBytes / size) {
      return absl::InvalidArgumentError(absl::StrCat("tensor ", info.name(), " is larger than 2^52 bytes"));
    }
    bytes *= size;
  }
  return bytes;
}

}  // namespace retort
