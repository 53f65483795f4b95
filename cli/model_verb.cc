#include <iostream>

#include "absl/strings/str_cat.h"
#include "cli/sibling.h"
#include "cli/verbs.h"
#include "core/base/command_line.h"

namespace retort {

int ModelVerb(const std::string& verb, const std::vector<std::string>& args) {
  std::vector<std::string> with_verb = {verb};
  with_verb.insert(with_verb.end(), args.begin(), args.end());
  return ReportError(absl::StrCat("retort ", verb), BecomeSibling("retort-model", with_verb), std::cerr);
}

}  // namespace retort
