// retort-orchestrator serve.
#pragma once

#include <string>
#include <vector>

namespace retort {

// `args` after the verb. Serves until SIGTERM or SIGINT (exit code 0) or until it can serve no longer.
int Serve(const std::vector<std::string>& args);

}  // namespace retort
