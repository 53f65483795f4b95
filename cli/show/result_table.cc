#include "cli/show/result_table.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/show/json_shape.h"
#include "core/base/progress.h"
#include "core/base/status_macros.h"
#include "core/base/terminal.h"

namespace retort {
namespace {

using nlohmann::json;

std::string Cell(const json& object, const char* key, const char* format) {
  if (!object.contains(key) || !object[key].is_number()) return "";  // JSON has null for an overflow
  return absl::StrFormat(*absl::ParsedFormat<'f'>::New(format), object[key].get<double>());
}

// What CheckResult looks for. `files.result` of the report has the same.
constexpr JsonPlace kResult[] = {
    {"job", JsonShape::kText},
    {"seconds", JsonShape::kAmount},
    {"peak_memory_bytes", JsonShape::kAmount},
    {"layer_types", JsonShape::kList},
    {"layer_types/*", JsonShape::kText},
    {"versions", JsonShape::kObject},
    {"versions/*", JsonShape::kText},
    {"host", JsonShape::kObject},
    {"host/processor", JsonShape::kText},
    {"host/cores", JsonShape::kCount},
    {"host/kernel", JsonShape::kText},
    {"identity", JsonShape::kObject},
    {"identity/job", JsonShape::kObject},
    {"identity/job/teacher", JsonShape::kObject},
    {"identity/job/teacher/path", JsonShape::kText},
    {"identity/version", JsonShape::kText},
    {"identity/threads", JsonShape::kCount},
    {"identity/compute_path", JsonShape::kText},
    {"identity/teacher_sha256", JsonShape::kText},
    {"identity/data_sha256", JsonShape::kObject},
    {"identity/data_sha256/*", JsonShape::kText},
    {"tokens_per_second", JsonShape::kObject},
    {"tokens_per_second/*", JsonShape::kNumberOrNull},
    {"teacher", JsonShape::kObject},
    {"initial", JsonShape::kObject},
    {"student", JsonShape::kObject},
    {"stages", JsonShape::kList},
    {"stages/*", JsonShape::kObject},
    {"stages/*/name", JsonShape::kText},
    {"stages/*/tokens", JsonShape::kAmount},
    {"stages/*/seconds", JsonShape::kAmount},
    {"stages/*/world_size", JsonShape::kCount, /*optional=*/true},
    {"stages/*/student", JsonShape::kObject},
};

constexpr JsonPlace kQuality[] = {
    {"perplexity", JsonShape::kNumberOrNull},
    {"tokens", JsonShape::kCount},
    {"off_domain", JsonShape::kObject, /*optional=*/true},
};

constexpr JsonPlace kStudent[] = {
    {"kl", JsonShape::kNumberOrNull},
    {"top1_agreement", JsonShape::kNumberOrNull},
    {"hidden_distance", JsonShape::kList},
    {"hidden_distance/*", JsonShape::kNumberOrNull},
};

absl::Status CheckStudent(const std::string& place, const json& student, size_t layers) {
  const std::string file = absl::StrCat("result.json: in \"", place, "\"");
  RETURN_IF_ERROR(CheckJsonShape(file, student, kQuality));
  RETURN_IF_ERROR(CheckJsonShape(file, student, kStudent));
  const size_t distances = student["hidden_distance"].size();
  if (distances == layers) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(file, ": \"hidden_distance\" has ", distances,
                                          " numbers, \"layer_types\" ", layers,
                                          " layers; fetch the run again"));
}

void AddQualityRow(Table& table, const std::string& name, const json& quality, const json& layer_types) {
  table.AddRow(
      {name, Cell(quality, "perplexity", "%.2f"), Cell(quality, "kl", "%.3f"),
       Cell(quality, "top1_agreement", "%.3f"), Cell(quality, "free_running_agreement", "%.3f"),
       quality.contains("hidden_distance") ? absl::StrFormat("%.2f", MeanDistance(quality, layer_types)) : "",
       quality.contains("off_domain") ? Cell(quality["off_domain"], "perplexity", "%.2f") : ""});
}

}  // namespace

absl::Status CheckResult(const json& result) {
  RETURN_IF_ERROR(CheckJsonShape("result.json", result, kResult));
  RETURN_IF_ERROR(CheckJsonShape("result.json: in \"teacher\"", result["teacher"], kQuality));
  const size_t layers = result["layer_types"].size();
  for (const char* student : {"initial", "student"}) {
    RETURN_IF_ERROR(CheckStudent(student, result[student], layers));
  }
  const json& stages = result["stages"];
  for (size_t i = 0; i < stages.size(); ++i) {
    RETURN_IF_ERROR(CheckStudent(absl::StrCat("stages/", i, "/student"), stages[i]["student"], layers));
  }
  return absl::OkStatus();
}

bool IsConverted(const json& layer_type) { return layer_type != "attention"; }

double MeanDistance(const json& quality, const json& layer_types) {
  double sum = 0;
  int counted = 0;
  for (size_t layer = 0; layer < layer_types.size(); ++layer) {
    const json& distance = quality["hidden_distance"][layer];
    if (!IsConverted(layer_types[layer]) || !distance.is_number()) continue;
    sum += distance.get<double>();
    ++counted;
  }
  return counted == 0 ? 0 : sum / counted;
}

std::string RenderResult(const json& result) {
  const json& layer_types = result["layer_types"];
  Table models({{"MODEL"},
                {"PERPLEXITY", Align::kRight},
                {"KL", Align::kRight},
                {"TOP1", Align::kRight},
                {"FREE-RUNNING", Align::kRight},
                {"DISTANCE", Align::kRight},
                {"OFF-DOMAIN", Align::kRight}});
  AddQualityRow(models, "teacher", result["teacher"], layer_types);
  AddQualityRow(models, "student-untrained", result["initial"], layer_types);
  Table stages({{"STAGE"},
                {"TOKENS", Align::kRight},
                {"WORKER-TIME", Align::kRight},
                {"TOK/S", Align::kRight},
                {"FIRST-LOSS", Align::kRight},
                {"LAST-LOSS", Align::kRight}});
  for (const json& stage : result["stages"]) {
    const std::string name = stage["name"];
    AddQualityRow(models, "after-" + name, stage["student"], layer_types);
    stages.AddRow({name, absl::StrCat(stage["tokens"].get<int64_t>()),
                   FormatDuration(stage["seconds"].get<double>()),
                   Cell(result["tokens_per_second"], name.c_str(), "%.0f"), Cell(stage, "loss_first", "%.4f"),
                   Cell(stage, "loss_last", "%.4f")});
  }
  constexpr double kMebibyte = 1 << 20;
  return absl::StrCat(models.Render(), "\n", stages.Render(), "\n",
                      absl::StrFormat("%s of workers' time, peak memory of one %.0f MiB\n",
                                      FormatDuration(result["seconds"].get<double>()),
                                      result["peak_memory_bytes"].get<double>() / kMebibyte));
}

}  // namespace retort
