// The `added_tokens` of a tokenizer.json: tokens found in the text itself before it is cut into words.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json_fwd.hpp"
#include "train/data/normalizer.h"
#include "train/data/regex.h"
#include "train/data/string_map.h"

namespace retort {

struct AddedToken {
  int32_t id;
  std::string content;
  std::string pattern;  // what is looked for and decoded to: the content, normalized if `normalized`
  bool single_word;     // counts only where no letter, mark, digit or joiner touches it
  bool lstrip;          // swallows the white space before it
  bool rstrip;          // swallows the white space after it
  bool normalized;      // looked for in what the normalizer made of the text between the tokens that are not
  bool special;         // left out when decoding
};

// Immutable, so thread-safe.
class AddedTokens {
 public:
  // From the `added_tokens` array, which may be null. INVALID_ARGUMENT for a malformed one, UNIMPLEMENTED for
  // a member that is not known.
  static absl::StatusOr<AddedTokens> FromJson(const nlohmann::json& added_tokens,
                                              const Normalizer& normalizer);

  struct Piece {
    std::string_view text;      // ordinary text, normalized; empty for an added token
    std::optional<int32_t> id;  // of the added token that stands here
    bool at_start;              // the piece begins the whole text
  };
  // Cuts valid UTF-8 `text` at the added tokens, leftmost, then longest match, and normalizes the rest, which
  // lies in `text` or in strings added to `storage`. Fails as the normalizer.
  absl::StatusOr<std::vector<Piece>> Split(std::string_view text, const Normalizer& normalizer,
                                           std::deque<std::string>* storage) const;

  // Null when no added token has that id, or content.
  const AddedToken* Find(int32_t id) const;
  const AddedToken* Find(std::string_view content) const;

  int32_t max_id() const;  // -1 without any

 private:
  // By a pattern's first byte, positions in tokens_, ascending by pattern; no normalizer leaves one empty.
  using Matcher = std::array<std::vector<size_t>, 256>;

  explicit AddedTokens(Regex word) : word_(std::move(word)) {}
  absl::Status Add(const nlohmann::json& object, const Normalizer& normalizer);
  void SplitWith(const Matcher& matcher, std::string_view text, bool at_start,
                 std::vector<Piece>* pieces) const;
  const AddedToken* MatchAt(const Matcher& matcher, std::string_view text) const;
  bool StandsAlone(std::string_view before, std::string_view after) const;

  Regex word_;  // one character of a word
  std::vector<AddedToken> tokens_;
  Matcher raw_;         // tokens with normalized: false
  Matcher normalized_;  // the others
  std::unordered_map<int32_t, size_t> by_id_;
  StringMap<size_t> by_content_;
};

}  // namespace retort
