#include "core/base/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iostream>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/exit_code.h"
#include "core/base/nearest.h"
#include "core/base/terminal.h"
#include "core/base/version.h"

namespace retort {
namespace {

std::string ExamplesText(const std::vector<std::string>& examples) {
  std::string text = "Examples:\n";
  for (const std::string& example : examples) {
    absl::StrAppend(&text, "  ", example, "\n");
  }
  return text;
}

// CLI11 prints its footer, which holds our examples, last.
class ExamplesFirst : public CLI::Formatter {
 public:
  ExamplesFirst() {
    column_width(28);
    label("Positionals", "Arguments");
  }

  std::string make_help(const CLI::App* app, std::string, CLI::AppFormatMode mode) const override {
    return absl::StrCat(make_description(app), "\n", app->get_footer(), "\n",
                        make_usage(app, app->get_name()), make_positionals(app), make_groups(app, mode));
  }

  // The name of the value without CLI11's list of what it may be; descriptions and errors say that.
  std::string make_option_opts(const CLI::Option* option) const override {
    if (option->get_type_size() == 0 || option->get_positional()) {
      return "";
    }
    const std::string type = option->get_type_name();
    return " " + type.substr(0, type.find(':'));
  }

  std::string make_option_desc(const CLI::Option* option) const override {
    const std::string fallback = option->get_default_str();
    return fallback.empty() ? option->get_description()
                            : absl::StrCat(option->get_description(), " (default: ", fallback, ")");
  }
};

// "; did you mean 'x'?", or nothing.
std::string DidYouMean(std::string_view word, const std::vector<std::string>& known) {
  const std::optional<std::string> nearest = Nearest(word, known);
  return nearest ? absl::StrCat("; did you mean '", *nearest, "'?") : "";
}

bool IsFlag(const std::string& argument) { return argument.size() > 1 && argument[0] == '-'; }

// Why the arguments were refused. CLI11 looks for missing arguments before unknown ones, but an unknown flag
// is usually the cause of both.
std::string Complaint(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<std::string> leftover = app.remaining();
  const auto flag = std::find_if(leftover.begin(), leftover.end(), IsFlag);
  if (flag == leftover.end()) {
    return leftover.empty() ? error.what() : absl::StrCat("unexpected argument '", leftover.front(), "'");
  }
  std::vector<std::string> known;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      known.push_back("--" + name);
    }
  }
  return absl::StrCat("unknown flag '", *flag, "'", DidYouMean(flag->substr(0, flag->find('=')), known));
}

int Refuse(const std::string& command, const std::string& complaint, std::ostream& err) {
  const int exit_code = ReportError(command, absl::InvalidArgumentError(complaint), err);
  err << "Run '" << command << " --help' for usage.\n";
  return exit_code;
}

void PrintVerbs(const VerbSet& verbs, std::ostream& out) {
  size_t width = 0;
  for (const Verb& verb : verbs.verbs) {
    width = std::max(width, verb.name.size());
  }
  out << verbs.purpose << "\n\n"
      << ExamplesText(verbs.examples) << "\nUsage: " << verbs.name << " VERB [ARGUMENTS]\n\nVerbs:\n";
  for (const Verb& verb : verbs.verbs) {
    out << "  " << verb.name << std::string(width - verb.name.size() + 3, ' ') << verb.purpose << "\n";
  }
  out << "\n'" << verbs.name << " VERB --help' explains one of them.\n";
}

}  // namespace

void DescribeCommand(CLI::App& app, const std::string& name, const std::string& purpose,
                     const std::vector<std::string>& examples) {
  app.name(name);
  app.description(purpose);
  app.footer(ExamplesText(examples));
  app.formatter(std::make_shared<ExamplesFirst>());
}

std::optional<int> ParseCommand(CLI::App& app, const std::vector<std::string>& args, std::ostream& out,
                                std::ostream& err) {
  try {
    app.parse(std::vector<std::string>(args.rbegin(), args.rend()));  // CLI11 takes them from the back
  } catch (const CLI::CallForHelp&) {
    out << app.help();
    return kExitOk;
  } catch (const CLI::CallForVersion& version) {
    out << version.what() << "\n";
    return kExitOk;
  } catch (const CLI::ParseError& error) {
    return Refuse(app.get_name(), Complaint(app, error), err);
  }
  return std::nullopt;
}

int DispatchVerb(const VerbSet& verbs, const std::vector<std::string>& args, std::ostream& out,
                 std::ostream& err) {
  if (args.empty() || args == std::vector<std::string>{"help"} || args[0] == "--help" || args[0] == "-h") {
    PrintVerbs(verbs, out);
    return kExitOk;
  }
  if (args[0] == "--version") {
    out << "retort " << Version() << "\n";
    return kExitOk;
  }
  if (args[0] == "help") {
    return DispatchVerb(verbs, {args[1], "--help"}, out, err);
  }
  std::vector<std::string> names;
  for (const Verb& verb : verbs.verbs) {
    if (verb.name == args[0]) {
      return verb.run(std::vector<std::string>(args.begin() + 1, args.end()));
    }
    names.push_back(verb.name);
  }
  const std::string kind = IsFlag(args[0]) ? "flag" : "verb";
  return Refuse(verbs.name, absl::StrCat("unknown ", kind, " '", args[0], "'", DidYouMean(args[0], names)),
                err);
}

int ReportError(std::string_view command, const absl::Status& status, std::ostream& err) {
  const bool colour = &err == &std::cerr && WantsColour(2);
  const bool one_line = status.message().find('\n') == absl::string_view::npos;
  err << command << ": " << (colour ? "\033[31merror:\033[0m" : "error:") << (one_line ? " " : "\n")
      << status.message() << "\n";
  return ExitCode(status);
}

absl::Status FlushOutput(std::ostream& out) {
  errno = 0;
  if (out.flush()) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("cannot write to standard output", errno == 0 ? "" : ": ",
                                                   errno == 0 ? "" : strerror(errno)));
}

int FinishOutput(std::string_view program, int exit_code, std::ostream& out, std::ostream& err) {
  const absl::Status flushed = FlushOutput(out);
  return exit_code == kExitOk && !flushed.ok() ? ReportError(program, flushed, err) : exit_code;
}

std::vector<std::string> Arguments(int argc, char** argv) {
  return argc > 1 ? std::vector<std::string>(argv + 1, argv + argc) : std::vector<std::string>();
}

}  // namespace retort
