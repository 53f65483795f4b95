#include "model/ops/lm_head_kd.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <algorithm>
#include <numeric>
#include <tuple>
#include <vector>

#include "model/ops/arguments.h"
#include "model/ops/executor.h"

namespace retort {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using OptionalTensor = std::optional<at::Tensor>;

constexpr int64_t kWorkspaceBytes = 64 << 20;

struct Arguments {
  const char* op;
  const at::Tensor &hidden, &head;
  const OptionalTensor &teacher_hidden, &teacher_head, &ids, &mask;
  bool divergence;
  double temperature;

  int64_t tokens() const { return hidden.size(0); }
  int64_t vocabulary() const { return head.size(0); }
};

void CheckMatrix(const char* op, const char* name, const at::Tensor& tensor, const char* letters) {
  TORCH_CHECK(tensor.dim() == 2, "retort::", op, ": ", name, " is ", tensor.sizes(), "; it must be ",
              letters);
}

void CheckLabels(const Arguments& a) {
  TORCH_CHECK(a.teacher_hidden.has_value() == a.teacher_head.has_value() &&
                  a.teacher_hidden.has_value() != a.ids.has_value(),
              "retort::", a.op, ": labels must be teacher_hidden with teacher_head, or ids");
  const at::Device device = a.hidden.device();
  if (a.ids) {
    TORCH_CHECK(a.ids->scalar_type() == at::kLong && a.ids->device() == device &&
                    a.ids->sizes() == at::IntArrayRef({a.tokens()}),
                "retort::", a.op, ": ids is ", a.ids->scalar_type(), " ", a.ids->sizes(), " on ",
                a.ids->device(), "; it must be int64 [n] = [", a.tokens(), "] on ", device);
    TORCH_CHECK(!a.divergence, "retort::", a.op, ": the divergence needs a teacher; ids give cross-entropy");
    return;
  }
  CheckMatrix(a.op, "teacher_head", *a.teacher_head, "[V, E']");
  const int64_t width = a.teacher_head->size(1);
  CheckFloats(a.op, "teacher_head", *a.teacher_head, "[V, E']", {a.vocabulary(), width}, device);
  CheckFloats(a.op, "teacher_hidden", *a.teacher_hidden, "[n, E']", {a.tokens(), width}, device);
}

void CheckArguments(const Arguments& a) {
  CheckMatrix(a.op, "hidden", a.hidden, "[n, E]");
  CheckMatrix(a.op, "head", a.head, "[V, E]");
  const at::Device device = a.hidden.device();
  CheckFloats(a.op, "hidden", a.hidden, "[n, E]", a.hidden.sizes(), device);
  TORCH_CHECK(a.vocabulary() >= 1, "retort::", a.op, ": head is ", a.head.sizes(), "; it must have rows");
  CheckFloats(a.op, "head", a.head, "[V, E]", {a.vocabulary(), a.hidden.size(1)}, device);
  CheckLabels(a);
  if (a.mask) {
    TORCH_CHECK(a.mask->scalar_type() == at::kBool && a.mask->device() == device &&
                    a.mask->sizes() == at::IntArrayRef({a.tokens()}),
                "retort::", a.op, ": mask is ", a.mask->scalar_type(), " ", a.mask->sizes(), " on ",
                a.mask->device(), "; it must be bool [n] = [", a.tokens(), "] on ", device);
  }
  TORCH_CHECK(a.temperature > 0, "retort::", a.op, ": temperature is ", a.temperature,
              "; it must be above 0");
}

void CheckIdsInVocabulary(const Arguments& a) {
  if (!a.ids || a.tokens() == 0) return;
  const at::Tensor counted = a.mask ? a.ids->masked_fill(a.mask->logical_not(), 0) : *a.ids;
  const int64_t least = counted.min().item<int64_t>(), most = counted.max().item<int64_t>();
  TORCH_CHECK(least >= 0 && most < a.vocabulary(), "retort::", a.op, ": ids has ", least < 0 ? least : most,
              "; it must be from 0 to ", a.vocabulary() - 1);
}

// A matrix whose columns lie side by side; a copy where they do not.
at::Tensor WithAdjacentColumns(const at::Tensor& matrix) {
  return matrix.stride(1) == 1 || matrix.size(1) <= 1 ? matrix : matrix.contiguous();
}

// One call's walk over the tokens that count.
class Walk {
 public:
  // Undefined gradients are not computed; grad_head is added to.
  Walk(const Arguments& arguments, const at::Tensor& grad_hidden, const at::Tensor& grad_head)
      : arguments_(arguments), grad_hidden_(grad_hidden), grad_head_(grad_head) {
    if (arguments.mask) counted_ = arguments.mask->nonzero().squeeze(1);
    tokens_ = arguments.mask ? counted_.size(0) : arguments.tokens();
    head_ = WithAdjacentColumns(arguments.head);
    if (!arguments.ids) teacher_head_ = WithAdjacentColumns(*arguments.teacher_head);
    if (grad_head.defined()) head_target_ = WithAdjacentColumns(grad_head);
  }

