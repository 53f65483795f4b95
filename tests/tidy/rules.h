// The house rules a program can check (docs/HACKING.md). Each is a pure function from files to findings, so
// each is tested on a planted violation; tree_test.cc applies them all to this repository.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tests/tidy/source_tree.h"

namespace retort::tidy {

struct Finding {
  std::string path;
  int line;
  std::string message;
};

// "path:line: message", as compilers write it.
std::string ToString(const Finding& finding);

// Words that must not stand where they do: sleeps in tests, std::cout outside what talks to a user, bare
// mutexes, `using namespace` in headers, assertions that cannot fail, marks of unfinished work.
std::vector<Finding> CheckBannedWords(const std::vector<SourceFile>& files);

// Sources and scripts of more than 600 lines.
std::vector<Finding> CheckFileLengths(const std::vector<SourceFile>& files);

// "path:function" -> the lines it may have. Only for functions that were too long when the rule came; a
// finding also says when an entry can be lowered or dropped, so the list only shrinks.
using FunctionRatchet = std::map<std::string, int>;

// Functions of more than 70 lines (150 in kernels/).
std::vector<Finding> CheckFunctionLengths(const std::vector<SourceFile>& files,
                                          const FunctionRatchet& ratchet);

// x_test.cc files that the CMakeLists.txt of their folder, or of one above it, does not name.
std::vector<Finding> CheckTestsAreRegistered(const std::vector<SourceFile>& files);

// Headers without #pragma once.
std::vector<Finding> CheckHeaderGuards(const std::vector<SourceFile>& files);

// Files with a #! line that cannot be executed, and the reverse.
std::vector<Finding> CheckScriptsAreExecutable(const std::vector<SourceFile>& files);

// Paths of one person's machine.
std::vector<Finding> CheckNoMachinePaths(const std::vector<SourceFile>& files);

}  // namespace retort::tidy
