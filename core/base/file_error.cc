#include "core/base/file_error.h"

#include <cerrno>

#include "absl/strings/str_cat.h"

namespace retort {

absl::Status FileError(int error_number, absl::string_view doing, const std::filesystem::path& path) {
  const absl::Status status = absl::ErrnoToStatus(error_number, absl::StrCat(doing, " ", path.string()));
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
      return absl::ResourceExhaustedError(absl::StrCat(status.message(), "; free some space and try again"));
    case EFBIG:
      return absl::ResourceExhaustedError(
          absl::StrCat(status.message(), "; raise the limit on the size of files (ulimit -f) and try again"));
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(
          absl::StrCat(status.message(), "; check who may read and write there"));
    case EIO:
      return absl::DataLossError(absl::StrCat(status.message(), "; check the disk"));
    default:
      return status;
  }
}

}  // namespace retort
