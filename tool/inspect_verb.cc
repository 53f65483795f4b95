#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/base/command_line.h"
#include "core/base/machine_memory.h"
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
  Table table({{"STAGE"},
               {"STEPS", Align::kRight},
               {"TOKENS", Align::kRight},
               {"TOKENS_PER_STEP", Align::kRight},
               {"ACCUMULATION", Align::kRight},
               {"LR", Align::kRight}});
  for (const nlohmann::json& stage : stages) {
    table.AddRow({CellText(stage.at("name")), CellText(stage.at("steps")), CellText(stage.at("tokens")),
                  CellText(stage.at("tokens_per_step")), CellText(stage.at("accumulation")),
                  absl::StrFormat("%g", stage.at("lr").get<double>())});
  }
  return table.Render();
}

std::string Gibibytes(const nlohmann::json& bytes) {
  return absl::StrFormat("%.2f GiB", bytes.get<double>() / (1 << 30));
}

// What a worker needs; of stages 1 and 2 for one layer, of a probe for all.
std::string RenderMemory(const nlohmann::json& result) {
  Table table({{"MEMORY"},
               {"TEACHER", Align::kRight},
               {"STUDENT", Align::kRight},
               {"OPTIMIZER", Align::kRight},
               {"CHECKPOINT", Align::kRight},
               {"ACTIVATIONS", Align::kRight},
               {"PEAK", Align::kRight}});
  for (const nlohmann::json& need : result.at("memory")) {
    const bool one_layer = need.at("stage") != "end_to_end" && need.at("stage") != "probe";
    table.AddRow({absl::StrCat(CellText(need.at("stage")), one_layer ? ", one layer" : ""),
                  Gibibytes(need.at("teacher")), Gibibytes(need.at("student")),
                  Gibibytes(need.at("optimizer")), Gibibytes(need.at("checkpoint")),
                  Gibibytes(need.at("activations")), Gibibytes(need.at("peak"))});
  }
  const std::string missing = MissingMemory(result);
  const int sharing = result.value("sharing", 1);
  return absl::StrCat(
      table.Render(), "\n",
      sharing == 1 ? ""
                   : absl::StrCat("the teacher's weights are in memory once for ", sharing,
                                  " workers, and count for each in part\n"),
      missing.empty() ? absl::StrCat("fits a worker's ", Gibibytes(result.at("worker_memory"))) : missing,
      "\n");
}

std::string RenderProbeNote(const nlohmann::json& result) {
  if (!result.contains("probe")) return "";
  const nlohmann::json& probe = result["probe"];
  return absl::StrCat(
      "keep_attention: a probe, at most ", CellText(probe.at("steps")),
      " steps of each of stages 1 and 2, chooses the ", CellText(probe.at("keep")),
      " layers that stay\nattention before the first stage; until then the first ones stand for "
      "them here\n\n");
}

}  // namespace

Parsed<InspectCommand> ParseInspect(const std::vector<std::string>& args, std::ostream& out,
                                    std::ostream& err) {
  InspectCommand command;
  command.options.memory_bytes = MachineMemoryBytes();
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
  app.add_flag("--must-fit", command.must_fit, "End with code 10 when a job does not fit a worker's memory");
  app.add_option("--memory", command.options.memory_bytes,
                 "What a worker of a job may take (default: all of this machine's)")
      ->type_name("BYTES")
      ->check(CLI::PositiveNumber);
  app.add_option(
         "--sharing", command.options.sharing,
         "So many workers have the teacher's weights in memory once: its part counts for each (default: 1)")
      ->type_name("N")
      ->check(CLI::Range(1, 64));
  app.add_option("--as", command.name, "The command that asks, for messages")->group("");  // not in the help
  AddOutputFlag(app, format);
  if (const std::optional<int> exit_code = ParseCommand(app, args, out, err)) {
    return *exit_code;
  }
  command.json = format == "json";
  return command;
}

std::string MissingMemory(const nlohmann::json& result) {
  std::vector<std::string> needs;
  for (const nlohmann::json& need : result.value("memory", nlohmann::json::array())) {
    if (need.at("fits") == true) continue;
    needs.push_back(absl::StrCat(CellText(need.at("stage")), " needs ", Gibibytes(need.at("peak"))));
  }
  if (needs.empty()) return "";
  return absl::StrCat("does not fit: ", absl::StrJoin(needs, ", "), ", a worker has ",
                      Gibibytes(result.at("worker_memory")),
                      "; lower micro_batch or data.seq_len, train less, give `retort run` fewer --workers, "
                      "which share this machine's memory, or submit it to larger workers");
}

std::string RenderInspect(const nlohmann::json& result) {
  Table layers({{"LAYER", Align::kRight}, {"MIXER"}, {"PARAMETERS", Align::kRight}});
  int64_t index = 0;
  for (const nlohmann::json& layer : result.at("layers")) {
    layers.AddRow({absl::StrCat(index++), CellText(layer.at("mixer")), CellText(layer.at("parameters"))});
  }
  const std::string title =
      result.at("kind") == "job"
          ? absl::StrCat("job ", CellText(result.at("name")), " is valid",
                         result.at("has_weights") == true
                             ? ""
                             : "; a run needs its teacher's weights, which are not here")
          : CellText(result.at("kind"));
  return absl::StrCat(
      title, "\n\n", RenderMembers(result.at("config"), "CONFIG", Align::kLeft), "\n", layers.Render(), "\n",
      RenderMembers(result.at("parameters"), "PARAMETERS", Align::kRight),
      result.contains("stages")
          ? absl::StrCat("\nof the teacher: ", CellText(result["teacher_parameters"]), " parameters\n\n",
                         RenderProbeNote(result), RenderStages(result["stages"]), "\n", RenderMemory(result))
          : "");
}

}  // namespace retort
