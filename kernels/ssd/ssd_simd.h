// The compiled versions of the SSD kernels and what ssd_cpu.cc must hand them. Private to kernels/ssd.
#pragma once

#include "kernels/base/instruction_set.h"
#include "kernels/ssd/ssd.h"

namespace retort {

constexpr int64_t PaddedTo16(int64_t size) { return (size + 15) / 16 * 16; }

// Columns [first, first + width) of a head's P: what they do to their rows of the state, and it to them, is
// no other columns' business. Of the gradients, those of a head alone are sums over its pieces.
struct SsdPiece {
  int64_t head, first, width;
};

// A work item: pieces of one batch entry, of one group where heads share groups.
constexpr int64_t kSsdPieces = 8;
struct SsdItem {
  int64_t batch;
  int64_t count;
  SsdPiece pieces[kSsdPieces];
};

constexpr bool SsdSharesGroups(const SsdShape& shape) { return shape.heads != shape.groups; }

// Floats of workspace, 64-byte aligned, for one work item.
constexpr int64_t SsdForwardWorkspace(const SsdShape& shape) {
  const int64_t width = PaddedTo16(shape.width), state = PaddedTo16(shape.state);
  return kSsdChunk * (2 * width + 2 * state + kSsdChunk) + (kSsdPieces + 1) * width * state;
}
constexpr int64_t SsdBackwardWorkspace(const SsdShape& shape) {
  const int64_t width = PaddedTo16(shape.width), state = PaddedTo16(shape.state);
  return kSsdChunk * (5 * width + 8 * state + 2 * kSsdChunk) + (kSsdPieces + 1) * width * state;
}

// What all heads of a group need of a chunk: b, c, their transposes and the lower blocks of c b^T, packed.
// Made once where a group has several heads. Forwards alone ct_NQ may be null.
struct SsdGroupChunk {
  const float *b_QN, *c_QN, *bt_NQ, *ct_NQ, *g_QQ;
};
constexpr int64_t SsdGroupChunkFloats(const SsdShape& shape) {
  return kSsdChunk * (4 * PaddedTo16(shape.state) + kSsdChunk);
}
// Of chunks [B, G, chunks] that SsdPackGroupChunk filled.
constexpr SsdGroupChunk SsdGroupChunkAt(const SsdShape& shape, const float* chunks, int64_t batch,
                                        int64_t group, int64_t chunk) {
  const int64_t rows = kSsdChunk * PaddedTo16(shape.state);
  const float* const b =
      chunks + ((batch * shape.groups + group) * SsdChunks(shape) + chunk) * SsdGroupChunkFloats(shape);
  return {b, b + rows, b + 2 * rows, b + 3 * rows, b + 4 * rows};
}
RETORT_SIMD_DECLARE(void SsdPackGroupChunk(const SsdShape& shape, const SsdArray<const float>& b_BTGN,
                                           const SsdArray<const float>& c_BTGN, int64_t batch, int64_t group,
                                           int64_t chunk, float* to))

// `group_chunks` is null where each head is a group. Returns whether none of its log-decays is above 0.
RETORT_SIMD_DECLARE(bool SsdForwardItem(const SsdForwardArguments<float>& arguments,
                                        const float* group_chunks, const SsdItem& item, float* workspace))

// Of a chunk, sums over pieces of a group's heads; dB and dC follow from them (FinishGroup).
struct SsdGroupSums {
  float *dbt_NQ, *dct_NQ, *dg_QQ;
};
constexpr int64_t SsdGroupSumsFloats(const SsdShape& shape) {
  return kSsdChunk * (2 * PaddedTo16(shape.state) + kSsdChunk);
}
constexpr SsdGroupSums SsdGroupSumsAt(const SsdShape& shape, float* chunks, int64_t chunk) {
  const int64_t rows = kSsdChunk * PaddedTo16(shape.state);
  float* const dbt = chunks + chunk * SsdGroupSumsFloats(shape);
  return {dbt, dbt + rows, dbt + 2 * rows};
}

// What a work item gives of the gradients that are sums over items. What belongs to a head goes to the
// arguments' own arrays from the piece that begins at column 0, and to `later` from another.
struct SsdItemGradients {
  float* group_sums;  // of its pieces, by chunk; null where each head is a group
  struct Later {
    SsdArray<float> dlog_decay_BTH, ddt_BTH;
  } later;
  float* dd_BH2;  // by piece of a head, the first or the later
};
RETORT_SIMD_DECLARE(void SsdBackwardItem(const SsdBackwardArguments<float>& arguments,
                                         const float* group_chunks, const SsdItem& item,
                                         const SsdItemGradients& gradients, float* workspace))

// dB and dC of a group's chunk, from the group_sums of `items` items, each `item_floats` after the one
// before, added in this order.
RETORT_SIMD_DECLARE(void SsdFinishGroupChunk(const SsdBackwardArguments<float>& arguments,
                                             const float* group_chunks, int64_t batch, int64_t group,
                                             int64_t chunk, const float* group_sums, int64_t items,
                                             int64_t item_floats, float* workspace))

RETORT_SIMD_DECLARE(void SsdStepHead(const SsdStepArguments& arguments, int64_t batch, int64_t head))

}  // namespace retort
