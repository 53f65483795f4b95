// The `decoder` of a tokenizer.json: from tokens back to text.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json_fwd.hpp"
#include "train/data/text_growth.h"

namespace retort {

// Immutable, so thread-safe.
class Decoder {
 public:
  // From the `decoder` object: ByteLevel for a vocabulary of bytes; for one of characters Metaspace, Replace
  // (of a String), ByteFallback, Fuse and Strip, alone or in a Sequence. INVALID_ARGUMENT for a malformed
  // object, UNIMPLEMENTED for any other one.
  static absl::StatusOr<Decoder> FromJson(const nlohmann::json& decoder, bool byte_level);

  // The text of `tokens`, each as BpeModel::Text gives it. What ByteFallback makes of byte tokens may be no
  // UTF-8 character yet (the Python library writes U+FFFD then). The text of some tokens begins that of more.
  std::string Decode(std::vector<std::string> tokens) const;

 private:
  struct Metaspace {
    std::string replacement;
    bool drop_first;  // the space in front of the first token
  };
  struct Replace {
    std::string pattern;
    std::string content;
  };
  struct ByteFallback {};
  struct Fuse {};
  struct Strip {
    std::string content;  // one character
    size_t start;         // at most so many of them are taken off
  };

  absl::Status AddStep(const nlohmann::json& object);
  static void Apply(const Metaspace& step, std::vector<std::string>* tokens);
  static void Apply(const Replace& step, std::vector<std::string>* tokens);
  static void Apply(const ByteFallback& step, std::vector<std::string>* tokens);
  static void Apply(const Fuse& step, std::vector<std::string>* tokens);
  static void Apply(const Strip& step, std::vector<std::string>* tokens);

  std::vector<std::variant<Metaspace, Replace, ByteFallback, Fuse, Strip>> steps_;
  TextGrowth growth_;
};

}  // namespace retort
