// retort-orchestrator serve.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

namespace retort {

// `args` after the verb. Serves until SIGTERM or SIGINT (exit code 0) or until it can serve no longer. The
// log goes to `err`.
int Serve(const std::vector<std::string>& args, std::ostream& out, std::ostream& err);

}  // namespace retort
