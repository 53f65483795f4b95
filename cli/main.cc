// retort: the command-line client.
#include <signal.h>

#include <functional>
#include <iostream>
#include <map>

#include "cli/verb_table.h"
#include "cli/verbs.h"
#include "core/base/command_line.h"
#include "core/base/standard_streams.h"

namespace retort {
namespace {

using Args = std::vector<std::string>;

std::function<int(const Args&)> Action(const std::string& verb) {
  static const auto& own = *new std::map<std::string, int (*)(const Args&)>{
      {"cancel", CancelVerb},   {"completion", CompletionVerb},
      {"delete", DeleteVerb},   {"download", DownloadVerb},
      {"get", GetVerb},         {"list", ListVerb},
      {"logs", LogsVerb},       {"pause", PauseVerb},
      {"plan", PlanVerb},       {"report", ReportVerb},
      {"resume", ResumeVerb},   {"retry", RetryVerb},
      {"run", RunVerb},         {"submit", SubmitVerb},
      {"version", VersionVerb}, {"watch", WatchVerb},
      {"workers", WorkersVerb}};
  if (const auto found = own.find(verb); found != own.end()) {
    return found->second;
  }
  return [verb](const Args& args) { return ModelVerb(verb, args); };
}

int Main(const Args& args) {
  VerbSet verbs = {
      "retort",
      "Distils a trained Transformer into a Mamba-2 student by the three stages of MOHAWK.",
      {"retort run configs/quickstart.yaml", "retort submit job.yaml --orchestrator head:7077",
       "retort eval runs/quickstart/student --teacher models/smollm2 --data corpus/eval.bin",
       "retort generate runs/quickstart/student --prompt \"The menu bar\""},
      {},
      {{"apply", "submit"},
       {"create", "submit"},
       {"describe", "get"},
       {"show", "get"},
       {"status", "get"},
       {"ls", "list"},
       {"ps", "list"},
       {"top", "watch"},
       {"attach", "watch"},
       {"stop", "pause"},
       {"start", "resume"},
       {"kill", "cancel"},
       {"abort", "cancel"},
       {"rm", "delete"},
       {"remove", "delete"},
       {"restart", "retry"},
       {"pull", "download"},
       {"cp", "download"},
       {"nodes", "workers"}},
  };
  for (const VerbInfo& info : VerbTable()) {
    verbs.verbs.push_back({info.name, info.purpose, Action(info.name)});
  }
  return DispatchVerb(verbs, args, std::cout, std::cerr);
}

}  // namespace
}  // namespace retort

int main(int argc, char** argv) {
  retort::OccupyClosedStandardStreams();
  signal(SIGXFSZ, SIG_IGN);  // a file that grows too large is an error, with a message
  const int exit_code = retort::Main(retort::Arguments(argc, argv));
  return retort::FinishOutput("retort", exit_code, std::cout, std::cerr);
}
