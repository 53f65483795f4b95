// The `added_tokens` of a tokenizer.json: tokens found in the text itself before anything else looks at it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json_fwd.hpp"
#include "train/data/string_map.h"

namespace retort {

struct AddedToken {
  int32_t id;
  std::string content;
  bool lstrip;      // swallows the white space before it
  bool rstrip;      // swallows the white space after it
  bool normalized;  // looked for after the tokens that are not
  bool special;     // left out when decoding
};

// Immutable, so thread-safe.
class AddedTokens {
 public:
  // From the `added_tokens` array, which may be null. INVALID_ARGUMENT for a malformed one, UNIMPLEMENTED for
  // a token with single_word.
  static absl::StatusOr<AddedTokens> FromJson(const nlohmann::json& added_tokens);

  struct Piece {
    std::string_view text;      // ordinary text, part of what was split; empty for an added token
    std::optional<int32_t> id;  // of the added token that stands here
  };
  // Cuts valid UTF-8 `text` at the added tokens: leftmost, then longest match.
  std::vector<Piece> Split(std::string_view text) const;

  // Null when no added token has that id, or content.
  const AddedToken* Find(int32_t id) const;
  const AddedToken* Find(std::string_view content) const;

  int32_t max_id() const;  // -1 without any

 private:
  // Tokens by their first byte, longest first: positions in tokens_.
  using Matcher = std::array<std::vector<size_t>, 256>;

  absl::Status Add(const nlohmann::json& object);
  void SplitWith(const Matcher& matcher, std::string_view text, std::vector<Piece>* pieces) const;
  const AddedToken* MatchAt(const Matcher& matcher, std::string_view text) const;

  std::vector<AddedToken> tokens_;
  Matcher raw_;         // tokens with normalized: false
  Matcher normalized_;  // the others
  std::unordered_map<int32_t, size_t> by_id_;
  StringMap<size_t> by_content_;
};

}  // namespace retort
