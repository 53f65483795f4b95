#include "absl/strings/str_cat.h"
#include "cli/change_run.h"
#include "cli/show/words.h"
#include "cli/verbs.h"

namespace retort {

int CancelVerb(const std::vector<std::string>& args) {
  return ChangeRunVerb<v1::CancelRequest, v1::CancelReply>(
      {.command = "retort cancel",
       .purpose = "Ends a run for good: its workers stop without saving, and its checkpoints are dropped.",
       .examples = {"retort cancel smollm2-hybrid", "retort cancel 17 --wait"},
       .wait_help = "Return when the run is cancelled",
       .method = &v1::RunService::Stub::Cancel,
       .text =
           [](const std::string& run, const v1::CancelReply& reply) {
             return absl::StrCat("run ", run, " is ", Word(reply.state()), "\n");
           },
       .until = v1::RUN_STATE_CANCELLED},
      args);
}

}  // namespace retort
