// BPE as a Hugging Face tokenizer.json describes it (GPT-2, Llama 2 and 3, Mistral, Qwen2 and 3, SmolLM2 and
// their kin): the same ids as the Python library `tokenizers` gives.
//
// What each part may hold stands in its header: normalizer.h, added_tokens.h, pre_tokenizer.h, bpe_model.h,
// post_processor.h, decoder.h. Everything else is refused by name when loading. Only the keys `truncation`
// and `padding`, which shape batches, are not looked at.
//
// Text is UTF-8. Each maximal ill-formed part of it counts as U+FFFD, as in Python's errors="replace".
// Letters, digits and spaces are PCRE2's Unicode tables' (14.0 in Debian 12): scripts newer than that may
// split otherwise. NFC is of utf8proc's (15.0).
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
#include "train/data/decoder.h"
#include "train/data/normalizer.h"
#include "train/data/post_processor.h"
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

  // The same for the contents of a file.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromJson(const std::string& text);

  // Ids of `text`, without bos or eos. Added tokens written in the text, special ones too, become their ids.
  // INVALID_ARGUMENT when one of the tokenizer's patterns gives up on the text (Regex::FindAll).
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text) const;

  // Ids of `text` as a whole document or prompt, with the tokens that `post_processor` puts around one
  // (Llama's bos); none when the text itself has none. Fails as Encode.
  absl::StatusOr<std::vector<int32_t>> EncodeWhole(std::string_view text) const;

  // The bytes that `ids` stand for; they may end in the middle of a UTF-8 character, and those of the first
  // ids begin those of all (so a text that grows can be shown as it does). Ids outside the vocabulary stand
  // for nothing. `special` decides whether special tokens leave their text.
  std::string Decode(absl::Span<const int32_t> ids, SpecialTokens special = SpecialTokens::kSkip) const;

  // One more than the largest id. A model's own vocabulary may be padded beyond it.
  int32_t vocab_size() const { return vocab_size_; }

  // Id of the token written exactly so, e.g. "<|endoftext|>"; in the vocabulary's own spelling ("Ġthe").
  std::optional<int32_t> TokenId(std::string_view token) const;

 private:
  Tokenizer(Normalizer normalizer, AddedTokens added, PreTokenizer pre_tokenizer, BpeModel model,
            PostProcessor post_processor, Decoder decoder);
  // The ids of the post-processor must be in the vocabulary.
  absl::Status CheckTemplate() const;

  Normalizer normalizer_;
  AddedTokens added_;
  PreTokenizer pre_tokenizer_;
  BpeModel model_;
  PostProcessor post_processor_;
  Decoder decoder_;
  int32_t vocab_size_;
};

}  // namespace retort
