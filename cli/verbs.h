// The verbs of `retort`, one file each. A verb takes the arguments after its name, prints, and returns the
// exit code (core/base/exit_code.h). `run` and the model verbs end by becoming another program, and return
// only when they cannot.
#pragma once

#include <string>
#include <vector>

namespace retort {

int CancelVerb(const std::vector<std::string>& args);
int DeleteVerb(const std::vector<std::string>& args);
int DownloadVerb(const std::vector<std::string>& args);
int GetVerb(const std::vector<std::string>& args);
int ListVerb(const std::vector<std::string>& args);
int LogsVerb(const std::vector<std::string>& args);
int PauseVerb(const std::vector<std::string>& args);
int PlanVerb(const std::vector<std::string>& args);
int ReportVerb(const std::vector<std::string>& args);
int ResumeVerb(const std::vector<std::string>& args);
int RetryVerb(const std::vector<std::string>& args);
int RunVerb(const std::vector<std::string>& args);
int SubmitVerb(const std::vector<std::string>& args);
int WatchVerb(const std::vector<std::string>& args);
int WorkersVerb(const std::vector<std::string>& args);
int CompletionVerb(const std::vector<std::string>& args);
int VersionVerb(const std::vector<std::string>& args);

// data, eval, generate, inspect, probe: what retort-model does under the same name.
int ModelVerb(const std::string& verb, const std::vector<std::string>& args);

}  // namespace retort
