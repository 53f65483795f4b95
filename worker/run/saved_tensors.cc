#include "worker/run/saved_tensors.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/check.h"
#include "core/base/status_macros.h"

namespace retort {
namespace {

constexpr char kLosses[] = "history/loss";
constexpr char kSeconds[] = "history/step_seconds";

std::string StudentName(const std::string& name) { return "student/" + name; }
std::string MomentName(const std::string& name, const char* moment) {
  return absl::StrCat("adam/", name, "/", moment);
}

bool Concerns(int64_t place, int64_t tensor_place) { return place == kWholeStudent || place == tensor_place; }

}  // namespace

SavedTensor SaveTensor(std::string name, const at::Tensor& tensor) {
  RETORT_CHECK(tensor.scalar_type() == at::kFloat) << name;
  const at::Tensor flat = tensor.contiguous();
  return {.name = std::move(name),
          .dtype = v1::DATA_TYPE_F32,
          .shape = {flat.sizes().begin(), flat.sizes().end()},
          .bytes = std::string(static_cast<const char*>(flat.data_ptr()), flat.nbytes())};
}

SavedTensor SaveNumbers(std::string name, const std::vector<double>& numbers) {
  return {
      .name = std::move(name),
      .dtype = v1::DATA_TYPE_F64,
      .shape = {numbers.size()},
      .bytes = std::string(reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(double))};
}

SavedTensor SaveText(std::string name, std::string text) {
  const uint64_t size = text.size();
  return {.name = std::move(name), .dtype = v1::DATA_TYPE_U8, .shape = {size}, .bytes = std::move(text)};
}

const SavedTensor* SavedTensors::Find(std::string_view name) const {
  const auto at =
      std::lower_bound(saved_.tensors.begin(), saved_.tensors.end(), name,
                       [](const SavedTensor& tensor, std::string_view n) { return tensor.name < n; });
  return at != saved_.tensors.end() && at->name == name ? &*at : nullptr;
}

absl::StatusOr<const SavedTensor*> SavedTensors::Get(const std::string& name, v1::DataType dtype) const {
  const SavedTensor* tensor = Find(name);
  if (tensor == nullptr) return absl::DataLossError(absl::StrCat(whose_, " has no tensor ", name));
  if (tensor->dtype != dtype) {
    return absl::DataLossError(absl::StrCat(whose_, ": tensor ", name, " is of type ",
                                            v1::DataType_Name(tensor->dtype), ", not ",
                                            v1::DataType_Name(dtype)));
  }
  return tensor;
}

absl::StatusOr<at::Tensor> SavedTensors::Tensor(const std::string& name, at::IntArrayRef shape) const {
  ASSIGN_OR_RETURN(const SavedTensor* saved, Get(name, v1::DATA_TYPE_F32));
  const std::vector<int64_t> sizes(saved->shape.begin(), saved->shape.end());
  at::Tensor tensor = at::empty(shape, at::kFloat);
  if (at::IntArrayRef(sizes) != shape || saved->bytes.size() != tensor.nbytes()) {
    return absl::DataLossError(absl::StrCat(whose_, ": tensor ", name, " has shape [",
                                            absl::StrJoin(sizes, ", "), "] and ", saved->bytes.size(),
                                            " bytes, not [", absl::StrJoin(shape, ", "), "]"));
  }
  std::memcpy(tensor.data_ptr(), saved->bytes.data(), saved->bytes.size());
  return tensor;
}

absl::StatusOr<std::vector<double>> SavedTensors::Numbers(const std::string& name) const {
  ASSIGN_OR_RETURN(const SavedTensor* saved, Get(name, v1::DATA_TYPE_F64));
  std::vector<double> numbers(saved->bytes.size() / sizeof(double));
  std::memcpy(numbers.data(), saved->bytes.data(), numbers.size() * sizeof(double));
  return numbers;
}

absl::StatusOr<std::string> SavedTensors::Text(const std::string& name) const {
  ASSIGN_OR_RETURN(const SavedTensor* saved, Get(name, v1::DATA_TYPE_U8));
  return saved->bytes;
}

double StepHistory::MeanLossFrom(size_t first) const {
  if (losses.empty()) return 0;
  if (first >= losses.size()) return losses.back();
  return std::accumulate(losses.begin() + first, losses.end(), 0.0) /
         static_cast<double>(losses.size() - first);
}

void SaveHistory(const StepHistory& history, SavedLayer& saved) {
  saved.tensors.push_back(SaveNumbers(kLosses, history.losses));
  saved.tensors.push_back(SaveNumbers(kSeconds, history.seconds));
}

absl::StatusOr<StepHistory> LoadHistory(const SavedTensors& saved, uint64_t steps) {
  StepHistory history;
  ASSIGN_OR_RETURN(history.losses, saved.Numbers(kLosses));
  ASSIGN_OR_RETURN(history.seconds, saved.Numbers(kSeconds));
  if (history.losses.size() != steps || history.seconds.size() != steps) {
    return absl::DataLossError(absl::StrCat("the history of a checkpoint at step ", steps, " has ",
                                            history.losses.size(), " losses and ", history.seconds.size(),
                                            " times"));
  }
  return history;
}

void SaveStudentTensors(const LanguageModel& student, const LanguageModel& teacher, int64_t place,
                        SavedLayer& saved) {
  const auto shared = TensorMemory(teacher);
  for (const auto& tensor : ModelTensors(student)) {
    if (!Concerns(place, tensor.place) || shared.count(tensor.value->data_ptr()) != 0) continue;
    saved.tensors.push_back(SaveTensor(StudentName(tensor.name), tensor.value->detach()));
  }
}

absl::Status LoadStudentTensors(const SavedTensors& saved, int64_t place, LanguageModel& student) {
  for (const auto& tensor : ModelTensors(student)) {
    if (!Concerns(place, tensor.place)) continue;
    const std::string name = StudentName(tensor.name);
    if (!tensor.of_student_mixer && !saved.Has(name)) continue;  // still the teacher's
    ASSIGN_OR_RETURN(*tensor.value, saved.Tensor(name, tensor.shape));
  }
  if (student.config.tied_head) student.head_VE = student.embedding_VE;
  return absl::OkStatus();
}

void SaveMoments(const AdamW& optimizer, SavedLayer& saved) {
  const auto moments = optimizer.moments();
  for (size_t i = 0; i < moments.size(); ++i) {
    const std::string& name = optimizer.trainables()[i].name;
    saved.tensors.push_back(SaveTensor(MomentName(name, "m"), moments[i].first));
    saved.tensors.push_back(SaveTensor(MomentName(name, "v"), moments[i].second));
  }
}

absl::Status LoadMoments(const SavedTensors& saved, uint64_t steps, AdamW& optimizer) {
  const c10::NoGradGuard no_grad;
  const auto moments = optimizer.moments();
  for (size_t i = 0; i < moments.size(); ++i) {
    const std::string& name = optimizer.trainables()[i].name;
    ASSIGN_OR_RETURN(const at::Tensor m, saved.Tensor(MomentName(name, "m"), moments[i].first.sizes()));
    ASSIGN_OR_RETURN(const at::Tensor v, saved.Tensor(MomentName(name, "v"), moments[i].second.sizes()));
    moments[i].first.copy_(m);
    moments[i].second.copy_(v);
  }
  optimizer.set_steps(static_cast<int64_t>(steps));
  return absl::OkStatus();
}

void SortByName(SavedLayer& saved) {
  std::sort(saved.tensors.begin(), saved.tensors.end(),
            [](const SavedTensor& a, const SavedTensor& b) { return a.name < b.name; });
}

}  // namespace retort
