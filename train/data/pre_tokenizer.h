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
  // From the `pre_tokenizer` object: Digits, Split and ByteLevel, alone or in a Sequence; ByteLevel comes
  // last, since the vocabulary is one of bytes. INVALID_ARGUMENT for a malformed object, UNIMPLEMENTED for
  // any other one.
  static absl::StatusOr<PreTokenizer> FromJson(const nlohmann::json& pre_tokenizer);

  // The words of `text`, which must be valid UTF-8, in order; none is empty. They lie in `text`, or, where
  // add_prefix_space made them anew, in strings added to `storage`.
  std::vector<std::string_view> Split(std::string_view text, std::deque<std::string>* storage) const;

 private:
  // What becomes of the matches of a step's pattern, and of the text between them.
  enum class Behavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };
  struct Step {
    Regex pattern;
    Behavior behavior;
    bool invert;  // the text between the matches counts as the matches
  };
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
  static absl::StatusOr<Behavior> ParseBehavior(const nlohmann::json& object);
  static void Apply(const Step& step, std::string_view text, std::vector<std::string_view>* words);
  static std::vector<Part> Join(const std::vector<Part>& parts, Behavior behavior);

  std::vector<Step> steps_;  // before ByteLevel
  bool has_byte_level_ = false;
  bool add_prefix_space_ = false;
  std::optional<Step> byte_level_;  // none without use_regex
};

}  // namespace retort
