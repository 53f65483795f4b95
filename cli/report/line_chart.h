// Losses over steps as an SVG picture. Pure.
#pragma once

#include <string>
#include <vector>

namespace retort {

struct ChartLine {
  std::string label;           // shown when one points at the line
  std::vector<double> values;  // at step 1, 2, ...; what is not from 1e-100 to 1e100 leaves a gap
  std::string colour;          // CSS
  bool is_main = false;        // drawn thick, above the others
};

// A chart with a logarithmic value axis, for a page whose text colour is `currentColor`. `title` names it for
// who cannot see it. At most a few hundred points of a line are drawn: of each run of steps the mean.
std::string LineChart(const std::string& title, const std::vector<ChartLine>& lines);

}  // namespace retort
