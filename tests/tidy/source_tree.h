// The repository's files as the tidy rules see them.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace retort::tidy {

struct SourceFile {
  std::string path;  // from the repository's root, with '/'
  std::string text;
  bool executable = false;
};

// Every text file of the checkout at `root`, sorted by path: what git tracks or would track, or, where there
// is no git, all files outside build/, runs/ and hidden directories. Binary files (those with a NUL) are left
// out.
absl::StatusOr<std::vector<SourceFile>> ReadSourceTree(const std::string& root);

// "a/b/c.cc" -> "a/b"; "c.cc" -> "".
absl::string_view DirectoryOf(absl::string_view path);

}  // namespace retort::tidy
