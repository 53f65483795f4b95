#include "train/data/added_tokens.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/json_keys.h"
#include "core/base/status_macros.h"
#include "train/data/bpe_model.h"
#include "train/data/utf8.h"

namespace retort {

absl::StatusOr<AddedTokens> AddedTokens::FromJson(const nlohmann::json& added_tokens,
                                                  const Normalizer& normalizer) {
  ASSIGN_OR_RETURN(Regex word, Regex::WordCharacter());
  AddedTokens result(std::move(word));
  if (added_tokens.is_null()) return result;
  if (!added_tokens.is_array()) {
    return absl::InvalidArgumentError(
        absl::StrCat("'added_tokens' is ", Brief(added_tokens), ", not an array"));
  }
  for (const nlohmann::json& object : added_tokens) RETURN_IF_ERROR(result.Add(object, normalizer));
  for (Matcher* matcher : {&result.raw_, &result.normalized_}) {
    for (std::vector<size_t>& candidates : *matcher) {
      std::stable_sort(candidates.begin(), candidates.end(), [&](size_t a, size_t b) {
        return result.tokens_[a].pattern < result.tokens_[b].pattern;
      });
    }
  }
  return result;
}

absl::Status AddedTokens::Add(const nlohmann::json& object, const Normalizer& normalizer) {
  RETURN_IF_ERROR(CheckMembers(
      "added_tokens", object, {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"}));
  const nlohmann::json& id = Field(object, "id");
  if (!id.is_number_integer() || id < 0 || id > BpeModel::kMaxId) {
    return absl::InvalidArgumentError(absl::StrCat("'added_tokens' has ", Brief(object),
                                                   ", whose id is no number from 0 to ", BpeModel::kMaxId));
  }
  AddedToken token;
  token.id = id.get<int32_t>();
  ASSIGN_OR_RETURN(token.content, StringField(object, "content", ""));
  if (token.content.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("'added_tokens' has ", Brief(object), " without content"));
  }
  ASSIGN_OR_RETURN(token.single_word, BoolField(object, "single_word", false));
  ASSIGN_OR_RETURN(token.lstrip, BoolField(object, "lstrip", false));
  ASSIGN_OR_RETURN(token.rstrip, BoolField(object, "rstrip", false));
  ASSIGN_OR_RETURN(token.special, BoolField(object, "special", false));
  ASSIGN_OR_RETURN(token.normalized, BoolField(object, "normalized", !token.special));
  const size_t position = tokens_.size();
  if (!by_id_.emplace(token.id, position).second || !by_content_.emplace(token.content, position).second) {
    return absl::InvalidArgumentError(
        absl::StrCat("'added_tokens' has ", Brief(object), ", whose id or content another one has too"));
  }
  Matcher& matcher = token.normalized ? normalized_ : raw_;
  std::deque<std::string> storage;
  std::string_view pattern = token.content;
  if (token.normalized) {
    ASSIGN_OR_RETURN(pattern, normalizer.Apply(token.content, &storage));
  }
  token.pattern = std::string(pattern);
  matcher[static_cast<uint8_t>(token.pattern[0])].push_back(position);
  tokens_.push_back(std::move(token));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<AddedTokens::Piece>> AddedTokens::Split(std::string_view text,
                                                                   const Normalizer& normalizer,
                                                                   std::deque<std::string>* storage) const {
  std::vector<Piece> outer;
  SplitWith(raw_, text, true, &outer);
  std::vector<Piece> pieces;
  for (const Piece& piece : outer) {
    if (piece.id.has_value()) {
      pieces.push_back(piece);
    } else {
      ASSIGN_OR_RETURN(const std::string_view normalized, normalizer.Apply(piece.text, storage));
      SplitWith(normalized_, normalized, piece.at_start, &pieces);
    }
  }
  return pieces;
}

void AddedTokens::SplitWith(const Matcher& matcher, std::string_view text, bool at_start,
                            std::vector<Piece>* pieces) const {
  size_t taken = 0;  // bytes of `text` that are dealt with
  const auto add_text = [&](size_t end) {
    if (taken < end)
      pieces->push_back({text.substr(taken, end - taken), std::nullopt, at_start && taken == 0});
  };
  for (size_t at = 0; at < text.size();) {
    const AddedToken* token = MatchAt(matcher, text.substr(at));
    if (token == nullptr) {
      ++at;
      continue;
    }
    const std::string_view before = text.substr(0, at);
    at += token->pattern.size();
    if (token->single_word && !StandsAlone(before, text.substr(at))) continue;
    // A token before this one may have swallowed white space beyond it already; only what it left is looked
    // at, or a long run of it would be walked along for each token in it.
    if (taken < before.size()) {
      const std::string_view left = before.substr(taken);
      add_text(before.size() - (token->lstrip ? TrailingSpace(left) : 0));
    }
    pieces->push_back({{}, token->id, false});
    taken = std::max(taken, at);
    if (token->rstrip) taken += LeadingSpace(text.substr(taken));
  }
  add_text(text.size());
}

const AddedToken* AddedTokens::MatchAt(const Matcher& matcher, std::string_view text) const {
  const AddedToken* longest = nullptr;
  const std::vector<size_t>& candidates = matcher[static_cast<uint8_t>(text[0])];
  auto begin = candidates.begin(), end = candidates.end();  // that begin as `text` does, for `length` bytes
  for (size_t length = 1; begin != end; ++length) {
    if (tokens_[*begin].pattern.size() == length) {
      longest = &tokens_[*begin];
      begin = std::partition_point(begin, end, [&](size_t token) {
        return tokens_[token].pattern.size() == length;  // it, and others with the same pattern
      });
    }
    if (length == text.size()) break;
    const auto next = static_cast<uint8_t>(text[length]);
    const auto byte = [&](size_t token) { return static_cast<uint8_t>(tokens_[token].pattern[length]); };
    begin = std::partition_point(begin, end, [&](size_t token) { return byte(token) < next; });
    end = std::partition_point(begin, end, [&](size_t token) { return byte(token) == next; });
  }
  return longest;
}

bool AddedTokens::StandsAlone(std::string_view before, std::string_view after) const {
  // One character against one class cannot be too much.
  const auto in_word = [this](std::string_view character) {
    return !word_.FindAll(character).value().empty();
  };
  if (!before.empty() && in_word(LastCharacter(before))) return false;
  return after.empty() || !in_word(after.substr(0, FirstCharacterBytes(after)));
}

const AddedToken* AddedTokens::Find(int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

const AddedToken* AddedTokens::Find(std::string_view content) const {
  const auto found = by_content_.find(content);
  return found == by_content_.end() ? nullptr : &tokens_[found->second];
}

int32_t AddedTokens::max_id() const {
  int32_t max_id = -1;
  for (const AddedToken& token : tokens_) max_id = std::max(max_id, token.id);
  return max_id;
}

}  // namespace retort
