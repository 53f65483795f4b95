// Turns a job file's tree into a v1.JobSpec as the table of job_schema.h says. Looks at no other file.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "core/config/job_schema.h"
#include "core/config/yaml_tree.h"
#include "retort/v1/job.pb.h"

namespace retort {

// What is wrong with one job file, all of it.
class JobErrors {
 public:
  void Add(TextPosition position, const std::string& what) { errors_.emplace_back(position, what); }

  // OK when nothing was added; else INVALID_ARGUMENT with a line "NAME:LINE:COLUMN: what" for each of the
  // first 20 in the order of the file.
  absl::Status ToStatus(const std::string& name) const;

 private:
  std::vector<std::pair<TextPosition, std::string>> errors_;
};

// `text` in double quotes, cut to a readable length.
std::string Quoted(const std::string& text);

// For one tree, once. Not thread-safe. `errors` must outlive the reader.
class JobReader {
 public:
  explicit JobReader(JobErrors& errors) : errors_(errors) {}

  // Fills every field: with a default where the file is silent, and with nothing where it is wrong, which
  // `errors` then says.
  v1::JobSpec Read(const YamlNode& root);

  // True when the key at `path` (as in JobKey; list elements are "data.train[0]", "data.phases[0].stage") has
  // a good value, default or not.
  bool Has(const std::string& path) const { return positions_.contains(path); }

  // Where that value stands; that of its section for a default. Has(path) must be true.
  TextPosition PositionOf(const std::string& path) const;

 private:
  // What is being read: the job, or one section of a list in it.
  struct Scope {
    google::protobuf::Message* message;  // in which keys' fields are looked for
    std::string list, item;              // "data.phases", "data.phases[1]"; empty: the job
  };
  // The key's path with the number of the list's section.
  std::string Written(const JobKey& key) const;

  void ReadSection(const std::string& section, const YamlNode& map, TextPosition position);
  void ReadUnknownKey(const std::string& section, const YamlNode& name);
  void ReadMissingKey(const JobKey& key, TextPosition section_position);
  void ReadValue(const JobKey& key, const YamlNode& value, TextPosition position);
  void ReadScalar(const JobKey& key, const std::string& text, TextPosition position);
  void ReadInteger(const JobKey& key, const std::string& text, TextPosition position);
  void ReadLearningRate(const JobKey& key, const std::string& text, TextPosition position);
  void ReadName(const JobKey& key, const std::string& text, TextPosition position);
  void ReadPath(const JobKey& key, const std::string& text, TextPosition position);
  void ReadChoice(const JobKey& key, const std::string& text, TextPosition position);
  void ReadInterval(const JobKey& key, const std::string& text, TextPosition position);
  void ReadSwitch(const JobKey& key, const std::string& text, TextPosition position);
  void ReadPaths(const JobKey& key, const YamlNode& value, TextPosition position);
  // One of a list with weights: {path: A.bin, weight: 3}.
  void ReadWeightedPath(const std::string& item, const YamlNode& section, google::protobuf::Message* message);
  void CheckWeights(const JobKey& key, const YamlNode& list, TextPosition position);
  void ReadPhases(const JobKey& key, const YamlNode& list);
  // That the keys of a map for keep_attention go together.
  void CheckKeptKeys(const JobKey& key, const YamlNode& map, TextPosition position);
  void ReadLayers(const JobKey& key, const YamlNode& list, TextPosition position);

  JobErrors& errors_;
  v1::JobSpec job_;
  Scope scope_ = {&job_, "", ""};
  std::map<std::string, TextPosition> positions_;  // of good values
};

}  // namespace retort
