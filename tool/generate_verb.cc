#include <cstdint>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/command_line.h"
#include "tool/flags.h"
#include "tool/verbs.h"

namespace retort {
namespace {

// A smaller one takes the logits out of float32. NaN is none.
bool IsTemperature(double value) { return value == 0 || (value >= 0.01 && value <= 100); }

}  // namespace

Parsed<GenerateOptions> ParseGenerate(const std::vector<std::string>& args, std::ostream& out,
                                      std::ostream& err) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  GenerateOptions options;
  CLI::App app;
  DescribeCommand(app, "retort generate", "Continues a text, printing each token as it is made.",
                  {"retort generate runs/quickstart/student --prompt \"The menu bar\"",
                   "retort generate models/smollm2 --prompt \"Once upon a time\" --tokens 200 --temperature "
                   "0.8 --seed 1",
                   "retort generate models/smollm2-instruct --chat --prompt \"How do I print a page?\""});
  app.add_option("DIR", options.model, "A teacher's or a student's directory")->required();
  app.add_option("--prompt", options.prompt, "The text to continue, or to answer")
      ->type_name("TEXT")
      ->required();
  app.add_flag("--chat", options.chat, "Answer the text as a user's message, in the model's chat template");
  app.add_option("--tokens", options.tokens, "New tokens at most")
      ->check(CLI::Range(int64_t{1}, kMost))
      ->type_name("N")
      ->capture_default_str();
  app.add_option("--temperature", options.temperature,
                 "Sample at this temperature, 0.01 to 100; 0 takes the most probable token")
      ->type_name("X")
      ->capture_default_str();
  const CLI::Option* top_k =
      app.add_option("--top-k", options.top_k, "Sample among the K most probable tokens (default: all)")
          ->check(CLI::Range(int64_t{1}, kMost))
          ->type_name("K");
  app.add_option("--seed", options.seed, "Seed of the sampling")
      ->check(IsSeed)
      ->type_name("S")
      ->capture_default_str();
  AddThreadsFlag(app, options.threads);
  if (const std::optional<int> exit_code = ParseCommand(app, args, out, err)) {
    return *exit_code;
  }
  if (!IsTemperature(options.temperature)) {
    return ReportError(app.get_name(),
                       absl::InvalidArgumentError(absl::StrCat("--temperature is ", options.temperature,
                                                               "; give 0, or from 0.01 to 100")),
                       err);
  }
  if (*top_k && options.temperature == 0) {
    return ReportError(app.get_name(),
                       absl::InvalidArgumentError(
                           "--top-k has no effect at temperature 0; add --temperature, for example 0.8"),
                       err);
  }
  return options;
}

}  // namespace retort
