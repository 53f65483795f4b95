#include "worker/run/run_checkpoint.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace retort {
namespace {

using nlohmann::json;

constexpr int kVersion = 2;

json ToJson(const RunState& state, size_t tensors) {
  return {{"version", kVersion},
          {"tensors", tensors},
          {"identity", state.identity},
          {"stage", state.stage},
          {"step", state.step},
          {"seconds", state.seconds},
          {"stage_seconds", state.stage_seconds},
          {"metrics_bytes", state.metrics_bytes},
          {"peak_memory_bytes", state.peak_memory_bytes},
          {"loss_first", state.loss_first},
          {"loss_last", state.loss_last},
          {"result", state.result}};
}

RunState FromJson(const json& saved) {
  RunState state;
  state.identity = saved.at("identity");
  saved.at("stage").get_to(state.stage);
  saved.at("step").get_to(state.step);
  saved.at("seconds").get_to(state.seconds);
  saved.at("stage_seconds").get_to(state.stage_seconds);
  saved.at("metrics_bytes").get_to(state.metrics_bytes);
  saved.at("peak_memory_bytes").get_to(state.peak_memory_bytes);
  saved.at("loss_first").get_to(state.loss_first);
  saved.at("loss_last").get_to(state.loss_last);
  state.result = saved.at("result");
  return state;
}

}  // namespace

absl::Status SaveCheckpoint(const std::filesystem::path& file, const RunState& state,
                            const LanguageModel& teacher, const LanguageModel& student,
                            const std::vector<AdamW*>& optimizers) {
  const auto shared = TensorMemory(teacher);
  NamedTensors tensors;
  for (const auto& tensor : ModelTensors(student)) {
    if (shared.count(tensor.value->data_ptr()) == 0)
      tensors.emplace_back("student/" + tensor.name, tensor.value->detach());
  }
  for (const AdamW* optimizer : optimizers) {
    const auto moments = optimizer->moments();
    for (size_t i = 0; i < moments.size(); ++i) {
      const std::string prefix = absl::StrCat("adam/", optimizer->trainables()[i].name);
      tensors.emplace_back(prefix + "/m", moments[i].first);
      tensors.emplace_back(prefix + "/v", moments[i].second);
    }
  }
  return WriteSafetensors(file, tensors, {{"state", ToJson(state, tensors.size()).dump()}});
}

absl::StatusOr<std::optional<Checkpoint>> Checkpoint::Open(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::exists(file, error) && !error) return std::nullopt;
  absl::StatusOr<SafetensorsFile> opened = SafetensorsFile::Open(file);
  if (!opened.ok()) {
    return absl::Status(opened.status().code(),
                        absl::StrCat(opened.status().message(), "; remove the file to start the run again"));
  }
  Checkpoint checkpoint(*std::move(opened));
  try {
    const json saved = json::parse(checkpoint.file_.metadata().at("state"));
    if (saved.at("version") != kVersion) {
      return absl::FailedPreconditionError(absl::StrCat(
          file.string(), " has format version ", saved["version"].dump(), ", this program reads ", kVersion));
    }
    checkpoint.state_ = FromJson(saved);
    if (saved.at("tensors") != checkpoint.file_.names().size()) {
      return absl::DataLossError(absl::StrCat(file.string(), " holds ", checkpoint.file_.names().size(),
                                              " tensors of the ", saved["tensors"].dump(),
                                              " that were saved; remove the file to start the run again"));
    }
  } catch (const std::exception& error) {
    return absl::DataLossError(absl::StrCat(file.string(), ": not a checkpoint: ", error.what()));
  }
  return checkpoint;
}

absl::Status Checkpoint::LoadStudent(LanguageModel& student) const {
  for (const auto& tensor : ModelTensors(student)) {
    if (!file_.Has("student/" + tensor.name)) continue;
    ASSIGN_OR_RETURN(at::Tensor saved, file_.Read("student/" + tensor.name));
    if (saved.sizes() != tensor.shape) {
      return absl::DataLossError(absl::StrCat("the checkpoint's ", tensor.name, " has another shape"));
    }
    *tensor.value = std::move(saved);
  }
  if (student.config.tied_head) student.head_VE = student.embedding_VE;
  return absl::OkStatus();
}

absl::Status Checkpoint::LoadOptimizer(AdamW& optimizer) const {
  const c10::NoGradGuard no_grad;
  const auto moments = optimizer.moments();
  for (size_t i = 0; i < moments.size(); ++i) {
    const std::string prefix = absl::StrCat("adam/", optimizer.trainables()[i].name);
    ASSIGN_OR_RETURN(const at::Tensor m, file_.Read(prefix + "/m"));
    ASSIGN_OR_RETURN(const at::Tensor v, file_.Read(prefix + "/v"));
    moments[i].first.copy_(m);
    moments[i].second.copy_(v);
  }
  optimizer.set_steps(state_.step);
  return absl::OkStatus();
}

}  // namespace retort
