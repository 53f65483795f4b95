// Activation checkpointing (Chen et al. 2016, arXiv 1604.06174) of one block of a model in training: its
// forward pass keeps its input alone, and the backward pass runs it again. The bits are those of RunBlock.
#pragma once

#include "model/lm/language_model.h"

namespace retort {

// As RunBlock. `model` outlives the backward pass and is not changed before it; gradients of its weights are
// added up in their grad(). Only backward(): the weights are no inputs that autograd::grad could ask for.
at::Tensor RunBlockCheckpointed(const LanguageModel& model, int64_t layer, const at::Tensor& hidden_BTE,
                                const RotaryTable& rotary);

}  // namespace retort
