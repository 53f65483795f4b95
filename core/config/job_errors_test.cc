#include <algorithm>

#include "core/config/job_fixture.h"
#include "gmock/gmock.h"

namespace retort {
namespace {

class JobFileErrors : public JobFixture {};

TEST_F(JobFileErrors, PointAtUnknownKeysAndSuggestTheNearest) {
  EXPECT_EQ(Errors(Edited("  seed: 7", "  sed: 7")),
            "job.yaml:13:3: unknown key \"sed\" in data; did you mean seed? allowed here: train, eval, "
            "off_domain, seq_len, seed, phases");
  EXPECT_EQ(Errors(Edited("  seed: 7", "  zebra: 7")),
            "job.yaml:13:3: unknown key \"zebra\" in data; allowed here: train, eval, off_domain, seq_len, "
            "seed, phases");
  EXPECT_EQ(Errors(Edited("  seed: 7", "  micro_batch: 7")),
            "job.yaml:13:3: unknown key \"micro_batch\" in data; it belongs at the top of the file; allowed "
            "here: train, eval, off_domain, seq_len, seed, phases");
  EXPECT_EQ(Errors(Edited("  seed: 7", "  [a]: 7")),
            "job.yaml:13:3: a key must be a word, but this is a list");
  EXPECT_EQ(Errors(Edited("  seed: 7\n", "  seed: 7\ndevice: auto\n")),
            "job.yaml:14:1: unknown key \"device\"; allowed here: name, teacher, student, data, stages, "
            "checkpoint, evaluation, micro_batch");
  EXPECT_EQ(Errors(Edited("offset: 3", "ofset: 3")),
            "job.yaml:7:30: unknown key \"ofset\" in student.keep_attention; did you mean offset? allowed "
            "here: every, offset, auto, steps");
  EXPECT_EQ(Errors(Edited("lr: 1}", "lr: 1, batch: 3}")),
            "job.yaml:20:63: unknown key \"batch\" in stages.end_to_end; allowed here: tokens, "
            "tokens_per_step, lr, train, labels, world_size, elastic, "
            "activation_checkpointing");
}

TEST_F(JobFileErrors, RefuseMoreWorkersThanAStepHasSequences) {
  EXPECT_EQ(Errors(Edited("lr: 1}", "lr: 1, world_size: 1024}")), "");
  EXPECT_EQ(Errors(Edited("tokens_per_step: 524288, lr: 1}", "tokens_per_step: 2048, lr: 1, world_size: 5}")),
            "job.yaml:20:73: stages.end_to_end.world_size: 5 workers cannot share out the 4 sequences of a "
            "step; give auto, at most 4, or more tokens_per_step");
  EXPECT_EQ(Errors(Edited("lr: 1}", "lr: 1, world_size: many, elastic: yes}")),
            "job.yaml:20:75: stages.end_to_end.world_size: \"many\" is not a whole number; give auto or a "
            "whole number from 1 to 1024\njob.yaml:20:90: stages.end_to_end.elastic: \"yes\" is neither; "
            "give true or false");
}

TEST_F(JobFileErrors, PointAtTheSecondOfTwoEqualKeys) {
  EXPECT_EQ(Errors(Edited("  seed: 7", "  seed: 7\n  seed: 8")),
            "job.yaml:14:3: data.seed: given twice, first in line 13; remove one");
  EXPECT_EQ(Errors(Edited("lr: 1}", "lr: 1, lr: 1}")),
            "job.yaml:20:63: stages.end_to_end.lr: given twice, first in line 20; remove one");
}

TEST_F(JobFileErrors, PointAtTheSectionThatLacksAKey) {
  EXPECT_EQ(Errors(Edited("name: smollm2-hybrid\n", "")),
            "job.yaml:1:1: name: missing; the key is required; give 1 to 63 of a-z, 0-9, dot, dash and "
            "underscore, a letter or digit first, not digits alone");
  EXPECT_EQ(Errors(Edited("teacher: {path: models/tiny}\n", "")),
            "job.yaml:1:1: teacher: missing; the key is required; give a section of keys (path)");
  EXPECT_EQ(Errors(Edited("{path: models/tiny}", "{}")),
            "job.yaml:2:1: teacher.path: missing; the key is required; give the path of a directory with "
            "config.json");
  EXPECT_EQ(Errors(Edited("  mixer: mamba2\n", "")),
            "job.yaml:3:1: student.mixer: missing; the key is required; give mamba2 or discrete_mamba2");
  EXPECT_EQ(
      Errors(Edited("  seq_len: 512\n", "")),
      "job.yaml:9:1: data.seq_len: missing; the key is required; give a whole number from 2 to 1048576");
  EXPECT_EQ(Errors(Edited("  eval: corpus/eval.bin\n", "")),
            "job.yaml:9:1: data.eval: missing; the key is required; give the path of a .bin file with its "
            ".idx beside it");
  EXPECT_EQ(Errors(Edited("tokens: 80M, ", "")),
            "job.yaml:15:3: stages.matrix_orientation.tokens: missing; the key is required; give a number of "
            "tokens from 1 to 1000000B, such as 4096, 32k, 80M or 2.76B");
  EXPECT_EQ(Errors(Edited("    lr: 0.001\n", "")),
            "job.yaml:16:3: stages.hidden_state_alignment.lr: missing; the key is required; give a number "
            "over 0 and at most 1");
  EXPECT_EQ(Errors(Edited("every: 4, ", "")),
            "job.yaml:7:3: student.keep_attention: lacks every or auto; give none, {every: 4, offset: 3}, "
            "{auto: 8}, or a list of layers from 0 to 1023");
}

TEST_F(JobFileErrors, PointAtValuesOfTheWrongShape) {
  EXPECT_EQ(Errors(Edited("  seed: 7", "  seed:")),
            "job.yaml:13:3: data.seed: has no value; give a whole number from 0 to 18446744073709551615, or "
            "remove the key");
  EXPECT_EQ(Errors(Edited("  seq_len: 512", "  seq_len: ~")),
            "job.yaml:12:3: data.seq_len: has no value; give a whole number from 2 to 1048576");
  EXPECT_EQ(Errors(Edited("  seed: 7", "  seed: [7]")),
            "job.yaml:13:9: data.seed: is a list; give a whole number from 0 to 18446744073709551615");
  EXPECT_EQ(
      Errors(Edited("  seed: 7", "  seed: {a: 7}")),
      "job.yaml:13:9: data.seed: is a section of keys; give a whole number from 0 to 18446744073709551615");
  EXPECT_EQ(Errors(Edited("{path: models/tiny}", "models/tiny")),
            "job.yaml:2:10: teacher: is a single value; give a section of keys (path)");
  EXPECT_EQ(Errors(Edited("{path: models/tiny}", "[a]")),
            "job.yaml:2:10: teacher: is a list; give a section of keys (path)");
  EXPECT_EQ(Errors(Edited("teacher: {path: models/tiny}", "teacher:")),
            "job.yaml:2:1: teacher: has no value; give a section of keys (path)");
  EXPECT_EQ(
      Errors(Edited("{path: models/tiny}", "{path: {a: b}}")),
      "job.yaml:2:17: teacher.path: is a section of keys; give the path of a directory with config.json");
  EXPECT_EQ(Errors(Edited("lr: 1}", "lr: [1]}")),
            "job.yaml:20:60: stages.end_to_end.lr: is a list; give a number over 0 and at most 1");
  EXPECT_EQ(Errors(Edited("  seed: 7\n", "  seed: 7\ncheckpoint: 100 steps\n")),
            "job.yaml:14:13: checkpoint: is a single value; give a section of keys (every)");
}

TEST_F(JobFileErrors, PointAtNumbersOutOfRange) {
  EXPECT_EQ(Errors(Edited("seq_len: 512", "seq_len: 1")),
            "job.yaml:12:12: data.seq_len: \"1\" is too small; give a whole number from 2 to 1048576");
  EXPECT_EQ(Errors(Edited("seq_len: 512", "seq_len: 1048577")),
            "job.yaml:12:12: data.seq_len: \"1048577\" is too large; give a whole number from 2 to 1048576");
  EXPECT_EQ(
      Errors(Edited("seq_len: 512", "seq_len: many")),
      "job.yaml:12:12: data.seq_len: \"many\" is not a whole number; give a whole number from 2 to 1048576");
  EXPECT_EQ(
      Errors(Edited("seq_len: 512", "seq_len: 5.5")),
      "job.yaml:12:12: data.seq_len: \"5.5\" is not a whole number; give a whole number from 2 to 1048576");
  EXPECT_EQ(Errors(Edited("  seed: 7", "  seed: -7")),
            "job.yaml:13:9: data.seed: \"-7\" is not a whole number; give a whole number from 0 to "
            "18446744073709551615");
  EXPECT_EQ(Errors(Edited("  seed: 7", "  seed: 18446744073709551616")),
            "job.yaml:13:9: data.seed: \"18446744073709551616\" is too large; give a whole number from 0 to "
            "18446744073709551615");
  EXPECT_EQ(Errors(Edited("state_size: 64", "state_size: 0")),
            "job.yaml:5:15: student.state_size: \"0\" is too small; give a whole number from 1 to 1024");
  EXPECT_EQ(Errors(Edited("state_size: 64", "state_size: 1025")),
            "job.yaml:5:15: student.state_size: \"1025\" is too large; give a whole number from 1 to 1024");
  EXPECT_EQ(Errors(Edited("groups: 2", "groups: 0")),
            "job.yaml:6:11: student.groups: \"0\" is too small; give a whole number from 1 to 1024");
  EXPECT_EQ(Errors(Edited("  seed: 7\n", "  seed: 7\nevaluation: {tokens: 1}\n")),
            "job.yaml:14:22: evaluation.tokens: \"1\" is too small; give a number of tokens from 2 to "
            "1000000B, such as 4096, 32k, 80M or 2.76B");
  EXPECT_EQ(
      Errors(Edited("  seed: 7\n", "  seed: 7\nevaluation: {prompts: 10001}\n")),
      "job.yaml:14:23: evaluation.prompts: \"10001\" is too large; give a whole number from 0 to 10000");
  EXPECT_EQ(Errors(Edited("  seed: 7\n", "  seed: 7\ncheckpoint: {every: 0 steps}\n")),
            "job.yaml:14:21: checkpoint.every: \"0 steps\" is too small; give a number of steps from 1 to "
            "1000000000, such as 100 steps, or a time up to 7 days, such as 10 minutes, 90s or 2h");
  EXPECT_EQ(Errors(Edited("  seed: 7\n", "  seed: 7\ncheckpoint: {every: 5 epochs}\n")),
            "job.yaml:14:21: checkpoint.every: \"5 epochs\" is not a number of steps; give a number of steps "
            "from 1 to 1000000000, such as 100 steps, or a time up to 7 days, such as 10 minutes, 90s or 2h");
  EXPECT_THAT(Errors(Edited("  seed: 7\n", "  seed: 7\ncheckpoint: {every: 8 days}\n")),
              ::testing::HasSubstr("\"8 days\" is not a number of steps; give"));
  EXPECT_THAT(Errors(Edited("  seed: 7\n", "  seed: 7\ncheckpoint: {every: 169h}\n")),
              ::testing::HasSubstr("\"169h\" is too large; give"));
  EXPECT_THAT(Errors(Edited("  seed: 7\n", "  seed: 7\ncheckpoint: {every: 0s}\n")),
              ::testing::HasSubstr("\"0s\" is too small; give"));
  EXPECT_EQ(Errors(Edited("  seed: 7\n", "  seed: 7\nmicro_batch: 0\n")),
            "job.yaml:14:14: micro_batch: \"0\" is too small; give a whole number from 1 to 65536");
}

TEST_F(JobFileErrors, PointAtBadTokenCounts) {
  EXPECT_EQ(Errors(Edited("tokens: 80M", "tokens: 0")),
            "job.yaml:15:32: stages.matrix_orientation.tokens: \"0\" is too small; give a number of tokens "
            "from 1 to 1000000B, such as 4096, 32k, 80M or 2.76B");
  EXPECT_EQ(Errors(Edited("tokens: 80M", "tokens: 1.23456789M")),
            "job.yaml:15:32: stages.matrix_orientation.tokens: \"1.23456789M\" is not a whole number of "
            "tokens; give a number of tokens from 1 to 1000000B, such as 4096, 32k, 80M or 2.76B");
  EXPECT_EQ(Errors(Edited("tokens: 80M", "tokens: lots")),
            "job.yaml:15:32: stages.matrix_orientation.tokens: \"lots\" is not a number of tokens; give a "
            "number of tokens from 1 to 1000000B, such as 4096, 32k, 80M or 2.76B");
  EXPECT_EQ(Errors(Edited("tokens: 80M", "tokens: 2000000B")),
            "job.yaml:15:32: stages.matrix_orientation.tokens: \"2000000B\" is too large; give a number of "
            "tokens from 1 to 1000000B, such as 4096, 32k, 80M or 2.76B");
}

TEST_F(JobFileErrors, PointAtLearningRatesOutsideZeroToOne) {
  EXPECT_EQ(
      Errors(Edited("lr: 1}", "lr: 0}")),
      "job.yaml:20:60: stages.end_to_end.lr: \"0\" is out of range; give a number over 0 and at most 1");
  EXPECT_EQ(
      Errors(Edited("lr: 1}", "lr: 1.5}")),
      "job.yaml:20:60: stages.end_to_end.lr: \"1.5\" is out of range; give a number over 0 and at most 1");
  EXPECT_EQ(
      Errors(Edited("lr: 1}", "lr: -1e-4}")),
      "job.yaml:20:60: stages.end_to_end.lr: \"-1e-4\" is out of range; give a number over 0 and at most 1");
  EXPECT_EQ(
      Errors(Edited("lr: 1}", "lr: nan}")),
      "job.yaml:20:60: stages.end_to_end.lr: \"nan\" is not a number; give a number over 0 and at most 1");
  EXPECT_EQ(
      Errors(Edited("lr: 1}", "lr: fast}")),
      "job.yaml:20:60: stages.end_to_end.lr: \"fast\" is not a number; give a number over 0 and at most 1");
}

TEST_F(JobFileErrors, PointAtUnknownChoicesAndListTheAllowed) {
  EXPECT_EQ(Errors(Edited("mixer: mamba2", "mixer: toeplitz")),
            "job.yaml:4:10: student.mixer: \"toeplitz\" is not known in this version; allowed: mamba2, "
            "discrete_mamba2");
  EXPECT_EQ(Errors(Edited("mixer: mamba2", "mixer: mamba")),
            "job.yaml:4:10: student.mixer: \"mamba\" is not known in this version; did you mean mamba2? "
            "allowed: mamba2, discrete_mamba2");
  EXPECT_EQ(Errors(Edited("init: paper", "init: random")),
            "job.yaml:8:9: student.init: \"random\" is not known in this version; allowed: paper, qkvo");
  EXPECT_EQ(Errors(Edited("lr: 0.001", "lr: 0.001\n    target: layer")),
            "job.yaml:20:13: stages.hidden_state_alignment.target: \"layer\" is not known in this version; "
            "allowed: block, mixer");
  EXPECT_EQ(Errors(Edited("lr: 0.001", "lr: 0.001\n    train: all")),
            "job.yaml:20:12: stages.hidden_state_alignment.train: \"all\" is not known in this version; "
            "allowed: mixer, block");
  EXPECT_EQ(
      Errors(Edited("lr: 1}", "lr: 1, train: block}")),
      "job.yaml:20:70: stages.end_to_end.train: \"block\" is not known in this version; allowed: mixer, all");
  EXPECT_EQ(Errors(Edited("lr: 1}", "lr: 1, labels: txet}")),
            "job.yaml:20:71: stages.end_to_end.labels: \"txet\" is not known in this version; did you mean "
            "text? allowed: teacher, text");
}

TEST_F(JobFileErrors, PointAtBadKeptLayers) {
  EXPECT_EQ(Errors(Edited("offset: 3", "offset: 4")),
            "job.yaml:7:38: student.keep_attention.offset: 4 is never the remainder of a division by every: "
            "4; give 0 to 3");
  EXPECT_EQ(
      Errors(Edited("every: 4", "every: 1")),
      "job.yaml:7:27: student.keep_attention.every: \"1\" is too small; give a whole number from 2 to 1024");
  EXPECT_EQ(Errors(Edited("{every: 4, offset: 3}", "all")),
            "job.yaml:7:19: student.keep_attention: \"all\" names no layers; give none, {every: 4, offset: "
            "3}, {auto: 8}, or a list of layers from 0 to 1023");
  EXPECT_EQ(Errors(Edited("{every: 4, offset: 3}", "[]")),
            "job.yaml:7:19: student.keep_attention: the list is empty; give none, {every: 4, offset: 3}, "
            "{auto: 8}, or a list of layers from 0 to 1023");
  EXPECT_EQ(Errors(Edited("{every: 4, offset: 3}", "[1, x, 1, 1024]")),
            "job.yaml:7:23: student.keep_attention: \"x\" is no layer's number; give none, {every: 4, "
            "offset: 3}, {auto: 8}, or a list of layers from 0 to 1023\njob.yaml:7:26: "
            "student.keep_attention: layer 1 is given twice; remove one\njob.yaml:7:29: "
            "student.keep_attention: \"1024\" is no layer's number; give none, {every: 4, offset: 3}, {auto: "
            "8}, or a list of layers from 0 to 1023");
}

TEST_F(JobFileErrors, PointAtABadNumberOfLayersToProbeFor) {
  const auto errors = [this](const std::string& kept) {
    return Errors(Edited("{every: 4, offset: 3}", kept));
  };
  EXPECT_EQ(errors("{auto: -1}"),
            "job.yaml:7:26: student.keep_attention.auto: \"-1\" is not a whole number; give a whole number "
            "from 1 to 1023");
  EXPECT_EQ(errors("{auto: 0}"),
            "job.yaml:7:26: student.keep_attention.auto: \"0\" is too small; give a whole number from 1 to "
            "1023");
  EXPECT_EQ(errors("{auto: 2, every: 4}"),
            "job.yaml:7:29: student.keep_attention.every: does not go with auto; remove one of them");
  EXPECT_EQ(errors("{every: 4, steps: 10}"),
            "job.yaml:7:30: student.keep_attention.steps: does not go with every; remove one of them");
  EXPECT_EQ(errors("{auto: 2, layers: [1, 2]}"),
            "job.yaml:7:29: unknown key \"layers\" in student.keep_attention; allowed here: every, offset, "
            "auto, steps");
  EXPECT_EQ(errors("[1, {auto: 2}]"),
            "job.yaml:7:23: student.keep_attention: a section of keys is no layer's number; give none, "
            "{every: 4, offset: 3}, {auto: 8}, or a list of layers from 0 to 1023");
  const std::string yaml = Edited("{every: 4, offset: 3}", "{auto: 2}");
  const size_t stages = yaml.find("  matrix_orientation");
  EXPECT_EQ(Errors(yaml.substr(0, stages) + yaml.substr(yaml.find("  end_to_end"))),
            "job.yaml:7:26: student.keep_attention.auto: a probe converts layers by matrix_orientation and "
            "hidden_state_alignment, and the job has neither; give one, or name the layers");
}

TEST_F(JobFileErrors, OfferTheNearestMultiplesForAStep) {
  EXPECT_EQ(Errors(Edited("tokens_per_step: 32768", "tokens_per_step: 32k")),
            "job.yaml:15:54: stages.matrix_orientation.tokens_per_step: 32000 is not a multiple of "
            "data.seq_len x micro_batch = 512 x 1; give 31744 or 32256");
  EXPECT_EQ(Errors(Edited("tokens_per_step: 32768", "tokens_per_step: 100")),
            "job.yaml:15:54: stages.matrix_orientation.tokens_per_step: 100 is not a multiple of "
            "data.seq_len x micro_batch = 512 x 1; give 512");
  EXPECT_EQ(Errors(Edited("  seed: 7\n", "  seed: 7\nmicro_batch: 5\n")),
            "job.yaml:16:54: stages.matrix_orientation.tokens_per_step: 32768 is not a multiple of "
            "data.seq_len x micro_batch = 512 x 5; give 30720 or 33280\njob.yaml:19:22: "
            "stages.hidden_state_alignment.tokens_per_step: 16384 is not a multiple of data.seq_len x "
            "micro_batch = 512 x 5; give 15360 or 17920\njob.yaml:21:48: stages.end_to_end.tokens_per_step: "
            "524288 is not a multiple of data.seq_len x micro_batch = 512 x 5; give 522240 or 524800");
}

TEST_F(JobFileErrors, SayThatTrainingBlocksNeedsBlockTargets) {
  EXPECT_EQ(Errors(Edited("lr: 0.001", "lr: 0.001\n    target: mixer\n    train: block")),
            "job.yaml:21:12: stages.hidden_state_alignment.train: block needs target: block, since the "
            "mixer's output does not depend on the MLP; give train: mixer or target: block");
}

TEST_F(JobFileErrors, SayThatPromptsMustFitInASequence) {
  EXPECT_EQ(Errors(Edited("seq_len: 512", "seq_len: 32")),
            "job.yaml:12:12: data.seq_len: 32 is less than a prompt and its continuation, 32 + 32; give at "
            "least 64, or less in evaluation.prompt_tokens and evaluation.continuation_tokens, or "
            "evaluation: {prompts: 0}");
  EXPECT_EQ(Errors(Edited("  seed: 7\n", "  seed: 7\nevaluation: {prompt_tokens: 500}\n")),
            "job.yaml:12:12: data.seq_len: 512 is less than a prompt and its continuation, 500 + 32; give at "
            "least 532, or less in evaluation.prompt_tokens and evaluation.continuation_tokens, or "
            "evaluation: {prompts: 0}");
}

TEST_F(JobFileErrors, PointAtNamesThatAreNoDirectoryName) {
  EXPECT_EQ(Errors(Edited("smollm2-hybrid", "Smol")),
            "job.yaml:1:7: name: \"Smol\" cannot name a run's directory; give 1 to 63 of a-z, 0-9, dot, dash "
            "and underscore, a letter or digit first, not digits alone");
  EXPECT_EQ(Errors(Edited("smollm2-hybrid", ".hidden")),
            "job.yaml:1:7: name: \".hidden\" cannot name a run's directory; give 1 to 63 of a-z, 0-9, dot, "
            "dash and underscore, a letter or digit first, not digits alone");
  EXPECT_EQ(Errors(Edited("smollm2-hybrid", "a/b")),
            "job.yaml:1:7: name: \"a/b\" cannot name a run's directory; give 1 to 63 of a-z, 0-9, dot, dash "
            "and underscore, a letter or digit first, not digits alone");
  EXPECT_EQ(
      Errors(Edited("smollm2-hybrid", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")),
      "job.yaml:1:7: name: \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\" cannot name "
      "a run's directory; give 1 to 63 of a-z, 0-9, dot, dash and underscore, a letter or digit first, not "
      "digits alone");
  EXPECT_EQ(Errors(Edited("smollm2-hybrid", "\"\"")),
            "job.yaml:1:7: name: \"\" cannot name a run's directory; give 1 to 63 of a-z, 0-9, dot, dash and "
            "underscore, a letter or digit first, not digits alone");
}

TEST_F(JobFileErrors, PointAtTeachersThatAreNotThere) {
  EXPECT_EQ(Errors(Edited("models/tiny", "models/huge")),
            "job.yaml:2:17: teacher.path: \"models/huge\" does not exist; looked at models/huge; correct the "
            "path or add a directory with --root");
  EXPECT_EQ(Errors(Edited("models/tiny", "corpus/train.bin")),
            "job.yaml:2:17: teacher.path: \"corpus/train.bin\" is not a directory; give the one that holds "
            "config.json");
  EXPECT_EQ(Errors(Edited("models/tiny", "corpus")),
            "job.yaml:2:17: teacher.path: there is no config.json in corpus; give a Hugging Face directory");
  EXPECT_EQ(Errors(Edited("models/tiny", "\"\"")),
            "job.yaml:2:17: teacher.path: \"\" is no path; give the path of a directory with config.json");
  EXPECT_EQ(
      Errors(Edited("models/tiny", "\"a\\nb\"")),
      "job.yaml:2:17: teacher.path: \"a\\nb\" is no path; give the path of a directory with config.json");
}

TEST_F(JobFileErrors, PointAtTokenFilesThatAreNotThere) {
  Put("corpus/alone.bin", "");
  Put("corpus/folder.bin/x", "");
  EXPECT_EQ(Errors(Edited("[corpus/train.bin]", "[corpus/train.bin, corpus/absent.bin]")),
            "job.yaml:10:29: data.train[1]: \"corpus/absent.bin\" does not exist; looked at "
            "corpus/absent.bin; correct the path or add a directory with --root");
  EXPECT_EQ(Errors(Edited("[corpus/train.bin]", "corpus/train.txt")),
            "job.yaml:10:10: data.train[0]: \"corpus/train.txt\" does not end in .bin; make tokens of a text "
            "with `retort data tokenize` and name their .bin");
  EXPECT_EQ(Errors(Edited("[corpus/train.bin]", "[]")),
            "job.yaml:10:10: data.train: the list is empty; give the path of a .bin file, or a list of them, "
            "or of {path: FILE.bin, weight: N}, each with its .idx beside it");
  EXPECT_EQ(Errors(Edited("[corpus/train.bin]", "[corpus/train.bin, [x]]")),
            "job.yaml:10:29: data.train: a list is no path; give the path of a .bin file, or a list of them, "
            "or of {path: FILE.bin, weight: N}, each with its .idx beside it");
  EXPECT_EQ(Errors(Edited("corpus/eval.bin", "corpus/alone.bin")),
            "job.yaml:11:9: data.eval: there is no corpus/alone.idx; keep a .bin and its .idx together");
  EXPECT_EQ(Errors(Edited("corpus/eval.bin", "corpus/folder.bin")),
            "job.yaml:11:9: data.eval: \"corpus/folder.bin\" is not a regular file; give a .bin of tokens");
  EXPECT_EQ(Errors(Edited("  seed: 7", "  off_domain: corpus/absent.bin")),
            "job.yaml:13:15: data.off_domain: \"corpus/absent.bin\" does not exist; looked at "
            "corpus/absent.bin; correct the path or add a directory with --root");
}

TEST_F(JobFileErrors, PointAtBadMixtures) {
  const auto mixture = [this](const std::string& train) {
    return Errors(Edited("train: [corpus/train.bin]", "train: " + train));
  };
  EXPECT_EQ(
      mixture("[{path: corpus/train.bin, weight: 2}, corpus/more.bin]"),
      "job.yaml:10:48: data.train: \"corpus/more.bin\" has no weight while another file has; give {path: "
      "corpus/more.bin, weight: 1}, or no weights at all");
  EXPECT_EQ(
      mixture("[{path: corpus/train.bin}]"),
      "job.yaml:10:11: data.train.weight: missing; the key is required; give a whole number from 1 to 1000");
  EXPECT_EQ(mixture("[{path: corpus/train.bin, weight: 0}]"),
            "job.yaml:10:44: data.train.weight: \"0\" is too small; give a whole number from 1 to 1000");
  EXPECT_EQ(
      mixture("[{path: corpus/train.bin, weight: 0.7}]"),
      "job.yaml:10:44: data.train.weight: \"0.7\" is not a whole number; give a whole number from 1 to 1000");
  EXPECT_EQ(
      mixture("[{path: corpus/train.bin, weigth: 1}]"),
      "job.yaml:10:11: data.train.weight: missing; the key is required; give a whole number from 1 to 1000\n"
      "job.yaml:10:36: unknown key \"weigth\" in data.train; did you mean weight? allowed here: path, "
      "weight");
  EXPECT_EQ(
      mixture("[{path: corpus/train.bin, weight: 2}, {path: corpus/train.bin, weight: 3}]"),
      "job.yaml:10:55: data.train: \"corpus/train.bin\" is given twice; give it once, with the sum of its "
      "weights");
  EXPECT_EQ(
      mixture("[{path: corpus/more.bin, weight: 2}, {path: corpus/absent.bin, weight: 3}]"),
      "job.yaml:10:54: data.train[1]: \"corpus/absent.bin\" does not exist; looked at corpus/absent.bin; "
      "correct the path or add a directory with --root");
  EXPECT_THAT(mixture("{path: corpus/train.bin, weight: 2}"),
              ::testing::StartsWith("job.yaml:10:10: data.train: is a section of keys; give the path of"));
  std::string many = "[";
  for (int i = 0; i < 1001; ++i) many += "{path: corpus/" + std::to_string(i) + ".bin, weight: 1}, ";
  EXPECT_THAT(
      mixture(many + "]"),
      ::testing::StartsWith("job.yaml:10:10: data.train: 1001 files have weights; give at most 1000\n"));
}

TEST_F(JobFileErrors, PointAtAPhaseThatBeginsWithinTheLastSequence) {
  const auto from = [this](const std::string& tokens) {  // of two steps of two sequences of 512 tokens
    std::string job = Edited("tokens: 80M, tokens_per_step: 32768", "tokens: 2048, tokens_per_step: 1024");
    const std::string seed = "  seed: 7\n";
    return Errors(job.replace(
        job.find(seed), seed.size(),
        "  phases: [{stage: matrix_orientation, from: " + tokens + ", train: corpus/more.bin}]\n"));
  };
  EXPECT_EQ(from("1536"), "");
  EXPECT_EQ(from("1537"),
            "job.yaml:13:46: data.phases[0].from: 1537 lies in the last of the 4 sequences of "
            "matrix_orientation, so "
            "the phase would never begin; give at most 1536");
}

TEST_F(JobFileErrors, PointAtBadPhases) {
  const auto phases = [this](const std::string& list) {
    return Errors(Edited("  seed: 7\n", "  phases: " + list + "\n"));
  };
  EXPECT_EQ(phases("[{stage: end_to_end, from: 1B, train: [corpus/more.bin, corpus/absent.bin]}]"),
            "job.yaml:13:67: data.phases[0].train[1]: \"corpus/absent.bin\" does not exist; looked at "
            "corpus/absent.bin; correct the path or add a directory with --root");
  EXPECT_EQ(phases("[{stage: end_to_end, from: 2.76B, train: corpus/more.bin}]"),
            "job.yaml:13:38: data.phases[0].from: 2760000000 is not before the end of end_to_end, which has "
            "2760000000 tokens; give less");
  EXPECT_EQ(phases("[{stage: end_to_end, from: 2B, train: corpus/more.bin}, "
                   "{stage: end_to_end, from: 1B, train: corpus/more.bin}]"),
            "job.yaml:13:93: data.phases[1].from: 1000000000 is not a sequence after 2000000000, where "
            "data.phases[0] of the "
            "same stage begins; put a stage's phases in order");
  EXPECT_THAT(phases("[{stage: end_to_end, from: 1025, train: corpus/more.bin}, "
                     "{stage: end_to_end, from: 1536, train: corpus/more.bin}]"),
              ::testing::HasSubstr("data.phases[1].from: 1536 is not a sequence after 1025, where"));
  EXPECT_EQ(phases("[{stage: end_to_end, from: 1024, train: corpus/more.bin}, "
                   "{stage: end_to_end, from: 1025, train: corpus/more.bin}]"),
            "");
  EXPECT_EQ(phases("[{stage: third, train: corpus/more.bin}]"),
            "job.yaml:13:20: data.phases.stage: \"third\" is not known in this version; allowed: "
            "matrix_orientation, hidden_state_alignment, end_to_end");
  EXPECT_EQ(
      phases("[{stage: end_to_end}]"),
      "job.yaml:13:12: data.phases.train: missing; the key is required; give the path of a .bin file, or a "
      "list of them, or of {path: FILE.bin, weight: N}, each with its .idx beside it");
  EXPECT_EQ(phases("[end_to_end]"),
            "job.yaml:13:12: data.phases: a single value is no phase; give a list of sections of keys "
            "(stage, from, "
            "train)");
  EXPECT_EQ(
      phases("[]"),
      "job.yaml:13:11: data.phases: the list is empty; give a list of sections of keys (stage, from, train)");
  EXPECT_EQ(
      phases("end_to_end"),
      "job.yaml:13:11: data.phases: is a single value; give a list of sections of keys (stage, from, train)");
  EXPECT_EQ(
      phases("[{stage: end_to_end, train: corpus/eval.bin}]"),
      "job.yaml:11:9: data.eval: \"corpus/eval.bin\" is also data.phases[0].train[0], so it would measure "
      "what was learnt by heart; give text that is held out");
  std::string skipped = Edited("  seed: 7\n", "  phases: [{stage: end_to_end, train: corpus/more.bin}]\n");
  skipped.resize(skipped.find("  end_to_end:"));
  EXPECT_EQ(
      Errors(skipped),
      "job.yaml:13:20: data.phases[0].stage: the job has no stage end_to_end; give it in stages, or remove "
      "this phase");
}

TEST_F(JobFileErrors, KeepWhatIsMeasuredOnOutOfTraining) {
  EXPECT_EQ(Errors(Edited("eval: corpus/eval.bin", "eval: corpus/../corpus/train.bin")),
            "job.yaml:11:9: data.eval: \"corpus/../corpus/train.bin\" is also data.train[0], so it would "
            "measure what was learnt by heart; give text that is held out");
  EXPECT_THAT(Errors(Edited("  seed: 7", "  seed: 7\n  off_domain: corpus/train.bin")),
              ::testing::StartsWith("job.yaml:14:15: data.off_domain: \"corpus/train.bin\" is also"));
}

TEST_F(JobFileErrors, PointAtWhatDoesNotFitTheTeacher) {
  Put("models/tiny/config.json",
      R"({"num_attention_heads": 9, "num_hidden_layers": 4, "max_position_embeddings": 256})");
  EXPECT_EQ(Errors(kGood),
            "job.yaml:6:11: student.groups: 2 does not divide the teacher's 9 query heads; give a divisor\n"
            "job.yaml:12:12: data.seq_len: 512 is longer than the teacher's context; give at most 256");
  Put("models/tiny/config.json", R"({"num_hidden_layers": 4})");
  EXPECT_THAT(Errors(Edited("{every: 4, offset: 3}", "[1, 4]")),
              ::testing::EndsWith("student.keep_attention: the teacher has no layer 4; give 0 to 3"));
  EXPECT_THAT(Errors(Edited("{every: 4, offset: 3}", "[0, 1, 2, 3]")),
              ::testing::HasSubstr("all 4 layers are kept"));
  EXPECT_EQ(Errors(Edited("{every: 4, offset: 3}", "{auto: 4}")),
            "job.yaml:7:26: student.keep_attention.auto: the teacher has 4 layers, so at most 3 can stay "
            "attention; give fewer than 4");
}

TEST_F(JobFileErrors, NeedAtLeastOneStage) {
  const std::string yaml = kGood;
  EXPECT_EQ(Errors(yaml.substr(0, yaml.find("stages:")) + "stages: {}\n"),
            "job.yaml:14:1: stages: no stage is given, so nothing would be trained; give matrix_orientation, "
            "hidden_state_alignment or end_to_end");
}

TEST_F(JobFileErrors, PointAtTheTopWhenTheWholeShapeIsWrong) {
  EXPECT_EQ(Errors("- a\n"),
            "job.yaml:1:1: the job file is a list, not a section of keys; start with name, teacher, student, "
            "data and stages");
  EXPECT_EQ(Errors("hello\n"),
            "job.yaml:1:1: the job file is a single value, not a section of keys; start with name, teacher, "
            "student, data and stages");
  EXPECT_EQ(Errors("# nothing yet\n"),
            "job.yaml:1:1: the job file is empty; start with name, teacher, student, data and stages");
}

TEST_F(JobFileErrors, AreInvalidArguments) {
  EXPECT_EQ(Load("{}").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Load("a: [").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(JobFileErrors, NameTheFileInSyntaxErrors) {
  EXPECT_EQ(Errors("name: [a\nteacher: b"),
            "job.yaml:2:8: not valid YAML: end of sequence flow not found; correct the syntax here or just "
            "before");
}

TEST_F(JobFileErrors, ComeAllAtOnceInTheOrderOfTheFile) {
  std::string yaml = Edited("  seed: 7", "  sed: 7");
  yaml.replace(yaml.find("models/tiny"), 11, "models/huge");
  yaml.replace(yaml.find("state_size: 64"), 14, "state_size: 0");
  EXPECT_THAT(Errors(yaml), ::testing::MatchesRegex("job.yaml:2:17: [^\n]*\njob.yaml:5:15: [^\n]*\n"
                                                    "job.yaml:13:3: [^\n]*"));
}

TEST_F(JobFileErrors, StopAfterTwentyLinesAndCountTheRest) {
  std::string yaml = kGood;
  for (int i = 0; i < 23; ++i) yaml += "unknown" + std::to_string(i) + ": 1\n";
  const std::string errors = Errors(yaml);
  EXPECT_EQ(std::count(errors.begin(), errors.end(), '\n'), 20);
  EXPECT_THAT(errors, ::testing::EndsWith("\nand 3 more errors"));
}

TEST_F(JobFileErrors, ShortenLongValues) {
  const std::string errors = Errors(Edited("init: paper", "init: " + std::string(100'000, 'x')));
  EXPECT_LT(errors.size(), 400u);
}

}  // namespace
}  // namespace retort
