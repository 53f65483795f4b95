#include "tool/verbs.h"

#include <sstream>

#include "absl/strings/str_cat.h"
#include "core/base/machine_memory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Args = std::vector<std::string>;

struct Streams {
  std::ostringstream out;
  std::ostringstream err;
};

TEST(ParseEval, ReadsEveryFlag) {
  Streams streams;
  const auto parsed = ParseEval({"student", "--teacher", "teacher", "--data", "a.bin", "b.bin", "--window",
                                 "128", "--max-tokens", "5000", "--threads", "2", "-o", "json"},
                                streams.out, streams.err);
  const EvalCommand& command = std::get<EvalCommand>(parsed);
  EXPECT_EQ(command.options.model, "student");
  EXPECT_EQ(command.options.teacher, "teacher");
  EXPECT_THAT(command.options.data, ElementsAre("a.bin", "b.bin"));
  EXPECT_EQ(command.options.window, 128);
  EXPECT_EQ(command.options.max_tokens, 5000);
  EXPECT_EQ(command.options.threads, 2);
  EXPECT_TRUE(command.json);
}

TEST(ParseEval, LeavesWhatIsAbsentToTheModel) {
  Streams streams;
  const auto parsed = ParseEval({"student", "--data", "a.bin"}, streams.out, streams.err);
  const EvalCommand& command = std::get<EvalCommand>(parsed);
  EXPECT_EQ(command.options.teacher, std::nullopt);
  EXPECT_EQ(command.options.window, 0);
  EXPECT_EQ(command.options.max_tokens, 0);
  EXPECT_EQ(command.options.threads, 0);
  EXPECT_FALSE(command.json);
}

TEST(ParseEval, RefusesWhatCannotBeMeasured) {
  for (const Args& args :
       {Args{"student"}, Args{"--data", "a.bin"}, Args{"s", "--data", "a.bin", "--window", "1"},
        Args{"s", "--data", "a.bin", "-o", "yaml"}, Args{"s", "--data", "a.bin", "--max-tokens", "1"}}) {
    Streams streams;
    EXPECT_EQ(std::get<int>(ParseEval(args, streams.out, streams.err)), 2) << testing::PrintToString(args);
    EXPECT_THAT(streams.err.str(), StartsWith("retort eval: error: "));
  }
}

TEST(ParseEval, HelpBeginsWithExamples) {
  Streams streams;
  EXPECT_EQ(std::get<int>(ParseEval({"--help"}, streams.out, streams.err)), 0);
  EXPECT_THAT(streams.out.str(), HasSubstr("teacher.\n\nExamples:\n  retort eval "));
}

TEST(RenderEval, ShowsFiguresThenLayers) {
  const nlohmann::json result = {
      {"perplexity", 18.2345678}, {"tokens", 4096}, {"kl", 0.125}, {"hidden_distance", {0.5, 1.25}}};
  EXPECT_EQ(RenderEval(result),
            "METRIC         VALUE\n"
            "kl             0.125\n"
            "perplexity   18.2346\n"
            "tokens          4096\n"
            "\n"
            "LAYER   HIDDEN_DISTANCE\n"
            "    0               0.5\n"
            "    1              1.25\n");
}

TEST(ParseGenerate, IsGreedyUnlessToldOtherwise) {
  Streams streams;
  const auto parsed = ParseGenerate({"student", "--prompt", "Once upon"}, streams.out, streams.err);
  const GenerateOptions& options = std::get<GenerateOptions>(parsed);
  EXPECT_EQ(options.model, "student");
  EXPECT_EQ(options.prompt, "Once upon");
  EXPECT_EQ(options.tokens, 64);
  EXPECT_EQ(options.temperature, 0);
  EXPECT_EQ(options.top_k, 0);
}

TEST(ParseGenerate, AsksInAChatWhenToldTo) {
  Streams streams;
  const auto parsed = ParseGenerate({"student", "--chat", "--prompt", "Hi"}, streams.out, streams.err);
  EXPECT_TRUE(std::get<GenerateOptions>(parsed).chat);
}

TEST(ParseTokenize, LooksForMessagesOfChats) {
  Streams streams;
  const Args args = {"--tokenizer", "dir", "--out", "train", "a.jsonl", "--chat"};
  EXPECT_EQ(std::get<TokenizeOptions>(ParseTokenize(args, streams.out, streams.err)).text_field, "messages");
}

