// Files that are damaged, lie or were made by others, under the real programs: one message that names file
// and place and says what to do, the documented exit code, and what was there before is still there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/base/files.h"
#include "nlohmann/json.hpp"
#include "tests/system/tiny_run.h"
#include "tool/data/testing_compression.h"
#include "train/data/testing_dataset.h"

namespace retort {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

constexpr char kTokenizer[] = RETORT_SOURCE_DIR "/tests/golden/tokenizer/pieces.json";

fs::path Write(const std::string& name, const std::string& bytes) {
  EXPECT_TRUE(WriteFileAtomically(TestPath(name), bytes).ok());
  return TestPath(name);
}

struct Hostile {
  const char* what;
  fs::path file;  // what the message has to name
  std::vector<std::string> arguments;
  int exit_code;
  std::vector<std::string> says;
};

void ExpectRefused(const Hostile& hostile) {
  SCOPED_TRACE(hostile.what);
  const ProgramEnd end = RunRetort(hostile.arguments);
  EXPECT_EQ(end.signal, 0);
  EXPECT_EQ(end.exit_code, hostile.exit_code) << end.err;
  EXPECT_EQ(end.out, "");
  EXPECT_THAT(end.err, AllOf(StartsWith("retort "), HasSubstr(hostile.file.string())));
  EXPECT_EQ(std::count(end.err.begin(), end.err.end(), '\n'), 1) << end.err;
  for (const std::string& text : hostile.says) EXPECT_THAT(end.err, HasSubstr(text));
}

TEST(HostileFiles, AreRefusedByDataTokenize) {
  const fs::path good = Write("good.txt", "Some text.");
  const std::string out = TestPath("out");
  const auto tokenize = [&](const fs::path& tokenizer, const fs::path& input) {
    return std::vector<std::string>{"data", "tokenize", "--tokenizer", tokenizer, "--out", out, input};
  };
  ASSERT_EQ(RunRetort(tokenize(kTokenizer, good)).exit_code, 0);
  const std::string before = *ReadFile(out + ".bin") + *ReadFile(out + ".idx");

  const auto input = [&](const char* what, const fs::path& file, int exit_code,
                         std::vector<std::string> says) {
    ExpectRefused({what, file, tokenize(kTokenizer, file), exit_code, std::move(says)});
  };
  input("a gzip file cut short", Write("a.txt.gz", Gzip("some text").substr(0, 20)), 10,
        {"ends at byte 20", "again"});
  std::string damaged = Zstd(std::string(5000, 'x') + "some text");
  damaged[damaged.size() - 1] ^= 1;
  input("a zstd file with another checksum", Write("a.jsonl.zst", damaged), 10,
        {"at byte", "checksum", "again"});
  input("a line that is no JSON", Write("a.jsonl", "{\"text\": \"x\"}\n{\"text\""), 2,
        {"a.jsonl:2: not JSON"});
  input("no document", Write("b.jsonl", "\n\n"), 2, {"no document", "give files"});

  const auto tokenizer = [&](const char* what, const std::string& text, int exit_code,
                             std::vector<std::string> says) {
    const fs::path file = Write("tokenizer.json", text);
    ExpectRefused({what, file, tokenize(file, good), exit_code, std::move(says)});
  };
  const std::string text = *ReadFile(kTokenizer);
  tokenizer("a tokenizer cut short", text.substr(0, text.size() / 2), 2, {"not JSON", "column"});
  tokenizer("depth", std::string(1'000'000, '['), 2, {"more than 64 deep"});
  tokenizer("a token twice", "{\"model\": {\"vocab\": {\"a\": 1, \"a\": 2}}}", 2, {"'a' stands twice"});
  nlohmann::json json = nlohmann::json::parse(text);
  json["model"]["vocab"]["x"] = 1'000'000'000'000;
  tokenizer("an id beyond all bounds", json.dump(), 2, {"1000000000000", "no number from 0 to 16777215"});
  json = nlohmann::json::parse(text);
  json["model"]["type"] = "Unigram";
  tokenizer("another model", json.dump(), 2,
            {"'model.type' is \"Unigram\"; supported: \"BPE\"", "another program"});

  EXPECT_EQ(*ReadFile(out + ".bin") + *ReadFile(out + ".idx"), before);
}

// The teacher of the tiny job in a directory of its own, with one file's bytes changed.
fs::path ChangedTeacher(const std::string& name, const std::string& file,
                        const std::function<void(std::string*)>& change) {
  const fs::path teacher = TestPath(name);
  fs::copy(TinyJobDirectory() / "teacher", teacher, fs::copy_options::recursive);
  std::string bytes = *ReadFile(teacher / file);
  change(&bytes);
  EXPECT_TRUE(WriteFileAtomically(teacher / file, bytes).ok());
  return teacher / file;
}

TEST(HostileFiles, AreRefusedByEval) {
  const std::string corpus = TinyJobDirectory() / "corpus/eval.bin";
  const auto teacher = [&](const char* what, const fs::path& file, int exit_code,
                           std::vector<std::string> says) {
    ExpectRefused({what, file, {"eval", file.parent_path(), "--data", corpus}, exit_code, std::move(says)});
  };
  const auto weights = [](const std::string& name, const std::function<void(std::string*)>& change) {
    return ChangedTeacher(name, "model.safetensors", change);
  };
  teacher("a header longer than the file", weights("a", [](std::string* bytes) { (*bytes)[6] = 1; }), 10,
          {"header of", "write it again"});
  teacher("a tensor outside the file",
          weights("b", [](std::string* bytes) { bytes->resize(bytes->size() - 1); }), 10,
          {"lies outside", "write it again"});
  teacher("a tensor twice",
          weights("c",
                  [](std::string* bytes) {
                    const size_t at = bytes->find("model.layers.1.mlp.up_proj.weight");
                    bytes->at(at + std::string("model.layers.").size()) = '0';
                  }),
          10, {"'model.layers.0.mlp.up_proj.weight' stands twice"});
  teacher("a type that is none",
          weights("d", [](std::string* bytes) { bytes->at(bytes->find("\"dtype\":\"") + 9) = 'X'; }), 2,
          {"has type X", "supported: F32, F16, BF16"});
  teacher(
      "a deep config.json",
      ChangedTeacher("e", "config.json", [](std::string* bytes) { *bytes = std::string(1'000'000, '['); }), 2,
      {"more than 64 deep"});

  const auto data = [&](const char* what, const std::string& name, const std::string& changed,
                        const std::function<void(std::string*)>& change, int exit_code,
                        std::vector<std::string> says) {
    for (const char* ending : {".bin", ".idx"}) {
      std::string bytes = *ReadFile(TinyJobDirectory() / "corpus" / (std::string("eval") + ending));
      if (changed == ending) change(&bytes);
      Write(name + ending, bytes);
    }
    const std::string model = TinyJobDirectory() / "teacher";
    ExpectRefused({what,
                   TestPath(name + changed),
                   {"eval", model, "--data", TestPath(name + ".bin")},
                   exit_code,
                   says});
  };
  data("an index cut short", "f", ".idx", [](std::string* bytes) { bytes->resize(100); }, 10, {"again"});
  data("more sequences than bytes", "g", ".idx", [](std::string* bytes) { (*bytes)[25] = '\x7f'; }, 10,
       {"truncated", "again"});
  data("an index that is none", "h", ".idx", [](std::string* bytes) { (*bytes)[0] = 'X'; }, 2,
       {"no Megatron index"});
  data("tokens cut short", "i", ".bin", [](std::string* bytes) { bytes->pop_back(); }, 10,
       {"describes", "again"});
  data("a token beyond the vocabulary", "j", ".bin", [](std::string* bytes) { (*bytes)[21] = '\x7f'; }, 2,
       {"token 10, in document 0", "vocabulary of 512", "Tokenize the text again"});
}

TEST(HostileFiles, AreRefusedByRunBeforeAnythingIsMade) {
  const auto job = [](const char* what, const std::string& text, std::vector<std::string> says) {
    const fs::path file = Write("job.yaml", text);
    ExpectRefused({what, file, RunArguments(file, TestPath("run")), 2, std::move(says)});
    EXPECT_FALSE(fs::exists(TestPath("run")));
  };
  job("depth", std::string(100'000, '['), {"not valid YAML"});
  job("a bomb of aliases", "a: &a [x, x]\nb: &b [*a, *a]\n", {":1:4: anchors and aliases are not read"});
  job("binary", std::string("name: \0", 7), {":1:7: a control character"});
  job("another file", std::string((1 << 20) + 1, '#'), {"larger than 1 MiB"});
}

}  // namespace
}  // namespace retort