  // The mean loss.
  double Run() {
    if (arguments_.mask && grad_hidden_.defined()) grad_hidden_.zero_();
    if (tokens_ == 0) return 0.0;
    const int64_t rows = ChunkRows();
    workspace_ = at::empty({LmHeadKdWorkspaceFloats(ShapeOf(rows))}, arguments_.hidden.options());
    losses_.resize(tokens_);
    for (int64_t begin = 0; begin < tokens_; begin += rows) {
      RunChunk(begin, std::min(rows, tokens_ - begin));
    }
    if (grad_head_.defined() && !head_target_.is_same(grad_head_)) grad_head_.copy_(head_target_);
    return std::accumulate(losses_.begin(), losses_.end(), 0.0) / static_cast<double>(tokens_);
  }

 private:
  LmHeadKdShape ShapeOf(int64_t rows) const {
    return {rows, arguments_.vocabulary(), head_.size(1), arguments_.ids ? 0 : teacher_head_.size(1)};
  }

  // How many tokens go at a time: equal chunks, as few as the workspace allows, since each streams the heads
  // through memory twice. Beyond a few hundred tokens that costs nothing, and a run of the vocabulary would
  // leave the second-level cache.
  int64_t ChunkRows() const {
    constexpr int64_t kMost = 256, kFewest = 16;
    const auto bytes = [&](int64_t rows) {
      return LmHeadKdWorkspaceFloats(ShapeOf(rows)) * static_cast<int64_t>(sizeof(float));
    };
    int64_t most = kMost;
    while (most > kFewest && bytes(most) > kWorkspaceBytes) most -= kFewest;
    const int64_t chunks = (tokens_ + most - 1) / most;
    return (tokens_ + chunks - 1) / chunks;
  }

  // Of a tensor with a row a token: rows begin ... begin + rows of those that count.
  at::Tensor Chunk(const at::Tensor& tensor, int64_t begin, int64_t rows) const {
    if (!arguments_.mask) return tensor.narrow(0, begin, rows);
    return tensor.index_select(0, counted_.narrow(0, begin, rows));
  }

  void RunChunk(int64_t begin, int64_t rows) {
    const at::Tensor hidden = Chunk(arguments_.hidden, begin, rows);
    LmHeadKdArgs args = {};
    args.shape = ShapeOf(rows);
    args.student = SideOf(hidden, head_);
    at::Tensor teacher_hidden, ids, grad_hidden;
    if (arguments_.ids) {
      ids = Chunk(*arguments_.ids, begin, rows).contiguous();
      args.ids_R = ids.const_data_ptr<int64_t>();
    } else {
      teacher_hidden = Chunk(*arguments_.teacher_hidden, begin, rows);
      args.teacher = SideOf(teacher_hidden, teacher_head_);
    }
    args.loss = arguments_.divergence ? LmHeadKdLoss::kDivergence : LmHeadKdLoss::kCrossEntropy;
    args.temperature = static_cast<float>(arguments_.temperature);
    args.gradient_scale = static_cast<float>(1.0 / (arguments_.temperature * static_cast<double>(tokens_)));
    args.loss_R = losses_.data() + begin;
    if (grad_hidden_.defined()) {
      grad_hidden = Chunk(grad_hidden_, begin, rows);
      args.grad_hidden = grad_hidden.mutable_data_ptr<float>();
      args.grad_hidden_row = grad_hidden.stride(0);
    }
    if (grad_head_.defined()) {
      args.grad_head = head_target_.mutable_data_ptr<float>();
      args.grad_head_row = head_target_.stride(0);
    }
    LmHeadKdChunk(args, workspace_.mutable_data_ptr<float>(), TorchExecutor(), ActiveInstructionSet());
    if (arguments_.mask && grad_hidden_.defined()) {
      grad_hidden_.index_copy_(0, counted_.narrow(0, begin, rows), grad_hidden);
    }
  }

