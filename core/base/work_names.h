// How people read the values of work.proto. Thread-safe.
#pragma once

#include "absl/strings/string_view.h"
#include "retort/v1/work.pb.h"

namespace retort {

// "matrix_orientation" and so on, as in the job file; "prepare".
absl::string_view StageName(v1::Stage stage);

absl::string_view ComputePathName(v1::ComputePath path);  // "AVX-512"
absl::string_view DeviceName(v1::DeviceKind device);      // "CPU"

}  // namespace retort
