#include "model/io/safetensors.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/base/json_text.h"
#include "core/base/plain_text.h"
#include "core/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace retort {
namespace {

using nlohmann::json;

constexpr uint64_t kHeaderLimit = 100'000'000;  // the format's own limit
constexpr size_t kMostSizes = 64;               // of one shape; LibTorch's own operations take no more

struct TypeName {
  const char* name;
  at::ScalarType type;
};
constexpr TypeName kTypes[] = {
    {"F32", at::kFloat}, {"F16", at::kHalf}, {"BF16", at::kBFloat16}, {"I64", at::kLong}, {"U8", at::kByte}};

std::optional<at::ScalarType> TypeNamed(const std::string& name) {
  for (const TypeName& t : kTypes) {
    if (name == t.name) return t.type;
  }
  return std::nullopt;
}

const char* NameOf(at::ScalarType type) {
  for (const TypeName& t : kTypes) {
    if (type == t.type) return t.name;
  }
  RETORT_CHECK(false) << "no safetensors name for type " << c10::toString(type);
  return "";
}

// Elements of a shape, or nothing when LibTorch could not count them: it multiplies the sizes and, for the
// strides, those of an empty tensor too.
std::optional<uint64_t> CountElements(const std::vector<int64_t>& shape) {
  int64_t product = 1;
  bool empty = false;
  for (int64_t size : shape) {
    empty = empty || size == 0;
    if (__builtin_mul_overflow(product, std::max<int64_t>(size, 1), &product)) return std::nullopt;
  }
  return empty ? 0 : static_cast<uint64_t>(product);
}

// The sizes under `key` of a tensor's description, or nothing when they are no array of integers >= 0.
std::optional<std::vector<int64_t>> ReadSizes(const json& description, const char* key) {
  const auto it = description.find(key);
  if (it == description.end() || !it->is_array() || it->size() > kMostSizes) return std::nullopt;
  for (const json& size : *it) {
    if (!size.is_number_unsigned() || size.get<uint64_t>() > INT64_MAX) return std::nullopt;
  }
  return it->get<std::vector<int64_t>>();
}

template <typename... What>
absl::Status Broken(const std::string& path, const What&... what) {
  return absl::DataLossError(
      absl::StrCat(path, ": not a whole safetensors file: ", what..., "; fetch or write it again"));
}

}  // namespace

absl::StatusOr<SafetensorsFile> SafetensorsFile::Open(const std::filesystem::path& path) {
  ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::Open(path));
  SafetensorsFile file(std::move(mapped), path.string());
  RETURN_IF_ERROR(file.ParseHeader());
  return file;
}

absl::Status SafetensorsFile::ParseHeader() {
  uint64_t header_bytes = 0;
  if (file_.size() < sizeof(header_bytes)) return Broken(path_, "only ", file_.size(), " bytes long");
  std::memcpy(&header_bytes, file_.data(), sizeof(header_bytes));
  if (header_bytes > kHeaderLimit || header_bytes > file_.size() - sizeof(header_bytes)) {
    return Broken(path_, "header of ", header_bytes, " bytes in a file of ", file_.size());
  }
  const char* header_begin = file_.data() + sizeof(header_bytes);
  const absl::StatusOr<json> header = ParseJson(std::string_view(header_begin, header_bytes));
  if (!header.ok()) return Broken(path_, "in its header ", std::string(header.status().message()));
  if (!header->is_object()) return Broken(path_, "its header is not a JSON object");
  for (const auto& [name, value] : header->items()) {
    if (name == "__metadata__") {
      RETURN_IF_ERROR(CheckMetadata(value));
    } else {
      RETURN_IF_ERROR(ParseEntry(name, value, sizeof(header_bytes) + header_bytes));
    }
  }
  return CheckEveryByteIsOwned(sizeof(header_bytes) + header_bytes);
}

absl::Status SafetensorsFile::CheckMetadata(const json& metadata) const {
  if (!metadata.is_object()) return Broken(path_, "its __metadata__ is not a JSON object");
  for (const auto& [key, text] : metadata.items()) {
    if (!text.is_string()) return Broken(path_, "its __metadata__ ", Shown(key), " is not a string");
  }
  return absl::OkStatus();
}

