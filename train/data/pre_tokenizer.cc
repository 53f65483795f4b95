#include "train/data/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "core/base/status_macros.h"
#include "train/data/json_fields.h"

namespace retort {
namespace {

constexpr char kSupported[] =
    "Digits, Split (pattern Regex or String), then ByteLevel last, alone or in a Sequence (byte-level BPE)";

// GPT-2's words, which ByteLevel with use_regex stands for.
constexpr char kGpt2Words[] = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace

absl::StatusOr<PreTokenizer> PreTokenizer::FromJson(const nlohmann::json& pre_tokenizer) {
  PreTokenizer result;
  if (Field(pre_tokenizer, "type") == "Sequence") {
    const nlohmann::json& members = Field(pre_tokenizer, "pretokenizers");
    if (!members.is_array()) return Unsupported("pre_tokenizer", pre_tokenizer, kSupported);
    for (const nlohmann::json& member : members) RETURN_IF_ERROR(result.AddStep(member));
  } else {
    RETURN_IF_ERROR(result.AddStep(pre_tokenizer));
  }
  if (!result.has_byte_level_) return Unsupported("pre_tokenizer", pre_tokenizer, kSupported);
  return result;
}

absl::Status PreTokenizer::AddStep(const nlohmann::json& object) {
  // ByteLevel respells the text, so that a later step would look at something else than the text.
  if (has_byte_level_) return Unsupported("pre_tokenizer after ByteLevel", object, kSupported);
  const nlohmann::json& type = Field(object, "type");
  if (type == "Digits") return AddDigits(object);
  if (type == "Split") return AddSplit(object);
  if (type == "ByteLevel") return AddByteLevel(object);
  return Unsupported("pre_tokenizer", object, kSupported);
}

absl::Status PreTokenizer::AddDigits(const nlohmann::json& object) {
  ASSIGN_OR_RETURN(const bool individual, BoolField(object, "individual_digits", false));
  ASSIGN_OR_RETURN(Regex pattern, Regex::Compile("\\p{N}"));
  steps_.push_back({std::move(pattern), individual ? Behavior::kIsolated : Behavior::kContiguous, false});
  return absl::OkStatus();
}

absl::Status PreTokenizer::AddSplit(const nlohmann::json& object) {
  const nlohmann::json& pattern = Field(object, "pattern");
  ASSIGN_OR_RETURN(const std::string regex, StringField(pattern, "Regex", ""));
  ASSIGN_OR_RETURN(const std::string literal, StringField(pattern, "String", ""));
  if (regex.empty() == literal.empty()) {
    return Unsupported("pre_tokenizer Split pattern", pattern, R"({"Regex": "..."} or {"String": "..."})");
  }
  ASSIGN_OR_RETURN(Regex compiled, regex.empty() ? Regex::Literal(literal) : Regex::Compile(regex));
  ASSIGN_OR_RETURN(const Behavior behavior, ParseBehavior(object));
  ASSIGN_OR_RETURN(const bool invert, BoolField(object, "invert", false));
  steps_.push_back({std::move(compiled), behavior, invert});
  return absl::OkStatus();
}

absl::Status PreTokenizer::AddByteLevel(const nlohmann::json& object) {
  has_byte_level_ = true;
  ASSIGN_OR_RETURN(add_prefix_space_, BoolField(object, "add_prefix_space", true));
  ASSIGN_OR_RETURN(const bool use_regex, BoolField(object, "use_regex", true));
  if (use_regex) {
    ASSIGN_OR_RETURN(Regex pattern, Regex::Compile(kGpt2Words));
    byte_level_ = Step{std::move(pattern), Behavior::kIsolated, false};
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

std::vector<std::string_view> PreTokenizer::Split(std::string_view text,
                                                  std::deque<std::string>* storage) const {
  std::vector<std::string_view> words;
  if (text.empty()) return words;
  words.push_back(text);
  std::vector<std::string_view> previous;
  for (const Step& step : steps_) {
    previous.swap(words);
    words.clear();
    for (const std::string_view word : previous) Apply(step, word, &words);
  }
  if (add_prefix_space_) {
    for (std::string_view& word : words) {
      if (!word.starts_with(' ')) word = storage->emplace_back(" ").append(word);
    }
  }
  if (byte_level_.has_value()) {
    previous.swap(words);
    words.clear();
    for (const std::string_view word : previous) Apply(*byte_level_, word, &words);
  }
  return words;
}

void PreTokenizer::Apply(const Step& step, std::string_view text, std::vector<std::string_view>* words) {
  std::vector<Part> parts;
  size_t end = 0;
  for (const Regex::Match& match : step.pattern.FindAll(text)) {
    if (end < match.begin) parts.push_back({end, match.begin, step.invert});
    parts.push_back({match.begin, match.end, !step.invert});
    end = match.end;
  }
  if (end < text.size()) parts.push_back({end, text.size(), step.invert});
  if (step.behavior != Behavior::kIsolated) parts = Join(parts, step.behavior);
  for (const Part& part : parts) words->push_back(text.substr(part.begin, part.end - part.begin));
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
