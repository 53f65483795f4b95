// The `normalizer` of a tokenizer.json: how text is respelled before it is cut into words.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json_fwd.hpp"
#include "train/data/regex.h"
#include "train/data/text_growth.h"

namespace retort {

// Immutable, so thread-safe.
class Normalizer {
 public:
  // From the `normalizer` object: null, NFC (Qwen), Prepend and Replace (Llama 2), alone or in a Sequence.
  // INVALID_ARGUMENT for a malformed object, UNIMPLEMENTED for any other one.
  static absl::StatusOr<Normalizer> FromJson(const nlohmann::json& normalizer);

  // Valid UTF-8 `text` respelled: `text` itself where that changes nothing, else a string added to `storage`.
  // Fails as Regex::FindAll.
  absl::StatusOr<std::string_view> Apply(std::string_view text, std::deque<std::string>* storage) const;

 private:
  struct Nfc {};
  struct Prepend {
    std::string content;
  };
  struct Replace {
    Regex pattern;
    std::string content;
  };

  absl::Status AddStep(const nlohmann::json& object);

  std::vector<std::variant<Nfc, Prepend, Replace>> steps_;
  TextGrowth growth_;
};

}  // namespace retort
