#include "core/base/work_names.h"

namespace retort {

absl::string_view StageName(v1::Stage stage) {
  switch (stage) {
    case v1::STAGE_MATRIX_ORIENTATION:
      return "matrix_orientation";
    case v1::STAGE_HIDDEN_STATE_ALIGNMENT:
      return "hidden_state_alignment";
    case v1::STAGE_END_TO_END:
      return "end_to_end";
    case v1::STAGE_PREPARE:
      return "prepare";
    default:
      return "no stage";
  }
}

absl::string_view ComputePathName(v1::ComputePath path) {
  switch (path) {
    case v1::COMPUTE_PATH_PLAIN:
      return "plain LibTorch";
    case v1::COMPUTE_PATH_PORTABLE:
      return "portable";
    case v1::COMPUTE_PATH_AVX2:
      return "AVX2";
    case v1::COMPUTE_PATH_AVX512:
      return "AVX-512";
    default:
      return "no compute path";
  }
}

absl::string_view DeviceName(v1::DeviceKind device) {
  switch (device) {
    case v1::DEVICE_KIND_CPU:
      return "CPU";
    case v1::DEVICE_KIND_CUDA:
      return "CUDA";
    default:
      return "no device";
  }
}

}  // namespace retort
