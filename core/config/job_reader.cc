#include "core/config/job_reader.h"

#include <algorithm>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "core/base/check.h"
#include "core/base/name.h"
#include "core/base/nearest.h"
#include "core/config/quantity.h"

namespace retort {
namespace {

using Kind = YamlNode::Kind;
using Type = JobKeyType;

// A field of a message within what is read, for reflection.
struct FieldPlace {
  google::protobuf::Message* message;
  const google::protobuf::FieldDescriptor* field;
  const google::protobuf::Reflection* reflection() const { return message->GetReflection(); }
};

// Creates the messages on the way.
FieldPlace Find(google::protobuf::Message& message, const JobKey& key) {
  FieldPlace place{&message, nullptr};
  const std::vector<std::string> names = absl::StrSplit(key.field, '.');
  for (const std::string& name : names) {
    if (place.field != nullptr)
      place.message = place.reflection()->MutableMessage(place.message, place.field);
    place.field = place.message->GetDescriptor()->FindFieldByName(name);
    RETORT_CHECK(place.field != nullptr) << key.field;
  }
  return place;
}

void SetPresent(google::protobuf::Message& message, const JobKey& section) {
  const FieldPlace place = Find(message, section);
  place.reflection()->MutableMessage(place.message, place.field);
}

// To a repeated field: adds.
void SetInteger(google::protobuf::Message& message, const JobKey& key, uint64_t value) {
  const FieldPlace place = Find(message, key);
  if (place.field->is_repeated()) {
    place.reflection()->AddUInt32(place.message, place.field, static_cast<uint32_t>(value));
  } else if (place.field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_UINT64) {
    place.reflection()->SetUInt64(place.message, place.field, value);
  } else {
    place.reflection()->SetUInt32(place.message, place.field, static_cast<uint32_t>(value));
  }
}

// To a repeated field: adds.
void SetText(google::protobuf::Message& message, const JobKey& key, const std::string& text) {
  const FieldPlace place = Find(message, key);
  if (place.field->is_repeated()) {
    place.reflection()->AddString(place.message, place.field, text);
  } else {
    place.reflection()->SetString(place.message, place.field, text);
  }
}

void SetChoice(google::protobuf::Message& message, const JobKey& key, const std::string& choice) {
  const FieldPlace place = Find(message, key);
  const google::protobuf::EnumDescriptor* type = place.field->enum_type();
  std::string name = type->value(0)->name();
  const std::string unspecified = "UNSPECIFIED";
  RETORT_CHECK(name.ends_with(unspecified)) << name;
  name.replace(name.size() - unspecified.size(), unspecified.size(), absl::AsciiStrToUpper(choice));
  const google::protobuf::EnumValueDescriptor* value = type->FindValueByName(name);
  RETORT_CHECK(value != nullptr) << name;
  place.reflection()->SetEnum(place.message, place.field, value);
}

const char* NameOf(Kind kind) {
  switch (kind) {
    case Kind::kNull:
      return "nothing";
    case Kind::kScalar:
      return "a single value";
    case Kind::kList:
      return "a list";
    case Kind::kMap:
      return "a section of keys";
  }
  return "";
}

std::string DidYouMean(const std::string& word, const std::vector<std::string>& candidates) {
  const std::optional<std::string> nearest = Nearest(word, candidates);
  return nearest ? absl::StrCat("did you mean ", *nearest, "? ") : "";
}

bool HasControlCharacter(const std::string& text) {
  return std::any_of(text.begin(), text.end(), [](unsigned char c) { return absl::ascii_iscntrl(c); });
}

}  // namespace

absl::Status JobErrors::ToStatus(const std::string& name) const {
  constexpr size_t kMost = 20;
  if (errors_.empty()) return absl::OkStatus();
  auto sorted = errors_;
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> lines;
  for (const auto& [position, what] : sorted) {
    if (lines.size() == kMost) break;
    lines.push_back(absl::StrCat(name, ":", position.line, ":", position.column, ": ", what));
  }
  if (sorted.size() > kMost) lines.push_back(absl::StrCat("and ", sorted.size() - kMost, " more errors"));
  return absl::InvalidArgumentError(absl::StrJoin(lines, "\n"));
}

std::string Quoted(const std::string& text) {
  constexpr size_t kMost = 200;
  if (text.size() <= kMost) return absl::StrCat("\"", absl::Utf8SafeCEscape(text), "\"");
  size_t end = kMost;
  while ((static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;  // not within a character
  return absl::StrCat("\"", absl::Utf8SafeCEscape(text.substr(0, end)), "...\"");
}

v1::JobSpec JobReader::Read(const YamlNode& root) {
  if (root.kind == Kind::kNull) {
    errors_.Add(root.position, "the job file is empty; start with name, teacher, student, data and stages");
  } else if (root.kind != Kind::kMap) {
    errors_.Add(root.position,
                absl::StrCat("the job file is ", NameOf(root.kind),
                             ", not a section of keys; start with name, teacher, student, data "
                             "and stages"));
  } else {
    ReadSection("", root, TextPosition());
  }
  return job_;
}

TextPosition JobReader::PositionOf(const std::string& path) const {
  const auto found = positions_.find(path);
  RETORT_CHECK(found != positions_.end()) << path;
  return found->second;
}

std::string JobReader::Written(const JobKey& key) const {
  return scope_.item.empty() ? key.path : scope_.item + key.path.substr(scope_.list.size());
}

void JobReader::ReadSection(const std::string& section, const YamlNode& map, TextPosition position) {
  const std::vector<const JobKey*> known = JobKeysIn(section);
  std::map<std::string, const YamlNode*> names;  // the first of each
  for (size_t i = 0; i + 1 < map.items.size(); i += 2) {
    const YamlNode& name = map.items[i];
    const auto key = std::find_if(known.begin(), known.end(), [&name](const JobKey* candidate) {
      return name.kind == Kind::kScalar && LeafName(*candidate) == name.text;
    });
    if (key == known.end()) {
      ReadUnknownKey(section, name);
      continue;
    }
    const auto [first, inserted] = names.emplace(name.text, &name);
    if (inserted) {
      ReadValue(**key, map.items[i + 1], name.position);
    } else {
      errors_.Add(name.position, absl::StrCat((*key)->path, ": given twice, first in line ",
                                              first->second->position.line, "; remove one"));
    }
  }
  for (const JobKey* key : known) {
    if (!names.contains(LeafName(*key))) ReadMissingKey(*key, position);
  }
}

void JobReader::ReadUnknownKey(const std::string& section, const YamlNode& name) {
  if (name.kind != Kind::kScalar) {
    errors_.Add(name.position, absl::StrCat("a key must be a word, but this is ", NameOf(name.kind)));
    return;
  }
  const std::vector<std::string> allowed = LeafNamesIn(section);
  std::string advice = DidYouMean(name.text, allowed);
  if (advice.empty()) {
    for (const JobKey& key : JobKeys()) {
      if (LeafName(key) != name.text) continue;
      advice = key.path == name.text ? "it belongs at the top of the file; "
                                     : absl::StrCat("did you mean ", key.path, "? ");
    }
  }
  errors_.Add(name.position, absl::StrCat("unknown key ", Quoted(name.text),
                                          section.empty() ? "" : absl::StrCat(" in ", section), "; ", advice,
                                          "allowed here: ", absl::StrJoin(allowed, ", ")));
}

void JobReader::ReadMissingKey(const JobKey& key, TextPosition section_position) {
  if (!key.fallback) {
    errors_.Add(section_position,
                absl::StrCat(key.path, ": missing; the key is required; give ", ExpectedValue(key)));
  } else if (key.type == Type::kSection && *key.fallback == "{}") {
    YamlNode empty;
    empty.kind = Kind::kMap;
    ReadValue(key, empty, section_position);
  } else if (!key.fallback->empty()) {
    ReadScalar(key, *key.fallback, section_position);
  }
}

// `position` is the key's. A section counts as standing there, any other value at its own place.
void JobReader::ReadValue(const JobKey& key, const YamlNode& value, TextPosition position) {
  if (value.kind == Kind::kNull) {
    const std::string otherwise = key.fallback ? ", or remove the key" : "";
    errors_.Add(position, absl::StrCat(key.path, ": has no value; give ", ExpectedValue(key), otherwise));
  } else if (key.type == Type::kSection || (key.type == Type::kKeepAttention && value.kind == Kind::kMap)) {
    if (value.kind != Kind::kMap) {
      errors_.Add(value.position,
                  absl::StrCat(key.path, ": is ", NameOf(value.kind), "; give ", ExpectedValue(key)));
      return;
    }
    SetPresent(*scope_.message, key);
    positions_[Written(key)] = position;
    ReadSection(key.path, value, position);
    if (key.type == Type::kKeepAttention) CheckKeptKeys(key, value, position);
  } else if (key.type == Type::kTokenFiles && value.kind == Kind::kList) {
    ReadPaths(key, value, value.position);
  } else if (key.type == Type::kPhases && value.kind == Kind::kList) {
    ReadPhases(key, value);
  } else if (key.type == Type::kKeepAttention && value.kind == Kind::kList) {
    ReadLayers(key, value, value.position);
  } else if (value.kind != Kind::kScalar || key.type == Type::kPhases) {
    errors_.Add(value.position,
                absl::StrCat(key.path, ": is ", NameOf(value.kind), "; give ", ExpectedValue(key)));
  } else {
    ReadScalar(key, value.text, value.position);
  }
}

void JobReader::ReadScalar(const JobKey& key, const std::string& text, TextPosition position) {
  switch (key.type) {
    case Type::kInteger:
    case Type::kTokens:
      return ReadInteger(key, text, position);
    case Type::kInterval:
      return ReadInterval(key, text, position);
    case Type::kLearningRate:
      return ReadLearningRate(key, text, position);
    case Type::kName:
      return ReadName(key, text, position);
    case Type::kDirectory:
    case Type::kTokenFile:
      return ReadPath(key, text, position);
    case Type::kSwitch:
      return ReadSwitch(key, text, position);
    case Type::kChoice:
      return ReadChoice(key, text, position);
    case Type::kTokenFiles: {
      YamlNode list;
      list.items.push_back({.kind = Kind::kScalar, .position = position, .text = text, .items = {}});
      return ReadPaths(key, list, position);
    }
    case Type::kKeepAttention: {
      if (text != "none") {
        errors_.Add(position, absl::StrCat(key.path, ": ", Quoted(text), " names no layers; give ",
                                           ExpectedValue(key)));
        return;
      }
      SetPresent(*scope_.message, key);
      positions_[Written(key)] = position;
      return;
    }
    case Type::kSection:
    case Type::kPhases:
      RETORT_CHECK(false) << key.path;
  }
}

void JobReader::ReadInteger(const JobKey& key, const std::string& text, TextPosition position) {
  if (!key.zero.empty() && text == key.zero) {
    SetInteger(*scope_.message, key, 0);
    positions_[Written(key)] = position;
    return;
  }
  const absl::StatusOr<uint64_t> value =
      key.type == Type::kTokens ? ParseTokenCount(text) : ParseInteger(text);
  std::string wrong;
  if (!value.ok()) {
    wrong = std::string(value.status().message());
  } else if (*value < key.min) {
    wrong = "is too small";
  } else if (*value > key.max) {
    wrong = "is too large";
  } else {
    SetInteger(*scope_.message, key, *value);
    positions_[Written(key)] = position;
    return;
  }
  errors_.Add(position,
              absl::StrCat(key.path, ": ", Quoted(text), " ", wrong, "; give ", ExpectedValue(key)));
}

void JobReader::ReadLearningRate(const JobKey& key, const std::string& text, TextPosition position) {
  const absl::StatusOr<double> value = ParseNumber(text);
  if (value.ok() && *value > 0 && *value <= 1) {
    const FieldPlace place = Find(*scope_.message, key);
    place.reflection()->SetDouble(place.message, place.field, *value);
    positions_[Written(key)] = position;
    return;
  }
  const std::string wrong = value.ok() ? "is out of range" : std::string(value.status().message());
  errors_.Add(position,
              absl::StrCat(key.path, ": ", Quoted(text), " ", wrong, "; give ", ExpectedValue(key)));
}

void JobReader::ReadName(const JobKey& key, const std::string& text, TextPosition position) {
  if (!IsName(text)) {
    errors_.Add(position, absl::StrCat(key.path, ": ", Quoted(text), " cannot name a run's directory; give ",
                                       ExpectedValue(key)));
    return;
  }
  SetText(*scope_.message, key, text);
  positions_[Written(key)] = position;
}

void JobReader::ReadPath(const JobKey& key, const std::string& text, TextPosition position) {
  if (text.empty() || HasControlCharacter(text)) {
    errors_.Add(position,
                absl::StrCat(key.path, ": ", Quoted(text), " is no path; give ", ExpectedValue(key)));
    return;
  }
  SetText(*scope_.message, key, text);
  positions_[Written(key)] = position;
}

void JobReader::ReadChoice(const JobKey& key, const std::string& text, TextPosition position) {
  if (std::find(key.choices.begin(), key.choices.end(), text) == key.choices.end()) {
    errors_.Add(position,
                absl::StrCat(key.path, ": ", Quoted(text), " is not known in this version; ",
                             DidYouMean(text, key.choices), "allowed: ", absl::StrJoin(key.choices, ", ")));
    return;
  }
  SetChoice(*scope_.message, key, text);
  positions_[Written(key)] = position;
}

void JobReader::ReadInterval(const JobKey& key, const std::string& text, TextPosition position) {
  absl::StatusOr<uint64_t> value = ParseDuration(text);
  const bool is_time = !absl::IsInvalidArgument(value.status());
  if (!is_time) value = ParseSteps(text);
  if (value.ok() && *value >= key.min && *value <= (is_time ? kMaxCheckpointSeconds : key.max)) {
    v1::CheckpointSpec& checkpoint = *job_.mutable_checkpoint();
    checkpoint.set_every_seconds(is_time ? static_cast<uint32_t>(*value) : 0);
    checkpoint.set_every_steps(is_time ? 0 : static_cast<uint32_t>(*value));
    positions_[Written(key)] = position;
    return;
  }
  const std::string wrong = !value.ok()        ? std::string(value.status().message())
                            : *value < key.min ? "is too small"
                                               : "is too large";
  errors_.Add(position,
              absl::StrCat(key.path, ": ", Quoted(text), " ", wrong, "; give ", ExpectedValue(key)));
}

void JobReader::ReadSwitch(const JobKey& key, const std::string& text, TextPosition position) {
  if (text != "true" && text != "false") {
    errors_.Add(position,
                absl::StrCat(key.path, ": ", Quoted(text), " is neither; give ", ExpectedValue(key)));
    return;
  }
  const FieldPlace place = Find(*scope_.message, key);
  place.reflection()->SetBool(place.message, place.field, text == "true");
  positions_[Written(key)] = position;
}

void JobReader::ReadPaths(const JobKey& key, const YamlNode& list, TextPosition position) {
  if (list.items.empty()) {
    errors_.Add(position, absl::StrCat(key.path, ": the list is empty; give ", ExpectedValue(key)));
    return;
  }
  const FieldPlace place = Find(*scope_.message, key);
  for (const YamlNode& item : list.items) {
    const int index = place.reflection()->FieldSize(*place.message, place.field);
    const std::string written = absl::StrCat(Written(key), "[", index, "]");
    if (item.kind == Kind::kMap) {
      ReadWeightedPath(written, item, place.message);
      continue;
    }
    if (item.kind != Kind::kScalar || item.text.empty() || HasControlCharacter(item.text)) {
      errors_.Add(
          item.position,
          absl::StrCat(key.path, ": ", item.kind == Kind::kScalar ? Quoted(item.text) : NameOf(item.kind),
                       " is no path; give ", ExpectedValue(key)));
      continue;
    }
    place.reflection()->AddString(place.message, place.field, item.text);
    positions_[written] = item.position;
  }
  positions_[Written(key)] = position;
  CheckWeights(key, list, position);
}

void JobReader::ReadWeightedPath(const std::string& item, const YamlNode& section,
                                 google::protobuf::Message* message) {
  const Scope outer = scope_;
  scope_ = {message, kTrainKey, item};
  ReadSection(kTrainKey, section, section.position);
  scope_ = outer;
  if (Has(item + ".path")) positions_[item] = PositionOf(item + ".path");
}

void JobReader::CheckWeights(const JobKey& key, const YamlNode& list, TextPosition position) {
  const auto weighted = std::count_if(list.items.begin(), list.items.end(),
                                      [](const YamlNode& item) { return item.kind == Kind::kMap; });
  if (weighted == 0) return;
  if (weighted > kMaxWeightedFiles) {
    errors_.Add(position, absl::StrCat(key.path, ": ", weighted, " files have weights; give at most ",
                                       kMaxWeightedFiles));
  }
  std::set<std::string> seen;
  for (const YamlNode& item : list.items) {
    if (item.kind == Kind::kScalar) {
      errors_.Add(item.position, absl::StrCat(key.path, ": ", Quoted(item.text),
                                              " has no weight while another file has; give {path: ",
                                              item.text, ", weight: 1}, or no weights at all"));
    }
    for (size_t i = 0; item.kind == Kind::kMap && i + 1 < item.items.size(); i += 2) {
      const YamlNode& path = item.items[i + 1];
      if (item.items[i].text != "path" || path.kind != Kind::kScalar || seen.insert(path.text).second)
        continue;
      errors_.Add(path.position, absl::StrCat(key.path, ": ", Quoted(path.text),
                                              " is given twice; give it once, with the sum of its weights"));
    }
  }
}

void JobReader::ReadPhases(const JobKey& key, const YamlNode& list) {
  if (list.items.empty()) {
    errors_.Add(list.position, absl::StrCat(key.path, ": the list is empty; give ", ExpectedValue(key)));
  }
  for (const YamlNode& item : list.items) {
    if (item.kind != Kind::kMap) {
      errors_.Add(item.position,
                  absl::StrCat(key.path, ": ", NameOf(item.kind), " is no phase; give ", ExpectedValue(key)));
      continue;
    }
    v1::DataSpec& data = *job_.mutable_data();
    const std::string written = absl::StrCat(key.path, "[", data.phases_size(), "]");
    scope_ = {data.add_phases(), key.path, written};
    ReadSection(key.path, item, item.position);
    scope_ = {&job_, "", ""};
    positions_[written] = item.position;
  }
}

void JobReader::CheckKeptKeys(const JobKey& key, const YamlNode& map, TextPosition position) {
  std::map<std::string, TextPosition> given;
  for (size_t i = 0; i + 1 < map.items.size(); i += 2)
    given.emplace(map.items[i].text, map.items[i].position);
  const auto refuse_with = [&](const char* name, const char* other) {
    if (!given.contains(name)) return;
    errors_.Add(given.at(name),
                absl::StrCat(key.path, ".", name, ": does not go with ", other, "; remove one of them"));
  };
  if (given.contains("auto")) {
    refuse_with("every", "auto");
    refuse_with("offset", "auto");
  } else if (given.contains("every")) {
    refuse_with("steps", "every");
  } else {
    errors_.Add(position, absl::StrCat(key.path, ": lacks every or auto; give ", ExpectedValue(key)));
  }
}

void JobReader::ReadLayers(const JobKey& key, const YamlNode& list, TextPosition position) {
  v1::KeepAttention& kept = *job_.mutable_student()->mutable_keep_attention();
  if (list.items.empty()) {
    errors_.Add(position, absl::StrCat(key.path, ": the list is empty; give ", ExpectedValue(key)));
    return;
  }
  std::set<uint64_t> seen;
  for (const YamlNode& item : list.items) {
    const absl::StatusOr<uint64_t> layer = ParseInteger(item.text);
    if (item.kind != Kind::kScalar || !layer.ok() || *layer > key.max) {
      errors_.Add(
          item.position,
          absl::StrCat(key.path, ": ", item.kind == Kind::kScalar ? Quoted(item.text) : NameOf(item.kind),
                       " is no layer's number; give ", ExpectedValue(key)));
    } else if (!seen.insert(*layer).second) {
      errors_.Add(item.position, absl::StrCat(key.path, ": layer ", *layer, " is given twice; remove one"));
    } else {
      kept.add_layers(static_cast<uint32_t>(*layer));
    }
  }
  positions_[Written(key)] = position;
}

}  // namespace retort
