// A message of the protocol as text for programs: -o json and -o yaml. Field names are those of the protos,
// numbers of 64 bits are strings (protobuf's JSON), enum values are names, fields at their default are there.
// Thread-safe.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "google/protobuf/message.h"

namespace retort {

std::string MessageJson(const google::protobuf::Message& message);      // several lines, a newline at the end
std::string MessageJsonLine(const google::protobuf::Message& message);  // one line
std::string MessageYaml(const google::protobuf::Message& message);

// {"error": {"code", "exit_code", "message", "request_id"}} in one line; `request_id` may be empty.
std::string ErrorJsonLine(const absl::Status& status, int exit_code, const std::string& request_id);

}  // namespace retort
