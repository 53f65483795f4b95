#include "cli/completion.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/check.h"

namespace retort {
namespace {

// Flags and fixed words of each verb, as the branches of a shell's `case`.
std::string Cases(const std::vector<VerbInfo>& verbs) {
  std::string text;
  for (const VerbInfo& verb : verbs) {
    std::vector<std::string> flags = verb.flags;
    flags.push_back("--help");
    absl::StrAppend(&text, "    ", verb.name, ") flags=(", absl::StrJoin(flags, " "), ") nouns=(",
                    absl::StrJoin(verb.words, " "), ") ;;\n");
  }
  return text;
}

std::string Names(const std::vector<VerbInfo>& verbs) {
  return absl::StrJoin(verbs, " ",
                       [](std::string* out, const VerbInfo& verb) { absl::StrAppend(out, verb.name); });
}

std::string BashScript(const std::vector<VerbInfo>& verbs) {
  return absl::StrCat(R"(# Completion of retort for bash. To use it: source <(retort completion bash)
_retort() {
  local current=${COMP_WORDS[COMP_CWORD]}
  local -a flags=() nouns=()
  if [[ $COMP_CWORD -eq 1 ]]; then
    COMPREPLY=($(compgen -W ")",
                      Names(verbs), R"( help" -- "$current"))
    return
  fi
  case ${COMP_WORDS[1]} in
    help) nouns=()",
                      Names(verbs), R"() ;;
)",
                      Cases(verbs), R"(  esac
  if [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "${flags[*]}" -- "$current"))
  elif [[ $COMP_CWORD -eq 2 && ${#nouns[@]} -gt 0 ]]; then
    COMPREPLY=($(compgen -W "${nouns[*]}" -- "$current"))
  else
    COMPREPLY=($(compgen -f -- "$current"))
  fi
}
complete -o filenames -F _retort retort
)");
}

std::string ZshScript(const std::vector<VerbInfo>& verbs) {
  std::string described;
  for (const VerbInfo& verb : verbs) {
    absl::StrAppend(&described, "    '", verb.name, ":", verb.purpose, "'\n");
  }
  return absl::StrCat(R"(#compdef retort
# Completion of retort for zsh. To use it: source <(retort completion zsh), after compinit.
_retort() {
  local -a verbs flags nouns
  verbs=(
)",
                      described, R"(    'help:Explain a verb'
  )
  if (( CURRENT == 2 )); then
    _describe verb verbs
    return
  fi
  case $words[2] in
    help) nouns=()",
                      Names(verbs), R"() ;;
)",
                      Cases(verbs), R"(  esac
  if [[ $PREFIX == -* ]]; then
    compadd -a flags
  elif (( CURRENT == 3 && ${#nouns} > 0 )); then
    compadd -a nouns
  else
    _files
  fi
}
compdef _retort retort
)");
}

std::string FishScript(const std::vector<VerbInfo>& verbs) {
  std::string text =
      "# Completion of retort for fish. To use it: retort completion fish | source\n"
      "complete -c retort -n __fish_use_subcommand -f -a help -d 'Explain a verb'\n";
  absl::StrAppend(&text, "complete -c retort -n '__fish_seen_subcommand_from help' -f -a '", Names(verbs),
                  "'\n");
  for (const VerbInfo& verb : verbs) {
    absl::StrAppend(&text, "complete -c retort -n __fish_use_subcommand -f -a ", verb.name, " -d '",
                    verb.purpose, "'\n");
    const std::string within =
        absl::StrCat("complete -c retort -n '__fish_seen_subcommand_from ", verb.name, "' ");
    if (!verb.words.empty()) {
      absl::StrAppend(&text, within, "-a '", absl::StrJoin(verb.words, " "), "'\n");
    }
    for (const std::string& flag : verb.flags) {
      absl::StrAppend(&text, within, "-l ", flag.substr(2), "\n");
    }
    absl::StrAppend(&text, within, "-l help\n");
  }
  return text;
}

}  // namespace

std::string CompletionScript(const std::string& shell, const std::vector<VerbInfo>& verbs) {
  if (shell == "bash") {
    return BashScript(verbs);
  }
  if (shell == "zsh") {
    return ZshScript(verbs);
  }
  RETORT_CHECK(shell == "fish") << shell;
  return FishScript(verbs);
}

}  // namespace retort
