#include "cli/report/report_page.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/report/colours.h"
#include "cli/report/line_chart.h"
#include "cli/report/markup.h"
#include "cli/report/matrix_image.h"
#include "cli/report/page_style.h"
#include "cli/show/json_shape.h"
#include "cli/show/result_table.h"
#include "core/base/files.h"
#include "core/base/progress.h"
#include "core/base/status_macros.h"
#include "core/config/job_writer.h"

namespace retort {
namespace {

using nlohmann::json;

constexpr double kMebibyte = 1 << 20;

// "12,345", "187k", "1.52 M": what fits a tile.
std::string Short(double number) {
  for (const auto& [unit, name] : {std::pair{1e9, " B"}, {1e6, " M"}, {1e4, "k"}}) {
    if (number >= unit) return absl::StrFormat("%.4g%s", unit == 1e4 ? number / 1e3 : number / unit, name);
  }
  return absl::StrFormat("%.4g", number);
}

std::string Number(const json& object, const char* key, const char* format) {
  if (!object.contains(key) || !object[key].is_number()) return "–";
  const double number = object[key].get<double>();
  if (number >= 100000) return Short(number);
  return absl::StrFormat(*absl::ParsedFormat<'f'>::New(format), number);
}

// "matrix orientation" of matrix_orientation.
std::string Words(std::string name) {
  std::replace(name.begin(), name.end(), '_', ' ');
  return name;
}

std::string Section(const std::string& title, const std::string& inner) {
  return absl::StrCat("<section>\n<h2>", title, "</h2>\n", inner, "</section>\n");
}

std::string Tile(const std::string& figure, const std::string& what) {
  return absl::StrCat("<div class=tile><b>", EscapeHtml(figure), "</b><span>", EscapeHtml(what),
                      "</span></div>\n");
}

std::string Summary(const RunFiles& files) {
  const json &result = files.result, &student = result.at("student");
  const json& layers = result.at("layer_types");
  const auto converted = std::count_if(layers.begin(), layers.end(), &IsConverted);
  const json& teacher_perplexity = result.at("teacher").at("perplexity");
  std::string text = absl::StrFormat(
      "<h1>%s</h1>\n<p class=soft>%d of %d attention layers of <code>%s</code> became %s, by MOHAWK "
      "(arXiv 2408.10189). Retort %s.</p>\n<div class=tiles>\n",
      EscapeHtml(result.at("job").get<std::string>()), converted, layers.size(),
      EscapeHtml(result.at("identity").at("job").at("teacher").at("path").get<std::string>()),
      EscapeHtml(
          converted == 0
              ? "nothing"
              : [&] { return std::find_if(layers.begin(), layers.end(), &IsConverted)->get<std::string>(); }()),
      EscapeHtml(result.at("identity").at("version").get<std::string>()));
  if (student.at("perplexity").is_number() && teacher_perplexity.is_number()) {
    const double perplexity = student.at("perplexity"), teacher = teacher_perplexity;
    absl::StrAppend(
        &text, Tile(absl::StrFormat("%.4g×", perplexity / teacher),
                    absl::StrFormat("the teacher's perplexity: %.4g against %.4g", perplexity, teacher)));
  }
  absl::StrAppend(&text, Tile(Number(student, "kl", "%.3f"), "nats of KL from the teacher, a token"));
  if (student.contains("top1_agreement") && student.at("top1_agreement").is_number()) {
    absl::StrAppend(&text, Tile(absl::StrFormat("%.1f %%", 100 * student.at("top1_agreement").get<double>()),
                                "of next tokens ranked first by both"));
  }
  double tokens = 0;
  for (const json& stage : result.at("stages")) tokens += stage.at("tokens").get<double>();
  absl::StrAppend(
      &text, Tile(Short(tokens), "tokens of training"),
      Tile(FormatDuration(result.at("seconds").get<double>()), "of workers' time, with measuring"));
  return text + "</div>\n";
}

std::string Architecture(const json& architecture, const json& layers) {
  std::string text = absl::StrFormat(
      "<p>Hidden width %d, %d query heads (%d key heads), vocabulary %d; the teacher has %s "
      "parameters, the student %s.</p>\n<div class=strip>",
      architecture.at("hidden_size").get<int64_t>(), architecture.at("heads").get<int64_t>(),
      architecture.at("kv_heads").get<int64_t>(), architecture.at("vocab_size").get<int64_t>(),
      Short(architecture.at("teacher_parameters").get<double>()),
      Short(architecture.at("student_parameters").get<double>()));
  for (size_t l = 0; l < layers.size(); ++l) {
    absl::StrAppendFormat(&text, "<span class=%s title=\"layer %d: %s\">%d</span>",
                          IsConverted(layers[l]) ? "made" : "kept", l,
                          EscapeHtml(layers[l].get<std::string>()), l);
  }
  return Section("What was distilled",
                 absl::StrCat(text,
                              "</div>\n<p class='soft key'><span class=made></span> converted layers, "
                              "<span class=kept></span> layers that kept the teacher's attention</p>\n"));
}

std::string QualityRow(const std::string& name, const json& quality, const json& layer_types, bool is_last) {
  const json none = json::object();
  const json& off_domain = quality.contains("off_domain") ? quality.at("off_domain") : none;
  return absl::StrCat(
      "<tr", is_last ? " class=last" : "", "><td>", EscapeHtml(name), "</td><td>",
      Number(quality, "perplexity", "%.2f"), "</td><td>", Number(quality, "kl", "%.3f"), "</td><td>",
      Number(quality, "top1_agreement", "%.3f"), "</td><td>",
      Number(quality, "free_running_agreement", "%.3f"), "</td><td>",
      quality.contains("hidden_distance") ? absl::StrFormat("%.2f", MeanDistance(quality, layer_types)) : "–",
      "</td><td>", Number(off_domain, "perplexity", "%.2f"), "</td></tr>\n");
}

std::string QualityTable(const json& result) {
  const json& layer_types = result.at("layer_types");
  std::string text =
      "<div class=wide><table>\n<tr><th>model</th><th>perplexity</th><th>KL</th><th>top-1</th>"
      "<th>free-running</th><th>distance</th><th>off-domain</th></tr>\n";
  absl::StrAppend(
      &text, QualityRow("teacher", result.at("teacher"), layer_types, false),
      QualityRow("student, untrained", result.at("initial"), layer_types, result.at("stages").empty()));
  for (const json& stage : result.at("stages")) {
    absl::StrAppend(&text, QualityRow("after " + Words(stage.at("name")), stage.at("student"), layer_types,
                                      &stage == &result.at("stages").back()));
  }
  return Section(
      "What it is worth",
      absl::StrCat(
          text, "</table></div>\n<p class=soft>On ", result.at("teacher").at("tokens").dump(),
          " held-out tokens. KL: mean KL(teacher, student), nats a token. Top-1: share of tokens where "
          "both rank the same first. Free-running: share of the teacher's greedy continuations that "
          "the student's own reproduce before they first differ. Distance: mean over converted "
          "layers of the L2 distance between block outputs on the teacher's input. Off-domain: "
          "perplexity on other text.</p>\n"));
}

std::string LossOf(const std::string& stage) {
  if (stage == "matrix_orientation") return "Frobenius distance of the mixing matrices, mean over heads";
  if (stage == "hidden_state_alignment") return "L2 distance of the outputs, mean over tokens";
  return "cross-entropy, nats a token";
}

std::string StageChart(const std::string& stage, const LossesOfLayers& losses) {
  std::vector<ChartLine> lines;
  std::vector<double> mean;
  const double last_layer = static_cast<double>(std::max<int64_t>(losses.rbegin()->first, 1));
  for (const auto& [layer, values] : losses) {
    mean.resize(std::max(mean.size(), values.size()));
    for (size_t i = 0; i < values.size(); ++i) mean[i] += values[i] / static_cast<double>(losses.size());
    if (losses.size() > 1) {
      const double depth = static_cast<double>(layer) / last_layer;
      lines.push_back(
          {absl::StrFormat("layer %d: %.4g", layer, values.back()), values, Hex(OfOneLightness(depth))});
    }
  }
  lines.push_back(
      {absl::StrFormat("%s: %.4g", losses.size() > 1 ? "mean of the layers" : "loss", mean.back()), mean,
       "var(--accent)", /*is_main=*/true});
  const std::string title = "Losses of " + Words(stage);
  return absl::StrCat(
      "<figure><h3>", EscapeHtml(Words(stage)), "</h3>", LineChart(title, lines), "<figcaption>",
      LossOf(stage), ", on a logarithmic axis",
      losses.size() > 1 ? ". Thick: the layers' mean; thin: each layer, the first teal, the last violet" : "",
      "</figcaption></figure>\n");
}

std::string LossCurves(const RunFiles& files) {
  std::string text = "<div class=charts>\n";
  for (const json& stage : files.result.at("stages")) {
    const std::string name = stage.at("name");
    const auto losses = files.losses.find(name);
    if (losses != files.losses.end()) absl::StrAppend(&text, StageChart(name, losses->second));
  }
  return Section("How it learned", text + "</div>\n");
}

// The distances of one moment, named.
struct HeatColumn {
  std::string name;
  const json* distances;
};

std::string HeatCell(const json& distance, double low, double high) {
  const double value = distance.is_number() ? distance.get<double>() : high;
  const Rgb colour = Sequential(high > low ? std::log(value / low) / std::log(high / low) : 0.0);
  return absl::StrFormat("<td style='background:%s;color:%s'>%s</td>", Hex(colour),
                         IsLight(colour) ? "#000" : "#fff",
                         distance.is_number() ? absl::StrFormat("%.3g", value) : "∞");
}

// Layers x moments, on a logarithmic scale over all cells. Kept layers have a row where a stage moved them.
std::string HeatMap(const json& result) {
  std::vector<HeatColumn> columns = {{"untrained", &result.at("initial").at("hidden_distance")}};
  for (const json& stage : result.at("stages")) {
    columns.push_back({"after " + Words(stage.at("name")), &stage.at("student").at("hidden_distance")});
  }
  double low = std::numeric_limits<double>::infinity(), high = 0;
  for (const HeatColumn& column : columns) {
    for (const json& distance : *column.distances) {
      if (!distance.is_number() || distance == 0.0) continue;
      low = std::min(low, distance.get<double>());
      high = std::max(high, distance.get<double>());
    }
  }
  std::string head = "<tr><th>layer</th>", rows;
  for (const HeatColumn& column : columns) absl::StrAppend(&head, "<th>", EscapeHtml(column.name), "</th>");
  const json& layers = result.at("layer_types");
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    const bool moved = std::any_of(columns.begin(), columns.end(), [&](const HeatColumn& column) {
      return (*column.distances)[layer] != 0.0;
    });
    if (!IsConverted(layers[layer]) && !moved) continue;
    absl::StrAppend(&rows, "<tr><td>", layer, IsConverted(layers[layer]) ? "" : " (kept)", "</td>");
    for (const HeatColumn& column : columns) rows += HeatCell((*column.distances)[layer], low, high);
    rows += "</tr>\n";
  }
  if (rows.empty()) return "";  // nothing was converted, and nothing moved
  return Section(
      "What remains, layer by layer",
      absl::StrCat("<p class=soft>L2 distance between the student's block and the teacher's on the "
                   "teacher's input, mean over held-out tokens. The colour's scale is "
                   "logarithmic.</p>\n<div class=wide><table class=heat>\n",
                   head, "</tr>\n", rows, "</table></div>\n"));
}

std::string MatrixFigure(const std::string& what, const std::vector<double>& values, double largest) {
  return absl::StrCat("<figure><img alt=\"", EscapeHtml(what), "\" src=\"", MatrixImageUrl(values, largest),
                      "\"><figcaption>", EscapeHtml(what), "</figcaption></figure>\n");
}

// A matrix's values; null, which a worker writes for what is not finite, is NaN.
std::vector<double> MatrixValues(const json& values) {
  std::vector<double> numbers;
  for (const json& value : values) {
    numbers.push_back(value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>());
  }
  return numbers;
}

bool IsFinite(const std::vector<double>& values) {
  return std::all_of(values.begin(), values.end(), [](double value) { return std::isfinite(value); });
}

// Of the student's matrix: how far it is from the teacher's.
std::string StudentCaption(const std::string& after, const std::vector<double>& student,
                           const std::vector<double>& teacher) {
  const std::string when = after == "untrained" ? after : "after " + Words(after);
  if (!IsFinite(student)) return absl::StrCat("student ", when, ": black where not finite");
  if (!IsFinite(teacher)) return absl::StrCat("student ", when);
  double squares = 0;
  for (size_t i = 0; i < student.size(); ++i) squares += std::pow(student[i] - teacher[i], 2);
  return absl::StrFormat("student %s: %.3g from the teacher's", when, std::sqrt(squares));
}

absl::StatusOr<std::string> Matrices(const json& matrices) {
  const std::vector<double> teacher = MatrixValues(matrices.at("teacher"));
  const auto rows = static_cast<size_t>((std::sqrt(8.0 * static_cast<double>(teacher.size()) + 1) - 1) / 2);
  if (teacher.empty() || rows * (rows + 1) / 2 != teacher.size()) {
    return absl::DataLossError(
        absl::StrCat("report.json: the ", teacher.size(),
                     " numbers of matrices.teacher are no triangle; fetch the run again"));
  }
  std::string text = absl::StrFormat(
      "<p class=soft>Head %d of layer %d on the first %d held-out tokens: how much each token (down) takes "
      "from "
      "each earlier one (across). Orange: positive, blue: negative; strength is the root of the size.</p>\n"
      "<div class=matrices>\n",
      matrices.at("head").get<int64_t>(), matrices.at("layer").get<int64_t>(), rows);
  const char* const teacher_caption =
      IsFinite(teacher) ? "teacher: attention" : "teacher: attention, black where not finite";
  absl::StrAppend(&text, MatrixFigure(teacher_caption, teacher, 1));
  for (const json& student : matrices.at("students")) {
    const std::vector<double> values = MatrixValues(student.at("values"));
    const std::string after = student.at("after");
    if (values.size() != teacher.size()) {
      return absl::DataLossError(absl::StrCat("report.json: the matrix of the student ", after, " has ",
                                              values.size(), " numbers, the teacher's ", teacher.size(),
                                              "; fetch the run again"));
    }
    absl::StrAppend(&text, MatrixFigure(StudentCaption(after, values, teacher), values, 1));
  }
  return Section("One head's mixing matrix", text + "</div>\n");
}

std::string Throughput(const json& result) {
  std::string text =
      "<div class=wide><table>\n<tr><th>stage</th><th>tokens</th><th>workers' time</th><th>tokens/s</th>"
      "<th>first loss</th><th>last loss</th></tr>\n";
  for (const json& stage : result.at("stages")) {
    const std::string name = stage.at("name");
    absl::StrAppend(&text, "<tr><td>", EscapeHtml(Words(name)), "</td><td>", Short(stage.at("tokens")),
                    "</td><td>", FormatDuration(stage.at("seconds").get<double>()), "</td><td>",
                    Number(result.at("tokens_per_second"), name.c_str(), "%.0f"), "</td><td>",
                    Number(stage, "loss_first", "%.4f"), "</td><td>", Number(stage, "loss_last", "%.4f"),
                    "</td></tr>\n");
  }
  const json& host = result.at("host");
  return Section(
      "What it took",
      absl::StrCat(text, "</table></div>\n",
                   absl::StrFormat(
                       "<p class=soft>%s of workers' time with measuring; at most %.0f MiB of memory "
                       "in the process that made the result, on %s, %d cores, %s. Tokens/s: of one "
                       "worker's time.</p>\n",
                       FormatDuration(result.at("seconds").get<double>()),
                       result.at("peak_memory_bytes").get<double>() / kMebibyte,
                       EscapeHtml(host.at("processor").get<std::string>()), host.at("cores").get<int64_t>(),
                       EscapeHtml(host.at("kernel").get<std::string>()))));
}

std::string Samples(const json& shown) {
  const json& samples = shown.at("samples");
  if (shown.contains("no_samples")) {
    return Section("How they write",
                   absl::StrCat("<p class=soft>No samples: the teacher's tokenizer cannot be read. ",
                                EscapeHtml(shown.at("no_samples").get<std::string>()), "</p>\n"));
  }
  if (samples.empty()) return "";
  std::string text = "<p class=soft>Held-out text, continued greedily: the likeliest token each time.</p>\n";
  for (const json& sample : samples) {
    text += "<div class=sample>";
    for (const char* part : {"prompt", "teacher", "student"}) {
      absl::StrAppend(&text, "<b>", part, "</b><p>", EscapeHtml(sample.at(part).get<std::string>()), "</p>");
    }
    text += "</div>\n";
  }
  return Section("How they write", text);
}

absl::StatusOr<std::string> Repeat(const json& result) {
  const json& identity = result.at("identity");
  v1::JobSpec job;
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;  // of a newer release
  if (!google::protobuf::util::JsonStringToMessage(identity.at("job").dump(), &job, options).ok()) {
    return absl::DataLossError("result.json: identity.job is no job");
  }
  job.set_name(result.at("job").get<std::string>());
  std::string command =
      absl::StrCat("retort run job.yaml --root DIR --threads ", identity.at("threads").dump());
  for (const json& stage : result.at("stages")) {
    if (!stage.contains("world_size")) continue;
    const auto ranks = stage.at("world_size").get<uint32_t>();
    job.mutable_stages()->mutable_end_to_end()->set_world_size(ranks);  // auto would ask the machine
    absl::StrAppend(&command, " --workers ", ranks);
  }
  std::string text = absl::StrCat(
      "<pre>", command, "</pre>\n<p>where the teacher and the data lie below DIR, and job.yaml is</p>\n<pre>",
      EscapeHtml(WriteJob(job)), "</pre>\n<div class=wide><table>\n");
  const auto row = [&text](const std::string& name, const std::string& value) {
    absl::StrAppend(&text, "<tr><td>", EscapeHtml(name), "</td><td style='text-align:left'><code>",
                    EscapeHtml(value), "</code></td></tr>\n");
  };
  row("version", identity.at("version"));
  row("instruction set", identity.at("compute_path"));
  for (const auto& [program, version] : result.at("versions").items()) row(program, version);
  row("teacher, SHA-256", identity.at("teacher_sha256"));
  for (const auto& [path, hash] : identity.at("data_sha256").items()) row(path + ", SHA-256", hash);
  return Section("To repeat it", text + "</table></div>\n");
}

constexpr JsonPlace kShown[] = {
    {"architecture", JsonShape::kObject},
    {"architecture/hidden_size", JsonShape::kCount},
    {"architecture/heads", JsonShape::kCount},
    {"architecture/kv_heads", JsonShape::kCount},
    {"architecture/vocab_size", JsonShape::kCount},
    {"architecture/teacher_parameters", JsonShape::kCount},
    {"architecture/student_parameters", JsonShape::kCount},
    {"matrices", JsonShape::kObject, /*optional=*/true},
    {"no_samples", JsonShape::kText, /*optional=*/true},
    {"samples", JsonShape::kList},
    {"samples/*", JsonShape::kObject},
    {"samples/*/prompt", JsonShape::kText},
    {"samples/*/teacher", JsonShape::kText},
    {"samples/*/student", JsonShape::kText},
};

constexpr JsonPlace kMatrices[] = {
    {"layer", JsonShape::kCount},
    {"head", JsonShape::kCount},
    {"teacher", JsonShape::kList},
    {"teacher/*", JsonShape::kNumberOrNull},
    {"students", JsonShape::kList},
    {"students/*", JsonShape::kObject},
    {"students/*/after", JsonShape::kText},
    {"students/*/values", JsonShape::kList},
    {"students/*/values/*", JsonShape::kNumberOrNull},
};

}  // namespace

