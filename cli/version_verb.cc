#include <CLI/CLI.hpp>
#include <iostream>

#include "cli/verbs.h"
#include "core/base/command_line.h"
#include "core/base/exit_code.h"
#include "core/base/version.h"

namespace retort {

int VersionVerb(const std::vector<std::string>& args) {
  CLI::App app;
  DescribeCommand(app, "retort version", "Prints the version.", {"retort version"});
  if (const std::optional<int> exit_code = ParseCommand(app, args, std::cout, std::cerr)) {
    return *exit_code;
  }
  std::cout << "retort " << Version() << "\n";
  return kExitOk;
}

}  // namespace retort
