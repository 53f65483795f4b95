// Cuts a run's open layers into contiguous ranges for workers of unequal speed, so that the slowest range is
// fastest. A pure optimisation over numbers; knows no records.
//
// A slice recomputes the teacher up to its last layer, so the work of a range is a fixed part that grows with
// its end, plus a part that its layers add. For workers in a given order the dynamic programme is exact. The
// order matters when speeds differ: slow workers at the bottom. If layers could be divided, no other order
// would be better: of two neighbours the slower one takes the shorter part, and below its end less is
// recomputed than below the faster one's (exchange argument; it needs one stage in all layers). With whole
// layers the best cut in this order takes at most the work that one layer adds, on its slowest worker, longer
// than the best cut in any order (round each boundary of the divided optimum up). Limits of memory, and
// layers in different stages, are outside of both statements.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/base/job_memory.h"

namespace retort::orchestrator {

// Work and memory of every range of the open layers. Taking a layer from either end makes none larger.
class RangeTable {
 public:
  explicit RangeTable(size_t layers, double shared_teacher_bytes = 0)
      : layers_(layers),
        shared_teacher_bytes_(shared_teacher_bytes),
        work_((layers + 1) * (layers + 1)),
        bytes_((layers + 1) * (layers + 1)),
        own_bytes_((layers + 1) * (layers + 1)) {}

  size_t layers() const { return layers_; }
  // Of layers [begin, end).
  double work(size_t begin, size_t end) const { return work_[begin * (layers_ + 1) + end]; }
  // As BytesOn.
  double bytes(size_t begin, size_t end, double teacher_part = 1) const {
    const size_t at = begin * (layers_ + 1) + end;
    return BytesOn(teacher_part, shared_teacher_bytes_, bytes_[at], own_bytes_[at]);
  }
  // `own_bytes`: without the teacher's weights.
  void Set(size_t begin, size_t end, double work, double bytes, double own_bytes) {
    const size_t at = begin * (layers_ + 1) + end;
    work_[at] = work;
    bytes_[at] = bytes;
    own_bytes_[at] = own_bytes;
  }

 private:
  size_t layers_;
  double shared_teacher_bytes_;
  std::vector<double> work_;
  std::vector<double> bytes_;
  std::vector<double> own_bytes_;
};

struct CutWorker {
  double speed;  // work in a second
  double memory_bytes;
  double teacher_part = 1;  // see BytesOn
};

struct Cut {
  // The i-th worker takes [ends[i-1], ends[i]), the first one from where the cut begins; perhaps nothing.
  std::vector<size_t> ends;
  double seconds;  // of the slowest
};

// Covers [begin, end) with the workers in the given order. nullopt: does not fit their memory, or there is no
// worker. O(workers * layers * log layers).
std::optional<Cut> CutLayers(const RangeTable& table, size_t begin, size_t end,
                             const std::vector<CutWorker>& workers);

// How many workers of one speed can shorten the cut of all layers: with more, the slowest range is one layer
// that nobody can share.
size_t UsefulWorkers(const RangeTable& table);

}  // namespace retort::orchestrator