  static LmHeadKdSide SideOf(const at::Tensor& hidden, const at::Tensor& head) {
    return {hidden.const_data_ptr<float>(), hidden.stride(0), hidden.stride(1), head.const_data_ptr<float>(),
            head.stride(0)};
  }

  const Arguments& arguments_;
  const at::Tensor grad_hidden_, grad_head_;
  at::Tensor head_, teacher_head_, head_target_;
  at::Tensor counted_;  // indices of the tokens that the mask counts
  int64_t tokens_ = 0;  // that count
  at::Tensor workspace_;
  std::vector<double> losses_;
};

at::Tensor ScalarLoss(double loss, const at::Tensor& hidden) {
  return at::full({}, loss, hidden.options().dtype(at::kDouble));
}

at::Tensor LossCpu(const at::Tensor& hidden, const at::Tensor& head, const OptionalTensor& teacher_hidden,
                   const OptionalTensor& teacher_head, const OptionalTensor& ids, const OptionalTensor& mask,
                   bool divergence, double temperature) {
  const Arguments arguments = {"lm_head_kd", hidden, head,       teacher_hidden, teacher_head,
                               ids,          mask,   divergence, temperature};
  CheckArguments(arguments);
  CheckIdsInVocabulary(arguments);
  return ScalarLoss(Walk(arguments, at::Tensor(), at::Tensor()).Run(), hidden);
}

at::Tensor LossMeta(const at::Tensor& hidden, const at::Tensor& head, const OptionalTensor& teacher_hidden,
                    const OptionalTensor& teacher_head, const OptionalTensor& ids, const OptionalTensor& mask,
                    bool divergence, double temperature) {
  CheckArguments(
      {"lm_head_kd", hidden, head, teacher_hidden, teacher_head, ids, mask, divergence, temperature});
  return at::empty({}, hidden.options().dtype(at::kDouble));
}

void CheckGradHead(const at::Tensor& head, const OptionalTensor& grad_head) {
  if (!grad_head) return;
  CheckFloats("lm_head_kd_gradients", "grad_head", *grad_head, "[V, E]", head.sizes(), head.device());
}

std::tuple<at::Tensor, at::Tensor> GradientsCpu(const at::Tensor& hidden, const at::Tensor& head,
                                                const OptionalTensor& teacher_hidden,
                                                const OptionalTensor& teacher_head, const OptionalTensor& ids,
                                                const OptionalTensor& mask, bool divergence,
                                                double temperature, const OptionalTensor& grad_head) {
  const Arguments arguments = {
      "lm_head_kd_gradients", hidden, head, teacher_hidden, teacher_head, ids, mask, divergence, temperature};
  CheckArguments(arguments);
  CheckIdsInVocabulary(arguments);
  CheckGradHead(head, grad_head);
  const at::Tensor grad_hidden = at::empty(hidden.sizes(), hidden.options());
  const double loss = Walk(arguments, grad_hidden, grad_head.value_or(at::Tensor())).Run();
  return {ScalarLoss(loss, hidden), grad_hidden};
}

std::tuple<at::Tensor, at::Tensor> GradientsMeta(const at::Tensor& hidden, const at::Tensor& head,
                                                 const OptionalTensor& teacher_hidden,
                                                 const OptionalTensor& teacher_head,
                                                 const OptionalTensor& ids, const OptionalTensor& mask,
                                                 bool divergence, double temperature,
                                                 const OptionalTensor& grad_head) {
  CheckArguments({"lm_head_kd_gradients", hidden, head, teacher_hidden, teacher_head, ids, mask, divergence,
                  temperature});
  CheckGradHead(head, grad_head);
  return {at::empty({}, hidden.options().dtype(at::kDouble)), at::empty(hidden.sizes(), hidden.options())};
}

// The kept gradients times that of the loss; an absent one stays an empty tensor. Any device.
std::tuple<at::Tensor, at::Tensor> Scaled(const at::Tensor& grad_loss, const at::Tensor& grad_hidden,
                                          const at::Tensor& grad_head) {
  TORCH_CHECK(grad_loss.dim() == 0, "retort::lm_head_kd_backward: grad_loss is ", grad_loss.sizes(),
              "; it must be a scalar");
  return {grad_hidden * grad_loss, grad_head * grad_loss};
}

const auto& Loss() {
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("retort::lm_head_kd", "").typed<decltype(LossCpu)>();
  return op;
}

const auto& Gradients() {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("retort::lm_head_kd_gradients", "")
                             .typed<decltype(GradientsCpu)>();
  return op;
}

const auto& Backward() {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("retort::lm_head_kd_backward", "")
                             .typed<decltype(Scaled)>();
  return op;
}

class LmHeadKdFunction : public torch::autograd::Function<LmHeadKdFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden, const at::Tensor& head,
                            const OptionalTensor& teacher_hidden, const OptionalTensor& teacher_head,
                            const OptionalTensor& ids, const OptionalTensor& mask, bool divergence,
                            double temperature) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const at::Tensor grad_head =
        head.requires_grad() ? at::zeros(head.sizes(), head.options()) : at::empty({0}, head.options());
    const auto [loss, grad_hidden] =
        Gradients().call(hidden, head, teacher_hidden, teacher_head, ids, mask, divergence, temperature,
                         head.requires_grad() ? OptionalTensor(grad_head) : std::nullopt);
    context->save_for_backward({grad_hidden, grad_head});
    return loss;
  }

  static variable_list backward(AutogradContext* context, const variable_list& incoming) {
    variable_list outgoing(8);
    if (!incoming[0].defined()) return outgoing;
    const variable_list saved = context->get_saved_variables();
    const auto [hidden, head] = Backward().call(incoming[0], saved[0], saved[1]);
    outgoing[0] = hidden;
    if (head.dim() == 2) outgoing[1] = head;
    return outgoing;
  }
};

