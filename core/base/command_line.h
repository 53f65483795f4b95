// How every Retort program reads its arguments and reports its end: verbs without abbreviations, help that
// begins with examples, a suggestion for each typo, errors on the error stream, exit codes of
// core/base/exit_code.h.
#pragma once

#include <functional>
#include <iosfwd>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace CLI {
class App;
}

namespace retort {

// Turns `app` into one command of ours. `name` is what the user types ("retort run"); `examples` are complete
// lines.
void DescribeCommand(CLI::App& app, const std::string& name, const std::string& purpose,
                     const std::vector<std::string>& examples);

// Parses `args` (without the program's name). Returns nothing when the command should go on; otherwise what
// was asked for (help, the version) is on `out` or what is wrong is on `err`, and the value is the exit code.
std::optional<int> ParseCommand(CLI::App& app, const std::vector<std::string>& args, std::ostream& out,
                                std::ostream& err);

struct Verb {
  std::string name;
  std::string purpose;                                           // half a line
  std::function<int(const std::vector<std::string>& args)> run;  // args after the verb; returns the exit code
};

struct VerbSet {
  std::string name;  // what the user types before the verb
  std::string purpose;
  std::vector<std::string> examples;
  std::vector<Verb> verbs;
  // What users of other programs type (or nearly), and the verb that does it here.
  std::map<std::string, std::string> other_words = {};
};

// Runs the verb that args[0] names. Also answers `help`, `help VERB`, `--help`, `-h`, `--version` and, with
// the help text and code 0, no argument at all. An unknown verb is kExitUsage, with the nearest known one.
int DispatchVerb(const VerbSet& verbs, const std::vector<std::string>& args, std::ostream& out,
                 std::ostream& err);

// Prints "<command>: error: <message>" on `err`; a message of several lines begins on a line of its own.
// Returns ExitCode(status).
int ReportError(std::string_view command, const absl::Status& status, std::ostream& err);

// Hands on what was written to `out`, the standard output. RESOURCE_EXHAUSTED, with the reason where the
// system gives one, when any of it was lost, now or before.
absl::Status FlushOutput(std::ostream& out);

// The exit code of a program that is done and would end with `exit_code`: when that is success, but output
// was lost, says so on `err` and returns the code of that.
int FinishOutput(std::string_view program, int exit_code, std::ostream& out, std::ostream& err);

// argv[1..argc) as strings.
std::vector<std::string> Arguments(int argc, char** argv);

}  // namespace retort
