#include "core/store/record_reader.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace retort {
namespace {

constexpr char kAdvice[] = "; run retort-orchestrator verify, and restore a backup";

}  // namespace

absl::Status ParseRecord(const std::string& name, std::string_view bytes,
                         google::protobuf::MessageLite& record) {
  if (record.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("record ", name, " is damaged: ", bytes.size(),
                                          " bytes that are no ", record.GetTypeName(), kAdvice));
}

absl::Status CheckRecordVersion(const std::string& name, uint32_t version) {
  if (version == kRecordVersion) return absl::OkStatus();
  if (version > kRecordVersion) {
    return absl::FailedPreconditionError(absl::StrCat("record ", name, " has version ", version,
                                                      "; this program reads up to ", kRecordVersion,
                                                      "; use the program that wrote it, or a newer one"));
  }
  return absl::DataLossError(absl::StrCat("record ", name, " is damaged: it has no version", kAdvice));
}

absl::Status WrongRecordKey(const std::string& name, const std::string& key_in_record) {
  return absl::DataLossError(
      absl::StrCat("record ", name, " is damaged: it says that it is ", key_in_record, kAdvice));
}

absl::Status UnreadableKey(Family family, std::string_view bytes) {
  return absl::DataLossError(absl::StrCat("family ", FamilyName(family), " is damaged: it has a key 0x",
                                          absl::BytesToHexString(std::string(bytes)),
                                          ", which is none of its keys", kAdvice));
}

}  // namespace retort
