#include "train/data/pre_tokenizer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/json_keys.h"
#include "core/base/status_macros.h"
#include "train/data/metaspace_fields.h"

namespace retort {
namespace {

constexpr char kSupported[] =
    "null, or Digits and Split (pattern Regex or String), then at most one of ByteLevel and Metaspace, alone "
    "or in a "
    "Sequence";

// GPT-2's words, which ByteLevel with use_regex stands for.
constexpr char kGpt2Words[] = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace

absl::StatusOr<PreTokenizer> PreTokenizer::FromJson(const nlohmann::json& pre_tokenizer) {
  PreTokenizer result;
  if (pre_tokenizer.is_null()) return result;
  if (Field(pre_tokenizer, "type") != "Sequence") {
    RETURN_IF_ERROR(result.AddStep(pre_tokenizer));
    return result;
  }
  RETURN_IF_ERROR(CheckMembers("pre_tokenizer", pre_tokenizer, {"type", "pretokenizers"}));
  const nlohmann::json& members = Field(pre_tokenizer, "pretokenizers");
  if (!members.is_array()) return Unsupported("pre_tokenizer", pre_tokenizer, kSupported);
  for (const nlohmann::json& member : members) RETURN_IF_ERROR(result.AddStep(member));
  return result;
}

absl::Status PreTokenizer::AddStep(const nlohmann::json& object) {
  // The endings respell the text, so that a later step would look at something else than the text.
  if (ending_ != Ending::kNone) {
    return Unsupported(
        absl::StrCat("pre_tokenizer after ", ending_ == Ending::kByteLevel ? "ByteLevel" : "Metaspace"),
        object, kSupported);
  }
  const nlohmann::json& type = Field(object, "type");
  if (type == "Digits") return AddDigits(object);
  if (type == "Split") return AddSplit(object);
  if (type == "ByteLevel") return AddByteLevel(object);
  if (type == "Metaspace") return AddMetaspace(object);
  return Unsupported("pre_tokenizer", object, kSupported);
}

absl::Status PreTokenizer::AddDigits(const nlohmann::json& object) {
  RETURN_IF_ERROR(CheckMembers("pre_tokenizer Digits", object, {"type", "individual_digits"}));
  ASSIGN_OR_RETURN(const bool individual, BoolField(object, "individual_digits", false));
  ASSIGN_OR_RETURN(Regex pattern, Regex::Compile("\\p{N}"));
  steps_.push_back({std::move(pattern), individual ? Behavior::kIsolated : Behavior::kContiguous, false});
  return absl::OkStatus();
}

absl::Status PreTokenizer::AddSplit(const nlohmann::json& object) {
  RETURN_IF_ERROR(CheckMembers("pre_tokenizer Split", object, {"type", "pattern", "behavior", "invert"}));
  ASSIGN_OR_RETURN(Regex compiled, PatternField(object, "pre_tokenizer Split pattern"));
  ASSIGN_OR_RETURN(const Behavior behavior, ParseBehavior(object));
  ASSIGN_OR_RETURN(const bool invert, BoolField(object, "invert", false));
  steps_.push_back({std::move(compiled), behavior, invert});
  return absl::OkStatus();
}

absl::Status PreTokenizer::AddByteLevel(const nlohmann::json& object) {
  RETURN_IF_ERROR(CheckMembers("pre_tokenizer ByteLevel", object,
                               {"type", "add_prefix_space", "trim_offsets", "use_regex"}));
  ending_ = Ending::kByteLevel;
  ASSIGN_OR_RETURN(const bool add_prefix_space, BoolField(object, "add_prefix_space", true));
  if (add_prefix_space) prepend_ = PrependScheme::kAlways;
  ASSIGN_OR_RETURN(const bool use_regex, BoolField(object, "use_regex", true));
  if (use_regex) {
    ASSIGN_OR_RETURN(Regex pattern, Regex::Compile(kGpt2Words));
    last_ = Step{std::move(pattern), Behavior::kIsolated, false};
  }
  return absl::OkStatus();
}

absl::Status PreTokenizer::AddMetaspace(const nlohmann::json& object) {
  ASSIGN_OR_RETURN(const MetaspaceFields fields, ReadMetaspace("pre_tokenizer Metaspace", object));
  ending_ = Ending::kMetaspace;
  space_ = fields.replacement;
  prepend_ = fields.prepend_scheme == "always"  ? PrependScheme::kAlways
             : fields.prepend_scheme == "first" ? PrependScheme::kFirst
                                                : PrependScheme::kNever;
  if (fields.split) {
    ASSIGN_OR_RETURN(Regex pattern, Regex::Literal(space_));
    last_ = Step{std::move(pattern), Behavior::kMergedWithNext, false};
  }
  return absl::OkStatus();
}

absl::StatusOr<PreTokenizer::Behavior> PreTokenizer::ParseBehavior(const nlohmann::json& object) {
  static constexpr std::pair<std::string_view, Behavior> kBehaviors[] = {
      {"Isolated", Behavior::kIsolated},
      {"Removed", Behavior::kRemoved},
      {"MergedWithPrevious", Behavior::kMergedWithPrevious},
      {"MergedWithNext", Behavior::kMergedWithNext},
      {"Contiguous", Behavior::kContiguous},
  };
  const nlohmann::json& name = Field(object, "behavior");
  for (const auto& [known, behavior] : kBehaviors) {
    if (name == known) return behavior;
  }
  return Unsupported("pre_tokenizer Split behavior", name,
                     "Isolated, Removed, MergedWithPrevious, MergedWithNext, Contiguous");
}

absl::StatusOr<std::vector<std::string_view>> PreTokenizer::Split(std::string_view text, bool at_start,
                                                                  std::deque<std::string>* storage) const {
  std::vector<std::string_view> words;
  if (text.empty()) return words;
  words.push_back(text);
  std::vector<std::string_view> previous;
  for (const Step& step : steps_) {
    previous.swap(words);
    words.clear();
    for (const std::string_view word : previous) RETURN_IF_ERROR(Apply(step, word, &words));
  }
  if (ending_ == Ending::kMetaspace || prepend_ != PrependScheme::kNever) {
    for (std::string_view& word : words)
      word = Respell(word, at_start && word.data() == text.data(), storage);
  }
  if (last_.has_value()) {
    previous.swap(words);
    words.clear();
    for (const std::string_view word : previous) RETURN_IF_ERROR(Apply(*last_, word, &words));
  }
  return words;
}

std::string_view PreTokenizer::Respell(std::string_view word, bool at_start,
                                       std::deque<std::string>* storage) const {
  const bool may_prepend =
      prepend_ == PrependScheme::kAlways || (prepend_ == PrependScheme::kFirst && at_start);
  const bool prepend = may_prepend && !word.starts_with(space_) && !word.starts_with(' ');
  if (ending_ == Ending::kByteLevel) return prepend ? storage->emplace_back(" ").append(word) : word;
  std::string& respelled = storage->emplace_back(prepend ? space_ : "");
  for (size_t space = word.find(' '); space != std::string_view::npos; space = word.find(' ')) {
    respelled.append(word.substr(0, space)).append(space_);
    word.remove_prefix(space + 1);
  }
  respelled.append(word);
  return respelled;
}

absl::Status PreTokenizer::Apply(const Step& step, std::string_view text,
                                 std::vector<std::string_view>* words) {
  std::vector<Part> parts;
  size_t end = 0;
  ASSIGN_OR_RETURN(const std::vector<Regex::Match> matches, step.pattern.FindAll(text));
  for (const Regex::Match& match : matches) {
    if (end < match.begin) parts.push_back({end, match.begin, step.invert});
    parts.push_back({match.begin, match.end, !step.invert});
    end = match.end;
  }
  if (end < text.size()) parts.push_back({end, text.size(), step.invert});
  if (step.behavior != Behavior::kIsolated) parts = Join(parts, step.behavior);
  for (const Part& part : parts) words->push_back(text.substr(part.begin, part.end - part.begin));
  return absl::OkStatus();
}

std::vector<PreTokenizer::Part> PreTokenizer::Join(const std::vector<Part>& parts, Behavior behavior) {
  std::vector<Part> joined;
  for (size_t i = 0; i < parts.size(); ++i) {
    const Part& part = parts[i];
    const bool after_match = i > 0 && parts[i - 1].is_match;
    bool extend = false;
    switch (behavior) {
      case Behavior::kIsolated:
        break;
      case Behavior::kRemoved:
        if (part.is_match) continue;
        break;
      case Behavior::kMergedWithPrevious:
        extend = part.is_match && !after_match;
        break;
      case Behavior::kMergedWithNext:
        // Of matches in a row, the last one goes with the text after them.
        extend = after_match && !part.is_match;
        break;
      case Behavior::kContiguous:
        extend = part.is_match == after_match;
        break;
    }
    if (extend && !joined.empty()) {
      joined.back().end = part.end;
    } else {
      joined.push_back(part);
    }
  }
  return joined;
}

}  // namespace retort
