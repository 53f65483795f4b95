#include "cli/show/message_text.h"

#include <google/protobuf/util/json_util.h>
#include <yaml-cpp/emitter.h>

#include "core/base/check.h"
#include "nlohmann/json.hpp"

namespace retort {
namespace {

using Json = nlohmann::ordered_json;

std::string ToJson(const google::protobuf::Message& message, bool add_whitespace) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = add_whitespace;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  RETORT_CHECK(google::protobuf::util::MessageToJsonString(message, &text, options).ok())
      << message.GetTypeName();
  return text;
}

void Emit(const Json& value, YAML::Emitter& out) {
  if (value.is_object()) {
    out << YAML::BeginMap;
    for (const auto& [key, member] : value.items()) {
      out << YAML::Key << key << YAML::Value;
      Emit(member, out);
    }
    out << YAML::EndMap;
  } else if (value.is_array()) {
    out << YAML::BeginSeq;
    for (const Json& element : value) Emit(element, out);
    out << YAML::EndSeq;
  } else if (value.is_string()) {
    out << YAML::DoubleQuoted << value.get<std::string>();
  } else {
    out << value.dump();
  }
}

}  // namespace

std::string MessageJson(const google::protobuf::Message& message) { return ToJson(message, true); }

std::string MessageJsonLine(const google::protobuf::Message& message) {
  return ToJson(message, false) + "\n";
}

std::string MessageYaml(const google::protobuf::Message& message) {
  YAML::Emitter out;
  Emit(Json::parse(ToJson(message, false)), out);
  return std::string(out.c_str()) + "\n";
}

std::string ErrorJsonLine(const absl::Status& status, int exit_code, const std::string& request_id) {
  Json error = {{"code", absl::StatusCodeToString(status.code())},
                {"exit_code", exit_code},
                {"message", std::string(status.message())}};
  if (!request_id.empty()) error["request_id"] = request_id;
  return Json{{"error", error}}.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace retort
