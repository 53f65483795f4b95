#include "core/config/job_schema.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/check.h"
#include "core/base/name.h"

namespace retort {
namespace {

constexpr uint64_t kBillion = 1'000'000'000;
constexpr uint64_t kMaxTokens = 1'000'000 * kBillion;
constexpr uint64_t kMaxTokensPerStep = 1000 * kBillion;
constexpr uint64_t kMaxLayers = 1024;
constexpr uint64_t kMaxRanks = 1024;
constexpr uint64_t kMaxSequence = 1 << 20;

using Type = JobKeyType;

void AddTeacher(std::vector<JobKey>& keys) {
  keys.push_back({.path = "name",
                  .type = Type::kName,
                  .field = "name",
                  .help = "The run's name, also of its directory."});
  keys.push_back({.path = "teacher",
                  .type = Type::kSection,
                  .field = "teacher",
                  .help = "The Transformer to learn from."});
  keys.push_back({.path = "teacher.path",
                  .type = Type::kDirectory,
                  .field = "teacher.path",
                  .help = "Its Hugging Face directory."});
}

void AddKeptAttention(std::vector<JobKey>& keys) {
  keys.push_back({.path = "student.keep_attention",
                  .type = Type::kKeepAttention,
                  .field = "student.keep_attention",
                  .fallback = "none",
                  .min = 0,
                  .max = kMaxLayers - 1,
                  .help = "The layers that stay attention, counted from 0."});
  keys.push_back(
      {.path = "student.keep_attention.every",
       .type = Type::kInteger,
       .field = "student.keep_attention.every",
       .fallback = "",
       .min = 2,
       .max = kMaxLayers,
       .help = "Keeps every layer whose number leaves the remainder `offset` when divided by this."});
  keys.push_back({.path = "student.keep_attention.offset",
                  .type = Type::kInteger,
                  .field = "student.keep_attention.offset",
                  .fallback = "0",
                  .min = 0,
                  .max = kMaxLayers - 1,
                  .help = "The remainder; less than `every`."});
  keys.push_back({.path = "student.keep_attention.auto",
                  .type = Type::kInteger,
                  .field = "student.keep_attention.auto_layers",
                  .fallback = "",
                  .min = 1,
                  .max = kMaxLayers - 1,
                  .help = "Keeps this many layers: a probe chooses them before the first stage, as `retort "
                          "probe` does, and the run keeps its choice."});
  keys.push_back({.path = "student.keep_attention.steps",
                  .type = Type::kInteger,
                  .field = "student.keep_attention.probe_steps",
                  .fallback = "",
                  .min = 1,
                  .max = 1'000'000,
                  .help = absl::StrCat("Steps of the probe's stage 1 and of its stage 2, at most the job's. "
                                       "Absent: ",
                                       kProbeSteps, ".")});
}

void AddStudent(std::vector<JobKey>& keys) {
  keys.push_back(
      {.path = "student", .type = Type::kSection, .field = "student", .help = "What the teacher becomes."});
  keys.push_back({.path = "student.mixer",
                  .type = Type::kChoice,
                  .field = "student.mixer",
                  .choices = {"mamba2", "discrete_mamba2"},
                  .help = "What replaces attention in the converted layers: Mamba-2 as stock runtimes have "
                          "it, or the paper's, without step size, activation and norm."});
  keys.push_back({.path = "student.state_size",
                  .type = Type::kInteger,
                  .field = "student.state_size",
                  .fallback = "128",
                  .min = 1,
                  .max = 1024,
                  .help = "State size N of each head."});
  keys.push_back({.path = "student.groups",
                  .type = Type::kInteger,
                  .field = "student.groups",
                  .fallback = "",
                  .min = 1,
                  .max = 1024,
                  .help =
                      "Heads of one group share B and C. Divides the teacher's query heads. Absent: 1 for "
                      "mamba2, which stock runtimes need, and one group per head for discrete_mamba2."});
  AddKeptAttention(keys);
  keys.push_back({.path = "student.init",
                  .type = Type::kChoice,
                  .field = "student.init",
                  .fallback = "qkvo",
                  .choices = {"paper", "qkvo"},
                  .help =
                      "First weights: random with an identity convolution (paper), or x, B, C and out copied "
                      "from the attention's V, K, Q and O where the shapes allow (qkvo)."});
}

void AddData(std::vector<JobKey>& keys) {
  keys.push_back({.path = "data",
                  .type = Type::kSection,
                  .field = "data",
                  .help = "Tokens to train on and to measure with."});
  keys.push_back({.path = "data.train",
                  .type = Type::kTokenFiles,
                  .field = "data.train",
                  .help =
                      "Training tokens. Without weights the files are read as one stream of documents in "
                      "this order, so each counts by its size; with weights each is a source of its own."});
  keys.push_back({.path = "data.train.path",
                  .type = Type::kTokenFile,
                  .field = "train",
                  .help = "One source's tokens. At its end it begins anew in another order."});
  keys.push_back({.path = "data.train.weight",
                  .type = Type::kInteger,
                  .field = "train_weights",
                  .min = 1,
                  .max = 1000,
                  .help = "Its share of the sequences, in proportion to the others' weights."});
  keys.push_back(
      {.path = "data.eval", .type = Type::kTokenFile, .field = "data.eval", .help = "Held-out tokens."});
  keys.push_back({.path = "data.off_domain",
                  .type = Type::kTokenFile,
                  .field = "data.off_domain",
                  .fallback = "",
                  .help = "Tokens of a foreign domain, measured too when given."});
  keys.push_back({.path = "data.seq_len",
                  .type = Type::kInteger,
                  .field = "data.seq_len",
                  .min = 2,
                  .max = kMaxSequence,
                  .help = "Tokens of a training sequence, and at most of an evaluation window."});
  keys.push_back({.path = "data.seed",
                  .type = Type::kInteger,
                  .field = "data.seed",
                  .fallback = "1",
                  .min = 0,
                  .max = std::numeric_limits<uint64_t>::max(),
                  .help = "Decides batches and first weights."});
  keys.push_back({.path = "data.phases",
                  .type = Type::kPhases,
                  .field = "data.phases",
                  .fallback = "",
                  .help = "Other training tokens for a stage, or for the rest of it."});
  keys.push_back({.path = "data.phases.stage",
                  .type = Type::kChoice,
                  .field = "stage",
                  .choices = {"matrix_orientation", "hidden_state_alignment", "end_to_end"},
                  .help = "The stage; its phases stand in order."});
  keys.push_back({.path = "data.phases.from",
                  .type = Type::kTokens,
                  .field = "from_tokens",
                  .fallback = "0",
                  .min = 0,
                  .max = kMaxTokens,
                  .help = "Tokens of the stage before this phase, rounded up to whole sequences."});
  keys.push_back({.path = "data.phases.train",
                  .type = Type::kTokenFiles,
                  .field = "train",
                  .help = "What it trains on from there, as in `data.train`. A source that the stage had "
                          "before goes on where it stood."});
}

void AddStage(std::vector<JobKey>& keys, const std::string& stage, const std::string& help) {
  const std::string path = absl::StrCat("stages.", stage);
  keys.push_back({.path = path, .type = Type::kSection, .field = path, .fallback = "", .help = help});
  keys.push_back({.path = path + ".tokens",
                  .type = Type::kTokens,
                  .field = path + ".budget.tokens",
                  .min = 1,
                  .max = kMaxTokens,
                  .help = "Tokens to train on, rounded up to whole steps."});
  keys.push_back({.path = path + ".tokens_per_step",
                  .type = Type::kTokens,
                  .field = path + ".budget.tokens_per_step",
                  .min = 1,
                  .max = kMaxTokensPerStep,
                  .help = "Tokens of one optimiser step: a multiple of `data.seq_len` x `micro_batch`."});
  keys.push_back({.path = path + ".lr",
                  .type = Type::kLearningRate,
                  .field = path + ".budget.lr",
                  .help = "Learning rate on the plateau of the warm-up, stable, decay schedule."});
}

void AddStages(std::vector<JobKey>& keys) {
  keys.push_back({.path = "stages",
                  .type = Type::kSection,
                  .field = "stages",
                  .help = "The stages to run, in this order; one that is absent is skipped, one is needed."});
  AddStage(keys, "matrix_orientation", "Stage 1: each mixer's matrix towards the attention's.");
  AddStage(keys, "hidden_state_alignment", "Stage 2: each layer's output towards the teacher's.");
  keys.push_back(
      {.path = "stages.hidden_state_alignment.target",
       .type = Type::kChoice,
       .field = "stages.hidden_state_alignment.target",
       .fallback = "block",
       .choices = {"block", "mixer"},
       .help = "Which output is compared: the block's, or the mixer's before the residual (cheaper)."});
  keys.push_back({.path = "stages.hidden_state_alignment.train",
                  .type = Type::kChoice,
                  .field = "stages.hidden_state_alignment.train",
                  .fallback = "mixer",
                  .choices = {"mixer", "block"},
                  .help = "What is trained in the converted layers; `block` adds norms and MLPs and needs "
                          "`target: block`."});
  AddStage(keys, "end_to_end", "Stage 3: the student's predictions towards the teacher's.");
  keys.push_back({.path = "stages.end_to_end.train",
                  .type = Type::kChoice,
                  .field = "stages.end_to_end.train",
                  .fallback = "all",
                  .choices = {"mixer", "all"},
                  .help = "What is trained: the converted layers' mixers, or every weight."});
  keys.push_back({.path = "stages.end_to_end.labels",
                  .type = Type::kChoice,
                  .field = "stages.end_to_end.labels",
                  .fallback = "teacher",
                  .choices = {"teacher", "text"},
                  .help = "What to predict: the teacher's distribution, or the text's next token."});
  keys.push_back({.path = "stages.end_to_end.world_size",
                  .type = Type::kInteger,
                  .field = "stages.end_to_end.world_size",
                  .fallback = "auto",
                  .min = 1,
                  .max = kMaxRanks,
                  .zero = "auto",
                  .help = "Workers that train this stage together, each on its share of a step's sequences; "
                          "`auto`: as many as fit when it begins. Decides the last bits."});
  keys.push_back({.path = "stages.end_to_end.elastic",
                  .type = Type::kSwitch,
                  .field = "stages.end_to_end.elastic",
                  .fallback = "false",
                  .help = "Whether the others go on without a worker that is lost, and take another in, or "
                          "wait for its replacement; then the bits do not depend on losses."});
  keys.push_back({.path = "stages.end_to_end.activation_checkpointing",
                  .type = Type::kSwitch,
                  .field = "stages.end_to_end.activation_checkpointing",
                  .fallback = "false",
                  .help = "Whether a block keeps its input alone and runs again in the backward pass: less "
                          "memory, one more forward pass, the same bits."});
}

void AddRunning(std::vector<JobKey>& keys) {
  keys.push_back({.path = "checkpoint",
                  .type = Type::kSection,
                  .field = "checkpoint",
                  .fallback = "{}",
                  .help = "When the state is saved."});
  keys.push_back({.path = "checkpoint.every",
                  .type = Type::kInterval,
                  .field = "checkpoint.every_steps",
                  .fallback = "100 steps",
                  .min = 1,
                  .max = kBillion,
                  .help = "Optimiser steps, or time, between two checkpoints."});
  keys.push_back({.path = "evaluation",
                  .type = Type::kSection,
                  .field = "evaluation",
                  .fallback = "{}",
                  .help = "What is measured before the first stage and after each one."});
  keys.push_back({.path = "evaluation.tokens",
                  .type = Type::kTokens,
                  .field = "evaluation.tokens",
                  .fallback = "16384",
                  .min = 2,
                  .max = kMaxTokens,
                  .help = "At most this many tokens of `data.eval`, and of `data.off_domain`."});
  keys.push_back({.path = "evaluation.prompts",
                  .type = Type::kInteger,
                  .field = "evaluation.prompts",
                  .fallback = "8",
                  .min = 0,
                  .max = 10'000,
                  .help = "Prompts from `data.eval` that teacher and student continue; 0 leaves this out."});
  keys.push_back({.path = "evaluation.prompt_tokens",
                  .type = Type::kInteger,
                  .field = "evaluation.prompt_tokens",
                  .fallback = "32",
                  .min = 1,
                  .max = kMaxSequence,
                  .help = "Length of each prompt."});
  keys.push_back({.path = "evaluation.continuation_tokens",
                  .type = Type::kInteger,
                  .field = "evaluation.continuation_tokens",
                  .fallback = "32",
                  .min = 1,
                  .max = kMaxSequence,
                  .help = "Length of each continuation; with the prompt at most `data.seq_len`."});
  keys.push_back({.path = "micro_batch",
                  .type = Type::kInteger,
                  .field = "micro_batch",
                  .fallback = "1",
                  .min = 1,
                  .max = 65536,
                  .help = "Sequences in one forward and backward pass; decides memory, and the last bits."});
}

std::vector<JobKey> MakeJobKeys() {
  std::vector<JobKey> keys;
  AddTeacher(keys);
  AddStudent(keys);
  AddData(keys);
  AddStages(keys);
  AddRunning(keys);
  return keys;
}

}  // namespace

const std::vector<JobKey>& JobKeys() {
  static const std::vector<JobKey>* const keys = new std::vector<JobKey>(MakeJobKeys());
  return *keys;
}

std::vector<const JobKey*> JobKeysIn(const std::string& section) {
  std::vector<const JobKey*> inside;
  for (const JobKey& key : JobKeys()) {
    const size_t dot = key.path.rfind('.');
    const std::string parent = dot == std::string::npos ? "" : key.path.substr(0, dot);
    if (parent == section) inside.push_back(&key);
  }
  return inside;
}

std::vector<std::string> LeafNamesIn(const std::string& section) {
  std::vector<std::string> names;
  for (const JobKey* key : JobKeysIn(section)) names.push_back(LeafName(*key));
  return names;
}

std::string LeafName(const JobKey& key) { return key.path.substr(key.path.rfind('.') + 1); }

std::string ExpectedValue(const JobKey& key) {
  const std::string range = absl::StrCat("from ", key.min, " to ", key.max);
  switch (key.type) {
    case Type::kSection:
      return absl::StrCat("a section of keys (", absl::StrJoin(LeafNamesIn(key.path), ", "), ")");
    case Type::kName:
      return std::string(kNameRule);
    case Type::kDirectory:
      return "the path of a directory with config.json";
    case Type::kTokenFile:
      return "the path of a .bin file with its .idx beside it";
    case Type::kTokenFiles:
      return "the path of a .bin file, or a list of them, or of {path: FILE.bin, weight: N}, each with its "
             ".idx beside it";
    case Type::kPhases:
      return absl::StrCat("a list of sections of keys (", absl::StrJoin(LeafNamesIn(key.path), ", "), ")");
    case Type::kInteger:
      return absl::StrCat(key.zero.empty() ? "" : absl::StrCat(key.zero, " or "), "a whole number ", range);
    case Type::kTokens:
      return absl::StrCat("a number of tokens from ", key.min, " to ", key.max / kBillion,
                          "B, such as 4096, 32k, 80M or 2.76B");
    case Type::kInterval:
      return absl::StrCat("a number of steps ", range,
                          ", such as 100 steps, or a time up to 7 days, such as 10 "
                          "minutes, 90s or 2h");
    case Type::kLearningRate:
      return "a number over 0 and at most 1";
    case Type::kSwitch:
      return "true or false";
    case Type::kChoice:
      return absl::StrJoin(key.choices, " or ");
    case Type::kKeepAttention:
      return absl::StrCat("none, {every: 4, offset: 3}, {auto: 8}, or a list of layers ", range);
  }
  RETORT_CHECK(false) << key.path;
  return "";
}

}  // namespace retort
