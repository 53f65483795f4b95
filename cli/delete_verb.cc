#include "absl/strings/str_cat.h"
#include "cli/change_run.h"
#include "cli/verbs.h"

namespace retort {

int DeleteVerb(const std::vector<std::string>& args) {
  return ChangeRunVerb<v1::DeleteRequest, v1::DeleteReply>(
      {.command = "retort delete",
       .purpose = "Removes a run that has ended, and all that the orchestrator keeps of it: history,\n"
                  "checkpoints, result, log lines. Asks nothing, and nothing brings it back.",
       .examples = {"retort delete smollm2-hybrid", "retort delete 17"},
       .wait_help = "",
       .method = &v1::RunService::Stub::Delete,
       .text =
           [](const std::string&, const v1::DeleteReply& reply) {
             return absl::StrCat("run ", reply.run_id(), " is deleted\n");
           }},
      args);
}

}  // namespace retort
