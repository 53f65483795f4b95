// The one table of a job file's keys. Reading, checking, defaults, suggestions and docs/job.md all follow it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace retort {

enum class JobKeyType {
  kSection,     // a map of further keys
  kName,        // a run's name
  kDirectory,   // path of a model's directory
  kTokenFile,   // path of a .bin file
  kTokenFiles,  // a path, a list of paths, or a list of sections of the keys in kTrainKey
  kPhases,      // a list of sections
  kInteger,
  kTokens,    // an integer, also as 80M
  kInterval,  // a number of steps, or a time
  kLearningRate,
  kSwitch,  // true or false
  kChoice,
  kKeepAttention,  // none, a list of layers, or a map
};

struct JobKey {
  std::string path;  // its names from the top of the file, joined by dots: "data.seq_len"
  JobKeyType type;
  // Where the value goes: field names within v1.JobSpec, or within the message that a list's section fills,
  // joined by dots. A repeated field is added to.
  std::string field;
  // As one would write it. None: the key is required. Empty: without the key there is no value.
  std::optional<std::string> fallback = std::nullopt;
  uint64_t min = 0;  // of kInteger, kTokens, kInterval (steps); of a kKeepAttention list's elements
  uint64_t max = 0;
  std::string zero = "";                  // of kInteger: a word that stands for 0
  std::vector<std::string> choices = {};  // of kChoice: what this key accepts of its field's enum
  std::string help;                       // one sentence
};

// The list whose sections' keys are those of every kTokenFiles.
inline constexpr char kTrainKey[] = "data.train";
inline constexpr int64_t kMaxWeightedFiles = 1000;
inline constexpr uint32_t kProbeSteps = 24;  // of a probe of layers, where nobody names a number
inline constexpr uint64_t kMaxCheckpointSeconds = 7 * 24 * 3600;

// Every key, in the order of the reference; a section before its keys. Thread-safe.
const std::vector<JobKey>& JobKeys();

// The keys directly in the section with this path; "" is the top of the file.
std::vector<const JobKey*> JobKeysIn(const std::string& section);

// The last name of the key's path.
std::string LeafName(const JobKey& key);

// The last names of JobKeysIn(section).
std::vector<std::string> LeafNamesIn(const std::string& section);

// What to write, as part of a sentence: "a whole number from 2 to 1048576".
std::string ExpectedValue(const JobKey& key);

}  // namespace retort
