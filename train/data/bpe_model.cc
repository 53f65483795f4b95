#include "train/data/bpe_model.h"

#include <algorithm>
#include <queue>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/base/mutex.h"
#include "core/base/status_macros.h"
#include "train/data/byte_alphabet.h"
#include "train/data/json_fields.h"

namespace retort {
namespace {

constexpr size_t kCachedWords = 1 << 16;
constexpr size_t kLongestCachedWord = 128;  // bytes

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
}

// A token of a word under way: a doubly linked list in one array, so that merging takes constant time.
struct Symbol {
  int32_t id;  // -1: swallowed by the symbol before it
  int32_t previous;
  int32_t next;
};

// A merge that was possible when it was queued: lower ranks first, then from left to right.
struct Candidate {
  int32_t rank;
  int32_t position;  // of the left symbol
  int32_t result;
  bool operator>(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

// "a b" or ["a", "b"].
absl::StatusOr<std::pair<std::string, std::string>> ParseMerge(const nlohmann::json& merge) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return std::make_pair(merge[0].get<std::string>(), merge[1].get<std::string>());
  }
  if (merge.is_string()) {
    const std::string text = merge.get<std::string>();
    const size_t space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) {
      return std::make_pair(text.substr(0, space), text.substr(space + 1));
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("'model.merges' has ", Brief(merge), ", not \"a b\" or [\"a\", \"b\"]"));
}

}  // namespace

struct BpeModel::Cache {
  Mutex mutex;
  StringMap<std::vector<int32_t>> words ABSL_GUARDED_BY(mutex);
};

void BpeModel::DeleteCache::operator()(Cache* cache) const { delete cache; }

BpeModel::BpeModel() : cache_(new Cache) { byte_ids_.fill(-1); }

absl::StatusOr<BpeModel> BpeModel::FromJson(const nlohmann::json& model) {
  if (!model.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat("'model' is ", Brief(model), ", not an object"));
  }
  const nlohmann::json& type = Field(model, "type");
  if (!type.is_null() && type != "BPE") return Unsupported("model.type", type, "\"BPE\"");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const nlohmann::json& value = Field(model, key);
    if (!value.is_null() && value != "") return Unsupported(absl::StrCat("model.", key), value, "null");
  }
  const nlohmann::json& dropout = Field(model, "dropout");
  if (!dropout.is_null() && dropout != 0) return Unsupported("model.dropout", dropout, "null");

  BpeModel result;
  ASSIGN_OR_RETURN(result.ignore_merges_, BoolField(model, "ignore_merges", false));
  RETURN_IF_ERROR(result.ReadVocab(Field(model, "vocab")));
  RETURN_IF_ERROR(result.ReadMerges(Field(model, "merges")));
  RETURN_IF_ERROR(result.CheckUnknown(model));
  return result;
}

absl::Status BpeModel::ReadVocab(const nlohmann::json& vocab) {
  if (!vocab.is_object() || vocab.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("'model.vocab' is ", Brief(vocab), ", not an object of token: id"));
  }
  int32_t max_id = 0;
  for (const auto& [token, id] : vocab.items()) {
    if (!id.is_number_integer() || id < 0 || id > kMaxId) {
      return absl::InvalidArgumentError(absl::StrCat("'model.vocab' gives token ", Brief(token), " the id ",
                                                     Brief(id), ", which is no number from 0 to ", kMaxId));
    }
    max_id = std::max(max_id, id.get<int32_t>());
  }
  bytes_.resize(max_id + 1);
  vocab_.reserve(vocab.size());
  for (const auto& [token, id_json] : vocab.items()) {
    const int32_t id = id_json.get<int32_t>();
    vocab_.emplace(token, id);
    // A token with a character outside the alphabet can only be an added one, which stands for its own text.
    const std::optional<std::string> bytes = UnspellBytes(token);
    bytes_[id] = bytes.value_or(token);
    if (bytes.has_value() && bytes->size() == 1) byte_ids_[static_cast<uint8_t>((*bytes)[0])] = id;
  }
  return absl::OkStatus();
}

