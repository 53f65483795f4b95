// Phase two: a run's gradient by its logits, and what follows from it while the second-level cache holds it.
#include "kernels/lm_head_kd/lm_head_kd_run.h"

namespace retort::RETORT_ISA {
namespace {

// Of the tokens: a block of a panel of hidden states fills two thirds of the first-level cache.
constexpr int64_t kDepth = 128;

constexpr int64_t kLinesFetched = 6;

// g [rows, columns]: e becomes scale (s - p).
void GradientByLogits(const LmHeadKdWork& work, const Run& run, float* g) {
  const LmHeadKdArgs& args = work.args;
  const int64_t stride = work.columns, at = run.index * stride;
  for (int64_t c = 0; c < stride; c += kLanes) {
    const Float factor = Load(work.student_sum_NC + at + c);
    float* const e = g + c;
    if (args.ids_R != nullptr) {
      for (int64_t i = 0; i < run.rows; ++i) Store(e + i * stride, Load(e + i * stride) * factor);
      continue;
    }
    const Float teacher_factor = Load(work.teacher_sum_NC + at + c);
    const float* const label = work.teacher_VC + run.first * stride + c;
    for (int64_t i = 0; i < run.rows; ++i) {
      // Not fused: equal rows must cancel.
      Store(e + i * stride, Load(e + i * stride) * factor - Load(label + i * stride) * teacher_factor);
    }
  }
  if (args.ids_R == nullptr) return;
  for (int64_t r = 0; r < args.shape.rows; ++r) {
    const int64_t row = args.ids_R[r] - run.first;
    if (row >= 0 && row < run.rows) g[row * stride + r] -= args.gradient_scale;
  }
}

// target[0 .. rows, 0 .. count] += from, rows of 16 floats.
void AddColumns(const float* from, int64_t rows, int64_t count, float* target, int64_t target_row) {
  for (int64_t i = 0; i < rows; ++i, from += kColumnGranule, target += target_row) {
    for (int64_t j = 0; j < count; j += kLanes) {
      const int64_t here = count - j < kLanes ? count - j : kLanes;
      StoreFirst(target + j, LoadFirst(target + j, here) + Load(from + j), here);
    }
  }
}

// grad_head of the run += g hidden; fetches the run's rows of the head, which HiddenGradient reads.
void HeadGradient(const LmHeadKdWork& work, const Run& run, const float* g, float* scratch) {
  const LmHeadKdArgs& args = work.args;
  const int64_t tokens = args.shape.rows, width = args.shape.width, stride = args.grad_head_row;
  const int64_t whole = width / kColumnGranule * kColumnGranule;
  float* const target = args.grad_head + run.first * stride;
  const LmHeadKdSide& side = args.student;
  RowPrefetcher head(side.head + run.first * side.head_row, side.head_row, run.rows, width);
  for (int64_t k = 0; k < tokens; k += kDepth) {
    const int64_t depth = tokens - k < kDepth ? tokens - k : kDepth;
    for (int64_t c = 0; c < work.padded_width; c += kLmHeadKdPanel) {
      const int64_t left = work.padded_width - c;
      const int64_t panel = left < kLmHeadKdPanel ? left : kLmHeadKdPanel;
      const int64_t full = whole - c < panel ? whole - c : panel;
      const float* const right = work.hidden_panels + c * tokens + k * panel;
      ForEachTile(
          run.rows, full, [&](auto tile, int64_t i, int64_t j) __attribute__((always_inline)) {
            float* const to = target + i * stride + c + j;
            tile.Load(to, stride);
            AddProductAndFetch(tile, depth, {g + i * work.columns + k, work.columns, 1}, right + j, panel,
                               head, kLinesFetched);
            tile.Store(to, stride);
          });
      if (full == panel) continue;
      Multiply<false>(run.rows, kColumnGranule, depth, {g + k, work.columns, 1}, right + full, panel, scratch,
                      kColumnGranule);
      AddColumns(scratch, run.rows, width - whole, target + whole, stride);
    }
  }
}

// What the next run of the group reads.
struct NextRun {
  RowPrefetcher e, label, grad_head;
};

NextRun FetchersOf(const LmHeadKdWork& work, const Run& run) {
  const LmHeadKdArgs& args = work.args;
  const int64_t at = run.first * work.columns;
  NextRun next = {
      {work.student_VC + at, work.columns, run.rows, work.columns}, {nullptr, 0, 0, 0}, {nullptr, 0, 0, 0}};
  if (args.ids_R == nullptr) next.label = {work.teacher_VC + at, work.columns, run.rows, work.columns};
  if (args.grad_head != nullptr) {
    next.grad_head = {args.grad_head + run.first * args.grad_head_row, args.grad_head_row, run.rows,
                      args.shape.width};
  }
  return next;
}

// part [tokens, padded width] = or += g^T head.
void HiddenGradient(const LmHeadKdWork& work, const Run& run, const float* g, bool first, float* part,
                    float* scratch) {
  const LmHeadKdArgs& args = work.args;
  const int64_t width = args.shape.width, stride = args.student.head_row, part_row = work.padded_width;
  const int64_t whole = width / kColumnGranule * kColumnGranule;
  const float* const head = args.student.head + run.first * stride;
  NextRun next = FetchersOf(work, RunOf(work, run.index + 1));
  for (int64_t c = 0; c < whole; c += kLmHeadKdPanel) {
    const int64_t panel = whole - c < kLmHeadKdPanel ? whole - c : kLmHeadKdPanel;
    ForEachTile(
        args.shape.rows, panel, [&](auto tile, int64_t i, int64_t j) __attribute__((always_inline)) {
          float* const to = part + i * part_row + c + j;
          if (first) {
            tile.SetZero();
          } else {
            tile.Load(to, part_row);
          }
          next.e.Fetch(kLinesFetched);
          next.label.Fetch(kLinesFetched);
          AddProductAndFetch(tile, run.rows, {g + i, 1, work.columns}, head + c + j, stride, next.grad_head,
                             kLinesFetched);
          tile.Store(to, part_row);
        });
  }
  if (whole == width) return;
  for (int64_t i = 0; i < run.rows; ++i) {
    for (int64_t j = 0; j < kColumnGranule; ++j) {
      scratch[i * kColumnGranule + j] = whole + j < width ? head[i * stride + whole + j] : 0.0f;
    }
  }
  const auto multiply = first ? Multiply<false> : Multiply<true>;
  multiply(args.shape.rows, kColumnGranule, run.rows, {g, 1, work.columns}, scratch, kColumnGranule,
           part + whole, part_row);
}

}  // namespace

void LmHeadKdGroupGradients(const LmHeadKdWork& work, int64_t group) {
  const LmHeadKdShape& shape = work.args.shape;
  float scratch[kLmHeadKdRunRows * kColumnGranule];
  const int64_t begin = FirstRun(work, group), end = FirstRun(work, group + 1);
  for (int64_t index = begin; index < end; ++index) {
    const Run run = RunOf(work, index);
    float* const g = work.student_VC + run.first * work.columns;
    GradientByLogits(work, run, g);
    if (work.args.grad_head != nullptr) HeadGradient(work, run, g, scratch);
    if (work.args.grad_hidden != nullptr) {
      HiddenGradient(work, run, g, index == begin,
                     work.grad_hidden_GRE + group * shape.rows * work.padded_width, scratch);
    }
  }
}

void LmHeadKdFinishToken(const LmHeadKdWork& work, int64_t token) {
  const LmHeadKdShape& shape = work.args.shape;
  float* const target = work.args.grad_hidden + token * work.args.grad_hidden_row;
  for (int64_t j = 0; j < shape.width; j += kLanes) {
    Float sum = Broadcast(0.0f);
    for (int64_t group = 0; group < work.groups; ++group) {
      sum = sum + Load(work.grad_hidden_GRE + (group * shape.rows + token) * work.padded_width + j);
    }
    const int64_t left = shape.width - j;
    StoreFirst(target + j, sum, left < kLanes ? left : kLanes);
  }
}

}  // namespace retort::RETORT_ISA
