// A line of a .jsonl file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "train/chat/chat_template.h"

namespace retort {

// `line`, or a copy of it in `storage` with U+FFFD for each part that is not UTF-8 and for each escape of
// half a character (`\ud800`), which `replaced` counts. The functions below take what this gives.
std::string_view RepairLine(std::string_view line, std::string* storage, uint64_t* replaced);

// The text in the member `field` of the JSON object that `line` is. INVALID_ARGUMENT when it is no JSON, or
// when that member is missing, given twice or no string; nothing else in the object is looked at.
absl::StatusOr<std::string> TextOfLine(std::string_view line, const std::string& field);

// The chat in that member: a list of {"role": "user", "content": "..."}, or of {"from": "human", "value":
// "..."}, whose "human" and "gpt" are user and assistant. A content that is a list of {"type": "text",
// "text": "..."} is joined. INVALID_ARGUMENT when it is none or takes more than 32 MiB, or a
// message has no text (null, an image).
absl::StatusOr<std::vector<ChatMessage>> ChatOfLine(std::string_view line, const std::string& field);

}  // namespace retort
