// Three sweeps: the largest logits; exponentials, kept in place, with their sums; the gradient. Two rows of
// 49,152 logits are 384 KiB, so the second and third sweep read the second-level cache.
#include "kernels/lm_head_kd/lm_head_kd_simd.h"

#include <math.h>

#include "kernels/base/simd.h"

namespace retort::RETORT_ISA {
namespace {

// Lanes add this many floats before they are added up in float64.
constexpr int64_t kBlock = 1024;
constexpr float kSmallestNormal = 1.17549435e-38f;

// Calls body(v, count, load, store) for each vector, `count` floats, of [begin, end).
template <class Body>
__attribute__((always_inline)) inline void ForEachVector(int64_t begin, int64_t end, const Body& body) {
  int64_t v = begin;
  for (; v + kLanes <= end; v += kLanes) {
    body(
        v, kLanes, [](const float* from) __attribute__((always_inline)) { return Load(from); },
        [](float* to, Float value) __attribute__((always_inline)) { Store(to, value); });
  }
  const int64_t rest = end - v;
  if (rest == 0) return;
  body(
      v, rest, [rest](const float* from) __attribute__((always_inline)) { return LoadFirst(from, rest); },
      [rest](float* to, Float value) __attribute__((always_inline)) { StoreFirst(to, value, rest); });
}

float LargestOf(const float* z, int64_t count) {
  if (count < kLanes) {
    float largest = z[0];
    for (int64_t v = 1; v < count; ++v) largest = z[v] > largest ? z[v] : largest;
    return largest;
  }
  Float a = Load(z), b = a;
  int64_t v = 0;
  for (; v + 2 * kLanes <= count; v += 2 * kLanes) {
    a = Max(a, Load(z + v));
    b = Max(b, Load(z + v + kLanes));
  }
  if (v + kLanes <= count) a = Max(a, Load(z + v));
  return MaxOf(Max(Max(a, b), Load(z + count - kLanes)));
}

struct Sums {
  double student = 0, teacher = 0;  // Z, Z'
  double difference = 0;            // of the labels' exponentials times the logits' difference
};

// z becomes e; z' becomes e'.
template <bool kDivergence>
Sums ExponentialsAgainstTeacher(float* z, float* teacher, int64_t vocabulary, float inverse_temperature) {
  const Float largest = Broadcast(LargestOf(z, vocabulary)),
              teacher_largest = Broadcast(LargestOf(teacher, vocabulary)),
              inverse = Broadcast(inverse_temperature), zero = Broadcast(0.0f);
  Sums sums;
  for (int64_t begin = 0; begin < vocabulary; begin += kBlock) {
    const int64_t end = begin + kBlock < vocabulary ? begin + kBlock : vocabulary;
    Float student_sum = zero, teacher_sum = zero, difference = zero;
    ForEachVector(
        begin, end, [&](int64_t v, int64_t count, auto load, auto store) __attribute__((always_inline)) {
          const Float below = (load(z + v) - largest) * inverse;
          const Float teacher_below = (load(teacher + v) - teacher_largest) * inverse;
          const Float e = KeepFirst(Exp(below), count), label = KeepFirst(Exp(teacher_below), count);
          student_sum = student_sum + e;
          teacher_sum = teacher_sum + label;
          const Float term = label * (kDivergence ? teacher_below - below : zero - below);
          // Where the label is 0 the difference may be infinite.
          difference = difference + ZeroWhereLess(term, label, Broadcast(kSmallestNormal));
          store(z + v, e);
          store(teacher + v, label);
        });
    sums.student += static_cast<double>(Sum(student_sum));
    sums.teacher += static_cast<double>(Sum(teacher_sum));
    sums.difference += static_cast<double>(Sum(difference));
  }
  return sums;
}

// z becomes e; the sum of it is returned.
double Exponentials(float* z, int64_t vocabulary, float inverse_temperature) {
  const Float largest = Broadcast(LargestOf(z, vocabulary)), inverse = Broadcast(inverse_temperature);
  double sum = 0;
  for (int64_t begin = 0; begin < vocabulary; begin += kBlock) {
    const int64_t end = begin + kBlock < vocabulary ? begin + kBlock : vocabulary;
    Float block = Broadcast(0.0f);
    ForEachVector(
        begin, end, [&](int64_t v, int64_t count, auto load, auto store) __attribute__((always_inline)) {
          const Float e = KeepFirst(Exp((load(z + v) - largest) * inverse), count);
          block = block + e;
          store(z + v, e);
        });
    sum += static_cast<double>(Sum(block));
  }
  return sum;
}

double RowAgainstTeacher(const LmHeadKdArgs& args, float* z, float* teacher) {
  const bool divergence = args.loss == LmHeadKdLoss::kDivergence;
  const Sums sums =
      (divergence ? ExponentialsAgainstTeacher<true>
                  : ExponentialsAgainstTeacher<false>)(z, teacher, args.vocabulary, 1.0f / args.temperature);
  const Float student_scale = Broadcast(static_cast<float>(args.gradient_scale / sums.student));
  const Float teacher_scale = Broadcast(static_cast<float>(args.gradient_scale / sums.teacher));
  ForEachVector(
      0, args.vocabulary, [&](int64_t v, int64_t, auto load, auto store) __attribute__((always_inline)) {
        // Not fused: equal rows must cancel.
        store(z + v, load(z + v) * student_scale - load(teacher + v) * teacher_scale);
      });
  return sums.difference / sums.teacher + log(sums.student) - (divergence ? log(sums.teacher) : 0.0);
}

double RowAgainstToken(const LmHeadKdArgs& args, float* z, int64_t id) {
  const double logit = z[id], largest = LargestOf(z, args.vocabulary);
  const double sum = Exponentials(z, args.vocabulary, 1.0f / args.temperature);
  const Float scale = Broadcast(static_cast<float>(args.gradient_scale / sum));
  ForEachVector(
      0, args.vocabulary, [&](int64_t v, int64_t, auto load, auto store) __attribute__((always_inline)) {
        store(z + v, load(z + v) * scale);
      });
  z[id] -= args.gradient_scale;
  return log(sum) - (logit - largest) / args.temperature;
}

}  // namespace

void LmHeadKdRow(const LmHeadKdArgs& args, int64_t row) {
  float* const z = args.student.data + row * args.student.stride;
  args.loss_R[row] = args.ids_R != nullptr
                         ? RowAgainstToken(args, z, args.ids_R[row])
                         : RowAgainstTeacher(args, z, args.teacher.data + row * args.teacher.stride);
}

}  // namespace retort::RETORT_ISA
