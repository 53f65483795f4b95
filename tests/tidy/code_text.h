// C++ text as the tidy rules need it: without comments and literals, and cut into functions. A scanner, not a
// parser: it follows braces and quotes, and reads this repository's style.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace retort::tidy {

// `text` with every comment and the inside of every string and character literal turned into spaces. Newlines
// stay, so offsets and line numbers are those of `text`.
std::string CodeOnly(absl::string_view text);

// 1-based number of the line that holds `offset`.
int LineAt(absl::string_view text, size_t offset);

// Offsets at which `word` stands in `text` as a whole word. Letters, digits and '_' make words; an end of
// `word` that is none of them (as in "cout <<" or "EXPECT_TRUE(true)") needs no boundary there.
std::vector<size_t> FindWord(absl::string_view text, absl::string_view word);

struct FunctionSpan {
  std::string name;  // as written before the parameters: "Trainer::Step", "TEST"
  int first_line;    // where its declaration starts
  int last_line;     // of its closing brace
};

// The function definitions of a C++ file, in order. Lambdas and local types belong to the function around
// them.
std::vector<FunctionSpan> Functions(absl::string_view text);

}  // namespace retort::tidy