TEST(ParseTokenize, TakesADayForChatTemplates) {
  Streams streams;
  Args args = {"--tokenizer", "dir", "--out", "train", "a.jsonl"};
  EXPECT_EQ(std::get<TokenizeOptions>(ParseTokenize(args, streams.out, streams.err)).date,
            absl::CivilDay(2024, 7, 26));
  args.insert(args.end(), {"--date", "2025-02-28"});
  EXPECT_EQ(std::get<TokenizeOptions>(ParseTokenize(args, streams.out, streams.err)).date,
            absl::CivilDay(2025, 2, 28));
  args.back() = "28.2.2025";
  EXPECT_EQ(std::get<int>(ParseTokenize(args, streams.out, streams.err)), 2);
  EXPECT_THAT(streams.err.str(), HasSubstr("--date 28.2.2025 is no day; give one as 2024-07-26"));
}

TEST(ParseGenerate, ReadsTheSampling) {
  Streams streams;
  const auto parsed = ParseGenerate({"student", "--prompt", "x", "--tokens", "9", "--temperature", "0.5",
                                     "--top-k", "40", "--seed", "18446744073709551615"},
                                    streams.out, streams.err);
  const GenerateOptions& options = std::get<GenerateOptions>(parsed);
  EXPECT_EQ(options.tokens, 9);
  EXPECT_EQ(options.temperature, 0.5);
  EXPECT_EQ(options.top_k, 40);
  EXPECT_EQ(options.seed, 18446744073709551615u);
}

TEST(ParseGenerate, TakesAPromptThatLooksLikeAFlag) {
  Streams streams;
  const auto parsed = ParseGenerate({"student", "--prompt=--list the menu"}, streams.out, streams.err);
  EXPECT_EQ(std::get<GenerateOptions>(parsed).prompt, "--list the menu");
}

TEST(ParseGenerate, RefusesTopKWithoutSampling) {
  Streams streams;
  EXPECT_EQ(
      std::get<int>(ParseGenerate({"student", "--prompt", "x", "--top-k", "4"}, streams.out, streams.err)),
      2);
  EXPECT_THAT(streams.err.str(), HasSubstr("--temperature"));
}

TEST(ParseGenerate, RefusesValuesOutOfRange) {
  for (const Args& flag :
       {Args{"--tokens", "0"}, Args{"--temperature", "-1"}, Args{"--seed", "-1"}, Args{"--threads", "0"}}) {
    Streams streams;
    const Args args = {"student", "--prompt", "x", flag[0], flag[1]};
    EXPECT_EQ(std::get<int>(ParseGenerate(args, streams.out, streams.err)), 2) << flag[0];
  }
}

TEST(ParseGenerate, SaysInOneShortLineWhatASeedIs) {
  for (const char* seed : {"-1", "1.5", "111111111111111111111"}) {
    Streams streams;
    const Args args = {"student", "--prompt", "x", "--seed", seed};
    EXPECT_EQ(std::get<int>(ParseGenerate(args, streams.out, streams.err)), 2) << seed;
    EXPECT_THAT(streams.err.str(), HasSubstr(absl::StrCat("'", seed, "' is no whole number from 0 to 2^64")));
  }
}

TEST(ParseTokenize, SaysInOneShortLineWhatASeedIs) {
  Streams streams;
  const Args args = {"--tokenizer", "dir", "--out", "train", "a.txt", "--holdout-seed", "-1"};
  EXPECT_EQ(std::get<int>(ParseTokenize(args, streams.out, streams.err)), 2);
  EXPECT_THAT(streams.err.str(), HasSubstr("'-1' is no whole number from 0 to 2^64"));
}

TEST(ParseGenerate, RefusesATemperatureThatNoLogitSurvives) {
  for (const char* value : {"nan", "inf", "-1", "1e-40", "0.009", "101"}) {
    Streams streams;
    const Args args = {"student", "--prompt", "x", "--temperature", value};
    const auto parsed = ParseGenerate(args, streams.out, streams.err);
    ASSERT_TRUE(std::holds_alternative<int>(parsed)) << value;
    EXPECT_EQ(std::get<int>(parsed), 2) << value;
    EXPECT_THAT(streams.err.str(), HasSubstr("give 0, or from 0.01 to 100"));
  }
}

