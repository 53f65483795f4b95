#include "absl/strings/str_cat.h"
#include "cli/change_run.h"
#include "cli/verbs.h"

namespace retort {

int RetryVerb(const std::vector<std::string>& args) {
  return ChangeRunVerb<v1::RetryRequest, v1::RetryReply>(
      {.command = "retort retry",
       .purpose =
           "Takes up a run that has failed: its tasks get fresh budgets and go on from their checkpoints.",
       .examples = {"retort retry smollm2-hybrid", "retort retry 17 --wait"},
       .wait_help = "Return when the run has ended, with its code",
       .method = &v1::RunService::Stub::Retry,
       .text =
           [](const std::string& run, const v1::RetryReply& reply) {
             return absl::StrCat("run ", run, " goes on with ", reply.tasks(),
                                 reply.tasks() == 1 ? " task" : " tasks", "; 'retort watch ", run,
                                 "' shows it\n");
           }},
      args);
}

}  // namespace retort
