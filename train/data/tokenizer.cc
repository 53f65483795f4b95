#include "train/data/tokenizer.h"

#include <algorithm>
#include <deque>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"
#include "train/data/json_fields.h"
#include "train/data/utf8.h"

namespace retort {
namespace {

absl::Status CheckNormalizer(const nlohmann::json& normalizer) {
  if (normalizer.is_null()) return absl::OkStatus();
  const nlohmann::json& members = Field(normalizer, "normalizers");
  if (Field(normalizer, "type") == "Sequence" && members.is_array() && members.empty())
    return absl::OkStatus();
  return Unsupported("normalizer", normalizer, "null (byte-level BPE)");
}

absl::Status CheckDecoder(const nlohmann::json& decoder) {
  if (Field(decoder, "type") == "ByteLevel") return absl::OkStatus();
  return Unsupported("decoder", decoder, R"({"type": "ByteLevel"})");
}

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

Tokenizer::Tokenizer(AddedTokens added, PreTokenizer pre_tokenizer, BpeModel model)
    : added_(std::move(added)),
      pre_tokenizer_(std::move(pre_tokenizer)),
      model_(std::move(model)),
      vocab_size_(std::max(model_.max_id(), added_.max_id()) + 1) {}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromJson(const std::string& text) {
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(text));
  if (!json.is_object()) return absl::InvalidArgumentError("not a JSON object");
  RETURN_IF_ERROR(CheckNormalizer(Field(json, "normalizer")));
  ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer, PreTokenizer::FromJson(Field(json, "pre_tokenizer")));
  RETURN_IF_ERROR(CheckDecoder(Field(json, "decoder")));
  ASSIGN_OR_RETURN(BpeModel model, BpeModel::FromJson(Field(json, "model")));
  const nlohmann::json& added_tokens = Field(json, "added_tokens");
  ASSIGN_OR_RETURN(AddedTokens added, AddedTokens::FromJson(added_tokens));
  RETURN_IF_ERROR(CheckIds(added_tokens, model, added));
  return std::unique_ptr<Tokenizer>(
      new Tokenizer(std::move(added), std::move(pre_tokenizer), std::move(model)));
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

std::vector<int32_t> Tokenizer::Encode(std::string_view text) const {
  std::string repaired;
  std::deque<std::string> storage;
  std::vector<int32_t> ids;
  for (const AddedTokens::Piece& piece : added_.Split(ToValidUtf8(text, &repaired))) {
    if (piece.id.has_value()) {
      ids.push_back(*piece.id);
      continue;
    }
    for (const std::string_view word : pre_tokenizer_.Split(piece.text, &storage)) model_.Encode(word, &ids);
    storage.clear();
  }
  return ids;
}

std::string Tokenizer::Decode(absl::Span<const int32_t> ids, SpecialTokens special) const {
  std::string text;
  for (const int32_t id : ids) {
    if (const AddedToken* token = added_.Find(id); token == nullptr) {
      text.append(model_.Bytes(id));
    } else if (!token->special || special == SpecialTokens::kKeep) {
      text.append(token->content);
    }
  }
  return text;
}

std::optional<int32_t> Tokenizer::TokenId(std::string_view token) const {
  if (const AddedToken* added = added_.Find(token); added != nullptr) return added->id;
  return model_.TokenId(token);
}

}  // namespace retort
