// Phase one: the logits of a run and, while the second-level cache holds them, what softmax needs. Tokens lie
// in lanes, so nothing is summed across lanes.
#include <float.h>
#include <math.h>

#include "kernels/lm_head_kd/lm_head_kd_run.h"

namespace retort::RETORT_ISA {
namespace {

constexpr float kSmallestNormal = 1.17549435e-38f;
// Of the width: 64 tokens of a block, twice the first-level cache, come from the second while the sums of z
// are kept in registers.
constexpr int64_t kDepth = 288;
constexpr int64_t kLinesFetched = 6;

// Rows of a head.
struct HeadRows {
  const float* data;
  int64_t row, rows, width;

  int64_t depth(int64_t k) const { return width - k < kDepth ? width - k : kDepth; }
  RowPrefetcher BlockFrom(int64_t k) const { return {data + k, row, rows, depth(k)}; }
};

HeadRows RowsOf(const LmHeadKdSide& side, int64_t width, const Run& run) {
  return {side.head + run.first * side.head_row, side.head_row, run.rows, width};
}

// z [rows, columns] = head hidden^T. `next` is what is read after it.
void Logits(const HeadRows& head, const float* panels, int64_t columns, const HeadRows& next, float* z) {
  for (int64_t k = 0; k == 0 || k < head.width; k += kDepth) {
    const int64_t depth = head.depth(k);
    RowPrefetcher prefetcher = k + depth < head.width ? head.BlockFrom(k + depth) : next.BlockFrom(0);
    for (int64_t c = 0; c < columns; c += kLmHeadKdPanel) {
      const int64_t panel = columns - c < kLmHeadKdPanel ? columns - c : kLmHeadKdPanel;
      const float* const right = panels + c * head.width + k * panel;
      ForEachTile(
          head.rows, panel, [&](auto tile, int64_t i, int64_t j) __attribute__((always_inline)) {
            float* const target = z + i * columns + c + j;
            if (k == 0) {
              tile.SetZero();
            } else {
              tile.Load(target, columns);
            }
            AddProductAndFetch(tile, depth, {head.data + i * head.row + k, head.row, 1}, right + j, panel,
                               prefetcher, kLinesFetched);
            tile.Store(target, columns);
          });
    }
  }
}

// Of `rows` vectors `stride` apart, at least -FLT_MAX: from that, -inf is as far as it should be.
Float LargestOf(const float* z, int64_t rows, int64_t stride) {
  Float a = Broadcast(-FLT_MAX), b = a;
  int64_t i = 0;
  for (; i + 2 <= rows; i += 2) {
    a = Max(a, Load(z + i * stride));
    b = Max(b, Load(z + (i + 1) * stride));
  }
  if (i < rows) a = Max(a, Load(z + i * stride));
  return Max(a, b);
}

template <bool kDivergence>
void AgainstTeacher(const LmHeadKdWork& work, const Run& run, int64_t column) {
  const int64_t stride = work.columns, at = run.index * stride + column;
  float* z = work.student_VC + run.first * stride + column;
  float* teacher = work.teacher_VC + run.first * stride + column;
  const Float largest = LargestOf(z, run.rows, stride),
              teacher_largest = LargestOf(teacher, run.rows, stride),
              inverse = Broadcast(1.0f / work.args.temperature), zero = Broadcast(0.0f);
  Float sum = zero, teacher_sum = zero, term_sum = zero;
  for (int64_t i = 0; i < run.rows; ++i, z += stride, teacher += stride) {
    const Float below = (Load(z) - largest) * inverse;
    const Float teacher_below = (Load(teacher) - teacher_largest) * inverse;
    const Float e = Exp(below), label = Exp(teacher_below);
    const Float term = label * (kDivergence ? teacher_below - below : zero - below);
    sum = sum + e;
    teacher_sum = teacher_sum + label;
    // Where the label is 0 the difference may be infinite.
    term_sum = term_sum + ZeroWhereLess(term, label, Broadcast(kSmallestNormal));
    Store(z, e);
    Store(teacher, label);
  }
  Store(work.student_largest_NC + at, largest);
  Store(work.student_sum_NC + at, sum);
  Store(work.teacher_largest_NC + at, teacher_largest);
  Store(work.teacher_sum_NC + at, teacher_sum);
  Store(work.term_sum_NC + at, term_sum);
}

void AgainstIds(const LmHeadKdWork& work, const Run& run, int64_t column) {
  const int64_t stride = work.columns, at = run.index * stride + column;
  float* z = work.student_VC + run.first * stride + column;
  const Float largest = LargestOf(z, run.rows, stride), inverse = Broadcast(1.0f / work.args.temperature);
  Float sum = Broadcast(0.0f);
  for (int64_t i = 0; i < run.rows; ++i, z += stride) {
    const Float e = Exp((Load(z) - largest) * inverse);
    sum = sum + e;
    Store(z, e);
  }
  Store(work.student_largest_NC + at, largest);
  Store(work.student_sum_NC + at, sum);
}

void KeepLogitsOfIds(const LmHeadKdWork& work, const Run& run, const float* z) {
  for (int64_t r = 0; r < work.args.shape.rows; ++r) {
    const int64_t row = work.args.ids_R[r] - run.first;
    if (row >= 0 && row < run.rows) work.id_logit_C[r] = z[row * work.columns + r];
  }
}

constexpr int64_t kCount = kLmHeadKdStatistics;

// What one side's statistics of all runs come to, for kCount tokens.
struct Combined {
  const float* largest_NC;
  float* sum_NC;
  float largest[kCount];  // of all runs
  float weight[kCount];   // of the run that Weigh was called for: exp((its largest - largest) / tau)
  double sum[kCount] = {};

