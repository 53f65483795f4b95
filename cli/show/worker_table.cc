#include "cli/show/worker_table.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/show/words.h"
#include "core/base/terminal.h"

namespace retort {
namespace {

bool IsOfLayers(v1::Stage stage) {
  return stage == v1::STAGE_MATRIX_ORIENTATION || stage == v1::STAGE_HIDDEN_STATE_ALIGNMENT;
}

std::string BytesOrNothing(uint64_t bytes) {
  return bytes == 0 ? "" : FormatBytes(static_cast<double>(bytes));
}

}  // namespace

std::string RenderWorkers(const v1::ListWorkersReply& reply, bool wide, int64_t now_unix_ms) {
  std::vector<Column> columns = {{"NAME"},
                                 {"STATE"},
                                 {"RUN"},
                                 {"STAGE"},
                                 {"LAYERS"},
                                 {"PLANNED", Align::kRight},
                                 {"GFLOPS", Align::kRight},
                                 {"AGE", Align::kRight}};
  if (wide) {
    columns.insert(columns.end(), {{"THREADS", Align::kRight},
                                   {"MEMORY", Align::kRight},
                                   {"DEVICE"},
                                   {"PATH"},
                                   {"VERSION"},
                                   {"TOKEN", Align::kRight},
                                   {"SILENT", Align::kRight},
                                   {"REASON"}});
  }
  Table table(columns);
  for (const v1::WorkerStatus& worker : reply.workers()) {
    std::vector<std::string> cells = {worker.name(),
                                      Word(worker.state()),
                                      worker.run_name(),
                                      Word(worker.stage()),
                                      IsOfLayers(worker.stage()) ? FormatRanges(worker.layers()) : "",
                                      BytesOrNothing(worker.planned_memory_bytes()),
                                      absl::StrFormat("%.0f", worker.measured_gflops()),
                                      FormatAge(worker.registered_unix_ms(), now_unix_ms)};
    if (wide) {
      cells.insert(
          cells.end(),
          {absl::StrCat(worker.threads()), BytesOrNothing(worker.memory_bytes()), Word(worker.device()),
           Word(worker.compute_path()), worker.build_version(),
           worker.token() == 0 ? "" : absl::StrCat(worker.token()),
           absl::StrFormat("%.1fs", static_cast<double>(worker.heartbeat_age_ms()) / 1000), worker.reason()});
    }
    table.AddRow(cells);
  }
  return table.Render();
}

}  // namespace retort
