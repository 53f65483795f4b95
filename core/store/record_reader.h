// Reading typed records by key or range, from the store or within a transaction: the key's type says which
// family and which record.
//
// Failures: NOT_FOUND when there is no such record; FAILED_PRECONDITION when a program of a newer version
// wrote it; DATA_LOSS when its bytes are no such record, or one of other ids than its key. Messages name the
// record. RESOURCE_EXHAUSTED and UNAVAILABLE as the disk answers.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/status_macros.h"
#include "core/store/keys.h"

namespace retort {

// The version that this program writes into every record, and the newest that it reads.
inline constexpr uint32_t kRecordVersion = 1;

// Fills `record`, whose key is called `name`, from `bytes`.
absl::Status ParseRecord(const std::string& name, std::string_view bytes,
                         google::protobuf::MessageLite& record);

absl::Status CheckRecordVersion(const std::string& name, uint32_t version);
absl::Status WrongRecordKey(const std::string& name, const std::string& key_in_record);
absl::Status UnreadableKey(Family family, std::string_view bytes);

template <class Key>
absl::StatusOr<typename Key::Record> DecodeRecord(const Key& key, std::string_view bytes) {
  typename Key::Record record;
  RETURN_IF_ERROR(ParseRecord(ToString(key), bytes, record));
  RETURN_IF_ERROR(CheckRecordVersion(ToString(key), record.version()));
  if constexpr (requires { KeyOf(record); }) {
    if (KeyOf(record) != key) return WrongRecordKey(ToString(key), ToString(KeyOf(record)));
  }
  return record;
}

class RecordReader {
 public:
  virtual ~RecordReader() = default;

  template <class Key>
  absl::StatusOr<typename Key::Record> Get(const Key& key) const {
    ASSIGN_OR_RETURN(const std::string bytes, ReadBytes(Key::kFamily, WriteKey(key), ToString(key)));
    return DecodeRecord(key, bytes);
  }

  // Shows `visit` the records of a range in the keys' order, as of now. Ends at the first error, also of
  // `visit`, and returns it.
  template <class Key>
  absl::Status Scan(
      const KeyRange<Key>& range,
      absl::FunctionRef<absl::Status(const Key& key, const typename Key::Record& record)> visit) const {
    return ScanBytes(Key::kFamily, range.first, range.end,
                     [&visit](std::string_view key_bytes, std::string_view bytes) -> absl::Status {
                       Key key;
                       if (!ParseKey(key_bytes, key)) return UnreadableKey(Key::kFamily, key_bytes);
                       ASSIGN_OR_RETURN(const typename Key::Record record, DecodeRecord(key, bytes));
                       return visit(key, record);
                     });
  }

  // The same as a list.
  template <class Key>
  absl::StatusOr<std::vector<typename Key::Record>> List(const KeyRange<Key>& range) const {
    std::vector<typename Key::Record> records;
    RETURN_IF_ERROR(Scan<Key>(range, [&records](const Key&, const typename Key::Record& record) {
      records.push_back(record);
      return absl::OkStatus();
    }));
    return records;
  }

 protected:
  using VisitBytes = absl::FunctionRef<absl::Status(std::string_view key, std::string_view value)>;

  // NOT_FOUND, which names the record as `name`, when the family has no such key.
  virtual absl::StatusOr<std::string> ReadBytes(Family family, const std::string& key,
                                                const std::string& name) const = 0;
  virtual absl::Status ScanBytes(Family family, const std::string& first, const std::string& end,
                                 VisitBytes visit) const = 0;
};

}  // namespace retort
