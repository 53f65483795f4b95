#include "cli/report/line_chart.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/report/markup.h"

namespace retort {
namespace {

constexpr double kWidth = 640, kHeight = 300;
constexpr double kLeft = 74, kRight = 12, kTop = 12, kBottom = 48;  // the rooms take a phone's larger letters
constexpr size_t kMostPoints = 320;
constexpr double kLeastDrawn = 1e-100, kMostDrawn = 1e100;  // sums and quotients of what is drawn stay finite

struct Point {
  double step, value;
};

// Means over equal runs of steps; a run without a drawable value leaves none.
std::vector<Point> Thin(const std::vector<double>& values) {
  const size_t run = (values.size() + kMostPoints - 1) / kMostPoints;
  std::vector<Point> points;
  for (size_t begin = 0; begin < values.size(); begin += run) {
    const size_t end = std::min(begin + run, values.size());
    double sum = 0;
    bool drawable = true;
    for (size_t i = begin; i < end; ++i) {
      sum += values[i];
      drawable = drawable && values[i] >= kLeastDrawn && values[i] <= kMostDrawn;
    }
    const double step = (static_cast<double>(begin + end) + 1) / 2;
    const double gap = std::numeric_limits<double>::quiet_NaN();
    points.push_back({step, drawable ? sum / static_cast<double>(end - begin) : gap});
  }
  return points;
}

// The largest of 1, 2 and 5 times a power of ten that goes at least `least` times into `range`.
double RoundUnit(double range, int least) {
  const double power = std::pow(10, std::floor(std::log10(range / least)));
  for (const double digit : {5.0, 2.0}) {
    if (digit * power <= range / least) return digit * power;
  }
  return power;
}

// On a logarithmic axis: 1, 2 and 5 times powers of ten, only (some of) the powers where there are many, and
// evenly spaced numbers where the range is narrow.
std::vector<double> LogTicks(double low, double high) {
  std::vector<double> ticks;
  if (high / low < 5) {
    const double unit = RoundUnit(high - low, 3);
    for (double count = std::ceil(low / unit); count * unit <= high; ++count) ticks.push_back(count * unit);
    return ticks;
  }
  constexpr int kMostPowers = 10;
  const int stride = 1 + static_cast<int>(std::log10(high / low)) / kMostPowers;
  for (int power = static_cast<int>(std::floor(std::log10(low))); power <= std::log10(high);
       power += stride) {
    for (const double digit : {1.0, 2.0, 5.0}) {
      const double tick = digit * std::pow(10, power);
      if (tick >= low && tick <= high && (digit == 1 || high / low < 60)) ticks.push_back(tick);
    }
  }
  return ticks;
}

// Whole numbers from 0 on.
std::vector<double> StepTicks(double last) {
  const double unit = std::max(RoundUnit(last, 4), 1.0);
  std::vector<double> ticks;
  for (double tick = 0; tick <= last; tick += unit) ticks.push_back(tick);
  return ticks;
}

struct Axes {
  double last_step = 1, low = 1, high = 10;

  double X(double step) const { return kLeft + (kWidth - kLeft - kRight) * step / last_step; }
  double Y(double value) const {
    const double share = std::log(value / low) / std::log(high / low);
    return kHeight - kBottom - (kHeight - kTop - kBottom) * share;
  }
};

Axes FitAxes(const std::vector<std::vector<Point>>& lines, size_t steps) {
  Axes axes;
  axes.last_step = static_cast<double>(std::max<size_t>(steps, 1));
  double low = std::numeric_limits<double>::infinity(), high = 0;
  for (const std::vector<Point>& line : lines) {
    for (const Point& point : line) {
      if (std::isnan(point.value)) continue;
      low = std::min(low, point.value);
      high = std::max(high, point.value);
    }
  }
  if (high == 0) return axes;  // nothing to draw
  axes.low = low / 1.05;
  axes.high = std::max(high * 1.05, axes.low * 1.2);
  return axes;
}

std::string Grid(const Axes& axes) {
  std::string svg;
  for (const double tick : LogTicks(axes.low, axes.high)) {
    absl::StrAppendFormat(&svg,
                          "<line class=grid x1=%.0f x2=%.0f y1=%.1f y2=%.1f />"
                          "<text x=%.0f y=%.1f text-anchor=end>%g</text>",
                          kLeft, kWidth - kRight, axes.Y(tick), axes.Y(tick), kLeft - 7, axes.Y(tick) + 4,
                          tick);
  }
  for (const double tick : StepTicks(axes.last_step)) {
    absl::StrAppendFormat(&svg, "<text x=%.1f y=%.0f text-anchor=middle>%.0f</text>", axes.X(tick),
                          kHeight - kBottom + 20, tick);
  }
  absl::StrAppendFormat(&svg, "<text x=%.0f y=%.0f text-anchor=middle>step</text>",
                        (kLeft + kWidth - kRight) / 2, kHeight - 5);
  absl::StrAppendFormat(&svg, "<path class=axis d='M%.0f %.0fV%.0fH%.0f' />", kLeft, kTop, kHeight - kBottom,
                        kWidth - kRight);
  return svg;
}

std::string Drawn(const ChartLine& line, const std::vector<Point>& points, const Axes& axes) {
  std::string path;
  bool pen_down = false;
  for (const Point& point : points) {
    if (std::isnan(point.value)) {
      pen_down = false;
      continue;
    }
    absl::StrAppendFormat(&path, "%c%.1f %.1f", pen_down ? 'L' : 'M', axes.X(point.step),
                          axes.Y(point.value));
    // A lone point is seen as the line's round end.
    if (!pen_down) absl::StrAppend(&path, "h0");
    pen_down = true;
  }
  return absl::StrCat("<path class='line", line.is_main ? " main" : "", "' style='stroke:", line.colour,
                      "' d='", path, "'><title>", EscapeHtml(line.label), "</title></path>");
}

}  // namespace

std::string LineChart(const std::string& title, const std::vector<ChartLine>& lines) {
  std::vector<std::vector<Point>> points;
  size_t steps = 0;
  for (const ChartLine& line : lines) {
    points.push_back(Thin(line.values));
    steps = std::max(steps, line.values.size());
  }
  const Axes axes = FitAxes(points, steps);
  std::string svg = absl::StrFormat("<svg class=chart viewBox='0 0 %.0f %.0f' role=img aria-label=\"%s\">",
                                    kWidth, kHeight, EscapeHtml(title));
  absl::StrAppend(&svg, Grid(axes));
  for (const bool main : {false, true}) {
    for (size_t i = 0; i < lines.size(); ++i) {
      if (lines[i].is_main == main) absl::StrAppend(&svg, Drawn(lines[i], points[i], axes));
    }
  }
  return svg + "</svg>";
}

}  // namespace retort
