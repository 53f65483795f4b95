// Completion scripts for shells: static text, so that pressing Tab starts no program.
#pragma once

#include <string>
#include <vector>

#include "cli/verb_table.h"

namespace retort {

// `shell` is bash, zsh or fish.
std::string CompletionScript(const std::string& shell, const std::vector<VerbInfo>& verbs);

}  // namespace retort
