#include "core/base/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iostream>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "core/base/exit_code.h"
#include "core/base/nearest.h"
#include "core/base/plain_text.h"
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

// `text` in two at `mark`; nothing when it is not there.
std::optional<std::pair<std::string, std::string>> Halves(const std::string& text, const std::string& mark) {
  const size_t at = text.find(mark);
  if (at == std::string::npos) return std::nullopt;
  return std::make_pair(text.substr(0, at), text.substr(at + mark.size()));
}

// What CLI11 says of a flag's value, in our words; what it says otherwise stays.
std::string ValueComplaint(const std::string& text) {
  if (const auto parts = Halves(text, "Could not convert: ")) {
    if (const auto value = Halves(parts->second, " = ")) {
      return absl::StrCat(value->first, " '", value->second, "' is not a number that it takes");
    }
  }
  const auto parts = Halves(text, ": ");
  if (!parts) return text;
  const auto& [flag, why] = *parts;
  if (absl::EndsWith(why, " missing") || absl::EndsWith(why, "but received 0")) {
    return absl::StrCat(flag, " needs a value");
  }
  if (const auto choice = Halves(why, " not in {")) {
    const std::vector<std::string> known =
        absl::StrSplit(absl::StripSuffix(choice->second, "}"), absl::ByChar(','));
    return absl::StrCat(flag, " '", choice->first, "' is not one of ", absl::StrJoin(known, ", "),
                        DidYouMean(choice->first, known));
  }
  if (const auto range = Halves(why, " not in range ")) {
    return absl::StrCat(flag, " '", absl::StripPrefix(range->first, "Value "), "' is not a number from ",
                        range->second);
  }
  return text;
}

// Why the arguments were refused. CLI11 looks for missing arguments before unknown ones, but an unknown flag
// is usually the cause of both.
std::string Complaint(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<std::string> leftover = app.remaining();
  const auto flag = std::find_if(leftover.begin(), leftover.end(), IsFlag);
  if (flag == leftover.end()) {
    return leftover.empty() ? ValueComplaint(error.what())
                            : absl::StrCat("unexpected argument '", leftover.front(), "'");
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
    std::vector<std::string> asked(args.begin() + 1, args.end());
    asked.push_back("--help");
    return DispatchVerb(verbs, asked, out, err);
  }
  std::vector<std::string> names;
  for (const Verb& verb : verbs.verbs) {
    if (verb.name == args[0]) {
      return verb.run(std::vector<std::string>(args.begin() + 1, args.end()));
    }
    names.push_back(verb.name);
  }
  if (IsFlag(args[0])) {
    return Refuse(verbs.name,
                  absl::StrCat("unknown flag '", args[0], "'; a verb comes first, then its flags"), err);
  }
  const auto other = verbs.other_words.find(args[0]);
  const std::string advice = other == verbs.other_words.end()
                                 ? DidYouMean(args[0], names)
                                 : absl::StrCat("; that is '", other->second, "' here");
  return Refuse(verbs.name, absl::StrCat("unknown verb '", args[0], "'", advice), err);
}

int ReportError(std::string_view command, const absl::Status& status, std::ostream& err) {
  const bool colour = &err == &std::cerr && WantsColour(2);
  const bool one_line = status.message().find('\n') == absl::string_view::npos;
  err << command << ": " << (colour ? "\033[31merror:\033[0m" : "error:") << (one_line ? " " : "\n")
      << PlainText({status.message().data(), status.message().size()}) << "\n";
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
