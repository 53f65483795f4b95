#include "tests/tidy/source_tree.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace retort::tidy {
namespace {

namespace fs = std::filesystem;

// The paths git knows and those it would add; nothing where git or its repository is missing.
std::optional<std::vector<std::string>> GitPaths(const std::string& root) {
  const std::string command = absl::StrCat("git -c safe.directory='*' -C '", root,
                                           "' ls-files -z --cached --others --exclude-standard 2>/dev/null");
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return std::nullopt;
  std::string listing;
  std::array<char, 4096> buffer;
  while (const size_t got = fread(buffer.data(), 1, buffer.size(), pipe)) listing.append(buffer.data(), got);
  if (pclose(pipe) != 0) return std::nullopt;
  return absl::StrSplit(listing, '\0', absl::SkipEmpty());
}

std::vector<std::string> WalkedPaths(const std::string& root) {
  std::vector<std::string> paths;
  for (auto it = fs::recursive_directory_iterator(root); it != fs::recursive_directory_iterator(); ++it) {
    const std::string path = fs::relative(it->path(), root).generic_string();
    const std::string name = it->path().filename().string();
    if (it->is_directory()) {
      const bool skipped =
          path == "build" || path == "runs" || name == "__pycache__" || (name[0] == '.' && name != ".ci");
      if (skipped) it.disable_recursion_pending();
    } else if (it->is_regular_file()) {
      paths.push_back(path);
    }
  }
  return paths;
}

}  // namespace

absl::StatusOr<std::vector<SourceFile>> ReadSourceTree(const std::string& root) {
  std::vector<std::string> paths = GitPaths(root).value_or(std::vector<std::string>());
  if (paths.empty()) paths = WalkedPaths(root);
  std::sort(paths.begin(), paths.end());
  std::vector<SourceFile> files;
  for (std::string& path : paths) {
    const fs::path full = fs::path(root) / path;
    if (!fs::is_regular_file(full)) continue;  // tracked, but deleted in the work tree
    std::ifstream stream(full, std::ios::binary);
    if (!stream) return absl::NotFoundError(absl::StrCat("cannot read ", full.string()));
    std::string text((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
    if (text.find('\0') != std::string::npos) continue;
    const bool executable = (fs::status(full).permissions() & fs::perms::owner_exec) != fs::perms::none;
    files.push_back({std::move(path), std::move(text), executable});
  }
  return files;
}

absl::string_view DirectoryOf(absl::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == absl::string_view::npos ? absl::string_view() : path.substr(0, slash);
}

}  // namespace retort::tidy
