#include "cli/show/run_tables.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/show/words.h"
#include "core/base/progress.h"
#include "core/base/terminal.h"

namespace retort {
namespace {

std::string Percent(double fraction) { return absl::StrFormat("%.0f%%", 100 * fraction); }

std::string Remaining(const v1::RunSummary& run) {
  const bool known = !HasEnded(run.state()) && run.remaining_seconds() >= 0;
  return known ? FormatDuration(run.remaining_seconds()) : "";
}

std::string TimeText(int64_t unix_ms) { return unix_ms == 0 ? "" : FormatUtc(unix_ms); }

std::string LayerText(v1::Stage stage, uint32_t layer) {
  if (stage == v1::STAGE_END_TO_END && layer != 0) return absl::StrCat("rank ", layer);
  return stage == v1::STAGE_PREPARE || stage == v1::STAGE_END_TO_END ? "" : absl::StrCat(layer);
}

void AddLine(std::string& text, const char* name, const std::string& value) {
  if (!value.empty()) absl::StrAppendFormat(&text, "%-9s %s\n", name, value);
}

std::string NumericsText(const v1::Numerics& numerics) {
  return absl::StrCat(Word(numerics.device()), ", ", Word(numerics.compute_path()), ", ", numerics.threads(),
                      numerics.threads() == 1 ? " thread" : " threads", " a worker, micro-batch ",
                      numerics.micro_batch(), ", sources ", numerics.numerics_id().substr(0, 12));
}

std::string RenderTasks(const v1::RunStatus& run) {
  Table table({{"STAGE"},
               {"LAYER", Align::kRight},
               {"STATE"},
               {"STEP", Align::kRight},
               {"SAVED", Align::kRight},
               {"STEPS", Align::kRight},
               {"LOSS", Align::kRight},
               {"STEPS/S", Align::kRight},
               {"RETRIES", Align::kRight},
               {"WORKER"}});
  std::vector<v1::TaskStatus> tasks(run.tasks().begin(), run.tasks().end());
  std::stable_partition(tasks.begin(), tasks.end(),
                        [](const v1::TaskStatus& task) { return task.stage() == v1::STAGE_PREPARE; });
  for (const v1::TaskStatus& task : tasks) {
    const uint32_t retries = task.user_errors() + task.infrastructure_losses() + task.preemptions();
    table.AddRow({Word(task.stage()), LayerText(task.stage(), task.layer()), Word(task.state()),
                  absl::StrCat(task.step()), absl::StrCat(task.published_step()),
                  absl::StrCat(task.total_steps()),
                  task.loss() == 0 ? "" : absl::StrFormat("%.4g", task.loss()),
                  task.steps_per_second() == 0 ? "" : absl::StrFormat("%.3g", task.steps_per_second()),
                  absl::StrCat(retries), task.worker_name()});
  }
  return table.Render();
}

std::string RenderMessages(const v1::RunStatus& run) {
  std::string text;
  for (const v1::TaskStatus& task : run.tasks()) {
    if (task.message().empty()) continue;
    const std::string layer = LayerText(task.stage(), task.layer());
    absl::StrAppend(&text, Word(task.stage()),
                    layer.empty()                          ? ""
                    : task.stage() == v1::STAGE_END_TO_END ? " "
                                                           : " layer ",
                    layer, ": ", task.message(), "\n");
  }
  return text;
}

std::string RenderAttempts(const v1::GetReply& reply, int64_t now_unix_ms) {
  Table table({{"TOKEN", Align::kRight},
               {"STAGE"},
               {"LAYER", Align::kRight},
               {"FROM", Align::kRight},
               {"SAVED", Align::kRight},
               {"CAUSE"},
               {"TIME", Align::kRight},
               {"STARTED"},
               {"WORKER"},
               {"MESSAGE"}});
  for (const v1::Attempt& attempt : reply.attempts()) {
    const int64_t end = attempt.ended_unix_ms() == 0 ? now_unix_ms : attempt.ended_unix_ms();
    for (const v1::LayerAttempt& layer : attempt.layers()) {
      table.AddRow({absl::StrCat(attempt.token()), Word(attempt.stage()),
                    LayerText(attempt.stage(), layer.layer()), absl::StrCat(layer.from_step()),
                    absl::StrCat(layer.to_step()), Word(layer.cause()),
                    FormatAge(attempt.started_unix_ms(), end), TimeText(attempt.started_unix_ms()),
                    attempt.worker_name(), attempt.message()});
    }
  }
  return table.Render();
}

}  // namespace

std::string RenderRuns(const v1::ListReply& reply, bool wide, int64_t now_unix_ms) {
  std::vector<Column> columns = {{"NAME"},
                                 {"ID", Align::kRight},
                                 {"STATE"},
                                 {"DONE", Align::kRight},
                                 {"LEFT", Align::kRight},
                                 {"WORKERS", Align::kRight},
                                 {"AGE", Align::kRight}};
  if (wide)
    columns.insert(columns.end(), {{"PRIORITY", Align::kRight}, {"CREATED"}, {"FINISHED"}, {"REASON"}});
  Table table(columns);
  for (const v1::RunSummary& run : reply.runs()) {
    std::vector<std::string> cells = {run.name(),
                                      absl::StrCat(run.run_id()),
                                      Word(run.state()),
                                      Percent(run.done_fraction()),
                                      Remaining(run),
                                      absl::StrCat(run.workers()),
                                      FormatAge(run.created_unix_ms(), now_unix_ms)};
    if (wide) {
      cells.insert(cells.end(), {absl::StrCat(run.priority()), TimeText(run.created_unix_ms()),
                                 TimeText(run.finished_unix_ms()), run.reason()});
    }
    table.AddRow(cells);
  }
  return table.Render();
}

std::string RunHeadline(const v1::RunSummary& run) {
  std::string text = absl::StrCat(run.name(), " (id ", run.run_id(), "): ", Word(run.state()));
  if (HasEnded(run.state())) return text;
  absl::StrAppend(&text, ", ", Percent(run.done_fraction()), " done");
  if (run.remaining_seconds() >= 0) {
    absl::StrAppend(&text, ", about ", FormatDuration(run.remaining_seconds()), " left");
  }
  absl::StrAppend(&text, ", ", run.workers(), run.workers() == 1 ? " worker" : " workers");
  return text;
}

std::string RenderRun(const v1::GetReply& reply, bool wide, int64_t now_unix_ms) {
  const v1::RunSummary& run = reply.run().summary();
  std::string text = RunHeadline(run) + "\n";
  AddLine(text, "reason", run.reason());
  AddLine(text, "priority", absl::StrCat(run.priority()));
  AddLine(text, "created",
          absl::StrCat(TimeText(run.created_unix_ms()), ", ", FormatAge(run.created_unix_ms(), now_unix_ms),
                       " ago"));
  AddLine(text, "finished", TimeText(run.finished_unix_ms()));
  AddLine(text, "teacher", reply.job().teacher().path());
  if (reply.run().has_numerics()) AddLine(text, "numerics", NumericsText(reply.run().numerics()));
  absl::StrAppend(&text, "\n", RenderTasks(reply.run()));
  const std::string messages = RenderMessages(reply.run());
  if (!messages.empty()) absl::StrAppend(&text, "\n", messages);
  if (wide) absl::StrAppend(&text, "\n", RenderAttempts(reply, now_unix_ms));
  return text;
}

}  // namespace retort
