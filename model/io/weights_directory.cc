#include "model/io/weights_directory.h"

#include <ATen/ATen.h>

#include <cmath>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/json_text.h"
#include "core/base/plain_text.h"
#include "core/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace retort {
namespace {

constexpr char kSingle[] = "model.safetensors";
constexpr char kIndex[] = "model.safetensors.index.json";

absl::StatusOr<std::vector<std::filesystem::path>> ListFiles(const std::filesystem::path& directory) {
  std::error_code unreadable;  // such a path counts as missing
  if (std::filesystem::exists(directory / kSingle, unreadable)) return std::vector{directory / kSingle};
  const std::filesystem::path index = directory / kIndex;
  if (!std::filesystem::exists(index, unreadable)) {
    return absl::NotFoundError(absl::StrCat(directory.string(), " has neither ", kSingle, " nor ", kIndex,
                                            "; fetch the model's weights into it"));
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile(index));
  const absl::StatusOr<nlohmann::json> json = ParseJson(text);
  if (!json.ok()) {
    return absl::DataLossError(
        absl::StrCat(index.string(), ": ", json.status().message(), "; fetch the index again"));
  }
  const auto weight_map = json->find("weight_map");
  if (weight_map == json->end() || !weight_map->is_object()) {
    return absl::DataLossError(
        absl::StrCat(index.string(), ": no \"weight_map\" object; fetch the index again"));
  }
  std::set<std::filesystem::path> files;
  for (const auto& [tensor, file] : weight_map->items()) {
    if (!file.is_string() || std::filesystem::path(file.get<std::string>()).has_parent_path()) {
      return absl::DataLossError(absl::StrCat(index.string(), ": tensor ", Shown(tensor),
                                              " names no file beside it; fetch the index again"));
    }
    files.insert(directory / file.get<std::string>());
  }
  return std::vector(files.begin(), files.end());
}

// One pass without a temporary: either extreme is a NaN when any element is.
bool IsFinite(const at::Tensor& tensor) {
  if (tensor.numel() == 0) return true;
  const auto [least, most] = tensor.aminmax();
  return std::isfinite(least.item<double>()) && std::isfinite(most.item<double>());
}

}  // namespace

absl::StatusOr<WeightsDirectory> WeightsDirectory::Open(const std::filesystem::path& directory) {
  WeightsDirectory weights;
  weights.directory_ = directory.string();
  ASSIGN_OR_RETURN(weights.paths_, ListFiles(directory));
  for (const std::filesystem::path& path : weights.paths_) {
    ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::Open(path));
    for (const std::string& name : file.names()) {
      const auto [earlier, is_new] = weights.file_of_.emplace(name, weights.files_.size());
      if (is_new) continue;
      return absl::DataLossError(absl::StrCat(path.string(), ": tensor ", Shown(name), " is also in ",
                                              weights.paths_[earlier->second].string(),
                                              "; which one counts?"));
    }
    weights.files_.push_back(std::make_shared<SafetensorsFile>(std::move(file)));
  }
  return weights;
}

std::vector<std::string> WeightsDirectory::names() const {
  std::vector<std::string> names;
  for (const auto& [name, file] : file_of_) names.push_back(name);
  return names;
}

absl::StatusOr<at::Tensor> WeightsDirectory::Read(const std::string& name,
                                                  const std::vector<int64_t>& shape) const {
  const auto it = file_of_.find(name);
  if (it == file_of_.end()) {
    return absl::NotFoundError(
        absl::StrCat(directory_, ": no tensor ", name, " among its ", file_of_.size()));
  }
  ASSIGN_OR_RETURN(const at::Tensor stored, files_[it->second]->Read(name));
  if (stored.sizes() != at::IntArrayRef(shape)) {
    return absl::InvalidArgumentError(
        absl::StrCat(directory_, ": tensor ", name, " has shape [", absl::StrJoin(stored.sizes(), ", "),
                     "], config.json asks for [", absl::StrJoin(shape, ", "), "]"));
  }
  if (!stored.is_floating_point()) {
    return absl::InvalidArgumentError(absl::StrCat(directory_, ": tensor ", name, " is of type ",
                                                   c10::toString(stored.scalar_type()),
                                                   ", not floating point"));
  }
  const at::Tensor tensor = stored.to(at::kFloat);
  if (!IsFinite(tensor)) {
    return absl::InvalidArgumentError(
        absl::StrCat(directory_, ": tensor ", name, " holds a NaN or an infinity"));
  }
  return tensor;
}

}  // namespace retort
