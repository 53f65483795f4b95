#include "cli/show/result_table.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/progress.h"
#include "core/base/terminal.h"

namespace retort {
namespace {

using nlohmann::json;

std::string Cell(const json& object, const char* key, const char* format) {
  if (!object.contains(key) || !object[key].is_number()) return "";  // JSON has null for an overflow
  return absl::StrFormat(*absl::ParsedFormat<'f'>::New(format), object[key].get<double>());
}

void AddQualityRow(Table& table, const std::string& name, const json& quality) {
  table.AddRow({name, Cell(quality, "perplexity", "%.2f"), Cell(quality, "kl", "%.3f"),
                Cell(quality, "top1_agreement", "%.3f"), Cell(quality, "free_running_agreement", "%.3f"),
                quality.contains("hidden_distance") ? absl::StrFormat("%.2f", MeanDistance(quality)) : "",
                quality.contains("off_domain") ? Cell(quality["off_domain"], "perplexity", "%.2f") : ""});
}

}  // namespace

double MeanDistance(const json& quality) {
  double sum = 0;
  int converted = 0;
  for (const json& distance : quality.at("hidden_distance")) {
    if (!distance.is_number() || distance == 0.0) continue;
    sum += distance.get<double>();
    ++converted;
  }
  return converted == 0 ? 0 : sum / converted;
}

std::string RenderResult(const json& result) {
  Table models({{"MODEL"},
                {"PERPLEXITY", Align::kRight},
                {"KL", Align::kRight},
                {"TOP1", Align::kRight},
                {"FREE-RUNNING", Align::kRight},
                {"DISTANCE", Align::kRight},
                {"OFF-DOMAIN", Align::kRight}});
  AddQualityRow(models, "teacher", result["teacher"]);
  AddQualityRow(models, "student-untrained", result["initial"]);
  Table stages({{"STAGE"},
                {"TOKENS", Align::kRight},
                {"WORKER-TIME", Align::kRight},
                {"TOK/S", Align::kRight},
                {"FIRST-LOSS", Align::kRight},
                {"LAST-LOSS", Align::kRight}});
  for (const json& stage : result["stages"]) {
    const std::string name = stage["name"];
    AddQualityRow(models, "after-" + name, stage["student"]);
    stages.AddRow({name, absl::StrCat(stage["tokens"].get<int64_t>()),
                   FormatDuration(stage["seconds"].get<double>()),
                   absl::StrFormat("%.0f", result["tokens_per_second"][name].get<double>()),
                   Cell(stage, "loss_first", "%.4f"), Cell(stage, "loss_last", "%.4f")});
  }
  constexpr double kMebibyte = 1 << 20;
  return absl::StrCat(models.Render(), "\n", stages.Render(), "\n",
                      absl::StrFormat("%s of workers' time, peak memory of one %.0f MiB\n",
                                      FormatDuration(result["seconds"].get<double>()),
                                      result["peak_memory_bytes"].get<double>() / kMebibyte));
}

}  // namespace retort
