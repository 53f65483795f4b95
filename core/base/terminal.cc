#include "core/base/terminal.h"

#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "core/base/check.h"

namespace retort {
namespace {

bool IsDumb(const char* term) { return term == nullptr || std::string_view(term) == "dumb"; }

void AppendRow(const std::vector<Column>& columns, const std::vector<size_t>& widths,
               const std::vector<std::string>& cells, std::string& out) {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) {
    const std::string padding(widths[i] - cells[i].size(), ' ');
    absl::StrAppend(&line, i == 0 ? "" : "   ");
    if (columns[i].align == Align::kLeft) {
      absl::StrAppend(&line, cells[i], padding);
    } else {
      absl::StrAppend(&line, padding, cells[i]);
    }
  }
  line.erase(line.find_last_not_of(' ') + 1);
  absl::StrAppend(&out, line, "\n");
}

}  // namespace

bool IsTerminal(int fd) { return isatty(fd) == 1; }

int TerminalWidth(int fd) {
  struct winsize size = {};
  if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    return size.ws_col;
  }
  return 80;
}

int TerminalHeight(int fd) {
  struct winsize size = {};
  if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_row > 0) {
    return size.ws_row;
  }
  return 24;
}

bool CanRedraw(int fd) { return IsTerminal(fd) && !IsDumb(getenv("TERM")); }

bool WantsColour(int fd) { return WantsColour(IsTerminal(fd), getenv("NO_COLOR"), getenv("TERM")); }

bool WantsColour(bool is_terminal, const char* no_color, const char* term) {
  const bool refused = no_color != nullptr && *no_color != '\0';
  return is_terminal && !refused && !IsDumb(term);
}

void Table::AddRow(std::vector<std::string> cells) {
  RETORT_CHECK(cells.size() == columns_.size())
      << cells.size() << " cells for " << columns_.size() << " columns";
  for (std::string& cell : cells) {
    if (cell.empty()) {
      cell.push_back('-');
    }
  }
  rows_.push_back(std::move(cells));
}

std::string Table::Render() const {
  std::vector<std::string> titles;
  std::vector<size_t> widths;
  for (const Column& column : columns_) {
    titles.push_back(column.title);
    widths.push_back(column.title.size());
  }
  for (const std::vector<std::string>& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  std::string out;
  AppendRow(columns_, widths, titles, out);
  for (const std::vector<std::string>& row : rows_) {
    AppendRow(columns_, widths, row, out);
  }
  return out;
}

}  // namespace retort
