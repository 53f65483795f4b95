#include "model/student/make_student.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/base/job_work.h"
#include "core/base/random.h"
#include "core/base/status_macros.h"

namespace retort {
namespace {

absl::StatusOr<std::vector<MixerType>> ChooseLayers(int64_t num_layers, const v1::KeepAttention& keep) {
  ASSIGN_OR_RETURN(const std::vector<uint32_t> converted,
                   ConvertedLayers(static_cast<uint32_t>(num_layers), keep));
  std::vector<MixerType> layers(num_layers, MixerType::kAttention);
  for (const uint32_t layer : converted) layers[layer] = MixerType::kMamba2;
  return layers;
}

// Uniform numbers that depend on (seed, layer, tensor) alone, so that layers can be made in any order.
class Initialiser {
 public:
  Initialiser(uint64_t seed, int64_t layer) : seed_(seed), layer_(layer) {}

  at::Tensor Uniform(const std::vector<int64_t>& shape, double low, double high) {
    constexpr uint64_t kStudentWeights = 1;
    auto generator = at::make_generator<at::CPUGeneratorImpl>(
        MixSeed(seed_, {kStudentWeights, static_cast<uint64_t>(layer_), next_tensor_++}));
    return at::empty(shape, at::kFloat).uniform_(low, high, generator);
  }
  at::Tensor Symmetric(const std::vector<int64_t>& shape, double bound) {
    return Uniform(shape, -bound, bound);
  }

