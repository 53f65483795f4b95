// The equations of mixing_loss.h as three nested loops in double precision: obvious, slow, any sizes.
#pragma once

#include "kernels/mixing_loss/mixing_loss.h"

namespace retort {

void MixingLossRef(const MixingLossArgs<double>& args);

}  // namespace retort
