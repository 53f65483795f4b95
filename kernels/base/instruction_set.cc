#include "kernels/base/instruction_set.h"

#include <cstdio>
#include <cstdlib>

namespace retort {
namespace {

bool IsSupported(InstructionSet set) {
  switch (set) {
    case InstructionSet::kAvx512:
      return IsSupported(InstructionSet::kAvx2) && __builtin_cpu_supports("avx512f") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl");
    case InstructionSet::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case InstructionSet::kPortable:
      return true;
  }
  return false;
}

InstructionSet Choose() {
  const char* wanted = std::getenv("RETORT_CPU");
  if (wanted == nullptr || *wanted == '\0') return SupportedInstructionSets().back();
  const std::optional<InstructionSet> named = InstructionSetNamed(wanted);
  if (named && IsSupported(*named)) return *named;
  std::fprintf(stderr,
               named ? "RETORT_CPU=%s: this processor lacks it; it has:"
                     : "RETORT_CPU=%s names no instruction set; this processor has:",
               wanted);
  for (const InstructionSet set : SupportedInstructionSets()) {
    std::fprintf(stderr, " %s", Name(set).data());
  }
  std::fprintf(stderr, "\n");
  std::_Exit(2);
}

}  // namespace

std::string_view Name(InstructionSet set) {
  switch (set) {
    case InstructionSet::kAvx512:
      return "avx512";
    case InstructionSet::kAvx2:
      return "avx2";
    case InstructionSet::kPortable:
      return "portable";
  }
  return "";
}

std::optional<InstructionSet> InstructionSetNamed(std::string_view name) {
  for (const auto set : {InstructionSet::kPortable, InstructionSet::kAvx2, InstructionSet::kAvx512}) {
    if (Name(set) == name) return set;
  }
  return std::nullopt;
}

std::vector<InstructionSet> SupportedInstructionSets() {
  std::vector<InstructionSet> supported;
  for (const auto set : {InstructionSet::kPortable, InstructionSet::kAvx2, InstructionSet::kAvx512}) {
    if (IsSupported(set)) supported.push_back(set);
  }
  return supported;
}

InstructionSet ActiveInstructionSet() {
  static const InstructionSet active = Choose();
  return active;
}

}  // namespace retort
