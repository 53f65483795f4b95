// Between LibTorch's tensors and those of a checkpoint (docs/protocol.md, "What a checkpoint contains").
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/lm/language_model.h"
#include "train/optim/adamw.h"
#include "worker/agent/slice_work.h"

namespace retort {

// A copy. float32 or float64.
SavedTensor SaveTensor(std::string name, const at::Tensor& tensor);
SavedTensor SaveNumbers(std::string name, const std::vector<double>& numbers);
SavedTensor SaveText(std::string name, std::string text);

// The tensors of one checkpoint by name. Refers to it. DATA_LOSS names a tensor that is missing or of another
// type or shape.
class SavedTensors {
 public:
  // `whose` names the checkpoint in messages.
  SavedTensors(const SavedLayer& saved, std::string whose) : saved_(saved), whose_(std::move(whose)) {}

  bool Has(std::string_view name) const { return Find(name) != nullptr; }
  // A fresh float32 tensor in LibTorch's aligned memory.
  absl::StatusOr<at::Tensor> Tensor(const std::string& name, at::IntArrayRef shape) const;
  absl::StatusOr<std::vector<double>> Numbers(const std::string& name) const;
  absl::StatusOr<std::string> Text(const std::string& name) const;

 private:
  const SavedTensor* Find(std::string_view name) const;
  absl::StatusOr<const SavedTensor*> Get(const std::string& name, v1::DataType dtype) const;

  const SavedLayer& saved_;
  std::string whose_;
};

// The loss and the seconds of each step that led to where a layer, or the student of END_TO_END, stands.
struct StepHistory {
  std::vector<double> losses, seconds;

  size_t steps() const { return losses.size(); }
  // Of the steps from `first` on; of the last one when there is none; 0 before the first step.
  double MeanLossFrom(size_t first) const;
};
void SaveHistory(const StepHistory& history, SavedLayer& saved);
// DATA_LOSS also when it is not `steps` long.
absl::StatusOr<StepHistory> LoadHistory(const SavedTensors& saved, uint64_t steps);

// Adds `student/NAME` for each of the student's tensors that is not the teacher's memory: those of block
// `place`, or of the whole student when it is kWholeStudent.
inline constexpr int64_t kWholeStudent = -2;
void SaveStudentTensors(const LanguageModel& student, const LanguageModel& teacher, int64_t place,
                        SavedLayer& saved);
// Puts what is saved into the student, before trainers are made. Every tensor of the converted mixers in
// question must be there.
absl::Status LoadStudentTensors(const SavedTensors& saved, int64_t place, LanguageModel& student);

// `adam/NAME/m` and `adam/NAME/v`.
void SaveMoments(const AdamW& optimizer, SavedLayer& saved);
absl::Status LoadMoments(const SavedTensors& saved, uint64_t steps, AdamW& optimizer);

// A checkpoint's tensors stand in the order of their names.
void SortByName(SavedLayer& saved);

}  // namespace retort
