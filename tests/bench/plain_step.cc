#include "tests/bench/plain_step.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "model/layers/ssd.h"
#include "tests/bench/plain_forms.h"
#include "train/stages/end_to_end.h"
#include "train/stages/layer_trainer.h"
#include "train/stages/losses.h"

namespace retort {
namespace {

constexpr int64_t kChunk = 64;  // the best of 32, 64, 128 for einsum SSD

at::Tensor Heads(const at::Tensor& x_BTM, int64_t heads) {
  return x_BTM.unflatten(-1, {heads, -1}).transpose(1, 2);
}

// Output before the residual; the probabilities go to `matrix_BHTT`.
at::Tensor EagerAttention(const at::Tensor& x_BTE, const AttentionWeights& weights,
                          const AttentionShape& shape, const RotaryTable& rotary, at::Tensor& matrix_BHTT) {
  const int64_t tokens = x_BTE.size(1), shared = shape.heads / shape.kv_heads;
  const at::Tensor q =
      PlainRotary(Heads(at::linear(x_BTE, weights.q_proj), shape.heads), rotary.cos, rotary.sin);
  const at::Tensor k =
      PlainRotary(Heads(at::linear(x_BTE, weights.k_proj), shape.kv_heads), rotary.cos, rotary.sin)
          .repeat_interleave(shared, 1);
  const at::Tensor v = Heads(at::linear(x_BTE, weights.v_proj), shape.kv_heads).repeat_interleave(shared, 1);
  const at::Tensor future = at::ones({tokens, tokens}, at::kBool).triu(1);
  const at::Tensor scores_BHTT =
      at::matmul(q, k.transpose(2, 3)).div_(std::sqrt(static_cast<double>(shape.head_dim)));
  matrix_BHTT = at::softmax(scores_BHTT.masked_fill_(future, -INFINITY), -1);
  return at::linear(at::matmul(matrix_BHTT, v).transpose(1, 2).flatten(2), weights.o_proj);
}

at::Tensor PlainMlp(const at::Tensor& x, const MlpWeights& mlp) {
  return at::linear(at::silu(at::linear(x, mlp.gate_proj)) * at::linear(x, mlp.up_proj), mlp.down_proj);
}

at::Tensor Finish(const LanguageModel& model, int64_t layer, const at::Tensor& middle) {
  const BlockWeights& block = model.blocks[layer];
  return middle + PlainMlp(PlainRmsNorm(middle, block.post_norm_E, model.config.norm_eps), block.mlp);
}

at::Tensor Normed(const LanguageModel& model, int64_t layer, const at::Tensor& input_BTE) {
  return PlainRmsNorm(input_BTE, model.blocks[layer].input_norm_E, model.config.norm_eps);
}

PlainTaps TeacherBlock(const LanguageModel& teacher, int64_t layer, const at::Tensor& input_BTE,
                       const RotaryTable& rotary) {
  PlainTaps taps;
  taps.input_BTE = input_BTE;
  taps.normed_BTE = Normed(teacher, layer, input_BTE);
  const auto& attention = std::get<AttentionWeights>(teacher.blocks[layer].mixer);
  taps.mixer_BTE =
      EagerAttention(taps.normed_BTE, attention, teacher.attention_shape(), rotary, taps.matrix_BHTT);
  taps.output_BTE = Finish(teacher, layer, input_BTE + taps.mixer_BTE);
  return taps;
}

Mamba2MatrixParts Parts(const at::Tensor& u_BTE, const Mamba2Weights& w, const Mamba2Shape& shape) {
  const auto groups = [&](const at::Tensor& projection, const at::Tensor& conv, const at::Tensor& bias) {
    return PlainConvSilu(at::linear(u_BTE, projection), conv, bias)
        .unflatten(-1, {shape.groups, shape.state_size});
  };
  const at::Tensor dt_BTH = at::softplus(at::linear(u_BTE, w.dt_proj) + w.dt_bias);
  return {-w.a_log.exp() * dt_BTH, dt_BTH, groups(w.b_proj, w.conv_b, w.conv_b_bias),
          groups(w.c_proj, w.conv_c, w.conv_c_bias), w.d};
}

at::Tensor StudentMixer(const LanguageModel& student, int64_t layer, const at::Tensor& u_BTE) {
  const auto& w = std::get<Mamba2Weights>(student.blocks[layer].mixer);
  const Mamba2Shape& shape = student.config.mamba2;
  const Mamba2MatrixParts parts = Parts(u_BTE, w, shape);
  const at::Tensor x_BTHP = PlainConvSilu(at::linear(u_BTE, w.x_proj), w.conv_x, w.conv_x_bias)
                                .unflatten(-1, {shape.heads, shape.head_dim});
  const SsdInputs scan = {x_BTHP * parts.dt_BTH.unsqueeze(-1), parts.log_decay_BTH, parts.b_BTGN,
                          parts.c_BTGN};
  const at::Tensor y_BTHP = SsdChunked(scan, kChunk, at::Tensor()).y_BTHP + w.d.unsqueeze(-1) * x_BTHP;
  const at::Tensor z_BTM = at::linear(u_BTE, w.z_proj);
  return at::linear(PlainGatedNorm(y_BTHP.flatten(2), z_BTM, w.norm, student.config.norm_eps), w.out_proj);
}

at::Tensor StudentBlock(const LanguageModel& student, int64_t layer, const at::Tensor& input_BTE) {
  const at::Tensor mixer = StudentMixer(student, layer, Normed(student, layer, input_BTE));
  return Finish(student, layer, input_BTE + mixer);
}

at::Tensor PlainLogits(const LanguageModel& model, const at::Tensor& hidden_BTE) {
  return at::linear(PlainRmsNorm(hidden_BTE, model.final_norm_E, model.config.norm_eps), model.head_VE);
}

std::vector<Trainable> TrainablesOf(const StagePlan& plan, LanguageModel& student) {
  if (plan.stage == Stage::kEndToEnd) return EndToEndTrainables(plan.scope, student);
  std::vector<Trainable> trainables;
  for (int64_t l = 0; l < student.config.num_layers(); ++l) {
    for (const Trainable& trainable : LayerTrainables(plan, student, l)) trainables.push_back(trainable);
  }
  return trainables;
}

}  // namespace

PlainStep::PlainStep(const StagePlan& plan, const LanguageModel& teacher, LanguageModel& student,
                     bool layer_by_layer)
    : plan_(plan), teacher_(teacher), student_(student), layer_by_layer_(layer_by_layer) {
  if (plan.stage == Stage::kEndToEnd && plan.scope == v1::TRAIN_SCOPE_ALL) {
    const auto shared = TensorMemory(teacher);
    for (const auto& tensor : ModelTensors(student)) {
      if (shared.count(tensor.value->data_ptr()) != 0) *tensor.value = tensor.value->clone();
    }
    if (student.config.tied_head) student.head_VE = student.embedding_VE;
  }
  optimizer_ = std::make_unique<AdamW>(TrainablesOf(plan, student));
  for (const Trainable& trainable : optimizer_->trainables()) trainable.value.requires_grad_(true);
}

PlainStep::~PlainStep() {
  for (const Trainable& trainable : optimizer_->trainables()) trainable.value.requires_grad_(false);
}

void PlainStep::Run(const at::Tensor& ids_BT) {
  if (plan_.stage == Stage::kEndToEnd) {
    LearnDistribution(ids_BT);
    optimizer_->ClipGradients(1.0);
  } else {
    AlignLayers(ids_BT);
  }
  optimizer_->Step(plan_.lr);
}

void PlainStep::RunMatrixOf(int64_t layer, const at::Tensor& normed_BTE, const RotaryTable& rotary) {
  PlainTaps taps;
  taps.normed_BTE = normed_BTE;
  {
    const c10::NoGradGuard no_grad;
    EagerAttention(normed_BTE, std::get<AttentionWeights>(teacher_.blocks[layer].mixer),
                   teacher_.attention_shape(), rotary, taps.matrix_BHTT);
  }
  LayerLoss(layer, taps).backward();
  optimizer_->Step(plan_.lr);
}

at::Tensor PlainStep::LayerLoss(int64_t layer, const PlainTaps& taps) const {
  if (plan_.stage == Stage::kMatrixOrientation) {
    const auto& mixer = std::get<Mamba2Weights>(student_.blocks[layer].mixer);
    return MatrixOrientationLoss(Mamba2Matrix(Parts(taps.normed_BTE, mixer, student_.config.mamba2)),
                                 taps.matrix_BHTT);
  }
  if (plan_.target == v1::ALIGNMENT_TARGET_MIXER) {
    return HiddenStateLoss(StudentMixer(student_, layer, taps.normed_BTE), taps.mixer_BTE);
  }
  return HiddenStateLoss(StudentBlock(student_, layer, taps.input_BTE), taps.output_BTE);
}

void PlainStep::AlignLayers(const at::Tensor& ids_BT) {
  const RotaryTable rotary = RotaryFor(teacher_, ids_BT.size(1));
  at::Tensor hidden = Embed(teacher_, ids_BT);
  std::vector<PlainTaps> all_taps;
  for (int64_t l = 0; l < teacher_.config.num_layers(); ++l) {
    PlainTaps taps;
    {
      const c10::NoGradGuard no_grad;
      taps = TeacherBlock(teacher_, l, hidden, rotary);
    }
    hidden = taps.output_BTE;
    if (layer_by_layer_) {
      LayerLoss(l, taps).backward();
    } else {
      all_taps.push_back(std::move(taps));
    }
  }
  if (layer_by_layer_) return;
  at::Tensor sum = LayerLoss(0, all_taps[0]);
  for (size_t l = 1; l < all_taps.size(); ++l) sum = sum + LayerLoss(static_cast<int64_t>(l), all_taps[l]);
  sum.backward();
}

void PlainStep::LearnDistribution(const at::Tensor& ids_BT) {
  const int64_t layers = teacher_.config.num_layers();
  at::Tensor labels;
  {
    const c10::NoGradGuard no_grad;
    const RotaryTable rotary = RotaryFor(teacher_, ids_BT.size(1));
    at::Tensor hidden = Embed(teacher_, ids_BT);
    for (int64_t l = 0; l < layers; ++l) hidden = TeacherBlock(teacher_, l, hidden, rotary).output_BTE;
    labels = at::softmax(PlainLogits(teacher_, hidden), -1);
  }
  at::Tensor hidden = Embed(student_, ids_BT);
  for (int64_t l = 0; l < layers; ++l) hidden = StudentBlock(student_, l, hidden);
  const at::Tensor log_s = at::log_softmax(PlainLogits(student_, hidden), -1);
  (labels * log_s).sum(-1).mean().neg().backward();
}

}  // namespace retort
