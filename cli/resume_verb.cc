#include "absl/strings/str_cat.h"
#include "cli/change_run.h"
#include "cli/show/words.h"
#include "cli/verbs.h"

namespace retort {

int ResumeVerb(const std::vector<std::string>& args) {
  return ChangeRunVerb<v1::ResumeRequest, v1::ResumeReply>(
      {.command = "retort resume",
       .purpose = "Goes on with a run that is paused.",
       .examples = {"retort resume smollm2-hybrid", "retort resume 17 --wait"},
       .wait_help = "Return when the run has ended, with its code",
       .method = &v1::RunService::Stub::Resume,
       .text =
           [](const std::string& run, const v1::ResumeReply& reply) {
             return absl::StrCat("run ", run, " is ", Word(reply.state()), "; 'retort watch ", run,
                                 "' shows it\n");
           }},
      args);
}

}  // namespace retort
