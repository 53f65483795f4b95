// How people read the values of work.proto. Thread-safe.
#pragma once

#include "absl/strings/string_view.h"
#include "retort/v1/work.pb.h"

namespace retort {

// "matrix_orientation" and so on, as in the job file; "prepare".
absl::string_view StageName(v1::Stage stage);

}  // namespace retort
