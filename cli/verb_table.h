// The names of the verbs and flags of `retort`, for its help and for the completion of shells. The flags of
// the verbs that retort-model parses are repeated here, because a completion must not wait for another
// program.
#pragma once

#include <string>
#include <vector>

namespace retort {

struct VerbInfo {
  std::string name;
  std::string purpose;
  std::vector<std::string> words;  // fixed words after the verb, such as a second verb
  std::vector<std::string> flags;  // long forms, without --help
};

// In the order of the help text.
const std::vector<VerbInfo>& VerbTable();

}  // namespace retort
