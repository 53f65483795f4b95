#include "tests/tidy/include_rules.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace retort::tidy {
namespace {

struct Include {
  std::string path;
  int line;
};

struct Area {
  absl::string_view folder;
  std::vector<absl::string_view> may_include;  // prefixes, of our own headers
};

const std::vector<Area>& Areas() {
  static const auto& areas = *new std::vector<Area>{
      {"core/", {"core/", "retort/v1/"}},
      {"kernels/", {"kernels/"}},
      {"model/", {"model/", "kernels/", "core/base/", "retort/v1/job.pb.h"}},
      {"train/", {"train/", "model/", "core/base/", "retort/v1/job.pb.h"}},
      {"orchestrator/", {"orchestrator/", "core/", "retort/v1/"}},
      {"worker/", {"worker/", "train/", "model/", "core/", "retort/v1/"}},
      {"cli/", {"cli/", "core/", "retort/v1/"}},
      {"tool/", {"tool/", "train/", "model/", "core/config/", "core/base/", "retort/v1/job.pb.h"}},
  };
  return areas;
}

constexpr absl::string_view kOwnFolders[] = {"core/",         "kernels/", "model/", "train/",
                                             "orchestrator/", "worker/",  "cli/",   "tool/",
                                             "tests/",        "retort/",  "proto/"};
constexpr absl::string_view kTorchFree[] = {"core/", "kernels/",    "orchestrator/",
                                            "cli/",  "train/chat/", "train/data/"};
constexpr absl::string_view kTorchHeaders[] = {"torch/", "ATen/", "c10/", "caffe2/"};
constexpr absl::string_view kNetworkFree[] = {"kernels/", "model/", "train/", "tool/"};
constexpr absl::string_view kNetworkHeaders[] = {"grpc", "rocksdb/"};

template <class Prefixes>
bool StartsWithAny(absl::string_view text, const Prefixes& prefixes) {
  return std::any_of(std::begin(prefixes), std::end(prefixes),
                     [text](absl::string_view prefix) { return absl::StartsWith(text, prefix); });
}

bool IsCpp(absl::string_view path) {
  return absl::EndsWith(path, ".h") || absl::EndsWith(path, ".cc") || absl::EndsWith(path, ".cuh") ||
         absl::EndsWith(path, ".cu");
}

std::vector<Include> IncludesOf(const SourceFile& file) {
  std::vector<Include> includes;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(file.text, '\n')) {
    ++number;
    if (!absl::ConsumePrefix(&line, "#include ") || line.empty()) continue;
    const size_t end = line.find(line.front() == '<' ? '>' : '"', 1);
    if (end != absl::string_view::npos) includes.push_back({std::string(line.substr(1, end - 1)), number});
  }
  return includes;
}

using IncludeMap = std::map<std::string, std::vector<Include>>;

// The chain of headers from `path` to one of LibTorch's, as "a.h -> b.h -> ATen/ATen.h"; empty if there is
// none.
std::string WayToTorch(const std::string& path, const IncludeMap& includes, std::set<std::string>& seen) {
  if (StartsWithAny(path, kTorchHeaders)) return path;
  const auto found = includes.find(path);
  if (found == includes.end() || !seen.insert(path).second) return "";
  for (const Include& include : found->second) {
    const std::string rest = WayToTorch(include.path, includes, seen);
    if (!rest.empty()) return absl::StrCat(path, " -> ", rest);
  }
  return "";
}

}  // namespace

std::vector<Finding> CheckIncludeDirections(const std::vector<SourceFile>& files) {
  std::vector<Finding> findings;
  for (const SourceFile& file : files) {
    const auto area = std::find_if(Areas().begin(), Areas().end(), [&](const Area& area) {
      return absl::StartsWith(file.path, area.folder);
    });
    if (area == Areas().end() || !IsCpp(file.path)) continue;
    const bool is_test = absl::EndsWith(file.path, "_test.cc");
    for (const Include& include : IncludesOf(file)) {
      if (StartsWithAny(include.path, kOwnFolders) && !StartsWithAny(include.path, area->may_include) &&
          !(is_test && absl::StartsWith(include.path, "tests/support/"))) {
        findings.push_back({file.path, include.line,
                            absl::StrCat(area->folder, " may not include ", include.path,
                                         ": the arrows are in docs/DESIGN.md, section 3")});
      }
      if (StartsWithAny(file.path, kNetworkFree) && StartsWithAny(include.path, kNetworkHeaders)) {
        findings.push_back({file.path, include.line,
                            absl::StrCat(area->folder, " knows no network or store: ", include.path)});
      }
    }
  }
  return findings;
}

std::vector<Finding> CheckTorchFreeFolders(const std::vector<SourceFile>& files) {
  IncludeMap includes;
  for (const SourceFile& file : files) {
    if (IsCpp(file.path)) includes[file.path] = IncludesOf(file);
  }
  std::vector<Finding> findings;
  for (const auto& [path, own] : includes) {
    if (!StartsWithAny(path, kTorchFree)) continue;
    for (const Include& include : own) {
      std::set<std::string> seen;
      const std::string way = WayToTorch(include.path, includes, seen);
      if (!way.empty())
        findings.push_back({path, include.line, absl::StrCat("must not see LibTorch: ", way)});
    }
  }
  return findings;
}

}  // namespace retort::tidy
