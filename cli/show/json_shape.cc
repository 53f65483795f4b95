#include "cli/show/json_shape.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/base/json_text.h"

namespace retort {
namespace {

using nlohmann::json;

bool IsAmount(const json& value) {
  constexpr double kMost = 1e15;  // whole numbers up to it are exact
  return value.is_number() && value.get<double>() >= 0 && value.get<double>() <= kMost;
}

bool Has(JsonShape shape, const json& value) {
  switch (shape) {
    case JsonShape::kText:
      return value.is_string();
    case JsonShape::kNumber:
      return value.is_number();
    case JsonShape::kNumberOrNull:
      return value.is_number() || value.is_null();
    case JsonShape::kAmount:
      return IsAmount(value);
    case JsonShape::kCount:
      return IsAmount(value) && value.is_number_integer();
    case JsonShape::kList:
      return value.is_array();
    case JsonShape::kObject:
      return value.is_object();
  }
  return false;
}

const char* NameOf(JsonShape shape) {
  switch (shape) {
    case JsonShape::kText:
      return "a text";
    case JsonShape::kNumber:
      return "a number";
    case JsonShape::kNumberOrNull:
      return "a number or null";
    case JsonShape::kAmount:
      return "a number from 0 to 1e15";
    case JsonShape::kCount:
      return "a whole number from 0 to 1e15";
    case JsonShape::kList:
      return "a list";
    case JsonShape::kObject:
      return "an object";
  }
  return "";
}

// "" when `value`, which stands at `where`, has the place that the names from `next` on lead to.
std::string Complaint(const json& value, const std::string& where, const std::vector<std::string>& names,
                      size_t next, const JsonPlace& place) {
  if (next == names.size()) {
    if (Has(place.shape, value)) return "";
    return absl::StrCat("\"", where, "\" is ", Brief(value), ", not ", NameOf(place.shape));
  }
  const auto at = [&](const std::string& name) {
    return absl::StrCat(where, where.empty() ? "" : "/", name);
  };
  if (names[next] != "*") {
    const auto member = value.find(names[next]);
    if (member != value.end()) return Complaint(*member, at(names[next]), names, next + 1, place);
    return place.optional ? "" : absl::StrCat("\"", at(names[next]), "\" is missing");
  }
  for (const auto& [name, element] : value.items()) {
    std::string complaint = Complaint(element, at(name), names, next + 1, place);
    if (!complaint.empty()) return complaint;
  }
  return "";
}

}  // namespace

absl::Status CheckJsonShape(const std::string& file, const json& root, absl::Span<const JsonPlace> places) {
  for (const JsonPlace& place : places) {
    const std::vector<std::string> names = absl::StrSplit(place.path, '/');
    const std::string complaint = Complaint(root, "", names, 0, place);
    if (!complaint.empty()) {
      return absl::DataLossError(
          absl::StrCat(file, ": ", complaint, "; it is not what this version leaves: fetch the run again"));
    }
  }
  return absl::OkStatus();
}

}  // namespace retort
