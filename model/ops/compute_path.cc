#include "model/ops/compute_path.h"

#include <cstdio>
#include <cstdlib>

#include "kernels/base/instruction_set.h"

namespace retort {
namespace {

bool ReadSwitch() {
  const char* value = std::getenv("RETORT_KERNELS");
  const std::string text = value == nullptr ? "on" : value;
  if (text == "on" || text == "off") return text == "on";
  std::fprintf(stderr, "RETORT_KERNELS is \"%s\"; give on (the default) or off (plain LibTorch)\n", value);
  std::_Exit(2);
}

}  // namespace

bool KernelsOn() {
  static const bool on = ReadSwitch();
  return on;
}

bool KernelsTake(const at::Tensor& x) {
  return KernelsOn() && x.scalar_type() == at::kFloat && x.device().is_cpu();
}

std::string ComputePath() { return KernelsOn() ? std::string(Name(ActiveInstructionSet())) : "plain"; }

}  // namespace retort
