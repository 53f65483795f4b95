#include <algorithm>
#include <utility>

#include "kernels/lm_head_kd/lm_head_kd_simd.h"

namespace retort {
namespace {

int64_t Divided(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t Padded(int64_t count) { return Divided(count, 16) * 16; }

// Hands out parts of a workspace, or with a null one only counts.
class Floats {
 public:
  explicit Floats(float* workspace) : workspace_(workspace) {}
  float* Take(int64_t count) {
    const int64_t offset = std::exchange(taken_, taken_ + Padded(count));
    return workspace_ == nullptr ? nullptr : workspace_ + offset;
  }
  int64_t taken() const { return taken_; }

 private:
  float* workspace_;
  int64_t taken_ = 0;
};

LmHeadKdWork LayOut(const LmHeadKdArgs& args, Floats& floats) {
  const LmHeadKdShape& shape = args.shape;
  LmHeadKdWork work = {};
  work.args = args;
  work.runs = Divided(shape.vocabulary, kLmHeadKdRunRows);
  work.groups = std::min(work.runs, kLmHeadKdGroups);
  work.columns = Padded(shape.rows);
  work.padded_width = Padded(shape.width);
  work.student_panels = floats.Take(work.columns * shape.width);
  work.hidden_panels = floats.Take(shape.rows * work.padded_width);
  work.student_VC = floats.Take(shape.vocabulary * work.columns);
  work.student_largest_NC = floats.Take(work.runs * work.columns);
  work.student_sum_NC = floats.Take(work.runs * work.columns);
  work.grad_hidden_GRE = floats.Take(work.groups * shape.rows * work.padded_width);
  if (shape.teacher_width == 0) {
    work.id_logit_C = floats.Take(work.columns);
    return work;
  }
  work.teacher_panels = floats.Take(work.columns * shape.teacher_width);
  work.teacher_VC = floats.Take(shape.vocabulary * work.columns);
  work.teacher_largest_NC = floats.Take(work.runs * work.columns);
  work.teacher_sum_NC = floats.Take(work.runs * work.columns);
  work.term_sum_NC = floats.Take(work.runs * work.columns);
  return work;
}

// Tokens `panel` * 64 ... as columns.
void PackTokens(const LmHeadKdSide& side, int64_t rows, int64_t columns, int64_t width, int64_t panel,
                float* panels) {
  const int64_t first = panel * kLmHeadKdPanel, wide = std::min(kLmHeadKdPanel, columns - first);
  float* const to = panels + first * width;
  for (int64_t j = 0; j < wide; ++j) {
    const float* const from = side.hidden + (first + j) * side.hidden_row;
    const bool present = first + j < rows;
    for (int64_t k = 0; k < width; ++k) to[k * wide + j] = present ? from[k * side.hidden_column] : 0.0f;
  }
}

// Columns `panel` * 64 ... of all hidden states.
void PackColumns(const LmHeadKdWork& work, int64_t panel) {
  const LmHeadKdArgs& args = work.args;
  const int64_t first = panel * kLmHeadKdPanel, wide = std::min(kLmHeadKdPanel, work.padded_width - first);
  float* to = work.hidden_panels + first * args.shape.rows;
  for (int64_t r = 0; r < args.shape.rows; ++r, to += wide) {
    const float* const from = args.student.hidden + r * args.student.hidden_row;
    for (int64_t j = 0; j < wide; ++j) {
      to[j] = first + j < args.shape.width ? from[(first + j) * args.student.hidden_column] : 0.0f;
    }
  }
}

void Pack(const LmHeadKdWork& work, const Executor& executor) {
  const LmHeadKdShape& shape = work.args.shape;
  const int64_t token_panels = Divided(work.columns, kLmHeadKdPanel);
  const int64_t sides = work.args.ids_R == nullptr ? 2 : 1;
  const int64_t column_panels =
      work.args.grad_head == nullptr ? 0 : Divided(work.padded_width, kLmHeadKdPanel);
  executor.Run(sides * token_panels + column_panels, [&](int64_t item) {
    if (item < token_panels) {
      PackTokens(work.args.student, shape.rows, work.columns, shape.width, item, work.student_panels);
    } else if (item < sides * token_panels) {
      PackTokens(work.args.teacher, shape.rows, work.columns, shape.teacher_width, item - token_panels,
                 work.teacher_panels);
    } else {
      PackColumns(work, item - sides * token_panels);
    }
  });
}

}  // namespace

int64_t LmHeadKdWorkspaceFloats(const LmHeadKdShape& shape) {
  Floats floats(nullptr);
  LmHeadKdArgs args = {};
  args.shape = shape;
  LayOut(args, floats);
  return floats.taken();
}

void LmHeadKdChunk(const LmHeadKdArgs& args, float* workspace, const Executor& executor, InstructionSet set) {
  Floats floats(workspace);
  const LmHeadKdWork work = LayOut(args, floats);
  Pack(work, executor);
  const auto group_logits = RETORT_SIMD_CHOOSE(set, LmHeadKdGroupLogits);
  executor.Run(work.groups, [&](int64_t group) { group_logits(work, group); });
  const auto combine = RETORT_SIMD_CHOOSE(set, LmHeadKdCombine);
  executor.Run(Divided(work.columns, kLmHeadKdStatistics), [&](int64_t item) { combine(work, item); });
  if (args.grad_hidden == nullptr && args.grad_head == nullptr) return;
  const auto group_gradients = RETORT_SIMD_CHOOSE(set, LmHeadKdGroupGradients);
  executor.Run(work.groups, [&](int64_t group) { group_gradients(work, group); });
  if (args.grad_hidden == nullptr) return;
  const auto finish_token = RETORT_SIMD_CHOOSE(set, LmHeadKdFinishToken);
  executor.Run(args.shape.rows, [&](int64_t token) { finish_token(work, token); });
}

}  // namespace retort
