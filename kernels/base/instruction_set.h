// Which of a kernel's compiled versions runs. Each SIMD source is compiled once per instruction set into the
// namespace of that name (retort_simd_sources in cmake/RetortTargets.cmake), declared with
// RETORT_SIMD_DECLARE and chosen with RETORT_SIMD_CHOOSE.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

namespace retort {

// In rising order: a processor that has one has those before it.
enum class InstructionSet { kPortable, kAvx2, kAvx512 };  // kAvx2 includes FMA; kAvx512 is F, BW, DQ and VL

// "portable", "avx2", "avx512".
std::string_view Name(InstructionSet set);
std::optional<InstructionSet> InstructionSetNamed(std::string_view name);

// Those of this processor, in rising order; never empty.
std::vector<InstructionSet> SupportedInstructionSets();

// The last supported one, or what the environment variable RETORT_CPU names. Decided at the first call; ends
// the process with a message and status 2 if RETORT_CPU names none or one that the processor lacks.
// Thread-safe.
InstructionSet ActiveInstructionSet();

template <class Function>
Function* ChooseVersion(InstructionSet set, Function* portable, Function* avx2, Function* avx512) {
  return set == InstructionSet::kAvx512 ? avx512 : set == InstructionSet::kAvx2 ? avx2 : portable;
}

}  // namespace retort

// RETORT_SIMD_DECLARE(void F(const Args& args)); inside namespace retort.
#define RETORT_SIMD_DECLARE(...) \
  namespace portable {           \
  __VA_ARGS__;                   \
  }                              \
  namespace avx2 {               \
  __VA_ARGS__;                   \
  }                              \
  namespace avx512 {             \
  __VA_ARGS__;                   \
  }

// A pointer to the version of `function` for an InstructionSet.
#define RETORT_SIMD_CHOOSE(set, function)                                                \
  ::retort::ChooseVersion(set, &::retort::portable::function, &::retort::avx2::function, \
                          &::retort::avx512::function)