 private:
  uint64_t seed_;
  int64_t layer_;
  uint64_t next_tensor_ = 0;
};

// [K*D, E] -> [H*D, E], or [K*D] -> [H*D]: whole blocks of head_dim rows are repeated, as the teacher's heads
// share them.
at::Tensor RepeatHeadRows(const at::Tensor& rows, int64_t kv_heads, int64_t heads) {
  return rows.unflatten(0, {kv_heads, -1}).repeat_interleave(heads / kv_heads, 0).flatten(0, 1);
}

at::Tensor IdentityConv(int64_t channels, int64_t taps) {
  at::Tensor conv = at::zeros({channels, taps});
  conv.select(1, taps - 1).fill_(1.0);
  return conv;
}

// What the stock form alone has. The order of the draws decides every number that is drawn.
void MakeStockSteps(const Mamba2Shape& shape, Initialiser& init, Mamba2Weights& w) {
  constexpr double kMinStep = 1e-3, kMaxStep = 1e-1;
  const at::Tensor step = init.Uniform({shape.heads}, std::log(kMinStep), std::log(kMaxStep)).exp_();
  w.dt_bias = step + at::log(-at::expm1(-step));  // softplus^-1
  w.a_log = init.Uniform({shape.heads}, 1.0, 16.0).log_();
  w.norm = at::ones({shape.inner()});
}

Mamba2Weights MakeMixer(const ModelConfig& config, int64_t layer, uint64_t seed) {
  const Mamba2Shape& shape = config.mamba2;
  const bool discrete = shape.form == Mamba2Form::kDiscrete;
  const int64_t hidden = config.hidden_size, inner = shape.inner(), group = shape.group_channels();
  const double bound = 1.0 / std::sqrt(static_cast<double>(hidden));
  constexpr double kOpenGate = 1.278464542761;  // SiLU(kOpenGate) = 1
  Initialiser init(seed, layer);
  Mamba2Weights w;
  if (discrete) {
    w.z_proj = at::zeros({inner, hidden});
    w.z_bias = at::full({inner}, kOpenGate);
  } else {
    w.z_proj = init.Symmetric({inner, hidden}, bound);
  }
  w.x_proj = init.Symmetric({inner, hidden}, bound);
  w.b_proj = init.Symmetric({group, hidden}, bound);
  w.c_proj = init.Symmetric({group, hidden}, bound);
  (discrete ? w.a_proj : w.dt_proj) = init.Symmetric({shape.heads, hidden}, bound);
  w.conv_x = IdentityConv(inner, shape.conv_kernel);
  w.conv_b = IdentityConv(group, shape.conv_kernel);
  w.conv_c = IdentityConv(group, shape.conv_kernel);
  w.conv_x_bias = at::zeros({inner});
  w.conv_b_bias = at::zeros({group});
  w.conv_c_bias = at::zeros({group});
  if (!discrete) MakeStockSteps(shape, init, w);
  w.d = at::ones({shape.heads});
  w.out_proj = init.Symmetric({hidden, inner}, 1.0 / std::sqrt(static_cast<double>(inner))) /
               std::sqrt(static_cast<double>(config.num_layers()));
  return w;
}

void CopyAttention(const AttentionWeights& attention, const ModelConfig& config, Mamba2Weights& w) {
  w.x_proj = RepeatHeadRows(attention.v_proj, config.kv_heads, config.heads);
  w.out_proj = attention.o_proj.clone();
  if (attention.v_bias.defined()) {
    w.conv_x_bias = RepeatHeadRows(attention.v_bias, config.kv_heads, config.heads);
  }
  const Mamba2Shape& shape = config.mamba2;
  if (shape.groups != shape.heads || shape.state_size != config.head_dim) return;
  const double scale = std::pow(static_cast<double>(config.head_dim), -0.25);
  w.b_proj = RepeatHeadRows(attention.k_proj, config.kv_heads, config.heads) * scale;
  w.c_proj = attention.q_proj * scale;
  if (!attention.q_bias.defined()) return;
  w.conv_b_bias = RepeatHeadRows(attention.k_bias, config.kv_heads, config.heads) * scale;
  w.conv_c_bias = attention.q_bias * scale;
}

}  // namespace

absl::StatusOr<ModelConfig> StudentConfig(const ModelConfig& teacher, const v1::StudentSpec& spec) {
  const int64_t groups = StudentGroups(spec, static_cast<uint32_t>(teacher.heads));
  if (groups == 0 || teacher.heads % groups != 0) {
    return absl::InvalidArgumentError(absl::StrCat("student.groups is ", groups,
                                                   ", which does not divide the teacher's ", teacher.heads,
                                                   " query heads"));
  }
  ModelConfig config = teacher;
  auto layers = ChooseLayers(teacher.num_layers(), spec.keep_attention());
  if (!layers.ok()) return layers.status();
  config.layers = *std::move(layers);
  config.mamba2 = {
      .heads = teacher.heads,
      .head_dim = teacher.head_dim,
      .state_size = spec.state_size(),
      .groups = groups,
      .form = spec.mixer() == v1::MIXER_KIND_DISCRETE_MAMBA2 ? Mamba2Form::kDiscrete : Mamba2Form::kStock};
  return config;
}

LanguageModel MakeStudent(const LanguageModel& teacher, const ModelConfig& config, v1::StudentInit init,
                          uint64_t seed) {
  std::vector<int64_t> layers;
  for (int64_t l = 0; l < config.num_layers(); ++l) {
    if (config.layers[l] == MixerType::kMamba2) layers.push_back(l);
  }
  return MakeStudentLayers(teacher, config, init, seed, layers);
}

LanguageModel MakeStudentLayers(const LanguageModel& teacher, const ModelConfig& config, v1::StudentInit init,
                                uint64_t seed, const std::vector<int64_t>& layers) {
  LanguageModel student = teacher;
  student.config = config;
  for (int64_t l = 0; l < config.num_layers(); ++l) {
    if (student.converted(l)) student.blocks[l].mixer = Mamba2Weights{};
  }
  for (const int64_t layer : layers) {
    Mamba2Weights mixer = MakeMixer(config, layer, seed);
    if (init == v1::STUDENT_INIT_QKVO) {
      CopyAttention(std::get<AttentionWeights>(teacher.blocks[layer].mixer), config, mixer);
    }
    student.blocks[layer].mixer = std::move(mixer);
  }
  return student;
}

}  // namespace retort
