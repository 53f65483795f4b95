#include "train/data/added_tokens.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "train/data/bpe_model.h"
#include "train/data/json_fields.h"
#include "train/data/utf8.h"

namespace retort {

absl::StatusOr<AddedTokens> AddedTokens::FromJson(const nlohmann::json& added_tokens) {
  AddedTokens result;
  if (added_tokens.is_null()) return result;
  if (!added_tokens.is_array()) {
    return absl::InvalidArgumentError(
        absl::StrCat("'added_tokens' is ", Brief(added_tokens), ", not an array"));
  }
  for (const nlohmann::json& object : added_tokens) RETURN_IF_ERROR(result.Add(object));
  for (Matcher* matcher : {&result.raw_, &result.normalized_}) {
    for (std::vector<size_t>& candidates : *matcher) {
      std::stable_sort(candidates.begin(), candidates.end(), [&](size_t a, size_t b) {
        return result.tokens_[a].content.size() > result.tokens_[b].content.size();
      });
    }
  }
  return result;
}

absl::Status AddedTokens::Add(const nlohmann::json& object) {
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
  ASSIGN_OR_RETURN(const bool single_word, BoolField(object, "single_word", false));
  if (single_word) return Unsupported("added_tokens", object, "single_word false");
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
  matcher[static_cast<uint8_t>(token.content[0])].push_back(position);
  tokens_.push_back(std::move(token));
  return absl::OkStatus();
}

std::vector<AddedTokens::Piece> AddedTokens::Split(std::string_view text) const {
  std::vector<Piece> outer;
  SplitWith(raw_, text, &outer);
  std::vector<Piece> pieces;
  for (const Piece& piece : outer) {
    if (piece.id.has_value()) {
      pieces.push_back(piece);
    } else {
      SplitWith(normalized_, piece.text, &pieces);
    }
  }
  return pieces;
}

void AddedTokens::SplitWith(const Matcher& matcher, std::string_view text, std::vector<Piece>* pieces) const {
  size_t taken = 0;  // bytes of `text` that are dealt with
  for (size_t at = 0; at < text.size();) {
    const AddedToken* token = MatchAt(matcher, text.substr(at));
    if (token == nullptr) {
      ++at;
      continue;
    }
    const size_t begin = at - (token->lstrip ? TrailingSpace(text.substr(0, at)) : 0);
    at += token->content.size();
    // A token before this one may have swallowed the white space between them already.
    if (taken < begin) pieces->push_back({text.substr(taken, begin - taken), std::nullopt});
    pieces->push_back({{}, token->id});
    taken = at + (token->rstrip ? LeadingSpace(text.substr(at)) : 0);
  }
  if (taken < text.size()) pieces->push_back({text.substr(taken), std::nullopt});
}

const AddedToken* AddedTokens::MatchAt(const Matcher& matcher, std::string_view text) const {
  for (const size_t candidate : matcher[static_cast<uint8_t>(text[0])]) {
    if (text.starts_with(tokens_[candidate].content)) return &tokens_[candidate];
  }
  return nullptr;
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