absl::Status BpeModel::ReadMerges(const nlohmann::json& merges) {
  if (!merges.is_array()) {
    return absl::InvalidArgumentError(absl::StrCat("'model.merges' is ", Brief(merges), ", not an array"));
  }
  merges_.reserve(merges.size());
  int32_t rank = 0;
  for (const nlohmann::json& merge : merges) {
    ASSIGN_OR_RETURN(const auto pair, ParseMerge(merge));
    const auto left = vocab_.find(pair.first);
    const auto right = vocab_.find(pair.second);
    const auto result = vocab_.find(pair.first + pair.second);
    if (left == vocab_.end() || right == vocab_.end() || result == vocab_.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("'model.merges' has ", Brief(merge), ", whose parts or result 'model.vocab' lacks"));
    }
    merges_.insert_or_assign(PairKey(left->second, right->second), Merge{rank++, result->second});
  }
  return absl::OkStatus();
}

// Unknown tokens and byte_fallback come into play only for characters that the vocabulary lacks.
absl::Status BpeModel::CheckUnknown(const nlohmann::json& model) const {
  const auto missing = std::find(byte_ids_.begin(), byte_ids_.end(), -1);
  if (missing == byte_ids_.end()) return absl::OkStatus();
  const std::string lacks =
      absl::StrCat(" with a vocabulary that lacks byte ", missing - byte_ids_.begin(), " (byte-level BPE)");
  const nlohmann::json& unknown = Field(model, "unk_token");
  if (!unknown.is_null()) return Unsupported("model.unk_token", unknown, absl::StrCat("null", lacks));
  ASSIGN_OR_RETURN(const bool fallback, BoolField(model, "byte_fallback", false));
  if (fallback) return Unsupported("model.byte_fallback", true, absl::StrCat("false", lacks));
  return absl::OkStatus();
}

void BpeModel::Encode(std::string_view word, std::vector<int32_t>* ids) const {
  if (word.size() > kLongestCachedWord) {
    EncodeUncached(word, ids);
    return;
  }
  {
    MutexLock lock(cache_->mutex);
    const auto found = cache_->words.find(word);
    if (found != cache_->words.end()) {
      ids->insert(ids->end(), found->second.begin(), found->second.end());
      return;
    }
  }
  std::vector<int32_t> word_ids;
  EncodeUncached(word, &word_ids);
  ids->insert(ids->end(), word_ids.begin(), word_ids.end());
  MutexLock lock(cache_->mutex);
  if (cache_->words.size() >= kCachedWords) cache_->words.clear();
  cache_->words.emplace(word, std::move(word_ids));
}

const BpeModel::Merge* BpeModel::FindMerge(int32_t left, int32_t right) const {
  const auto found = merges_.find(PairKey(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void BpeModel::EncodeUncached(std::string_view word, std::vector<int32_t>* ids) const {
  if (ignore_merges_) {
    if (const std::optional<int32_t> id = TokenId(SpellBytes(word)); id.has_value()) {
      ids->push_back(*id);
      return;
    }
  }
  RETORT_CHECK(word.size() <= INT32_MAX) << "a word of " << word.size() << " bytes";
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  for (const char byte : word) {
    const int32_t id = byte_ids_[static_cast<uint8_t>(byte)];
    const int32_t position = static_cast<int32_t>(symbols.size());
    if (id >= 0) symbols.push_back({id, position - 1, position + 1});
  }
  if (symbols.empty()) return;
  symbols.back().next = -1;

  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<Candidate>> queue;
  const auto enqueue = [&](int32_t left) {
    const Merge* merge = FindMerge(symbols[left].id, symbols[symbols[left].next].id);
    if (merge != nullptr) queue.push({merge->rank, left, merge->result});
  };
  for (size_t i = 0; i + 1 < symbols.size(); ++i) enqueue(i);
  while (!queue.empty()) {
    const Candidate candidate = queue.top();
    queue.pop();
    Symbol& left = symbols[candidate.position];
    if (left.id < 0 || left.next < 0) continue;
    Symbol& right = symbols[left.next];
    // Other merges may have changed either side since this one was queued.
    const Merge* merge = FindMerge(left.id, right.id);
    if (merge == nullptr || merge->result != candidate.result) continue;
    left.id = candidate.result;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) {
      symbols[left.next].previous = candidate.position;
      enqueue(candidate.position);
    }
    if (left.previous >= 0) enqueue(left.previous);
  }
  for (int32_t i = 0; i >= 0; i = symbols[i].next) ids->push_back(symbols[i].id);
}

std::string_view BpeModel::Bytes(int32_t id) const {
  if (id < 0 || id > max_id()) return {};
  return bytes_[id];
}

std::optional<int32_t> BpeModel::TokenId(std::string_view token) const {
  const auto found = vocab_.find(token);
  if (found == vocab_.end()) return std::nullopt;
  return found->second;
}

}  // namespace retort
