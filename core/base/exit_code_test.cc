#include "core/base/exit_code.h"

#include "gtest/gtest.h"

namespace retort {
namespace {

TEST(ExitCode, SaysWhatTheUserCanDo) {
  EXPECT_EQ(ExitCode(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCode(absl::InternalError("")), 1);
  EXPECT_EQ(ExitCode(absl::InvalidArgumentError("")), 2);
  EXPECT_EQ(ExitCode(absl::OutOfRangeError("")), 2);
  EXPECT_EQ(ExitCode(absl::UnimplementedError("")), 2);
  EXPECT_EQ(ExitCode(absl::UnavailableError("")), 3);
  EXPECT_EQ(ExitCode(absl::DeadlineExceededError("")), 3);
  EXPECT_EQ(ExitCode(absl::NotFoundError("")), 4);
  EXPECT_EQ(ExitCode(absl::AlreadyExistsError("")), 5);
  EXPECT_EQ(ExitCode(absl::FailedPreconditionError("")), 5);
  EXPECT_EQ(ExitCode(absl::AbortedError("")), 5);
  EXPECT_EQ(ExitCode(absl::PermissionDeniedError("")), 6);
  EXPECT_EQ(ExitCode(absl::UnauthenticatedError("")), 6);
  EXPECT_EQ(ExitCode(absl::DataLossError("")), 10);
  EXPECT_EQ(ExitCode(absl::ResourceExhaustedError("")), 10);
  EXPECT_EQ(ExitCode(absl::CancelledError("")), 11);
}

TEST(ExitCode, IsInternalForCodesNobodyShouldReturn) {
  EXPECT_EQ(ExitCode(absl::UnknownError("")), 1);
}

TEST(RunExitCode, TellsFailedTrainingFromABadRequest) {
  EXPECT_EQ(RunExitCode(absl::InternalError("")), 10);
  EXPECT_EQ(RunExitCode(absl::DataLossError("")), 10);
  EXPECT_EQ(RunExitCode(absl::ResourceExhaustedError("")), 10);
  EXPECT_EQ(RunExitCode(absl::InvalidArgumentError("")), 2);
  EXPECT_EQ(RunExitCode(absl::FailedPreconditionError("")), 5);
}

}  // namespace
}  // namespace retort
