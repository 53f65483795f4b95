#include "tool/probe.h"

#include <sstream>

#include "core/base/progress.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort {
namespace {

using nlohmann::json;
using testing::HasSubstr;

ProbeOptions TinyProbe(int64_t keep) {
  return {.job = std::filesystem::path(RETORT_SOURCE_DIR) / "tests/golden/tiny/job.yaml",
          .roots = {},
          .keep = keep,
          .steps = 3,
          .sequences = 2,
          .threads = 1};
}

struct Outcome {
  absl::StatusOr<json> result;
  std::string progress;
};

Outcome Probe(const ProbeOptions& options) {
  std::ostringstream out;
  Progress progress(out, {}, [] { return 0.0; });
  const std::atomic<bool> stop = false;
  absl::StatusOr<json> result = RunProbe(options, progress, stop);
  return {std::move(result), out.str()};
}

TEST(RunProbe, PutsLayersBackTheBestFirst) {
  const Outcome outcome = Probe(TinyProbe(2));
  ASSERT_TRUE(outcome.result.ok()) << outcome.result.status();
  const json& result = *outcome.result;
  EXPECT_EQ(result["layers"].size(), 4u);
  ASSERT_EQ(result["restored"].size(), 2u);
  EXPECT_LT(result["restored"][0]["kl"], result["kl"]);
  EXPECT_LT(result["restored"][1]["kl"], result["restored"][0]["kl"]);
  const auto kept = result["keep_attention"].get<std::vector<int64_t>>();
  EXPECT_THAT(kept, testing::UnorderedElementsAre(result["restored"][0]["layer"].get<int64_t>(),
                                                  result["restored"][1]["layer"].get<int64_t>()));
  EXPECT_LT(kept[0], kept[1]);
  EXPECT_GT(result["layers"][3]["distance"], 0.0);
  EXPECT_EQ(result["evenly"]["layers"], json({0, 2}));
  EXPECT_EQ(result["farthest"]["layers"].size(), 2u);
}

TEST(RunProbe, TrainsNoMoreStepsThanAskedFor) {
  const std::string progress = Probe(TinyProbe(1)).progress;
  EXPECT_THAT(progress, HasSubstr("matrix_orientation  step 3/3"));
  EXPECT_THAT(progress, HasSubstr("hidden_state_alignment  step 3/3"));
  EXPECT_THAT(progress, HasSubstr("comparing with the teacher  model 11/11"));
}

TEST(RunProbe, GivesTheSameNumbersAgain) {
  EXPECT_EQ(Probe(TinyProbe(1)).result->dump(), Probe(TinyProbe(1)).result->dump());
}

TEST(RunProbe, RefusesToKeepEveryLayer) {
  const absl::Status status = Probe(TinyProbe(4)).result.status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("has 4 layers, so at most 3 can stay attention"));
}

}  // namespace
}  // namespace retort
