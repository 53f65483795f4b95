// Patterns as tokenizer.json writes them (Oniguruma's Ruby syntax), run by PCRE2 with Unicode properties and
// JIT.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json_fwd.hpp"

namespace retort {

// Immutable, so thread-safe.
class Regex {
 public:
  struct Match {
    size_t begin;  // bytes
    size_t end;
  };

  // UNIMPLEMENTED for a construct that the two engines read differently (`^`, `$`, `\w`, `\b`, `\h`, class
  // intersections, `{m,n}+`, `{n}?`, a case's category under `(?i:`, ...) or for a pattern that matches the
  // empty string; INVALID_ARGUMENT for a malformed one.
  static absl::StatusOr<Regex> Compile(const std::string& pattern);
  // Matches exactly `text`, which must not be empty.
  static absl::StatusOr<Regex> Literal(std::string_view text);
  // Matches one character of a word: what \w is in Rust's regular expressions (UTS 18).
  static absl::StatusOr<Regex> WordCharacter();

  // All matches in `text` from left to right; none overlap or are empty. `text` must be valid UTF-8.
  // INVALID_ARGUMENT when the pattern tries too many ways to match, or takes too much memory or processor
  // time for it: many times what patterns in use take.
  absl::StatusOr<std::vector<Match>> FindAll(std::string_view text) const;

 private:
  struct Code;  // the compiled pattern
  struct FreeCode {
    void operator()(Code* code) const;
  };

  // `source` is the pattern as its file has it.
  static absl::StatusOr<Regex> CompilePcre(std::string_view source, std::string_view pattern,
                                           uint32_t options);
  explicit Regex(Code* code) : code_(code) {}

  std::unique_ptr<Code, FreeCode> code_;
};

// The member "pattern" of a Split or a Replace: {"Regex": "..."} or {"String": "..."}; `key` names it in
// errors.
absl::StatusOr<Regex> PatternField(const nlohmann::json& object, const std::string& key);

}  // namespace retort
