#include <cstdint>

#include "absl/strings/str_cat.h"
#include "core/base/command_line.h"
#include "core/base/terminal.h"
#include "tool/flags.h"
#include "tool/verbs.h"

namespace retort {
namespace {

std::string CellText(const nlohmann::json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::string RenderMembers(const nlohmann::json& object, const std::string& title, Align align) {
  Table table({{title}, {"VALUE", align}});
  for (const auto& [name, value] : object.items()) {
    table.AddRow({name, CellText(value)});
  }
  return table.Render();
}

std::string RenderStages(const nlohmann::json& stages) {
  Table table({{"STAGE"}, {"STEPS", Align::kRight}, {"TOKENS", Align::kRight}});
  for (const nlohmann::json& stage : stages) {
    table.AddRow({CellText(stage.at("name")), CellText(stage.at("steps")), CellText(stage.at("tokens"))});
  }
  return table.Render();
}

}  // namespace

Parsed<InspectCommand> ParseInspect(const std::vector<std::string>& args, std::ostream& out,
                                    std::ostream& err) {
  InspectCommand command;
  std::string format = "text";
  CLI::App app;
  DescribeCommand(
      app, "retort inspect",
      "Prints what a model directory holds, or what a job would make: configuration, layers, parameters.",
      {"retort inspect models/smollm2", "retort inspect runs/quickstart/student -o json",
       "retort inspect configs/phi-mamba-1.5b.yaml --root data"});
  app.add_option("PATH", command.options.model, "A teacher's or a student's directory, or a job file")
      ->required();
  app.add_option("--root", command.options.roots, "Where a job's teacher is looked for too")
      ->type_name("DIR");
  AddOutputFlag(app, format);
  if (const std::optional<int> exit_code = ParseCommand(app, args, out, err)) {
    return *exit_code;
  }
  command.json = format == "json";
  return command;
}

std::string RenderInspect(const nlohmann::json& result) {
  Table layers({{"LAYER", Align::kRight}, {"MIXER"}, {"PARAMETERS", Align::kRight}});
  int64_t index = 0;
  for (const nlohmann::json& layer : result.at("layers")) {
    layers.AddRow({absl::StrCat(index++), CellText(layer.at("mixer")), CellText(layer.at("parameters"))});
  }
  return absl::StrCat(CellText(result.at("kind")), "\n\n",
                      RenderMembers(result.at("config"), "CONFIG", Align::kLeft), "\n", layers.Render(), "\n",
                      RenderMembers(result.at("parameters"), "PARAMETERS", Align::kRight),
                      result.contains("stages") ? "\n" + RenderStages(result["stages"]) : "");
}

}  // namespace retort
