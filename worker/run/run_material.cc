#include "worker/run/run_material.h"

#include <ATen/ATen.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "model/student/make_student.h"
#include "model/teacher/teacher.h"
#include "worker/run/run_identity.h"

namespace retort {

absl::StatusOr<RunMaterial> RunMaterial::Open(const v1::JobSpec& job, RunInputs inputs,
                                              const v1::InputHashes& hashes,
                                              const std::optional<std::filesystem::path>& weights_directory) {
  RunMaterial material;
  material.job_ = DecidingJob(job).SerializeAsString();
  material.hashes_ = hashes.SerializeAsString();
  ASSIGN_OR_RETURN(const ModelConfig teacher, ReadTeacherConfig(inputs.teacher));
  if (job.data().seq_len() > teacher.context) {
    return absl::InvalidArgumentError(absl::StrCat("data.seq_len is ", job.data().seq_len(),
                                                   ", longer than the teacher's context of ",
                                                   teacher.context));
  }
  ASSIGN_OR_RETURN(material.student_config_, StudentConfig(teacher, job.student()));
  ASSIGN_OR_RETURN(Batches batches,
                   Batches::Open(job.data(), inputs.train, static_cast<int>(teacher.vocab_size)));
  material.batches_ = std::make_shared<const Batches>(std::move(batches));
  material.teacher_ = EmptyModel(teacher);
  if (weights_directory)
    material.shared_weights_.emplace(*weights_directory / absl::BytesToHexString(hashes.teacher_sha256()));
  material.inputs_ = std::move(inputs);
  return material;
}

bool RunMaterial::IsOf(const v1::JobSpec& job, const RunInputs& inputs, const v1::InputHashes& hashes) const {
  return job_ == DecidingJob(job).SerializeAsString() && hashes_ == hashes.SerializeAsString() &&
         inputs_.teacher == inputs.teacher && inputs_.train == inputs.train;
}

absl::StatusOr<LanguageModel> RunMaterial::Teacher(int64_t blocks) {
  RETURN_IF_ERROR(
      LoadBlocks(inputs_.teacher, blocks, teacher_, shared_weights_ ? &*shared_weights_ : nullptr));
  return teacher_;
}

void RunMaterial::ReleaseTeacherFrom(int64_t blocks) { ReleaseBlocks(blocks, teacher_); }

uint64_t RunMaterial::teacher_bytes() const {
  uint64_t bytes = 0;
  for (const auto& tensor : ModelTensors(teacher_)) {
    if (tensor.value->defined()) bytes += tensor.value->nbytes();
  }
  return bytes;
}

uint64_t RunMaterial::unshared_bytes() const {
  if (!shared_weights_) return 0;
  uint64_t bytes = 0;
  for (const auto& tensor : ModelTensors(teacher_)) {
    if (tensor.value->defined() && shared_weights_->IsOwn(tensor.name)) bytes += tensor.value->nbytes();
  }
  return bytes;
}

}  // namespace retort