at::Tensor LossAutograd(const at::Tensor& hidden, const at::Tensor& head,
                        const OptionalTensor& teacher_hidden, const OptionalTensor& teacher_head,
                        const OptionalTensor& ids, const OptionalTensor& mask, bool divergence,
                        double temperature) {
  const auto needs_gradient = [](const OptionalTensor& tensor) {
    return at::GradMode::is_enabled() && tensor.has_value() && tensor->requires_grad();
  };
  TORCH_CHECK(!needs_gradient(teacher_hidden) && !needs_gradient(teacher_head),
              "retort::lm_head_kd: teacher_hidden or teacher_head requires a gradient; the teacher is "
              "constant, detach it");
  if (needs_gradient(hidden) || needs_gradient(head)) {
    return LmHeadKdFunction::apply(hidden, head, teacher_hidden, teacher_head, ids, mask, divergence,
                                   temperature);
  }
  const at::AutoDispatchBelowADInplaceOrView below;
  return Loss().call(hidden, head, teacher_hidden, teacher_head, ids, mask, divergence, temperature);
}

std::tuple<at::Tensor, at::Tensor> GradientsAutograd(const at::Tensor& hidden, const at::Tensor& head,
                                                     const OptionalTensor& teacher_hidden,
                                                     const OptionalTensor& teacher_head,
                                                     const OptionalTensor& ids, const OptionalTensor& mask,
                                                     bool divergence, double temperature,
                                                     const OptionalTensor& grad_head) {
  TORCH_CHECK(!at::GradMode::is_enabled() || !(hidden.requires_grad() || head.requires_grad()),
              "retort::lm_head_kd_gradients: hidden or head requires a gradient, which does not flow through "
              "this op; call retort::lm_head_kd, or this under no_grad");
  const at::AutoDispatchBelowADInplaceOrView below;
  return Gradients().call(hidden, head, teacher_hidden, teacher_head, ids, mask, divergence, temperature,
                          grad_head);
}

