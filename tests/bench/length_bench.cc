// Time against the number of tokens: the scan and stage 1's loss, forward and backward, with their plain
// forms. plot_time_against_T.py draws docs/img/time_against_T.svg from the figures.
#include <string>

#include "tests/bench/bench.h"
#include "tests/bench/op_calls.h"

namespace retort {
namespace {

constexpr int64_t kShortest = 128, kLongest = 8192;
constexpr int64_t kLongestPlainMixing = 4096;  // twice that takes 20 GiB

void ReportLength(const std::string& op, int64_t tokens, double seconds) {
  Report("time_against_T " + op + " T=" + std::to_string(tokens), seconds * 1e3, "ms");
}

void BenchLength() {
  for (int64_t tokens = kShortest; tokens <= kLongest; tokens *= 2) {
    const int rounds = tokens > 1024 ? 2 : 7;
    const SsdInputs scan = SmolLmScan(tokens, -0.5);
    const MixingProblem mixing = SmolLmMixing(tokens, -1e-3);
    const bool materialise = tokens <= kLongestPlainMixing;
    std::vector<std::function<void()>> functions = {[&] { RunFusedScan(scan); }, [&] { RunPlainScan(scan); },
                                                    [&] { RunFusedMixing(mixing); }};
    if (materialise) functions.push_back([&] { RunPlainMixing(mixing); });
    const std::vector<double> seconds = TimeInterleaved(rounds, functions);
    ReportLength("ssd", tokens, seconds[0]);
    ReportLength("ssd einsum", tokens, seconds[1]);
    ReportLength("mixing_loss", tokens, seconds[2]);
    if (materialise) ReportLength("mixing_loss materialised", tokens, seconds[3]);
  }
}

const bool registered = RegisterBench("length", &BenchLength);

}  // namespace
}  // namespace retort
