#include "train/stages/checkpointed_block.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

namespace retort {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Block : torch::CustomClassHolder {
  Block(const LanguageModel& model, int64_t layer, const RotaryTable& rotary)
      : model(model), layer(layer), rotary(rotary) {}
  // With a graph both times: the kernels take other ways, to other bits, where nothing trains.
  at::Tensor Run(const at::Tensor& hidden_BTE) const {
    const at::AutoGradMode graph(true);
    return RunBlock(model, layer, hidden_BTE, rotary, nullptr);
  }
  const LanguageModel& model;
  const int64_t layer;
  const RotaryTable rotary;
};

class CheckpointedBlock : public torch::autograd::Function<CheckpointedBlock> {
 public:
  // `trained` is there for autograd alone, which goes back only to where something trains: the lowest block's
  // input does not.
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden_BTE,
                            const at::Tensor& /*trained*/, const c10::intrusive_ptr<Block>& block) {
    context->save_for_backward({hidden_BTE});
    context->saved_data["block"] = c10::IValue::make_capsule(block);
    return block->Run(Leaf(hidden_BTE, hidden_BTE.requires_grad())).detach();
  }

  static variable_list backward(AutogradContext* context, const variable_list& incoming) {
    const auto block = c10::static_intrusive_pointer_cast<Block>(context->saved_data["block"].toCapsule());
    const at::Tensor hidden = Leaf(context->get_saved_variables()[0], context->needs_input_grad(0));
    torch::autograd::backward({block->Run(hidden)}, {incoming[0]});
    return {hidden.grad(), at::Tensor(), at::Tensor()};
  }

 private:
  static at::Tensor Leaf(const at::Tensor& tensor, bool requires_grad) {
    return tensor.detach().requires_grad_(requires_grad);
  }
};

}  // namespace

at::Tensor RunBlockCheckpointed(const LanguageModel& model, int64_t layer, const at::Tensor& hidden_BTE,
                                const RotaryTable& rotary) {
  const at::Tensor trained = at::empty({0}, hidden_BTE.options()).requires_grad_(true);
  return CheckpointedBlock::apply(hidden_BTE, trained, c10::make_intrusive<Block>(model, layer, rotary));
}

}  // namespace retort
