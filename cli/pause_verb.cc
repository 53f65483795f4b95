#include "absl/strings/str_cat.h"
#include "cli/change_run.h"
#include "cli/show/words.h"
#include "cli/verbs.h"

namespace retort {

int PauseVerb(const std::vector<std::string>& args) {
  return ChangeRunVerb<v1::PauseRequest, v1::PauseReply>(
      {.command = "retort pause",
       .purpose = "Lets the workers of a run save and give it back; nothing of it is granted until 'resume'.",
       .examples = {"retort pause smollm2-hybrid", "retort pause 17 --wait"},
       .wait_help = "Return when the run is paused",
       .method = &v1::RunService::Stub::Pause,
       .text =
           [](const std::string& run, const v1::PauseReply& reply) {
             return absl::StrCat("run ", run, " is ", Word(reply.state()), "; 'retort resume ", run,
                                 "' goes on with it\n");
           },
       .until = v1::RUN_STATE_PAUSED},
      args);
}

}  // namespace retort
