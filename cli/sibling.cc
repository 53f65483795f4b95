#include "cli/sibling.h"

#include <errno.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "core/base/process.h"
#include "core/base/status_macros.h"

namespace retort {

absl::StatusOr<std::filesystem::path> ProgramDirectory() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) {
    return absl::InternalError(
        absl::StrCat("cannot tell where this program lies: /proc/self/exe: ", error.message()));
  }
  return self.parent_path();
}

absl::Status BecomeSibling(const std::string& name, const std::vector<std::string>& args) {
  ASSIGN_OR_RETURN(const std::filesystem::path directory, ProgramDirectory());
  const std::string program = (directory / name).string();
  std::vector<char*> argv = {const_cast<char*>(program.c_str())};
  for (const std::string& arg : args) {
    argv.push_back(const_cast<char*>(arg.c_str()));
  }
  argv.push_back(nullptr);
  SetWaitingOfThreads();
  execv(program.c_str(), argv.data());
  return absl::Status(absl::ErrnoToStatusCode(errno),
                      absl::StrCat("cannot execute ", program, ": ", std::strerror(errno),
                                   "; retort needs it in its own directory, where './dev build' puts it"));
}

}  // namespace retort
