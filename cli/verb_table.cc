#include "cli/verb_table.h"

namespace retort {
namespace {

// Those of every verb that talks to an orchestrator, after the verb's own.
std::vector<std::string> WithServiceFlags(std::vector<std::string> flags) {
  flags.insert(flags.end(), {"--orchestrator", "--timeout", "--output"});
  return flags;
}

std::vector<std::string> ChangeFlags() { return WithServiceFlags({"--wait", "--request-id"}); }

}  // namespace

const std::vector<VerbInfo>& VerbTable() {
  static const auto& table = *new std::vector<VerbInfo>{
      {"run",
       "Distil a teacher into a student, on this machine",
       {},
       {"--root", "--out", "--workers", "--threads", "--check"}},
      {"submit",
       "Give a job to an orchestrator",
       {},
       WithServiceFlags({"--priority", "--wait", "--request-id"})},
      {"plan", "Show what a job would do, or what is left of a run", {}, WithServiceFlags({"--root"})},
      {"list", "List runs", {}, WithServiceFlags({"--state", "--limit"})},
      {"get", "Show a run, its tasks and attempts", {}, WithServiceFlags({})},
      {"watch", "Show a run as it goes on", {}, WithServiceFlags({})},
      {"logs",
       "Print log lines",
       {},
       WithServiceFlags({"--worker", "--stage", "--token", "--level", "--since", "--tail", "--follow"})},
      {"pause", "Save a run and let its workers go", {}, ChangeFlags()},
      {"resume", "Go on with a paused run", {}, ChangeFlags()},
      {"cancel", "End a run for good", {}, ChangeFlags()},
      {"retry", "Take up a run that has failed", {}, ChangeFlags()},
      {"delete", "Remove a run that has ended", {}, WithServiceFlags({"--request-id"})},
      {"download", "Fetch the result of a run", {}, WithServiceFlags({"--out"})},
      {"report", "Make the report page of a finished run anew", {}, {}},
      {"workers", "List the workers, or drain one", {"drain"}, WithServiceFlags({"--wait", "--request-id"})},
      {"eval",
       "Measure how well a model predicts token files",
       {},
       {"--teacher", "--data", "--window", "--max-tokens", "--threads", "--output"}},
      {"generate",
       "Continue a text with a teacher or a student",
       {},
       {"--prompt", "--chat", "--tokens", "--temperature", "--top-k", "--seed", "--threads"}},
      {"inspect",
       "Print configuration, layers and parameters of a model",
       {},
       {"--root", "--must-fit", "--memory", "--sharing", "--output"}},
      {"probe",
       "Measure which layers of a job's teacher to keep as attention",
       {},
       {"--root", "--keep", "--steps", "--sequences", "--threads", "--output"}},
      {"data",
       "Prepare training data",
       {"tokenize"},
       {"--tokenizer", "--out", "--eod", "--text-field", "--chat", "--date", "--holdout",
        "--holdout-documents", "--holdout-seed", "--holdout-out"}},
      {"completion", "Print a completion script for a shell", {"bash", "zsh", "fish"}, {}},
      {"version", "Print the version", {}, {}},
  };
  return table;
}

}  // namespace retort
