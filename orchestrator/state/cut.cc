#include "orchestrator/state/cut.h"

#include <algorithm>
#include <limits>

namespace retort::orchestrator {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

double RangeSeconds(const RangeTable& table, size_t begin, size_t end, const CutWorker& worker) {
  if (begin == end) return 0;
  const bool fits = table.bytes(begin, end, worker.teacher_part) <= worker.memory_bytes;
  return fits ? table.work(begin, end) / worker.speed : kNever;
}

}  // namespace

std::optional<Cut> CutLayers(const RangeTable& table, size_t begin, size_t end,
                             const std::vector<CutWorker>& workers) {
  if (workers.empty()) return std::nullopt;
  const size_t count = end - begin + 1;
  // slowest[j]: the best for layers [begin, begin + j) on the workers so far; rises with j.
  std::vector<double> slowest(count, kNever);
  slowest[0] = 0;
  std::vector<std::vector<size_t>> starts(workers.size(), std::vector<size_t>(count));
  for (size_t w = 0; w < workers.size(); ++w) {
    std::vector<double> next(count);
    for (size_t j = 0; j < count; ++j) {
      const auto own = [&](size_t i) { return RangeSeconds(table, begin + i, begin + j, workers[w]); };
      // own(i) falls with i and slowest[i] rises: the best start is where they cross, or one before.
      size_t low = 0, high = j;
      while (low < high) {
        const size_t middle = (low + high) / 2;
        if (slowest[middle] >= own(middle)) {
          high = middle;
        } else {
          low = middle + 1;
        }
      }
      size_t best = low;
      if (low > 0 && std::max(slowest[low - 1], own(low - 1)) < std::max(slowest[low], own(low)))
        best = low - 1;
      next[j] = std::max(slowest[best], own(best));
      starts[w][j] = best;
    }
    slowest = std::move(next);
  }
  if (slowest[count - 1] == kNever) return std::nullopt;
  Cut cut = {std::vector<size_t>(workers.size()), slowest[count - 1]};
  size_t j = count - 1;
  for (size_t w = workers.size(); w-- > 0;) {
    cut.ends[w] = begin + j;
    j = starts[w][j];
  }
  return cut;
}

size_t UsefulWorkers(const RangeTable& table) {
  double largest = 0;
  for (size_t i = 0; i < table.layers(); ++i) largest = std::max(largest, table.work(i, i + 1));
  size_t workers = 0;
  for (size_t begin = 0; begin < table.layers();) {
    size_t end = begin + 1;
    while (end < table.layers() && table.work(begin, end + 1) <= largest) ++end;
    begin = end;
    ++workers;
  }
  return workers;
}

}  // namespace retort::orchestrator
