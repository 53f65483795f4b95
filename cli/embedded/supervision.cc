#include "cli/embedded/supervision.h"

#include <string.h>

#include "absl/strings/str_cat.h"
#include "core/base/backoff.h"
#include "core/base/exit_code.h"

namespace retort {
namespace {

constexpr int kCannotExecute = 126;
constexpr int kNoSuchProgram = 127;

}  // namespace

std::string EndText(const ChildEnd& end) {
  return end.signal == 0 ? absl::StrCat("exit code ", end.exit_code)
                         : absl::StrCat("signal ", end.signal, " (", strsignal(end.signal), ")");
}

ChildVerdict JudgeEnd(const std::string& name, const std::string& log_file, const ChildEnd& end,
                      int failures_before, uint64_t random) {
  const std::string what = absl::StrCat(name, " ended with ", EndText(end), "; its log is ", log_file);
  switch (end.signal == 0 ? end.exit_code : kExitInternal) {
    case kExitUsage:
      return {.error = absl::InternalError(what)};
    case kCannotExecute:
    case kNoSuchProgram:
      return {.error = absl::NotFoundError(absl::StrCat(
                  what, "; retort needs the program in its own directory, where './dev build' puts it"))};
    default:
      break;
  }
  ChildVerdict verdict;
  verdict.failures_in_a_row = end.lived_seconds >= kSoundLifeSeconds ? 1 : failures_before + 1;
  if (verdict.failures_in_a_row >= kMaxFailuresInARow) {
    const bool conflict = end.signal == 0 && end.exit_code == kExitConflict;
    verdict.error =
        absl::Status(conflict ? absl::StatusCode::kFailedPrecondition : absl::StatusCode::kDataLoss,
                     absl::StrCat(name, " ended ", verdict.failures_in_a_row, " times in a row, last with ",
                                  EndText(end), "; its log is ", log_file,
                                  ". What was saved is kept: the same command goes on from there"));
    return verdict;
  }
  verdict.wait_seconds = static_cast<double>(RepeatWaitMs(verdict.failures_in_a_row, random)) / 1000;
  return verdict;
}

}  // namespace retort
