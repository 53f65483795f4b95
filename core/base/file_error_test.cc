#include "core/base/file_error.h"

#include <cerrno>

#include "gtest/gtest.h"

namespace retort {
namespace {

TEST(FileError, SaysWhatWasDoneToWhichFileWhyAndWhatToDo) {
  EXPECT_EQ(FileError(ENOSPC, "cannot write", "a.bin"),
            absl::ResourceExhaustedError(
                "cannot write a.bin: No space left on device; free some space and try again"));
  EXPECT_EQ(FileError(ENOENT, "cannot open", "a.bin"),
            absl::NotFoundError("cannot open a.bin: No such file or directory"));
}

TEST(FileError, ItsCodeSaysWhoCanHelp) {
  EXPECT_EQ(FileError(EFBIG, "", "").code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(FileError(EDQUOT, "", "").code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(FileError(EROFS, "", "").code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(FileError(EIO, "", "").code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace retort
