// What the terminal can show, and tables for it. Everything printed for people goes through the choices made
// here: no colour and no animation where nobody looks.
#pragma once

#include <string>
#include <vector>

namespace retort {

// `fd` is 1 for stdout, 2 for stderr.
bool IsTerminal(int fd);

// Columns of the terminal behind `fd`; 80 when there is none.
int TerminalWidth(int fd);

// Rows of it; 24 when there is none.
int TerminalHeight(int fd);

// Whether lines on `fd` may be redrawn in place: a terminal whose TERM is not "dumb".
bool CanRedraw(int fd);

// Whether text on `fd` may be coloured: a terminal that can redraw, and NO_COLOR unset or empty.
bool WantsColour(int fd);

// The rule behind WantsColour; `no_color` and `term` are environment values, null when unset.
bool WantsColour(bool is_terminal, const char* no_color, const char* term);

enum class Align { kLeft, kRight };

struct Column {
  std::string title;  // one upper-case word, so that scripts can split the header on blanks
  Align align = Align::kLeft;
};

// Rows under a header, columns three blanks apart, no trailing blanks. An empty cell prints as "-". Cells are
// ASCII.
class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // `cells` has one entry per column.
  void AddRow(std::vector<std::string> cells);

  std::string Render() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace retort
