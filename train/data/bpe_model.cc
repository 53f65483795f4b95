#include "train/data/bpe_model.h"

#include <algorithm>
#include <queue>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/check.h"
#include "core/base/json_keys.h"
#include "core/base/mutex.h"
#include "core/base/status_macros.h"
#include "train/data/byte_alphabet.h"
#include "train/data/utf8.h"

namespace retort {
namespace {

constexpr size_t kCachedWords = 1 << 16;
constexpr size_t kLongestCachedWord = 128;  // bytes

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
}

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

// A token of a word under way: a doubly linked list in one array, so that merging takes constant time.
struct BpeModel::Symbol {
  int32_t id;  // -1: swallowed by the symbol before it
  int32_t previous;
  int32_t next;
};

struct BpeModel::Cache {
  Mutex mutex;
  StringMap<std::vector<int32_t>> words ABSL_GUARDED_BY(mutex);
};

void BpeModel::DeleteCache::operator()(Cache* cache) const { delete cache; }

BpeModel::BpeModel() : cache_(new Cache) {
  single_ids_.fill(-1);
  fallback_ids_.fill(-1);
}

absl::StatusOr<BpeModel> BpeModel::FromJson(const nlohmann::json& model, Spelling spelling) {
  if (!model.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat("'model' is ", Brief(model), ", not an object"));
  }
  const nlohmann::json& type = Field(model, "type");
  if (!type.is_null() && type != "BPE") return Unsupported("model.type", type, "\"BPE\"");
  RETURN_IF_ERROR(
      CheckMembers("model", model,
                   {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                    "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"}));
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const nlohmann::json& value = Field(model, key);
    if (!value.is_null() && value != "") return Unsupported(absl::StrCat("model.", key), value, "null");
  }
  const nlohmann::json& dropout = Field(model, "dropout");
  if (!dropout.is_null() && dropout != 0) return Unsupported("model.dropout", dropout, "null");

  BpeModel result;
  result.spelling_ = spelling;
  ASSIGN_OR_RETURN(result.ignore_merges_, BoolField(model, "ignore_merges", false));
  RETURN_IF_ERROR(result.ReadVocab(Field(model, "vocab")));
  RETURN_IF_ERROR(result.ReadMerges(Field(model, "merges")));
  RETURN_IF_ERROR(result.ReadUnknown(model));
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
  texts_.resize(max_id + 1);
  vocab_.reserve(vocab.size());
  for (const auto& [token, id_json] : vocab.items()) {
    const int32_t id = id_json.get<int32_t>();
    vocab_.emplace(token, id);
    texts_[id] = token;
    if (spelling_ == Spelling::kCharacters) {
      if (token.size() == 1) single_ids_[static_cast<uint8_t>(token[0])] = id;
      continue;
    }
    // A token with a character outside the alphabet can only be an added one, which stands for its own text.
    const std::optional<std::string> bytes = UnspellBytes(token);
    if (!bytes.has_value()) continue;
    texts_[id] = *bytes;
    if (bytes->size() == 1) single_ids_[static_cast<uint8_t>((*bytes)[0])] = id;
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

absl::Status BpeModel::ReadUnknown(const nlohmann::json& model) {
  ASSIGN_OR_RETURN(const std::string unknown, StringField(model, "unk_token", ""));
  if (!unknown.empty()) {
    unknown_ = TokenId(unknown);
    if (!unknown_.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat("'model.unk_token' is '", unknown, "', which 'model.vocab' lacks"));
    }
  }
  ASSIGN_OR_RETURN(fuse_unknown_, BoolField(model, "fuse_unk", false));
  ASSIGN_OR_RETURN(byte_fallback_, BoolField(model, "byte_fallback", false));
  if (!byte_fallback_) return absl::OkStatus();
  if (spelling_ == Spelling::kCharacters) {
    for (int byte = 0; byte < 256; ++byte) {
      fallback_ids_[byte] = TokenId(absl::StrFormat("<0x%02X>", byte)).value_or(-1);
    }
    return absl::OkStatus();
  }
  // It comes into play only for a byte that the vocabulary lacks.
  const auto missing = std::find(single_ids_.begin(), single_ids_.end(), -1);
  if (missing == single_ids_.end()) return absl::OkStatus();
  return Unsupported(
      "model.byte_fallback", true,
      absl::StrCat("false with a byte-level vocabulary that lacks byte ", missing - single_ids_.begin()));
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

int32_t BpeModel::IdOf(std::string_view part) const {
  if (part.size() == 1) return single_ids_[static_cast<uint8_t>(part[0])];
  const auto found = vocab_.find(part);
  return found == vocab_.end() ? -1 : found->second;
}

bool BpeModel::HasBytes(std::string_view part) const {
  return byte_fallback_ && std::all_of(part.begin(), part.end(), [this](char byte) {
           return fallback_ids_[static_cast<uint8_t>(byte)] >= 0;
         });
}

std::vector<BpeModel::Symbol> BpeModel::FirstSymbols(std::string_view word) const {
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  const auto add = [&symbols](int32_t id) {
    const int32_t position = static_cast<int32_t>(symbols.size());
    symbols.push_back({id, position - 1, position + 1});
  };
  bool unknown = false;  // what was met last has its token still to come
  while (!word.empty()) {
    const std::string_view part =
        word.substr(0, spelling_ == Spelling::kBytes ? 1 : FirstCharacterBytes(word));
    word.remove_prefix(part.size());
    if (const int32_t id = IdOf(part); id >= 0) {
      if (unknown) add(*unknown_);
      unknown = false;
      add(id);
    } else if (HasBytes(part)) {
      // As in the Python library, an unknown token that is still to come stays behind these.
      for (const char byte : part) add(fallback_ids_[static_cast<uint8_t>(byte)]);
    } else if (unknown_.has_value()) {
      if (unknown && !fuse_unknown_) add(*unknown_);
      unknown = true;
    }
  }
  if (unknown) add(*unknown_);
  if (!symbols.empty()) symbols.back().next = -1;
  return symbols;
}

void BpeModel::EncodeUncached(std::string_view word, std::vector<int32_t>* ids) const {
  if (ignore_merges_) {
    const std::optional<int32_t> id =
        spelling_ == Spelling::kBytes ? TokenId(SpellBytes(word)) : TokenId(word);
    if (id.has_value()) {
      ids->push_back(*id);
      return;
    }
  }
  RETORT_CHECK(word.size() <= INT32_MAX) << "a word of " << word.size() << " bytes";
  std::vector<Symbol> symbols = FirstSymbols(word);
  if (symbols.empty()) return;

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

std::string_view BpeModel::Text(int32_t id) const {
  if (id < 0 || id > max_id()) return {};
  return texts_[id];
}

std::optional<int32_t> BpeModel::TokenId(std::string_view token) const {
  const auto found = vocab_.find(token);
  if (found == vocab_.end()) return std::nullopt;
  return found->second;
}

}  // namespace retort
