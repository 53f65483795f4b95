#include <algorithm>
#include <atomic>

#include "kernels/base/workspace.h"
#include "kernels/ssd/ssd.h"
#include "kernels/ssd/ssd_simd.h"

namespace retort {
namespace {

// How the heads are shared out, by the shape alone.
class Items {
 public:
  explicit Items(const SsdShape& shape) : shape_(shape) {
    if (!SsdSharesGroups(shape)) {
      // Neighbours share the pages that their rows lie on, where that leaves enough items to share out.
      int64_t pieces = kSsdPieces;
      while (shape.heads % pieces != 0 || shape.batch * shape.heads < 4 * pieces) {
        if (pieces == 1) break;
        pieces /= 2;
      }
      units_ = 2 * pieces;
      return;
    }
    // Pieces of a group add up dB and dC before they leave the caches; an even number of equal items suits
    // two, four and six threads.
    const bool cuts = shape.width % 32 == 0;  // a tile's columns are a multiple of 16
    const int64_t group_units = 2 * shape.heads / shape.groups;
    for (units_ = 4; units_ > 1; --units_) {
      if (units_ % 2 != 0 && !cuts) continue;
      if (units_ == 2 && !cuts) break;
      if (group_units % units_ == 0 && group_units / units_ % 2 == 0) break;
    }
  }

  // Of the heads that share dB and dC, or of all.
  int64_t in_set() const { return (2 * set_heads() + units_ - 1) / units_; }
  int64_t count() const { return shape_.batch * shape_.heads / set_heads() * in_set(); }

  SsdItem operator[](int64_t item) const {
    const int64_t set = item / in_set(), sets = shape_.heads / set_heads();
    SsdItem result = {set / sets, 0, {}};
    const int64_t first_head = set % sets * set_heads(), half = shape_.width / 2;
    const int64_t begin = item % in_set() * units_, end = std::min(begin + units_, 2 * set_heads());
    for (int64_t unit = begin; unit < end;) {
      const int64_t units = unit % 2 == 0 && unit + 2 <= end ? 2 : 1;
      result.pieces[result.count++] = {first_head + unit / 2, unit % 2 * half,
                                       units == 2 ? shape_.width : half};
      unit += units;
    }
    return result;
  }

  bool Cuts(int64_t head) const { return (2 * (head % set_heads()) + 1) % units_ == 0; }

 private:
  int64_t set_heads() const { return SsdSharesGroups(shape_) ? shape_.heads / shape_.groups : shape_.heads; }

  const SsdShape& shape_;
  int64_t units_;  // half heads of an item
};

// Every group's chunks, packed once for all its heads; nothing where each head is a group.
class GroupChunks {
 public:
  GroupChunks(const SsdShape& shape, const SsdArray<const float>& b_BTGN, const SsdArray<const float>& c_BTGN,
              const Executor& executor, InstructionSet set)
      : count_(!SsdSharesGroups(shape) ? 0 : shape.batch * shape.groups * SsdChunks(shape)),
        memory_(count_ * SsdGroupChunkFloats(shape)) {
    const auto pack = RETORT_SIMD_CHOOSE(set, SsdPackGroupChunk);
    executor.Run(count_, [&](int64_t item) {
      const int64_t chunks = SsdChunks(shape), group = item / chunks;
      pack(shape, b_BTGN, c_BTGN, group / shape.groups, group % shape.groups, item % chunks,
           memory_.data() + item * SsdGroupChunkFloats(shape));
    });
  }
  const float* data() const { return count_ == 0 ? nullptr : memory_.data(); }

 private:
  int64_t count_;
  Workspace memory_;
};

}  // namespace

bool SsdForward(const SsdForwardArguments<float>& arguments, const Executor& executor, InstructionSet set) {
  const auto forward_item = RETORT_SIMD_CHOOSE(set, SsdForwardItem);
  const GroupChunks packed(arguments.shape, arguments.b_BTGN, arguments.c_BTGN, executor, set);
  const Items items(arguments.shape);
  std::atomic<bool> valid{true};
  executor.Run(items.count(), [&](int64_t item) {
    const Workspace workspace(SsdForwardWorkspace(arguments.shape));
    if (!forward_item(arguments, packed.data(), items[item], workspace.data())) valid = false;
  });
  return valid;
}

namespace {

// What the items of a backward pass leave to be added up.
class Parts {
 public:
  Parts(const SsdBackwardArguments<float>& arguments, const Items& items)
      : arguments_(arguments),
        items_(items),
        shape_(arguments.shape),
        shares_(SsdSharesGroups(shape_)),
        item_floats_(shares_ ? SsdChunks(shape_) * SsdGroupSumsFloats(shape_) : 0),
        group_sums_(items.count() * item_floats_),
        dlog_decay_BTH_(shares_ ? shape_.batch * shape_.tokens * shape_.heads : 0),
        ddt_BTH_(shares_ ? shape_.batch * shape_.tokens * shape_.heads : 0),
        dd_BH2_(2 * shape_.batch * shape_.heads) {
    std::fill_n(dd_BH2_.data(), 2 * shape_.batch * shape_.heads, 0.0f);
  }