nlohmann::json InspectedJob(bool fits) {
  const auto need = [](const char* stage, double gibibytes, bool fits) {
    const double bytes = gibibytes * (1 << 30);
    return nlohmann::json{{"stage", stage},         {"teacher", bytes / 2}, {"student", bytes / 4},
                          {"optimizer", bytes / 8}, {"checkpoint", 0},      {"activations", 0},
                          {"peak", bytes},          {"fits", fits}};
  };
  return {{"kind", "job"},
          {"name", "tiny"},
          {"has_weights", true},
          {"config", nlohmann::json::object()},
          {"layers", nlohmann::json::array()},
          {"parameters", {{"total", 7}}},
          {"teacher_parameters", 1'418'270'720},
          {"stages",
           {{{"name", "end_to_end"},
             {"steps", 5},
             {"tokens", 5120},
             {"tokens_per_step", 1024},
             {"accumulation", 2},
             {"lr", 7.5e-4}}}},
          {"memory", {need("matrix_orientation", 4, true), need("end_to_end", 32, fits)}},
          {"worker_memory", 16.0 * (1 << 30)}};
}

TEST(RenderInspect, SaysWhetherAJobsTeacherHasWeights) {
  nlohmann::json job = InspectedJob(true);
  EXPECT_THAT(RenderInspect(job), StartsWith("job tiny is valid\n"));
  job["has_weights"] = false;
  EXPECT_THAT(RenderInspect(job),
              StartsWith("job tiny is valid; a run needs its teacher's weights, which are not here\n"));
}

TEST(RenderInspect, ShowsWhatAJobTakes) {
  EXPECT_THAT(
      RenderInspect(InspectedJob(true)),
      HasSubstr(
          "of the teacher: 1418270720 parameters\n"
          "\n"
          "STAGE        STEPS   TOKENS   TOKENS_PER_STEP   ACCUMULATION        LR\n"
          "end_to_end       5     5120              1024              2   0.00075\n"
          "\n"
          "MEMORY                            TEACHER    STUDENT   OPTIMIZER   CHECKPOINT   ACTIVATIONS   "
          "     PEAK\n"
          "matrix_orientation, one layer    2.00 GiB   1.00 GiB    0.50 GiB     0.00 GiB      0.00 GiB   "
          " 4.00 GiB\n"
          "end_to_end                      16.00 GiB   8.00 GiB    4.00 GiB     0.00 GiB      0.00 GiB   "
          "32.00 GiB\n"
          "\n"
          "fits a worker's 16.00 GiB\n"));
}

TEST(RenderInspect, SaysThatAJobIsValid) {
  EXPECT_THAT(RenderInspect(InspectedJob(true)), testing::StartsWith("job tiny is valid\n\n"));
}

TEST(ParseInspect, TakesAWorkersMemoryAndWhoAsks) {
  Streams streams;
  InspectCommand command = std::get<InspectCommand>(ParseInspect({"job.yaml"}, streams.out, streams.err));
  EXPECT_EQ(command.options.memory_bytes, MachineMemoryBytes());
  EXPECT_EQ(command.name, "retort inspect");
  command = std::get<InspectCommand>(
      ParseInspect({"job.yaml", "--memory", "1000", "--as", "retort run"}, streams.out, streams.err));
  EXPECT_EQ(command.options.memory_bytes, 1000u);
  EXPECT_EQ(command.name, "retort run");
}

TEST(RenderInspect, SaysWhatDoesNotFitAndByHowMuch) {
  EXPECT_EQ(MissingMemory(InspectedJob(true)), "");
  const std::string missing = MissingMemory(InspectedJob(false));
  EXPECT_EQ(missing,
            "does not fit: end_to_end needs 32.00 GiB, a worker has 16.00 GiB; lower micro_batch or "
            "data.seq_len, train less, give `retort run` fewer --workers, which share this machine's memory, "
            "or submit it to larger workers");
  EXPECT_THAT(RenderInspect(InspectedJob(false)), testing::EndsWith("\n" + missing + "\n"));
  EXPECT_EQ(MissingMemory({{"kind", "teacher"}}), "");
}

TEST(RenderInspect, ShowsConfigLayersAndParameters) {
  const nlohmann::json result = {
      {"kind", "student"},
      {"config", {{"hidden_size", 64}, {"model_type", "llama"}}},
      {"layers",
       {{{"mixer", "mamba2"}, {"parameters", 1200}}, {{"mixer", "attention"}, {"parameters", 900}}}},
      {"parameters", {{"total", 2100}}}};
  EXPECT_EQ(RenderInspect(result),
            "student\n"
            "\n"
            "CONFIG        VALUE\n"
            "hidden_size   64\n"
            "model_type    llama\n"
            "\n"
            "LAYER   MIXER       PARAMETERS\n"
            "    0   mamba2            1200\n"
            "    1   attention          900\n"
            "\n"
            "PARAMETERS   VALUE\n"
            "total         2100\n");
}

TEST(ParseProbe, ReadsEveryFlag) {
  Streams streams;
  const auto parsed = ParseProbe({"job.yaml", "--root", "a", "--root", "b", "--keep", "8", "--steps", "90",
                                  "--sequences", "4", "--threads", "2", "-o", "json"},
                                 streams.out, streams.err);
  const ProbeCommand& command = std::get<ProbeCommand>(parsed);
  EXPECT_EQ(command.options.job, "job.yaml");
  EXPECT_THAT(command.options.roots, ElementsAre("a", "b"));
  EXPECT_EQ(command.options.keep, 8);
  EXPECT_EQ(command.options.steps, 90);
  EXPECT_EQ(command.options.sequences, 4);
  EXPECT_EQ(command.options.threads, 2);
  EXPECT_TRUE(command.json);
}

TEST(ParseProbe, WantsToKnowHowManyLayersToKeep) {
  for (const Args& args : {Args{"job.yaml"}, Args{"job.yaml", "--keep", "0"}, Args{"--keep", "8"}}) {
    Streams streams;
    EXPECT_EQ(std::get<int>(ParseProbe(args, streams.out, streams.err)), 2) << testing::PrintToString(args);
  }
}

TEST(RenderProbe, EndsWithTheLineForTheJobFile) {
  const nlohmann::json result = {{"kl", 2.5},
                                 {"layers",
                                  {{{"kl_alone", 0.25}, {"distance", 3.5}},
                                   {{"kl_alone", 1.125}, {"distance", 54.375}},
                                   {{"kl_alone", 0.5}, {"distance", 4}}}},
                                 {"evenly", {{"layers", {0, 1}}, {"kl", 0.5}}},
                                 {"farthest", {{"layers", {1, 2}}, {"kl", 0.625}}},
                                 {"restored", {{{"layer", 1}, {"kl", 0.75}}, {{"layer", 0}, {"kl", 0.5}}}},
                                 {"keep_attention", {0, 1}}};
  EXPECT_EQ(RenderProbe(result),
            "LAYER   KL-CONVERTED-ALONE   DISTANCE-LEFT\n"
            "    0               0.2500             3.5\n"
            "    1               1.1250           54.38\n"
            "    2               0.5000               4\n"
            "\n"
            "ATTENTION IN       KL\n"
            "none           2.5000\n"
            "and 1          0.7500\n"
            "and 0          0.5000\n"
            "\n"
            "CHOSEN BY        LAYERS       KL\n"
            "KL, one by one   0, 1     0.5000\n"
            "even spacing     0, 1     0.5000\n"
            "distance left    1, 2     0.6250\n"
            "\n"
            "keep_attention: [0, 1]\n");
}

TEST(ParseTokenize, ReadsEveryFlag) {
  Streams streams;
  const auto parsed =
      ParseTokenize({"--tokenizer", "dir", "--out", "train", "--eod", "<|end|>", "--text-field", "body",
                     "--holdout", "0.02", "--holdout-seed", "5", "--holdout-out", "eval", "a.txt", "b.jsonl"},
                    streams.out, streams.err);
  const TokenizeOptions& options = std::get<TokenizeOptions>(parsed);
  EXPECT_EQ(options.tokenizer, "dir");
  EXPECT_EQ(options.output, "train");
  EXPECT_EQ(options.end_of_document, "<|end|>");
  EXPECT_EQ(options.text_field, "body");
  EXPECT_EQ(options.holdout_fraction, 0.02);
  EXPECT_EQ(options.holdout_seed, 5u);
  EXPECT_EQ(options.holdout_output, "eval");
  EXPECT_THAT(options.inputs, ElementsAre("a.txt", "b.jsonl"));
}

TEST(ParseTokenize, WantsTheHoldoutAndItsPlaceTogether) {
  const Args base = {"--tokenizer", "dir", "--out", "train", "a.txt"};
  for (const Args& extra :
       {Args{"--holdout", "0.1"}, Args{"--holdout-out", "eval"}, Args{"--holdout-documents", "3"}}) {
    Streams streams;
    Args args = base;
    args.insert(args.end(), extra.begin(), extra.end());
    EXPECT_EQ(std::get<int>(ParseTokenize(args, streams.out, streams.err)), 2) << extra[0];
    EXPECT_THAT(streams.err.str(), HasSubstr("--holdout-out"));
  }
}

TEST(RenderTokenize, CountsBothSides) {
  TokenizeOptions options;
  options.output = "train";
  options.holdout_output = "eval";
  TokenizeReport report;
  report.train = {.documents = 98, .tokens = 12345, .text_bytes = 50000};
  report.holdout = {.documents = 2, .tokens = 300, .text_bytes = 1200};
  report.empty_documents = 1;
  report.ill_formed_parts = 3;
  EXPECT_EQ(RenderTokenize(options, report),
            "OUTPUT   DOCUMENTS   TOKENS   BYTES\n"
            "train           98    12345   50000\n"
            "eval             2      300    1200\n"
            "1 empty documents left out\n"
            "3 parts were not UTF-8 and became U+FFFD\n");
}

}  // namespace
}  // namespace retort
