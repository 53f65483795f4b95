#include <cstdint>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/command_line.h"
#include "core/base/terminal.h"
#include "tool/flags.h"
#include "tool/verbs.h"

namespace retort {
namespace {

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

std::string NumberText(const nlohmann::json& number) {
  return number.is_number_integer() ? absl::StrCat(number.get<int64_t>())
                                    : absl::StrFormat("%.6g", number.get<double>());
}

}  // namespace

Parsed<EvalCommand> ParseEval(const std::vector<std::string>& args, std::ostream& out, std::ostream& err) {
  EvalCommand command;
  EvalOptions& options = command.options;
  std::string teacher, format = "text";
  std::vector<std::string> data;
  CLI::App app;
  DescribeCommand(
      app, "retort eval",
      "Measures how well a model predicts token files, and how close it stays to its teacher.",
      {"retort eval runs/quickstart/student --data corpus/eval.bin",
       "retort eval runs/quickstart/student --teacher models/smollm2 --data eval.bin foreign.bin -o json"});
  app.add_option("DIR", options.model, "A teacher's or a student's directory")->required();
  app.add_option("--teacher", teacher, "Compare with the teacher in this directory")->type_name("DIR");
  app.add_option("--data", data, "Token files (.bin, with the .idx beside them)")
      ->type_name("FILE")
      ->required();
  app.add_option("--window", options.window, "Tokens at once (default: the model's context)")
      ->check(CLI::Range(int64_t{2}, kMost))
      ->type_name("N");
  app.add_option("--max-tokens", options.max_tokens,
                 "Stop after reading so many tokens, at least 2 (default: all)")
      ->check(CLI::Range(int64_t{2}, kMost))
      ->type_name("N");
  AddThreadsFlag(app, options.threads);
  AddOutputFlag(app, format);
  if (const std::optional<int> exit_code = ParseCommand(app, args, out, err)) {
    return *exit_code;
  }
  if (!teacher.empty()) {
    options.teacher = teacher;
  }
  options.data.assign(data.begin(), data.end());
  command.json = format == "json";
  return command;
}

std::string RenderEval(const nlohmann::json& result) {
  Table figures({{"METRIC"}, {"VALUE", Align::kRight}});
  std::string per_layer;
  for (const auto& [name, value] : result.items()) {
    if (value.is_number()) {
      figures.AddRow({name, NumberText(value)});
    }
  }
  if (const auto distances = result.find("hidden_distance"); distances != result.end()) {
    Table table({{"LAYER", Align::kRight}, {"HIDDEN_DISTANCE", Align::kRight}});
    for (size_t layer = 0; layer < distances->size(); ++layer) {
      table.AddRow({absl::StrCat(layer), NumberText((*distances)[layer])});
    }
    per_layer = "\n" + table.Render();
  }
  return figures.Render() + per_layer;
}

}  // namespace retort
