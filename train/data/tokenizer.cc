#include "train/data/tokenizer.h"

#include <algorithm>
#include <deque>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/json_keys.h"
#include "core/base/json_text.h"
#include "core/base/status_macros.h"
#include "train/data/utf8.h"

namespace retort {
namespace {

// A token that both lists have must have one id.
absl::Status CheckIds(const nlohmann::json& added_tokens, const BpeModel& model, const AddedTokens& added) {
  for (const nlohmann::json& object : added_tokens) {
    const AddedToken* token = added.Find(object["id"].get<int32_t>());
    const std::optional<int32_t> id = model.TokenId(token->content);
    if (id.has_value() && *id != token->id) {
      return absl::InvalidArgumentError(absl::StrCat("token '", token->content, "' has id ", token->id,
                                                     " in 'added_tokens' and ", *id, " in 'model.vocab'"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

Tokenizer::Tokenizer(Normalizer normalizer, AddedTokens added, PreTokenizer pre_tokenizer, BpeModel model,
                     PostProcessor post_processor, Decoder decoder)
    : normalizer_(std::move(normalizer)),
      added_(std::move(added)),
      pre_tokenizer_(std::move(pre_tokenizer)),
      model_(std::move(model)),
      post_processor_(std::move(post_processor)),
      decoder_(std::move(decoder)),
      vocab_size_(std::max(model_.max_id(), added_.max_id()) + 1) {}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromJson(const std::string& text) {
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(text));
  if (!json.is_object()) return absl::InvalidArgumentError("not a JSON object");
  RETURN_IF_ERROR(CheckMembers("tokenizer.json", json,
                               {"version", "truncation", "padding", "added_tokens", "normalizer",
                                "pre_tokenizer", "post_processor", "decoder", "model"}));
  const nlohmann::json& version = Field(json, "version");
  if (!version.is_null() && version != "1.0") return Unsupported("version", version, "\"1.0\"");
  ASSIGN_OR_RETURN(Normalizer normalizer, Normalizer::FromJson(Field(json, "normalizer")));
  ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer, PreTokenizer::FromJson(Field(json, "pre_tokenizer")));
  const bool byte_level = pre_tokenizer.byte_level();
  ASSIGN_OR_RETURN(Decoder decoder, Decoder::FromJson(Field(json, "decoder"), byte_level));
  ASSIGN_OR_RETURN(PostProcessor post_processor, PostProcessor::FromJson(Field(json, "post_processor")));
  ASSIGN_OR_RETURN(BpeModel model, BpeModel::FromJson(Field(json, "model"),
                                                      byte_level ? Spelling::kBytes : Spelling::kCharacters));
  const nlohmann::json& added_tokens = Field(json, "added_tokens");
  ASSIGN_OR_RETURN(AddedTokens added, AddedTokens::FromJson(added_tokens, normalizer));
  RETURN_IF_ERROR(CheckIds(added_tokens, model, added));
  std::unique_ptr<Tokenizer> tokenizer(new Tokenizer(std::move(normalizer), std::move(added),
                                                     std::move(pre_tokenizer), std::move(model),
                                                     std::move(post_processor), std::move(decoder)));
  RETURN_IF_ERROR(tokenizer->CheckTemplate());
  return tokenizer;
}

absl::Status Tokenizer::CheckTemplate() const {
  for (const std::vector<int32_t>& side : {post_processor_.before(), post_processor_.after()}) {
    for (const int32_t id : side) {
      if (id < vocab_size_) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          "'post_processor' puts token ", id, " around texts, but the vocabulary ends at ", vocab_size_ - 1));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::filesystem::path& path) {
  std::error_code ignored;
  const std::filesystem::path file =
      std::filesystem::is_directory(path, ignored) ? path / "tokenizer.json" : path;
  ASSIGN_OR_RETURN(const std::string text, ReadFile(file));
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = FromJson(text);
  if (!tokenizer.ok()) {
    return absl::Status(tokenizer.status().code(),
                        absl::StrCat(file.string(), ": ", tokenizer.status().message()));
  }
  return tokenizer;
}

absl::StatusOr<std::vector<int32_t>> Tokenizer::Encode(std::string_view text) const {
  std::string repaired;
  std::deque<std::string> normalized;
  std::deque<std::string> respelled;
  std::vector<int32_t> ids;
  const std::string_view valid = ToValidUtf8(text, &repaired);
  ASSIGN_OR_RETURN(const std::vector<AddedTokens::Piece> pieces,
                   added_.Split(valid, normalizer_, &normalized));
  for (const AddedTokens::Piece& piece : pieces) {
    if (piece.id.has_value()) {
      ids.push_back(*piece.id);
      continue;
    }
    ASSIGN_OR_RETURN(const std::vector<std::string_view> words,
                     pre_tokenizer_.Split(piece.text, piece.at_start, &respelled));
    for (const std::string_view word : words) model_.Encode(word, &ids);
    respelled.clear();
  }
  return ids;
}

absl::StatusOr<std::vector<int32_t>> Tokenizer::EncodeWhole(std::string_view text) const {
  ASSIGN_OR_RETURN(std::vector<int32_t> ids, Encode(text));
  if (ids.empty()) return ids;
  ids.insert(ids.begin(), post_processor_.before().begin(), post_processor_.before().end());
  ids.insert(ids.end(), post_processor_.after().begin(), post_processor_.after().end());
  return ids;
}

std::string Tokenizer::Decode(absl::Span<const int32_t> ids, SpecialTokens special) const {
  std::vector<std::string> tokens;
  for (const int32_t id : ids) {
    if (const AddedToken* token = added_.Find(id); token == nullptr) {
      tokens.emplace_back(model_.Text(id));
    } else if (!token->special || special == SpecialTokens::kKeep) {
      // (The Python library reads one that GPT-2's alphabet can spell, such as "é", as bytes.)
      tokens.push_back(token->pattern);
    }
  }
  return decoder_.Decode(std::move(tokens));
}

std::optional<int32_t> Tokenizer::TokenId(std::string_view token) const {
  if (const AddedToken* added = added_.Find(token); added != nullptr) return added->id;
  return model_.TokenId(token);
}

}  // namespace retort
