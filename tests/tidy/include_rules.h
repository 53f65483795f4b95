// Who may include whom: the arrows of docs/DESIGN.md, section 3.
#pragma once

#include <vector>

#include "tests/tidy/rules.h"
#include "tests/tidy/source_tree.h"

namespace retort::tidy {

// Each folder includes only the folders below it; network and store libraries stay out of the science.
std::vector<Finding> CheckIncludeDirections(const std::vector<SourceFile>& files);

// The folders meant to build without LibTorch reach none of its headers, not even through other headers.
std::vector<Finding> CheckTorchFreeFolders(const std::vector<SourceFile>& files);

}  // namespace retort::tidy
