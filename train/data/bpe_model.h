// The BPE of a tokenizer.json: from one pre-tokenized word to token ids.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json_fwd.hpp"
#include "train/data/string_map.h"

namespace retort {

// What the vocabulary's entries are made of: characters, or bytes, each as a character of GPT-2's alphabet.
enum class Spelling { kCharacters, kBytes };

// Thread-safe.
class BpeModel {
 public:
  static constexpr int32_t kMaxId = (1 << 24) - 1;  // the largest id that a vocabulary may have

  // From the `model` object of a tokenizer.json. INVALID_ARGUMENT for a malformed one, UNIMPLEMENTED for an
  // option that is not supported.
  static absl::StatusOr<BpeModel> FromJson(const nlohmann::json& model, Spelling spelling);

  // Appends the ids of one word: raw bytes, or valid UTF-8 for a vocabulary of characters. n bytes take
  // O(n log n) time. What the vocabulary lacks becomes its bytes' tokens ("<0x0A>", with byte_fallback), else
  // the unknown token, else nothing.
  void Encode(std::string_view word, std::vector<int32_t>* ids) const;

  // Token `id` as text, or as bytes for a vocabulary of bytes; empty for an id that the vocabulary lacks.
  std::string_view Text(int32_t id) const;

  // Id of a token in the vocabulary's own spelling, where each byte is a printable character.
  std::optional<int32_t> TokenId(std::string_view token) const;

  int32_t max_id() const { return static_cast<int32_t>(texts_.size()) - 1; }

 private:
  struct Merge {
    int32_t rank;
    int32_t result;
  };
  struct Symbol;
  struct Cache;
  struct DeleteCache {
    void operator()(Cache* cache) const;
  };

  BpeModel();
  absl::Status ReadVocab(const nlohmann::json& vocab);
  absl::Status ReadMerges(const nlohmann::json& merges);
  absl::Status ReadUnknown(const nlohmann::json& model);
  const Merge* FindMerge(int32_t left, int32_t right) const;
  // Of one byte or character; -1: not in the vocabulary.
  int32_t IdOf(std::string_view part) const;
  // Whether byte_fallback can spell it.
  bool HasBytes(std::string_view part) const;
  // The tokens of a word's bytes or characters, before any merge.
  std::vector<Symbol> FirstSymbols(std::string_view word) const;
  void EncodeUncached(std::string_view word, std::vector<int32_t>* ids) const;

  Spelling spelling_ = Spelling::kBytes;
  bool ignore_merges_ = false;      // a word that is itself a token is not built by merges
  std::optional<int32_t> unknown_;  // stands for what the vocabulary lacks
  bool fuse_unknown_ = false;       // once for a run of them
  bool byte_fallback_ = false;
  StringMap<int32_t> vocab_;        // in the vocabulary's spelling
  std::vector<std::string> texts_;  // by id
  // By byte, -1 where the vocabulary lacks it: the byte itself, or an ASCII character; and "<0x..>".
  std::array<int32_t, 256> single_ids_;
  std::array<int32_t, 256> fallback_ids_;
  std::unordered_map<uint64_t, Merge> merges_;  // by left id << 32 | right id
  std::unique_ptr<Cache, DeleteCache> cache_;   // words seen lately
};

}  // namespace retort