absl::Status SafetensorsFile::ParseEntry(const std::string& name, const json& description,
                                         uint64_t data_begin) {
  const auto type = description.find("dtype");
  const auto shape = ReadSizes(description, "shape"), range = ReadSizes(description, "data_offsets");
  if (type == description.end() || !type->is_string() || !shape || !range || range->size() != 2) {
    return Broken(path_, "tensor ", Shown(name), " lacks a valid dtype, shape or data_offsets");
  }
  const auto known = TypeNamed(type->get<std::string>());
  if (!known) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": tensor ", Shown(name), " has type ",
                                                   Shown(type->get<std::string>()),
                                                   "; supported: F32, F16, BF16. Convert it first"));
  }
  const uint64_t first = (*range)[0], last = (*range)[1], data_bytes = file_.size() - data_begin;
  if (first > last || last > data_bytes)
    return Broken(path_, "tensor ", Shown(name), " lies outside it (cut short?)");
  const auto count = CountElements(*shape);
  if (!count || *count > data_bytes || *count * c10::elementSize(*known) != last - first) {
    return Broken(path_, "tensor ", Shown(name), " has ", last - first,
                  " bytes, which is not its shape's size");
  }
  entries_[name] = {.type = *known, .shape = *shape, .begin = data_begin + first, .bytes = last - first};
  return absl::OkStatus();
}

// What no tensor owns could be anything, so the format has no room for it.
absl::Status SafetensorsFile::CheckEveryByteIsOwned(uint64_t data_begin) const {
  std::vector<const std::pair<const std::string, Entry>*> by_place;
  for (const auto& item : entries_) by_place.push_back(&item);
  std::stable_sort(by_place.begin(), by_place.end(), [](const auto* a, const auto* b) {
    return std::pair(a->second.begin, a->second.bytes) < std::pair(b->second.begin, b->second.bytes);
  });
  uint64_t end = data_begin;
  const std::string* before = nullptr;
  for (const auto* item : by_place) {
    const auto& [name, entry] = *item;
    if (entry.begin < end) return Broken(path_, "tensors ", Shown(*before), " and ", Shown(name), " overlap");
    if (entry.begin > end) {
      return Broken(path_, "the ", entry.begin - end, " bytes before tensor ", Shown(name),
                    " are no tensor's");
    }
    end = entry.begin + entry.bytes;
    before = &name;
  }
  if (end == file_.size()) return absl::OkStatus();
  return Broken(path_, "the last ", file_.size() - end, " bytes are no tensor's");
}

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : entries_) names.push_back(name);
  return names;
}

absl::StatusOr<at::Tensor> SafetensorsFile::Read(const std::string& name) const {
  const auto it = entries_.find(name);
  if (it == entries_.end()) return absl::NotFoundError(absl::StrCat(path_, ": no tensor ", name));
  const Entry& entry = it->second;
  at::Tensor tensor = at::empty(entry.shape, at::TensorOptions().dtype(entry.type));
  if (entry.bytes > 0) std::memcpy(tensor.data_ptr(), file_.data() + entry.begin, entry.bytes);
  file_.Release(entry.begin,
                entry.bytes);  // a tensor is read once; else a loaded model would stand here twice
  return tensor;
}

namespace {

// The header with its length in front.
std::string HeaderOf(const NamedTensors& tensors, const std::map<std::string, std::string>& metadata) {
  json header = json::object();
  header["__metadata__"] = json(metadata);
  uint64_t at_byte = 0;
  for (const auto& [name, tensor] : tensors) {
    const uint64_t bytes = tensor.nbytes();
    header[name] = {{"dtype", NameOf(tensor.scalar_type())},
                    {"shape", tensor.sizes().vec()},
                    {"data_offsets", {at_byte, at_byte + bytes}}};
    at_byte += bytes;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t header_bytes = text.size();
  return std::string(reinterpret_cast<const char*>(&header_bytes), sizeof(header_bytes)) + text;
}

}  // namespace

absl::Status WriteSafetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                              const std::map<std::string, std::string>& metadata) {
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  RETURN_IF_ERROR(file.Append(HeaderOf(tensors, metadata)));
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor flat = tensor.contiguous();
    RETURN_IF_ERROR(file.Append({static_cast<const char*>(flat.data_ptr()), flat.nbytes()}));
  }
  return file.Commit();
}

std::string SafetensorsBytes(const NamedTensors& tensors,
                             const std::map<std::string, std::string>& metadata) {
  std::string bytes = HeaderOf(tensors, metadata);
  size_t size = bytes.size();
  for (const auto& [name, tensor] : tensors) size += tensor.nbytes();
  bytes.reserve(size);
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor flat = tensor.contiguous();
    bytes.append(static_cast<const char*>(flat.data_ptr()), flat.nbytes());
  }
  return bytes;
}

}  // namespace retort
