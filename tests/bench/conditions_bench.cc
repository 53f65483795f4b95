// The same calls under different conditions: one thread against two, AVX2 against AVX-512, decays that make
// denormals against ordinary ones.
#include <ATen/Parallel.h>

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/base/instruction_set.h"
#include "tests/bench/bench.h"
#include "tests/bench/op_calls.h"

namespace retort {
namespace {

constexpr int kRounds = 5;

void BenchThreads() {
  for (const OpCall& call : OpCalls()) {
    const auto on = [&](int threads) {
      return [&call, threads] {
        at::set_num_threads(threads);
        call.run();
      };
    };
    const std::vector<double> seconds = TimeInterleaved(kRounds, {on(1), on(2)});
    Report("threads: " + call.name + ", 1 / 2 threads", seconds[0] / seconds[1], "x");
  }
}

std::vector<double> OpTimes() {
  std::vector<std::function<void()>> functions;
  for (const OpCall& call : OpCalls()) functions.push_back(call.run);
  return TimeInterleaved(kRounds, functions);
}

// Alternately, so that a noisy spell hits both.
void BenchInstructionSets() {
  const std::vector<InstructionSet> supported = SupportedInstructionSets();
  if (supported.back() != InstructionSet::kAvx512) return;
  std::vector<OpCall> calls = OpCalls();
  std::vector<double> avx2(calls.size(), 1e30), avx512(calls.size(), 1e30);
  const auto keep_best = [](std::vector<double>& best, const char* set) {
    const std::vector<double> times = RunInChild("op times", std::string("RETORT_CPU=") + set);
    for (size_t i = 0; i < best.size(); ++i) best[i] = std::min(best[i], times[i]);
  };
  for (int round = 0; round < 2; ++round) {
    keep_best(avx2, "avx2");
    keep_best(avx512, "avx512");
  }
  for (size_t i = 0; i < calls.size(); ++i) {
    Report("instruction sets: " + calls[i].name + ", avx512", avx512[i] * 1e3, "ms");
    Report("instruction sets: " + calls[i].name + ", avx2 / avx512", avx2[i] / avx512[i], "x");
  }
}

void ReportDenormals(const std::string& op, const std::vector<double>& seconds) {
  Report("denormals: " + op + ", ordinary decays", seconds[0] * 1e3, "ms");
  Report("denormals: " + op + ", denormal / ordinary", seconds[1] / seconds[0], "x", AtMost(1.2));
}

// float32 is denormal between 1.2e-38 and 1.4e-45: exp(-87.3) and exp(-103.3).
void BenchDenormals() {
  constexpr int64_t kTokens = 2048;
  // A chunk of 32 tokens decays by exp(-93), and so do the states between chunks.
  const SsdInputs ordinary = SmolLmScan(kTokens, -0.5), vanishing = SmolLmScan(kTokens, -2.9);
  ReportDenormals(
      "ssd T=2048 H=9 G=1 P=64 N=128",
      TimeInterleaved(kRounds, {[&] { RunFusedScan(ordinary); }, [&] { RunFusedScan(vanishing); }}));
  // Decay by exp(-41) over the sequence keeps every tile alive; with c as small, far entries are about 1e-40.
  const MixingProblem plain = SmolLmMixing(kTokens, -0.02), tiny = SmolLmMixing(kTokens, -0.02);
  tiny.inputs.c_BTGN.detach().mul_(1e-21);
  ReportDenormals("mixing_loss T=2048 H=9 K=3 G=1 N=128",
                  TimeInterleaved(kRounds, {[&] { RunFusedMixing(plain); }, [&] { RunFusedMixing(tiny); }}));
}

const bool registered[] = {RegisterBench("threads", &BenchThreads), RegisterChild("op times", &OpTimes),
                           RegisterBench("instruction_sets", &BenchInstructionSets),
                           RegisterBench("denormals", &BenchDenormals)};

}  // namespace
}  // namespace retort
