#include "model/io/shared_tensors.h"

#include <ATen/ATen.h>

#include <memory>

#include "core/base/check.h"
#include "core/base/file_error.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"

namespace retort {
namespace {

namespace fs = std::filesystem;

// DATA_LOSS where the file has another length.
absl::StatusOr<at::Tensor> Map(const fs::path& path, const std::vector<int64_t>& shape, size_t bytes) {
  ASSIGN_OR_RETURN(MappedFile opened, MappedFile::Open(path));
  if (opened.size() != bytes) return absl::DataLossError("another length");
  const auto file = std::make_shared<MappedFile>(std::move(opened));
  return at::from_blob(
      const_cast<char*>(file->data()), shape, [file](void*) {}, at::kFloat);
}

absl::Status Write(const fs::path& path, const at::Tensor& tensor) {
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  if (error) return FileError(error.value(), "cannot create directory", path.parent_path());
  return WriteFileAtomically(path, {static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()});
}

}  // namespace

absl::StatusOr<at::Tensor> SharedTensors::Get(const std::string& name, const std::vector<int64_t>& shape,
                                              const std::function<absl::StatusOr<at::Tensor>()>& make) {
  const fs::path path = directory_ / name;
  const size_t bytes = sizeof(float) * static_cast<size_t>(c10::multiply_integers(shape));
  absl::StatusOr<at::Tensor> mapped = Map(path, shape, bytes);
  if (!mapped.ok()) {
    ASSIGN_OR_RETURN(const at::Tensor made, make());
    RETORT_CHECK(made.sizes() == at::IntArrayRef(shape) && made.is_contiguous() &&
                 made.scalar_type() == at::kFloat)
        << name;
    const absl::Status written = Write(path, made);
    mapped = written.ok() ? Map(path, shape, bytes) : written;
    if (!mapped.ok()) {
      if (failure_.ok()) failure_ = mapped.status();
      own_.insert(name);
      return made;
    }
  }
  own_.erase(name);
  mapped_bytes_ += bytes;
  return mapped;
}

}  // namespace retort
