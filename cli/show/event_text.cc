#include "cli/show/event_text.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "cli/show/words.h"

namespace retort {
namespace {

// "matrix_orientation layers 4-6", "end_to_end"; empty when the event is of no task.
std::string TasksText(const v1::Event& event) {
  const bool of_layers =
      event.stage() == v1::STAGE_MATRIX_ORIENTATION || event.stage() == v1::STAGE_HIDDEN_STATE_ALIGNMENT;
  const bool is_other_rank =
      event.stage() == v1::STAGE_END_TO_END && event.layers_size() == 1 && event.layers(0) != 0;
  if (is_other_rank) return absl::StrCat(Word(event.stage()), " rank ", event.layers(0));
  if (!of_layers || event.layers().empty()) return Word(event.stage());
  return absl::StrCat(Word(event.stage()), event.layers_size() == 1 ? " layer " : " layers ",
                      FormatRanges(event.layers()));
}

// "step 300" when all are equal, else "steps 300,300,250".
std::string StepsText(const v1::Event& event) {
  if (event.steps().empty()) return "";
  const bool equal = std::all_of(event.steps().begin(), event.steps().end(),
                                 [&event](uint64_t step) { return step == event.steps(0); });
  return equal ? absl::StrCat("step ", event.steps(0))
               : absl::StrCat("steps ", absl::StrJoin(event.steps(), ","));
}

// `before` and `text`, when there is text.
std::string With(const char* before, const std::string& text) {
  return text.empty() ? "" : absl::StrCat(before, text);
}

// "checkpoint_published" as words.
std::string KindText(v1::EventKind kind) { return absl::StrReplaceAll(Word(kind), {{"_", " "}}); }

std::string Details(const v1::Event& event) {
  switch (event.kind()) {
    case v1::EVENT_KIND_RUN_STATE_CHANGED:
      return absl::StrCat(" to ", Word(event.run_state()));
    case v1::EVENT_KIND_LEASE_GRANTED:
      return absl::StrCat(": ", TasksText(event), With(" to ", event.worker_name()),
                          With(" from ", StepsText(event)));
    case v1::EVENT_KIND_LEASE_YIELD_ASKED:
      return absl::StrCat(": ", TasksText(event), With(" of ", event.worker_name()),
                          With(", ", Word(event.cause())));
    case v1::EVENT_KIND_LEASE_ENDED:
      return absl::StrCat(": ", TasksText(event), With(" of ", event.worker_name()),
                          With(", ", Word(event.cause())), With(", saved at ", StepsText(event)));
    case v1::EVENT_KIND_CHECKPOINT_PUBLISHED:
      return absl::StrCat(": ", TasksText(event), With(" at ", StepsText(event)),
                          With(" by ", event.worker_name()));
    case v1::EVENT_KIND_STALE_WRITE_REFUSED:
    case v1::EVENT_KIND_TASK_COMPLETED:
      return absl::StrCat(": ", TasksText(event), With(" by ", event.worker_name()));
    case v1::EVENT_KIND_TASK_RETRIED:
    case v1::EVENT_KIND_TASK_FAILED:
      return absl::StrCat(": ", TasksText(event), With(", ", Word(event.cause())));
    default:
      return absl::StrCat(With(": ", TasksText(event)), With(": ", event.worker_name()));
  }
}

}  // namespace

std::string EventText(const v1::Event& event) {
  const bool repeats_cause = event.text() == Word(event.cause());
  return absl::StrCat(KindText(event.kind()), Details(event), repeats_cause ? "" : With(": ", event.text()),
                      event.token() == 0 ? "" : absl::StrCat(" (token ", event.token(), ")"));
}

std::string EventLine(const v1::Event& event) {
  return absl::StrCat(FormatUtc(event.time_unix_ms()), " ", EventText(event));
}

std::string ShortEventLine(const v1::Event& event) {
  return absl::StrCat(FormatUtcTime(event.time_unix_ms()), " ", EventText(event));
}

}  // namespace retort
