#include "model/io/safetensors.h"

#include <ATen/ATen.h>

#include <cstring>
#include <optional>

#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace retort {
namespace {

using nlohmann::json;

constexpr uint64_t kHeaderLimit = 100'000'000;  // the format's own limit

struct TypeName {
  const char* name;
  at::ScalarType type;
};
constexpr TypeName kTypes[] = {{"F32", at::kFloat},
                               {"F16", at::kHalf},
                               {"BF16", at::kBFloat16},
                               {"I64", at::kLong},
                               {"U8", at::kByte}};

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

// Elements of a shape, or nothing when a dimension is negative or the product overflows.
std::optional<uint64_t> CountElements(const std::vector<int64_t>& shape) {
  uint64_t count = 1;
  for (int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(count, static_cast<uint64_t>(size), &count)) return std::nullopt;
  }
  return count;
}

}  // namespace

absl::StatusOr<SafetensorsFile> SafetensorsFile::Open(const std::filesystem::path& path) {
  ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::Open(path));
  SafetensorsFile file(std::move(mapped), path.string());
  RETURN_IF_ERROR(file.ParseHeader());
  return file;
}

absl::Status SafetensorsFile::ParseHeader() {
  const auto broken = [this](auto&&... what) {
    return absl::DataLossError(absl::StrCat(path_, ": not a whole safetensors file: ", what...));
  };
  uint64_t header_bytes = 0;
  if (file_.size() < sizeof(header_bytes)) return broken("only ", file_.size(), " bytes long");
  std::memcpy(&header_bytes, file_.data(), sizeof(header_bytes));
  if (header_bytes > kHeaderLimit || header_bytes > file_.size() - sizeof(header_bytes)) {
    return broken("header of ", header_bytes, " bytes in a file of ", file_.size());
  }
  const char* header_begin = reinterpret_cast<const char*>(file_.data()) + sizeof(header_bytes);
  const json header = json::parse(header_begin, header_begin + header_bytes, nullptr, false);
  if (!header.is_object()) return broken("its header is not a JSON object");
  const uint64_t data_begin = sizeof(header_bytes) + header_bytes;
  const uint64_t data_bytes = file_.size() - data_begin;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      for (const auto& [key, text] : value.items()) {
        if (text.is_string()) metadata_[key] = text.get<std::string>();
      }
      continue;
    }
    Entry entry;
    std::vector<uint64_t> range;
    try {
      const std::string type = value.at("dtype").get<std::string>();
      const auto known = TypeNamed(type);
      if (!known) {
        return absl::InvalidArgumentError(absl::StrCat(path_, ": tensor ", name, " has type ", type,
                                                       "; supported: F32, F16, BF16"));
      }
      entry.type = *known;
      entry.shape = value.at("shape").get<std::vector<int64_t>>();
      range = value.at("data_offsets").get<std::vector<uint64_t>>();
    } catch (const json::exception& error) {
      return broken("tensor ", name, ": ", error.what());
    }
    const auto count = CountElements(entry.shape);
    if (range.size() != 2 || range[0] > range[1] || range[1] > data_bytes) {
      return broken("tensor ", name, " lies outside it (cut short?)");
    }
    entry.begin = data_begin + range[0];
    entry.bytes = range[1] - range[0];
    if (!count || *count > data_bytes || *count * c10::elementSize(entry.type) != entry.bytes) {
      return broken("tensor ", name, " has ", entry.bytes, " bytes, which is not its shape's size");
    }
    entries_[name] = std::move(entry);
  }
  return absl::OkStatus();
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
  std::memcpy(tensor.data_ptr(), file_.data() + entry.begin, entry.bytes);
  return tensor;
}

absl::Status WriteSafetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                              const std::map<std::string, std::string>& metadata) {
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
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  RETURN_IF_ERROR(file.Append({reinterpret_cast<const char*>(&header_bytes), sizeof(header_bytes)}));
  RETURN_IF_ERROR(file.Append(text));
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor flat = tensor.contiguous();
    RETURN_IF_ERROR(file.Append({static_cast<const char*>(flat.data_ptr()), flat.nbytes()}));
  }
  return file.Commit();
}

}  // namespace retort
