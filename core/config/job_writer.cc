#include "core/config/job_writer.h"

#include <yaml-cpp/yaml.h>

#include <charconv>
#include <iterator>
#include <optional>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "core/base/check.h"
#include "core/base/work_names.h"
#include "core/config/job_schema.h"

namespace retort {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using Type = JobKeyType;

// A field of a message within the job; nothing when a message on the way to it is absent.
struct FieldPlace {
  const Message* message;
  const FieldDescriptor* field;
};

std::optional<FieldPlace> Find(const v1::JobSpec& job, const JobKey& key) {
  FieldPlace place{&job, nullptr};
  const std::vector<std::string> names = absl::StrSplit(key.field, '.');
  for (const std::string& name : names) {
    if (place.field != nullptr) {
      if (!place.message->GetReflection()->HasField(*place.message, place.field)) return std::nullopt;
      place.message = &place.message->GetReflection()->GetMessage(*place.message, place.field);
    }
    place.field = place.message->GetDescriptor()->FindFieldByName(name);
    RETORT_CHECK(place.field != nullptr) << key.field;
  }
  return place;
}

std::string Scalar(const std::string& text) {
  YAML::Emitter out;
  out << text;
  return out.c_str();
}

std::string List(const std::vector<std::string>& items) {
  return absl::StrCat("[", absl::StrJoin(items, ", "), "]");
}

std::string Number(const FieldPlace& place) {
  const auto& reflection = *place.message->GetReflection();
  switch (place.field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32:
      return absl::StrCat(reflection.GetUInt32(*place.message, place.field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return absl::StrCat(reflection.GetUInt64(*place.message, place.field));
    default: {
      char digits[32];  // the shortest that reads as the same number
      const double number = reflection.GetDouble(*place.message, place.field);
      return std::string(digits, std::to_chars(digits, std::end(digits), number).ptr);
    }
  }
}

// "qkvo" of STUDENT_INIT_QKVO.
std::string Choice(const FieldPlace& place) {
  const auto* value = place.message->GetReflection()->GetEnum(*place.message, place.field);
  const std::string zero = value->type()->value(0)->name();
  return absl::AsciiStrToLower(absl::StripPrefix(value->name(), absl::StripSuffix(zero, "UNSPECIFIED")));
}

template <class Strings, class Numbers>
std::string Paths(const Strings& paths, const Numbers& weights) {
  std::vector<std::string> items;
  for (int i = 0; i < paths.size(); ++i) {
    items.push_back(weights.empty()
                        ? Scalar(paths[i])
                        : absl::StrCat("{path: ", Scalar(paths[i]), ", weight: ", weights[i], "}"));
  }
  return List(items);
}

std::string Phases(const v1::DataSpec& data) {
  std::vector<std::string> items;
  for (const v1::DataPhase& phase : data.phases()) {
    items.push_back(absl::StrCat("{stage: ", StageName(phase.stage()), ", from: ", phase.from_tokens(),
                                 ", train: ", Paths(phase.train(), phase.train_weights()), "}"));
  }
  return List(items);
}

std::string Time(uint32_t seconds) {
  return seconds % 60 == 0 ? absl::StrCat(seconds / 60, "m") : absl::StrCat(seconds, "s");
}

std::string KeptAttention(const v1::KeepAttention& kept) {
  if (kept.every() != 0) return absl::StrCat("{every: ", kept.every(), ", offset: ", kept.offset(), "}");
  if (kept.layers().empty() && kept.auto_layers() > 0) {
    return absl::StrCat("{auto: ", kept.auto_layers(), ", steps: ", kept.probe_steps(), "}");
  }
  if (kept.layers().empty()) return "none";
  std::vector<std::string> layers;
  for (const uint32_t layer : kept.layers()) layers.push_back(absl::StrCat(layer));
  return List(layers);
}

// Of a key that is no section; nothing when the job has no value for it.
std::optional<std::string> Value(const v1::JobSpec& job, const JobKey& key) {
  const std::optional<FieldPlace> place = Find(job, key);
  if (!place) return std::nullopt;
  const auto& reflection = *place->message->GetReflection();
  if (key.type == Type::kInterval && job.checkpoint().every_seconds() != 0)
    return Time(job.checkpoint().every_seconds());
  // Zero stands for "nothing" wherever the key may not be zero.
  const bool has_value = place->field->is_repeated() ? reflection.FieldSize(*place->message, place->field) > 0
                                                     : reflection.HasField(*place->message, place->field);
  if (!has_value && key.type == Type::kInteger && !key.zero.empty()) return key.zero;
  if (!has_value && key.type == Type::kSwitch) return "false";
  if (!has_value && (key.type != Type::kInteger || key.min > 0)) return std::nullopt;
  switch (key.type) {
    case Type::kSwitch:
      return reflection.GetBool(*place->message, place->field) ? "true" : "false";
    case Type::kChoice:
      return Choice(*place);
    case Type::kTokenFiles:
      return Paths(job.data().train(), job.data().train_weights());
    case Type::kPhases:
      return Phases(job.data());
    case Type::kKeepAttention:
      return KeptAttention(job.student().keep_attention());
    case Type::kName:
    case Type::kDirectory:
    case Type::kTokenFile:
      return Scalar(reflection.GetString(*place->message, place->field));
    default:
      return Number(*place);
  }
}

void WriteSection(const v1::JobSpec& job, const std::string& section, const std::string& indent,
                  std::string& text) {
  for (const JobKey* key : JobKeysIn(section)) {
    if (key->type != Type::kSection) {
      const std::optional<std::string> value = Value(job, *key);
      if (value) absl::StrAppend(&text, indent, LeafName(*key), ": ", *value, "\n");
      continue;
    }
    std::string within;
    WriteSection(job, key->path, indent + "  ", within);
    const std::optional<FieldPlace> place = Find(job, *key);
    if (!place || !place->message->GetReflection()->HasField(*place->message, place->field)) continue;
    absl::StrAppend(&text, indent, LeafName(*key), within.empty() ? ": {}\n" : ":\n", within);
  }
}

}  // namespace

std::string WriteJob(const v1::JobSpec& job) {
  std::string text;
  WriteSection(job, "", "", text);
  return text;
}

}  // namespace retort