absl::StatusOr<std::string> ReportPage(const RunFiles& files) {
  const json& shown = files.shown;
  RETURN_IF_ERROR(CheckResult(files.result));
  RETURN_IF_ERROR(CheckJsonShape("report.json", shown, kShown));
  ASSIGN_OR_RETURN(const std::string repeat, Repeat(files.result));
  std::string matrices;
  if (shown.contains("matrices")) {
    RETURN_IF_ERROR(CheckJsonShape("report.json: in \"matrices\"", shown.at("matrices"), kMatrices));
    ASSIGN_OR_RETURN(matrices, Matrices(shown.at("matrices")));
  }
  return absl::StrCat(
      "<!DOCTYPE html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n"
      "<meta name=viewport content=\"width=device-width, initial-scale=1\">\n<title>",
      EscapeHtml(files.result.at("job").get<std::string>()), " – Retort</title>\n<style>", kPageStyle,
      "</style>\n</head>\n<body>\n", Summary(files),
      Architecture(shown.at("architecture"), files.result.at("layer_types")), QualityTable(files.result),
      LossCurves(files), HeatMap(files.result), matrices, Samples(shown), Throughput(files.result), repeat,
      "</body>\n</html>\n");
}

absl::Status WriteReport(const std::filesystem::path& directory) {
  ASSIGN_OR_RETURN(const RunFiles files, ReadRunFiles(directory));
  absl::StatusOr<std::string> page = ReportPage(files);
  if (!page.ok()) {
    return absl::Status(page.status().code(),
                        absl::StrCat(directory.string(), ": ", page.status().message()));
  }
  return WriteFileAtomically(directory / "report.html", *page);
}

void NoteReport(const std::string& command, const std::filesystem::path& directory, std::ostream& err) {
  const absl::Status written = WriteReport(directory);
  if (written.ok()) return;
  err << command << ": the run is complete, but has no report.html: " << written.message()
      << "; `retort report " << directory.string() << "` makes it\n";
}

}  // namespace retort
