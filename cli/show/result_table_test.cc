#include "cli/show/result_table.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort {
namespace {

using nlohmann::json;

TEST(RenderResult, HasARowPerModelAndOnePerStage) {
  const json student = {{"perplexity", 31.256},
                        {"kl", 0.51},
                        {"top1_agreement", 0.6},
                        {"free_running_agreement", 0.25},
                        {"hidden_distance", {1.0, 2.0, nullptr, 4.0}},  // null: not finite
                        {"off_domain", {{"perplexity", 50.0}}}};
  const json result = {
      {"layer_types",
       {"attention", "mamba2", "mamba2", "mamba2"}},  // the first was kept, but stage 3 moved it
      {"teacher", {{"perplexity", 20.0}}},
      {"initial", {{"perplexity", nullptr}, {"kl", 9.0}, {"hidden_distance", {0.0, 0.0, 0.0, 0.0}}}},
      {"stages",
       {{{"name", "end_to_end"},
         {"tokens", 5120},
         {"seconds", 75},
         {"loss_first", 3.5},
         {"loss_last", 0.25},
         {"student", student}}}},
      {"tokens_per_second", {{"end_to_end", 68.4}}},
      {"seconds", 130.2},
      {"peak_memory_bytes", 300 << 20}};
  EXPECT_EQ(RenderResult(result),
            "MODEL               PERPLEXITY      KL    TOP1   FREE-RUNNING   DISTANCE   OFF-DOMAIN\n"
            "teacher                  20.00       -       -              -          -            -\n"
            "student-untrained            -   9.000       -              -       0.00            -\n"
            "after-end_to_end         31.26   0.510   0.600          0.250       3.00        50.00\n"
            "\n"
            "STAGE        TOKENS   WORKER-TIME   TOK/S   FIRST-LOSS   LAST-LOSS\n"
            "end_to_end     5120         1m15s      68       3.5000      0.2500\n"
            "\n"
            "2m10s of workers' time, peak memory of one 300 MiB\n");
}

}  // namespace
}  // namespace retort
