// The BPE of a tokenizer.json: from the bytes of one pre-tokenized word to token ids.
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

// Thread-safe.
class BpeModel {
 public:
  static constexpr int32_t kMaxId = (1 << 24) - 1;  // the largest id that a vocabulary may have

  // From the `model` object of a tokenizer.json. INVALID_ARGUMENT for a malformed one, UNIMPLEMENTED for an
  // option that is not supported.
  static absl::StatusOr<BpeModel> FromJson(const nlohmann::json& model);

  // Appends the ids of one word, given as raw bytes. n bytes take O(n log n) time. A byte that the vocabulary
  // lacks leaves no token, as in the Python library.
  void Encode(std::string_view word, std::vector<int32_t>* ids) const;

  // The bytes of token `id`; empty for an id that the vocabulary lacks.
  std::string_view Bytes(int32_t id) const;

  // Id of a token in the vocabulary's own spelling, where each byte is a printable character.
  std::optional<int32_t> TokenId(std::string_view token) const;

  int32_t max_id() const { return static_cast<int32_t>(bytes_.size()) - 1; }

 private:
  struct Merge {
    int32_t rank;
    int32_t result;
  };
  struct Cache;
  struct DeleteCache {
    void operator()(Cache* cache) const;
  };

  BpeModel();
  absl::Status ReadVocab(const nlohmann::json& vocab);
  absl::Status ReadMerges(const nlohmann::json& merges);
  absl::Status CheckUnknown(const nlohmann::json& model) const;
  const Merge* FindMerge(int32_t left, int32_t right) const;
  void EncodeUncached(std::string_view word, std::vector<int32_t>* ids) const;

  bool ignore_merges_ = false;                  // a word that is itself a token is not built by merges
  StringMap<int32_t> vocab_;                    // in the vocabulary's spelling
  std::vector<std::string> bytes_;              // by id
  std::array<int32_t, 256> byte_ids_;           // -1: not in the vocabulary
  std::unordered_map<uint64_t, Merge> merges_;  // by left id << 32 | right id
  std::unique_ptr<Cache, DeleteCache> cache_;   // words seen lately
};

}  // namespace retort
