// The tiny job of tests/golden/tiny under the real programs, and what its runs leave behind.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/child_process.h"

namespace retort {

inline constexpr double kDeadlineSeconds =
    400;  // of one program; a quiet machine needs three, a busy one 190

std::filesystem::path TinyJobDirectory();

// `retort` of this build with `arguments`.
std::vector<std::string> Retort(const std::vector<std::string>& arguments);
ProgramEnd RunRetort(const std::vector<std::string>& arguments);

// The arguments of `retort run` for a job file beside or below the tiny job's files. One compute thread:
// tensors are small, and a second thread that waits for a busy processor makes a run fifty times longer.
std::vector<std::string> RunArguments(const std::filesystem::path& job, const std::filesystem::path& out);
std::vector<std::string> TinyRunArguments(const std::filesystem::path& out);

// The tiny job run to its end without a disturbance; once in a test program.
const std::filesystem::path& UndisturbedRun();

nlohmann::json ReadJson(const std::filesystem::path& file);
nlohmann::json Result(const std::filesystem::path& out);
// The whole lines of metrics.jsonl; none when there is no such file.
std::vector<nlohmann::json> Metrics(const std::filesystem::path& out);
std::string StudentWeights(const std::filesystem::path& out);

struct Edit {
  std::string from, to;
};
// Writes the tiny job with every edit made once, in order, as `file`.
void WriteChangedJob(const std::filesystem::path& file, const std::vector<Edit>& edits);

}  // namespace retort
