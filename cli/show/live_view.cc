#include "cli/show/live_view.h"

#include <algorithm>
#include <map>
#include <set>
#include <sstream>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/show/event_text.h"
#include "cli/show/run_tables.h"
#include "cli/show/words.h"
#include "core/base/terminal.h"

namespace retort {
namespace {

constexpr int kEventRows = 5;

struct LayerRow {
  std::vector<uint32_t> layers;
  std::vector<std::string> cells;  // beside the stages
  bool at_work = false;
};

std::string TaskText(const v1::TaskStatus& task) {
  if (task.state() == v1::TASK_STATE_DONE) return "done";
  if (task.state() == v1::TASK_STATE_FAILED)
    return absl::StrCat("failed at ", task.step(), "/", task.total_steps());
  if (task.state() == v1::TASK_STATE_PENDING && task.step() == 0) return "pending";
  std::string text = absl::StrCat(task.step(), "/", task.total_steps());
  if (task.loss() != 0) absl::StrAppendFormat(&text, " loss %.4g", task.loss());
  if (task.steps_per_second() != 0) absl::StrAppendFormat(&text, " %.3g/s", task.steps_per_second());
  absl::StrAppend(&text, task.worker_name().empty() ? " waits" : " ", task.worker_name());
  return text;
}

std::vector<v1::Stage> LayerStages(const v1::RunStatus& run) {
  std::set<v1::Stage> stages;
  for (const v1::TaskStatus& task : run.tasks()) {
    if (task.stage() == v1::STAGE_MATRIX_ORIENTATION || task.stage() == v1::STAGE_HIDDEN_STATE_ALIGNMENT) {
      stages.insert(task.stage());
    }
  }
  return {stages.begin(), stages.end()};
}

std::vector<LayerRow> LayerRows(const v1::RunStatus& run, const std::vector<v1::Stage>& stages) {
  std::map<uint32_t, LayerRow> by_layer;
  for (const v1::TaskStatus& task : run.tasks()) {
    const auto stage = std::find(stages.begin(), stages.end(), task.stage());
    if (stage == stages.end()) continue;
    LayerRow& row = by_layer[task.layer()];
    row.layers = {task.layer()};
    row.cells.resize(stages.size());
    row.cells[stage - stages.begin()] = TaskText(task);
    row.at_work |= task.state() == v1::TASK_STATE_LEASED;
  }
  std::vector<LayerRow> rows;
  for (const auto& [layer, row] : by_layer) {
    if (!rows.empty() && rows.back().cells == row.cells) {
      rows.back().layers.push_back(layer);
    } else {
      rows.push_back(row);
    }
  }
  return rows;
}

// The rows to show within `room` (in order), and how many layers are left out.
size_t FitRows(size_t room, std::vector<LayerRow>& rows) {
  if (rows.size() <= room) return 0;
  std::vector<size_t> order(rows.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_partition(order.begin(), order.end(), [&rows](size_t i) { return rows[i].at_work; });
  const size_t shown = room > 0 ? room - 1 : 0;  // a line for what is left out
  size_t left_out = 0;
  for (size_t i = shown; i < order.size(); ++i) left_out += rows[order[i]].layers.size();
  order.resize(shown);
  std::sort(order.begin(), order.end());
  std::vector<LayerRow> fitting;
  for (const size_t i : order) fitting.push_back(rows[i]);
  rows = fitting;
  return left_out;
}

std::string RenderLayers(const std::vector<v1::Stage>& stages, const std::vector<LayerRow>& rows) {
  std::vector<Column> columns = {{"LAYERS"}};
  for (const v1::Stage stage : stages) columns.push_back({absl::AsciiStrToUpper(Word(stage))});
  Table table(columns);
  for (const LayerRow& row : rows) {
    std::vector<std::string> cells = {FormatRanges(row.layers)};
    cells.insert(cells.end(), row.cells.begin(), row.cells.end());
    table.AddRow(cells);
  }
  return table.Render();
}

// prepare and end_to_end, a line each.
std::string RenderSingleTasks(const v1::RunStatus& run, const std::vector<v1::Stage>& layer_stages) {
  std::string text;
  for (const v1::TaskStatus& task : run.tasks()) {
    const bool of_layers = std::count(layer_stages.begin(), layer_stages.end(), task.stage()) > 0;
    if (of_layers || (task.stage() == v1::STAGE_PREPARE && task.state() == v1::TASK_STATE_DONE)) continue;
    // Ranks above 0 count no steps.
    const bool is_other_rank = task.stage() == v1::STAGE_END_TO_END && task.layer() != 0;
    if (is_other_rank && task.state() == v1::TASK_STATE_LEASED) {
      absl::StrAppend(&text, Word(task.stage()), " rank ", task.layer(), ": ", task.worker_name(), "\n");
    } else if (is_other_rank) {
      absl::StrAppend(&text, Word(task.stage()), " rank ", task.layer(), ": ", Word(task.state()), "\n");
    } else {
      absl::StrAppend(&text, Word(task.stage()), ": ", TaskText(task), "\n");
    }
  }
  return text;
}

std::string RenderEvents(const std::deque<v1::Event>& events) {
  std::string text;
  const size_t first = events.size() > kEventRows ? events.size() - kEventRows : 0;
  for (size_t i = first; i < events.size(); ++i) absl::StrAppend(&text, ShortEventLine(events[i]), "\n");
  return text;
}

std::string Clip(const std::string& text, ScreenSize screen) {
  std::istringstream lines(text);
  std::string clipped;
  int row = 1;
  for (std::string line; row < screen.rows && std::getline(lines, line); ++row) {
    absl::StrAppend(&clipped, line.substr(0, std::max(screen.columns - 1, 1)), "\n");
  }
  return clipped;
}

size_t LineCount(const std::string& text) { return std::count(text.begin(), text.end(), '\n'); }

}  // namespace

std::string RenderLive(const v1::RunStatus& run, const std::deque<v1::Event>& last_events,
                       ScreenSize screen) {
  const std::vector<v1::Stage> stages = LayerStages(run);
  std::string head = RunHeadline(run.summary()) + "\n";
  if (!run.summary().reason().empty()) absl::StrAppend(&head, run.summary().reason(), "\n");
  std::string tail = RenderSingleTasks(run, stages);
  const std::string events = RenderEvents(last_events);
  if (!events.empty()) absl::StrAppend(&tail, "\n", events);
  std::vector<LayerRow> rows = LayerRows(run, stages);
  if (rows.empty()) return Clip(absl::StrCat(head, tail), screen);
  const size_t others = LineCount(head) + LineCount(tail) + 3;  // two empty lines and the table's header
  const size_t room = screen.rows - 1 > static_cast<int>(others) ? screen.rows - 1 - others : 0;
  const size_t left_out = FitRows(room, rows);
  std::string layers = RenderLayers(stages, rows);
  if (left_out > 0) absl::StrAppend(&layers, "... and ", left_out, " more layers: retort get shows all\n");
  return Clip(absl::StrCat(head, "\n", layers, "\n", tail), screen);
}

}  // namespace retort