  SsdItemGradients Of(int64_t item) const {
    const auto later = [&](const SsdArray<float>& array, const Workspace& parts) {
      if (array.data == nullptr) return array;
      return SsdArray<float>{parts.data(), shape_.tokens * shape_.heads, shape_.heads, 1};
    };
    return {shares_ ? group_sums_.data() + item * item_floats_ : nullptr,
            {later(arguments_.dlog_decay_BTH, dlog_decay_BTH_), later(arguments_.ddt_BTH, ddt_BTH_)},
            dd_BH2_.data()};
  }

  // All items being done.
  void Sum(const float* group_chunks, const Executor& executor, InstructionSet set) const {
    const auto finish = RETORT_SIMD_CHOOSE(set, SsdFinishGroupChunk);
    const int64_t chunks = SsdChunks(shape_);
    executor.Run(shares_ ? shape_.batch * shape_.groups * chunks : 0, [&](int64_t item) {
      const int64_t set_index = item / chunks, chunk = item % chunks;
      const int64_t batch = set_index / shape_.groups, group = set_index % shape_.groups;
      const Workspace workspace(SsdBackwardWorkspace(shape_));
      finish(arguments_, group_chunks, batch, group, chunk,
             group_sums_.data() + set_index * items_.in_set() * item_floats_, items_.in_set(), item_floats_,
             workspace.data());
      AddLater(batch, group, chunk);
    });
    for (int64_t h = 0; arguments_.dd_H != nullptr && h < shape_.heads; ++h) {
      float sum = 0;
      for (int64_t b = 0; b < shape_.batch; ++b) {
        const float* const dd = dd_BH2_.data() + 2 * (b * shape_.heads + h);
        sum += dd[0] + dd[1];
      }
      arguments_.dd_H[h] = sum;
    }
  }

 private:
  // What belongs to a head that is cut.
  void AddLater(int64_t batch, int64_t group, int64_t chunk) const {
    const int64_t heads = shape_.heads / shape_.groups;
    for (int64_t h = group * heads; h < (group + 1) * heads; ++h) {
      if (!items_.Cuts(h)) continue;
      const auto add = [&](const Workspace& later, const SsdArray<float>& to) {
        if (to.data == nullptr) return;
        for (int64_t t = chunk * kSsdChunk; t < std::min((chunk + 1) * kSsdChunk, shape_.tokens); ++t) {
          to.data[batch * to.batch + t * to.token + h * to.head] +=
              later.data()[(batch * shape_.tokens + t) * shape_.heads + h];
        }
      };
      add(dlog_decay_BTH_, arguments_.dlog_decay_BTH);
      add(ddt_BTH_, arguments_.ddt_BTH);
    }
  }

  const SsdBackwardArguments<float>& arguments_;
  const Items& items_;
  const SsdShape& shape_;
  const bool shares_;
  const int64_t item_floats_;
  const Workspace group_sums_, dlog_decay_BTH_, ddt_BTH_, dd_BH2_;
};

}  // namespace

void SsdBackward(const SsdBackwardArguments<float>& arguments, const Executor& executor, InstructionSet set) {
  const auto backward_item = RETORT_SIMD_CHOOSE(set, SsdBackwardItem);
  const GroupChunks packed(arguments.shape, arguments.b_BTGN, arguments.c_BTGN, executor, set);
  const Items items(arguments.shape);
  const Parts parts(arguments, items);
  executor.Run(items.count(), [&](int64_t item) {
    const Workspace workspace(SsdBackwardWorkspace(arguments.shape));
    backward_item(arguments, packed.data(), items[item], parts.Of(item), workspace.data());
  });
  parts.Sum(packed.data(), executor, set);
}

void SsdStep(const SsdStepArguments& arguments, const Executor& executor, InstructionSet set) {
  // Of the states in a work item: neighbours in memory stay on one core, whose prefetcher then runs ahead.
  constexpr int64_t kItemBytes = 1 << 20;
  const SsdShape& shape = arguments.shape;
  const auto step_head = RETORT_SIMD_CHOOSE(set, SsdStepHead);
  const int64_t state_bytes = shape.width * shape.state * static_cast<int64_t>(sizeof(float));
  const int64_t heads = shape.batch * shape.heads;
  const int64_t per_item = std::max<int64_t>(kItemBytes / std::max<int64_t>(state_bytes, 1), 1);
  executor.Run((heads + per_item - 1) / per_item, [&](int64_t item) {
    const int64_t first = item * per_item;
    for (int64_t head = first; head < std::min(first + per_item, heads); ++head) {
      step_head(arguments, head / shape.heads, head % shape.heads);
    }
  });
}

}  // namespace retort
