#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>

#include "cli/report/report_page.h"
#include "cli/verbs.h"
#include "core/base/command_line.h"
#include "core/base/exit_code.h"

namespace retort {

int ReportVerb(const std::vector<std::string>& args) {
  constexpr char kName[] = "retort report";
  std::filesystem::path directory;
  CLI::App app;
  DescribeCommand(
      app, kName,
      "Makes report.html of a finished run anew: quality, losses, matrices, samples, how to repeat it.\n"
      "`retort run` and `retort download` leave one already.",
      {"retort report runs/quickstart"});
  app.add_option("DIR", directory, "The run's directory, with result.json")->required();
  if (const std::optional<int> exit_code = ParseCommand(app, args, std::cout, std::cerr)) return *exit_code;
  const absl::Status written = WriteReport(directory);
  if (!written.ok()) return ReportError(kName, written, std::cerr);
  std::cout << (directory / "report.html").string() << "\n";
  return kExitOk;
}

}  // namespace retort
