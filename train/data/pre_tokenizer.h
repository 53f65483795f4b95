// The `pre_tokenizer` of a tokenizer.json: cuts text into the words that BPE never joins.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json_fwd.hpp"
#include "train/data/regex.h"

namespace retort {

// Immutable, so thread-safe.
class PreTokenizer {
 public:
  // From the `pre_tokenizer` object: null, or Digits, Split, ByteLevel and Metaspace, alone or in a Sequence;
  // the latter two respell the text and come last. INVALID_ARGUMENT for a malformed object, UNIMPLEMENTED for
  // any other one.
  static absl::StatusOr<PreTokenizer> FromJson(const nlohmann::json& pre_tokenizer);

  // The words of `text`, which must be valid UTF-8, in order; none is empty. They lie in `text`, or, where
  // they were respelled, in strings added to `storage`. `at_start` says that `text` begins a whole one.
  // Fails as Regex::FindAll.
  absl::StatusOr<std::vector<std::string_view>> Split(std::string_view text, bool at_start,
                                                      std::deque<std::string>* storage) const;

  // Whether the vocabulary is one of bytes, spelled in GPT-2's alphabet, rather than one of characters. Words
  // are raw bytes all the same.
  bool byte_level() const { return ending_ == Ending::kByteLevel; }

 private:
  // What becomes of the matches of a step's pattern, and of the text between them.
  enum class Behavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };
  struct Step {
    Regex pattern;
    Behavior behavior;
    bool invert;  // the text between the matches counts as the matches
  };
  enum class Ending { kNone, kByteLevel, kMetaspace };
  enum class PrependScheme { kAlways, kFirst, kNever };
  struct Part {
    size_t begin;  // bytes
    size_t end;
    bool is_match;
  };

  PreTokenizer() = default;
  absl::Status AddStep(const nlohmann::json& object);
  absl::Status AddDigits(const nlohmann::json& object);
  absl::Status AddSplit(const nlohmann::json& object);
  absl::Status AddByteLevel(const nlohmann::json& object);
  absl::Status AddMetaspace(const nlohmann::json& object);
  std::string_view Respell(std::string_view word, bool at_start, std::deque<std::string>* storage) const;
  static absl::StatusOr<Behavior> ParseBehavior(const nlohmann::json& object);
  static absl::Status Apply(const Step& step, std::string_view text, std::vector<std::string_view>* words);
  static std::vector<Part> Join(const std::vector<Part>& parts, Behavior behavior);

  std::vector<Step> steps_;  // before the ending
  Ending ending_ = Ending::kNone;
  std::string space_ = " ";                        // stands for a space after Respell
  PrependScheme prepend_ = PrependScheme::kNever;  // who gets a space in front, unless one is there
  std::optional<Step> last_;                       // after Respell; none without use_regex, or without split
};

}  // namespace retort
