#include "tests/system/tiny_run.h"

#include <gtest/gtest.h>

#include <sstream>

#include "core/base/check.h"
#include "core/base/files.h"
#include "train/data/testing_dataset.h"

namespace retort {

using nlohmann::json;

std::filesystem::path TinyJobDirectory() {
  return std::filesystem::path(RETORT_SOURCE_DIR) / "tests/golden/tiny";
}

std::vector<std::string> Retort(const std::vector<std::string>& arguments) {
  std::vector<std::string> argv = {RETORT_BIN_DIR "/retort"};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return argv;
}

ProgramEnd RunRetort(const std::vector<std::string>& arguments) {
  return RunProgram(Retort(arguments), kDeadlineSeconds);
}

std::vector<std::string> RunArguments(const std::filesystem::path& job, const std::filesystem::path& out) {
  return {"run", job, "--root", TinyJobDirectory(), "--out", out, "--threads", "1"};
}

std::vector<std::string> TinyRunArguments(const std::filesystem::path& out) {
  return RunArguments(TinyJobDirectory() / "job.yaml", out);
}

const std::filesystem::path& UndisturbedRun() {
  static const ScratchDirectory scratch;
  static const std::filesystem::path out = [] {
    std::filesystem::path directory = scratch.path() / "undisturbed";
    const ProgramEnd end = RunRetort(TinyRunArguments(directory));
    RETORT_CHECK(end.exit_code == 0) << end.exit_code << ", signal " << end.signal << ": " << end.err;
    return directory;
  }();
  return out;
}

json ReadJson(const std::filesystem::path& file) { return json::parse(ReadFile(file).value()); }

json Result(const std::filesystem::path& out) { return ReadJson(out / "result.json"); }

std::vector<json> Metrics(const std::filesystem::path& out) {
  std::vector<json> lines;
  const auto text = ReadFile(out / "metrics.jsonl");
  if (!text.ok()) return lines;
  std::istringstream stream(text->substr(0, text->rfind('\n') + 1));
  for (std::string line; std::getline(stream, line);) lines.push_back(json::parse(line));
  return lines;
}

std::string StudentWeights(const std::filesystem::path& out) {
  return ReadFile(out / "student/model.safetensors").value();
}

void WriteChangedJob(const std::filesystem::path& file, const std::vector<Edit>& edits) {
  std::string text = ReadFile(TinyJobDirectory() / "job.yaml").value();
  for (const Edit& edit : edits) {
    const size_t at = text.find(edit.from);
    RETORT_CHECK(at != std::string::npos) << edit.from;
    text.replace(at, edit.from.size(), edit.to);
  }
  RETORT_CHECK(WriteFileAtomically(file, text).ok()) << file;
}

}  // namespace retort
