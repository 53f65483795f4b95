// Byte-level BPE as a Hugging Face tokenizer.json describes it (GPT-2, Llama 3, SmolLM2 and their kin): the
// same ids as the Python library `tokenizers` gives with add_special_tokens=False.
//
// Supported: model BPE; pre-tokenizers Digits, Split and, last, ByteLevel, alone or in a Sequence; no
// normalizer; decoder ByteLevel. Keys `post_processor`, `truncation` and `padding` shape a model's input
// rather than the text and are not applied. Everything else is refused by name when loading.
//
// Text is UTF-8. Each maximal ill-formed part of it counts as U+FFFD, as in Python's errors="replace".
// Letters, digits and spaces are PCRE2's Unicode tables' (14.0 in Debian 12): scripts newer than that may
// split otherwise.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "train/data/added_tokens.h"
#include "train/data/bpe_model.h"
#include "train/data/pre_tokenizer.h"

namespace retort {

enum class SpecialTokens { kSkip, kKeep };

// Thread-safe: all methods are const, and the cache of words inside BpeModel has its own lock.
class Tokenizer {
 public:
  // Reads `path`, or `path`/tokenizer.json when `path` is a directory. NOT_FOUND without that file;
  // INVALID_ARGUMENT when it is no tokenizer.json; UNIMPLEMENTED, naming key, value and what is supported,
  // when it asks for what is not done here.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::filesystem::path& path);

  // Ids of `text`, without bos or eos. Added tokens written in the text, special ones too, become their ids.
  std::vector<int32_t> Encode(std::string_view text) const;

  // The bytes that `ids` stand for; they may end in the middle of a UTF-8 character. Ids outside the
  // vocabulary stand for nothing. `special` decides whether special tokens leave their text.
  std::string Decode(absl::Span<const int32_t> ids, SpecialTokens special = SpecialTokens::kSkip) const;

  // One more than the largest id. A model's own vocabulary may be padded beyond it.
  int32_t vocab_size() const { return vocab_size_; }

  // Id of the token written exactly so, e.g. "<|endoftext|>"; in the vocabulary's own spelling ("Ġthe").
  std::optional<int32_t> TokenId(std::string_view token) const;

 private:
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromJson(const std::string& text);
  Tokenizer(AddedTokens added, PreTokenizer pre_tokenizer, BpeModel model);

  AddedTokens added_;
  PreTokenizer pre_tokenizer_;
  BpeModel model_;
  int32_t vocab_size_;
};

}  // namespace retort
