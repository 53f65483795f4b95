// The equations of mixing_loss.h as three nested loops in double precision: obvious, slow, any sizes.
#pragma once

#include "kernels/mixing_loss/mixing_loss.h"

namespace retort {

void MixingLossForwardRef(const MixingLossInput<double>& input, double* loss_BH);
void MixingLossBackwardRef(const MixingLossInput<double>& input, const double* weight_BH,
                           const MixingLossGradients<double>& gradients);

}  // namespace retort
