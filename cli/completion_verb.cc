#include <CLI/CLI.hpp>
#include <iostream>

#include "cli/completion.h"
#include "cli/verbs.h"
#include "core/base/command_line.h"
#include "core/base/exit_code.h"

namespace retort {

int CompletionVerb(const std::vector<std::string>& args) {
  std::string shell;
  CLI::App app;
  DescribeCommand(app, "retort completion",
                  "Prints a script that completes retort's verbs and flags in a shell.",
                  {"source <(retort completion bash)", "source <(retort completion zsh)",
                   "retort completion fish | source"});
  app.add_option("SHELL", shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  if (const std::optional<int> exit_code = ParseCommand(app, args, std::cout, std::cerr)) {
    return *exit_code;
  }
  std::cout << CompletionScript(shell, VerbTable());
  return kExitOk;
}

}  // namespace retort