class LmHeadKdBackwardFunction : public torch::autograd::Function<LmHeadKdBackwardFunction> {
 public:
  static variable_list forward(AutogradContext*, const at::Tensor& grad_loss, const at::Tensor& grad_hidden,
                               const at::Tensor& grad_head) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const auto [hidden, head] = Backward().call(grad_loss, grad_hidden, grad_head);
    return {hidden, head};
  }

  static variable_list backward(AutogradContext*, const variable_list&) {
    TORCH_CHECK(false, "retort::lm_head_kd is not differentiable twice");
  }
};

std::tuple<at::Tensor, at::Tensor> ScaledAutograd(const at::Tensor& grad_loss, const at::Tensor& grad_hidden,
                                                  const at::Tensor& grad_head) {
  const variable_list r = LmHeadKdBackwardFunction::apply(grad_loss, grad_hidden, grad_head);
  return {r[0], r[1]};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(retort, m) {
  m.def(
      "lm_head_kd(Tensor hidden, Tensor head, Tensor? teacher_hidden, Tensor? teacher_head, Tensor? ids, "
      "Tensor? mask, bool divergence, float temperature) -> Tensor");
  m.def(
      "lm_head_kd_gradients(Tensor hidden, Tensor head, Tensor? teacher_hidden, Tensor? teacher_head, "
      "Tensor? ids, Tensor? mask, bool divergence, float temperature, Tensor(a!)? grad_head) -> (Tensor, "
      "Tensor)");
  m.def("lm_head_kd_backward(Tensor grad_loss, Tensor grad_hidden, Tensor grad_head) -> (Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(retort, CPU, m) {
  m.impl("lm_head_kd", &LossCpu);
  m.impl("lm_head_kd_gradients", &GradientsCpu);
  m.impl("lm_head_kd_backward", &Scaled);
}

TORCH_LIBRARY_IMPL(retort, Meta, m) {
  m.impl("lm_head_kd", &LossMeta);
  m.impl("lm_head_kd_gradients", &GradientsMeta);
  m.impl("lm_head_kd_backward", &Scaled);
}

TORCH_LIBRARY_IMPL(retort, Autograd, m) {
  m.impl("lm_head_kd", &LossAutograd);
  m.impl("lm_head_kd_gradients", &GradientsAutograd);
  m.impl("lm_head_kd_backward", &ScaledAutograd);
}

at::Tensor LmHeadKd(const at::Tensor& hidden_nE, const at::Tensor& head_VE, const LmHeadLabels& labels,
                    const LmHeadKdOptions& options) {
  return Loss().call(hidden_nE, head_VE, OptionalOf(labels.teacher_hidden_nE),
                     OptionalOf(labels.teacher_head_VE), OptionalOf(labels.ids_n), OptionalOf(options.mask_n),
                     options.loss == LmHeadKdLoss::kDivergence, options.temperature);
}

LmHeadKdGradient LmHeadKdGradients(const at::Tensor& hidden_nE, const at::Tensor& head_VE,
                                   const LmHeadLabels& labels, const LmHeadKdOptions& options,
                                   const at::Tensor& grad_head_VE) {
  const c10::NoGradGuard no_grad;
  const auto [loss, grad_hidden] = Gradients().call(
      hidden_nE, head_VE, OptionalOf(labels.teacher_hidden_nE), OptionalOf(labels.teacher_head_VE),
      OptionalOf(labels.ids_n), OptionalOf(options.mask_n), options.loss == LmHeadKdLoss::kDivergence,
      options.temperature, OptionalOf(grad_head_VE));
  return {loss, grad_hidden};
}

}  // namespace retort
