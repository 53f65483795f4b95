#include "tests/tidy/rules.h"

#include <algorithm>
#include <initializer_list>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "tests/tidy/code_text.h"

namespace retort::tidy {
namespace {

constexpr int kFileLines = 600;
constexpr int kFunctionLines = 70;
constexpr int kKernelFunctionLines = 150;

bool HasSuffix(absl::string_view path, std::initializer_list<absl::string_view> suffixes) {
  return std::any_of(suffixes.begin(), suffixes.end(),
                     [path](absl::string_view suffix) { return absl::EndsWith(path, suffix); });
}

bool IsHeader(absl::string_view path) { return HasSuffix(path, {".h", ".cuh"}); }
bool IsCpp(absl::string_view path) { return IsHeader(path) || HasSuffix(path, {".cc", ".cu"}); }
bool HasShebang(const SourceFile& file) { return absl::StartsWith(file.text, "#!"); }
bool IsScript(const SourceFile& file) { return HasShebang(file) || HasSuffix(file.path, {".sh", ".py"}); }
bool IsSource(const SourceFile& file) {
  return IsCpp(file.path) || IsScript(file) || HasSuffix(file.path, {".proto", ".cmake", "CMakeLists.txt"});
}
bool IsTest(absl::string_view path) {
  return absl::EndsWith(path, "_test.cc") || (absl::StartsWith(path, "tests/") && IsCpp(path));
}

struct BannedWord {
  absl::string_view word;
  bool (*where)(absl::string_view path);
  absl::string_view instead;
};

bool Anywhere(absl::string_view) { return true; }

// Standard output belongs to what talks to a user: the client, the tool, the terminal and each main.
bool IsSilent(absl::string_view path) {
  return !HasSuffix(path, {"main.cc", "_test.cc"}) && !absl::StartsWith(path, "cli/") &&
         !absl::StartsWith(path, "tool/") && !absl::StartsWith(path, "core/base/terminal");
}

bool IsOutsideMutexHeader(absl::string_view path) { return path != "core/base/mutex.h"; }

constexpr absl::string_view kWait = "wait for a condition, not for time";
constexpr absl::string_view kLock = "lock through core/base/mutex.h, whose annotations the compiler checks";
constexpr absl::string_view kVacuous = "asserts nothing";

constexpr BannedWord kBannedInCode[] = {
    {"sleep_for", IsTest, kWait},
    {"sleep_until", IsTest, kWait},
    {"usleep", IsTest, kWait},
    {"nanosleep", IsTest, kWait},
    {"SleepFor", IsTest, kWait},
    {"std::cout", IsSilent, "return the text, or write through the terminal or a main"},
    {"std::mutex", IsOutsideMutexHeader, kLock},
    {"std::lock_guard", IsOutsideMutexHeader, kLock},
    {"std::unique_lock", IsOutsideMutexHeader, kLock},
    {"absl::Mutex", Anywhere, "the thread sanitizer does not see into it; use core/base/mutex.h"},
    {"using namespace", IsHeader, "name what is used: a header's directive reaches every includer"},
    {"EXPECT_TRUE(true)", Anywhere, kVacuous},
    {"ASSERT_TRUE(true)", Anywhere, kVacuous},
    {"EXPECT_FALSE(false)", Anywhere, kVacuous},
};

constexpr absl::string_view kUnfinished[] = {
    "FIX"
    "ME",
    "XX"
    "X",
    "TO"
    "DO"};  // in halves: this file is read too

void FindBanned(const SourceFile& file, absl::string_view text, absl::string_view word, absl::string_view why,
                std::vector<Finding>& findings) {
  for (const size_t at : FindWord(text, word)) {
    findings.push_back({file.path, LineAt(text, at), absl::StrCat(word, ": ", why)});
  }
}

int LineCount(absl::string_view text) { return static_cast<int>(std::count(text.begin(), text.end(), '\n')); }

// Whether the list of some CMakeLists.txt at or above the test's folder names it relative to itself.
bool IsRegistered(const SourceFile& test, const std::vector<SourceFile>& files) {
  return std::any_of(files.begin(), files.end(), [&](const SourceFile& list) {
    if (list.path != "CMakeLists.txt" && !absl::EndsWith(list.path, "/CMakeLists.txt")) return false;
    absl::string_view relative = test.path;
    if (list.path.find('/') != std::string::npos &&
        !absl::ConsumePrefix(&relative, absl::StrCat(DirectoryOf(list.path), "/"))) {
      return false;
    }
    const std::vector<size_t> found = FindWord(list.text, relative);
    return std::any_of(found.begin(), found.end(),
                       [&](size_t at) { return at > 0 && absl::ascii_isspace(list.text[at - 1]); });
  });
}

}  // namespace

std::string ToString(const Finding& finding) {
  return absl::StrCat(finding.path, ":", finding.line, ": ", finding.message);
}

std::vector<Finding> CheckBannedWords(const std::vector<SourceFile>& files) {
  std::vector<Finding> findings;
  for (const SourceFile& file : files) {
    if (IsCpp(file.path)) {
      const std::string code = CodeOnly(file.text);
      for (const BannedWord& banned : kBannedInCode) {
        if (banned.where(file.path)) FindBanned(file, code, banned.word, banned.instead, findings);
      }
    }
    if (IsSource(file) || absl::EndsWith(file.path, ".md")) {
      for (const absl::string_view word : kUnfinished) {
        FindBanned(file, file.text, word, "finish it, or write the plan where plans stand", findings);
      }
    }
  }
  return findings;
}

std::vector<Finding> CheckFileLengths(const std::vector<SourceFile>& files) {
  std::vector<Finding> findings;
  for (const SourceFile& file : files) {
    const int lines = LineCount(file.text);
    if (IsSource(file) && lines > kFileLines) {
      findings.push_back(
          {file.path, kFileLines + 1,
           absl::StrCat(lines, " lines, more than ", kFileLines, ": is there a second noun in it?")});
    }
  }
  return findings;
}

std::vector<Finding> CheckFunctionLengths(const std::vector<SourceFile>& files,
                                          const FunctionRatchet& ratchet) {
  std::vector<Finding> findings;
  FunctionRatchet unused = ratchet;
  for (const SourceFile& file : files) {
    if (!IsCpp(file.path)) continue;
    const int limit = absl::StartsWith(file.path, "kernels/") ? kKernelFunctionLines : kFunctionLines;
    for (const FunctionSpan& function : Functions(file.text)) {
      const int lines = function.last_line - function.first_line + 1;
      const std::string key = absl::StrCat(file.path, ":", function.name);
      const auto entry = ratchet.find(key);
      if (lines <= limit) continue;
      unused.erase(key);
      if (entry == ratchet.end() || lines > entry->second) {
        findings.push_back({file.path, function.first_line,
                            absl::StrCat(function.name, " has ", lines, " lines, more than ",
                                         entry == ratchet.end() ? limit : entry->second)});
      } else if (lines < entry->second) {
        findings.push_back(
            {file.path, function.first_line,
             absl::StrCat(function.name, " is down to ", lines, " lines: lower its ratchet entry")});
      }
    }
  }
  for (const auto& [key, lines] : unused) {
    findings.push_back({key.substr(0, key.find(':')), 1, absl::StrCat("drop the ratchet entry ", key)});
  }
  return findings;
}

std::vector<Finding> CheckTestsAreRegistered(const std::vector<SourceFile>& files) {
  std::vector<Finding> findings;
  for (const SourceFile& file : files) {
    if (absl::EndsWith(file.path, "_test.cc") && !IsRegistered(file, files)) {
      findings.push_back({file.path, 1, "no CMakeLists.txt names this test: it never runs"});
    }
  }
  return findings;
}

std::vector<Finding> CheckHeaderGuards(const std::vector<SourceFile>& files) {
  std::vector<Finding> findings;
  for (const SourceFile& file : files) {
    if (IsHeader(file.path) && !absl::StrContains(CodeOnly(file.text), "#pragma once")) {
      findings.push_back({file.path, 1, "no #pragma once"});
    }
  }
  return findings;
}

std::vector<Finding> CheckScriptsAreExecutable(const std::vector<SourceFile>& files) {
  std::vector<Finding> findings;
  for (const SourceFile& file : files) {
    if (HasShebang(file) && !file.executable)
      findings.push_back({file.path, 1, "a script that is not executable"});
    if (!HasShebang(file) && file.executable)
      findings.push_back({file.path, 1, "executable, but no #! line"});
  }
  return findings;
}

std::vector<Finding> CheckNoMachinePaths(const std::vector<SourceFile>& files) {
  constexpr absl::string_view kPaths[] = {
      "/wo"
      "rk/",
      "/ro"
      "ot/",
      "/ho"
      "me/"};  // in halves: this file is read too
  std::vector<Finding> findings;
  for (const SourceFile& file : files) {
    for (const absl::string_view path : kPaths) {
      for (const size_t at : FindWord(file.text, path)) {
        const char before = at == 0 ? ' ' : file.text[at - 1];
        const bool continues =
            absl::ascii_isalnum(before) || absl::StrContains("_.-})*", std::string(1, before));
        if (!continues)
          findings.push_back(
              {file.path, LineAt(file.text, at), absl::StrCat("a path of one machine: ", path)});
      }
    }
  }
  return findings;
}

}  // namespace retort::tidy
