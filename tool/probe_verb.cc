#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/base/command_line.h"
#include "core/base/terminal.h"
#include "tool/flags.h"
#include "tool/verbs.h"

namespace retort {
namespace {

std::string KlText(const nlohmann::json& kl) { return absl::StrFormat("%.4f", kl.get<double>()); }

std::string LayersText(const nlohmann::json& layers) {
  return absl::StrJoin(layers.get<std::vector<int64_t>>(), ", ");
}

}  // namespace

Parsed<ProbeCommand> ParseProbe(const std::vector<std::string>& args, std::ostream& out, std::ostream& err) {
  ProbeCommand command;
  ProbeOptions& options = command.options;
  std::string format = "text";
  CLI::App app;
  DescribeCommand(
      app, "retort probe",
      "Measures which layers of a job's teacher to keep as attention: converts all of them for a few "
      "steps, then puts attention back where it helps most.",
      {"retort probe job.yaml --keep 8",
       "retort probe configs/quickstart.yaml --root data --keep 8 --steps 90 -o json"});
  app.add_option("JOB", options.job, "The job file; its keep_attention and its stage 3 are not used")
      ->required();
  app.add_option("--root", options.roots, "Where the job's files are looked for too")->type_name("DIR");
  app.add_option("--keep", options.keep, "Layers that stay attention")
      ->check(CLI::Range(1, 1023))
      ->type_name("K")
      ->required();
  app.add_option("--steps", options.steps, "Steps of stage 1 and of stage 2, at most the job's")
      ->check(CLI::Range(1, 1'000'000))
      ->type_name("N")
      ->capture_default_str();
  app.add_option("--sequences", options.sequences, "Training sequences to compare distributions on")
      ->check(CLI::Range(1, 100'000))
      ->type_name("N")
      ->capture_default_str();
  AddThreadsFlag(app, options.threads);
  AddOutputFlag(app, format);
  if (const std::optional<int> exit_code = ParseCommand(app, args, out, err)) {
    return *exit_code;
  }
  command.json = format == "json";
  return command;
}

std::string RenderProbe(const nlohmann::json& result) {
  Table layers(
      {{"LAYER", Align::kRight}, {"KL-CONVERTED-ALONE", Align::kRight}, {"DISTANCE-LEFT", Align::kRight}});
  int64_t index = 0;
  for (const nlohmann::json& layer : result.at("layers")) {
    layers.AddRow({absl::StrCat(index++), KlText(layer.at("kl_alone")),
                   absl::StrFormat("%.4g", layer.at("distance").get<double>())});
  }
  Table restored({{"ATTENTION IN"}, {"KL", Align::kRight}});
  restored.AddRow({"none", KlText(result.at("kl"))});
  for (const nlohmann::json& kept : result.at("restored")) {
    restored.AddRow({absl::StrCat("and ", kept.at("layer").get<int64_t>()), KlText(kept.at("kl"))});
  }
  Table choices({{"CHOSEN BY"}, {"LAYERS"}, {"KL", Align::kRight}});
  choices.AddRow({"KL, one by one", LayersText(result.at("keep_attention")),
                  KlText(result.at("restored").back().at("kl"))});
  for (const auto& [rule, key] : {std::pair("even spacing", "evenly"), {"distance left", "farthest"}}) {
    const nlohmann::json& choice = result.at(key);
    choices.AddRow({rule, LayersText(choice.at("layers")), KlText(choice.at("kl"))});
  }
  return absl::StrCat(layers.Render(), "\n", restored.Render(), "\n", choices.Render(), "\nkeep_attention: [",
                      LayersText(result.at("keep_attention")), "]\n");
}

}  // namespace retort
