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

}  // namespace retort