  Combined(const LmHeadKdWork& work, const float* largest_NC, float* sum_NC, int64_t column)
      : largest_NC(largest_NC), sum_NC(sum_NC) {
    for (int64_t l = 0; l < kCount; l += kLanes) {
      Store(largest + l, LargestOf(largest_NC + column + l, work.runs, work.columns));
    }
  }

  void Weigh(const LmHeadKdWork& work, int64_t at) {
    const Float inverse = Broadcast(1.0f / work.args.temperature);
    for (int64_t l = 0; l < kCount; l += kLanes) {
      Store(weight + l, Exp((Load(largest_NC + at + l) - Load(largest + l)) * inverse));
    }
  }

  void Add(int64_t at) {
    for (int64_t l = 0; l < kCount; ++l) sum[l] += static_cast<double>(weight[l]) * sum_NC[at + l];
  }

  // Sums of runs become factors.
  void StoreFactors(const LmHeadKdWork& work, int64_t column) {
    const double scale = work.args.gradient_scale;
    for (int64_t run = 0; run < work.runs; ++run) {
      const int64_t at = run * work.columns + column;
      Weigh(work, at);
      for (int64_t l = 0; l < kCount; ++l) sum_NC[at + l] = static_cast<float>(scale * weight[l] / sum[l]);
    }
  }

  // How far the largest logit of a run lies below that of all, over tau.
  double Below(const LmHeadKdWork& work, int64_t at, int64_t l) const {
    return (static_cast<double>(largest_NC[at + l]) - largest[l]) / work.args.temperature;
  }
};

void CombineAgainstTeacher(const LmHeadKdWork& work, int64_t column) {
  const bool divergence = work.args.loss == LmHeadKdLoss::kDivergence;
  Combined student(work, work.student_largest_NC, work.student_sum_NC, column);
  Combined teacher(work, work.teacher_largest_NC, work.teacher_sum_NC, column);
  double term[kCount] = {};
  for (int64_t run = 0; run < work.runs; ++run) {
    const int64_t at = run * work.columns + column;
    student.Weigh(work, at);
    teacher.Weigh(work, at);
    student.Add(at);
    teacher.Add(at);
    for (int64_t l = 0; l < kCount; ++l) {
      // A run of weight 0 may hold labels that the student gives -inf.
      if (teacher.weight[l] == 0.0f) continue;
      const double shift = (divergence ? teacher.Below(work, at, l) : 0.0) - student.Below(work, at, l);
      term[l] += teacher.weight[l] * (work.term_sum_NC[at + l] + teacher.sum_NC[at + l] * shift);
    }
  }
  student.StoreFactors(work, column);
  teacher.StoreFactors(work, column);
  for (int64_t l = 0; l < kCount && column + l < work.args.shape.rows; ++l) {
    work.args.loss_R[column + l] =
        term[l] / teacher.sum[l] + log(student.sum[l]) - (divergence ? log(teacher.sum[l]) : 0.0);
  }
}

void CombineAgainstIds(const LmHeadKdWork& work, int64_t column) {
  Combined student(work, work.student_largest_NC, work.student_sum_NC, column);
  for (int64_t run = 0; run < work.runs; ++run) {
    student.Weigh(work, run * work.columns + column);
    student.Add(run * work.columns + column);
  }
  student.StoreFactors(work, column);
  for (int64_t l = 0; l < kCount && column + l < work.args.shape.rows; ++l) {
    const double below = static_cast<double>(work.id_logit_C[column + l]) - student.largest[l];
    work.args.loss_R[column + l] = log(student.sum[l]) - below / work.args.temperature;
  }
}

}  // namespace

void LmHeadKdGroupLogits(const LmHeadKdWork& work, int64_t group) {
  const LmHeadKdArgs& args = work.args;
  const int64_t end = FirstRun(work, group + 1);
  for (int64_t index = FirstRun(work, group); index < end; ++index) {
    const Run run = RunOf(work, index), after = RunOf(work, index + 1);
    const HeadRows head = RowsOf(args.student, args.shape.width, run),
                   next = RowsOf(args.student, args.shape.width, after);
    float* const z = work.student_VC + run.first * work.columns;
    if (args.ids_R != nullptr) {
      Logits(head, work.student_panels, work.columns, next, z);
      KeepLogitsOfIds(work, run, z);
      for (int64_t c = 0; c < work.columns; c += kLanes) AgainstIds(work, run, c);
      continue;
    }
    const HeadRows teacher_head = RowsOf(args.teacher, args.shape.teacher_width, run);
    Logits(head, work.student_panels, work.columns, teacher_head, z);
    Logits(teacher_head, work.teacher_panels, work.columns, next, work.teacher_VC + run.first * work.columns);
    const auto against_teacher =
        args.loss == LmHeadKdLoss::kDivergence ? AgainstTeacher<true> : AgainstTeacher<false>;
    for (int64_t c = 0; c < work.columns; c += kLanes) against_teacher(work, run, c);
  }
}

void LmHeadKdCombine(const LmHeadKdWork& work, int64_t item) {
  const int64_t column = item * kLmHeadKdStatistics;
  if (work.args.ids_R != nullptr) return CombineAgainstIds(work, column);
  CombineAgainstTeacher(work, column);
}

}  // namespace retort::RETORT_ISA
