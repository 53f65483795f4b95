#include "train/data/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/json_keys.h"
#include "core/base/plain_text.h"
#include "core/base/status_macros.h"
#include "train/data/utf8.h"

namespace retort {
namespace {

// Unicode's White_Space, which Oniguruma's \s means; PCRE2's has U+180E besides.
constexpr std::string_view kSpace =
    "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}";

// Every other character, for \\S among others in a class.
constexpr std::string_view kNoSpace =
    "\\x{0}-\\x08\\x0e-\\x1f\\x21-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{"
    "2027}"
    "\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}";

constexpr std::string_view kCategories[] = {"C",  "Cc", "Cf", "Cn", "Co", "Cs", "L",  "Ll", "Lm", "Lo",
                                            "Lt", "Lu", "M",  "Mc", "Me", "Mn", "N",  "Nd", "Nl", "No",
                                            "P",  "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S",  "Sc",
                                            "Sk", "Sm", "So", "Z",  "Zl", "Zp", "Zs"};

// From one place of the text. Patterns in use take a few tries for each byte that they match.
constexpr uint32_t kMostTries = 10'000'000;
constexpr uint32_t kMostHeapKib = 256 * 1024;

// A pattern may look at the rest of the text from every place of it without many tries, so time is bounded
// too: at many times what patterns in use take. It is looked at after so many places.
constexpr double kMostSeconds = 1, kMostSecondsPerByte = 5e-6;
constexpr size_t kPlacesAtOnce = 32;

// What may follow "(?": the rest changes meaning between the engines.
constexpr std::string_view kGroups[] = {":", "=", "!", "<=", "<!", ">", "i:"};

// Rewrites an Oniguruma (Ruby syntax) pattern for PCRE2, letting only through what both read alike.
class PatternTranslator {
 public:
  explicit PatternTranslator(const std::string& pattern) : whole_(pattern), pattern_(pattern) {}

  absl::StatusOr<std::string> Translate() {
    while (at_ < pattern_.size()) RETURN_IF_ERROR(in_class_ ? ClassItem() : Item());
    return std::move(result_);
  }

 private:
  absl::Status Unsupported(const std::string& construct, const std::string& why) const {
    return absl::UnimplementedError(
        absl::StrCat("regex '", whole_, "' has ", construct, " at byte ", at_, ": ", why,
                     ". Supported are literals, classes, \\s \\S \\d \\D \\p{category}, "
                     "groups, look-around, (?i:...) and quantifiers"));
  }

  bool Next(std::string_view text) const { return pattern_.substr(at_).starts_with(text); }

  void Copy(size_t count) {
    result_.append(pattern_.substr(at_, count));
    at_ += count;
  }

  absl::Status Item() {
    switch (pattern_[at_]) {
      case '\\':
        return Escape();
      case '^':
      case '$':
        return Unsupported(std::string(1, pattern_[at_]), "it means a line there and the whole text here");
      case '[':
        in_class_ = true;
        Copy(Next("[^") ? 2 : 1);
        // A bracket right after the opening one stands for itself in PCRE2 only.
        if (Next("]")) return Unsupported("an empty class", "the engines differ on it");
        return absl::OkStatus();
      case '{':
        if (Next("{,")) return Unsupported("{,n}", "the engines differ on it; {0,n} is clear");
        Copy(1);
        return absl::OkStatus();
      case '}':
        if (Next("}+"))
          return Unsupported("{m,n}+", "it repeats the repetition there and is possessive here");
        if (Next("}?") && EndsACount())
          return Unsupported("{n}?", "it makes the repetition optional there and means nothing here");
        Copy(1);
        return absl::OkStatus();
      case '(':
        return Group();
      case ')':
        if (ignores_case_.size() > 1) ignores_case_.pop_back();
        Copy(1);
        return absl::OkStatus();
      default:
        Copy(1);
        return absl::OkStatus();
    }
  }

  // Whether the brace here closes a {n}.
  bool EndsACount() const {
    const size_t open = pattern_.rfind('{', at_);
    if (open == std::string_view::npos || open + 1 == at_) return false;
    return pattern_.substr(open + 1, at_ - open - 1).find_first_not_of("0123456789") ==
           std::string_view::npos;
  }

  absl::Status Group() {
    if (Next("(*")) return Unsupported("(*", "it is a PCRE2 verb");
    ignores_case_.push_back(ignores_case_.back() || Next("(?i:"));
    if (!Next("(?")) {
      Copy(1);
      return absl::OkStatus();
    }
    for (const std::string_view kind : kGroups) {
      if (pattern_.substr(at_ + 2).starts_with(kind)) {
        Copy(2 + kind.size());
        return absl::OkStatus();
      }
    }
    return Unsupported(whole_.substr(at_, 4),
                       "this kind of group or option is not known to mean the same here");
  }

  absl::Status ClassItem() {
    if (Next("\\")) return Escape();
    if (Next("[")) return Unsupported("a class within a class", "it is not supported");
    if (Next("&&")) return Unsupported("&&", "class intersection is not supported");
    if (Next("]")) in_class_ = false;
    Copy(1);
    return absl::OkStatus();
  }

  absl::Status Escape() {
    if (at_ + 1 == pattern_.size())
      return absl::InvalidArgumentError(absl::StrCat("regex '", whole_, "' ends in \\"));
    const char kind = pattern_[at_ + 1];
    if (kind == 's' || kind == 'S') {
      const std::string_view members = kind == 's' ? kSpace : kNoSpace;
      absl::StrAppend(&result_, in_class_ ? "" : "[", std::string(members), in_class_ ? "" : "]");
      at_ += 2;
      return absl::OkStatus();
    }
    if (kind == 'p' || kind == 'P') return Property();
    const bool is_letter =
        (kind >= 'a' && kind <= 'z') || (kind >= 'A' && kind <= 'Z') || (kind >= '0' && kind <= '9');
    if (is_letter && std::string_view("dDrnt").find(kind) == std::string_view::npos) {
      return Unsupported(whole_.substr(at_, 2), "this escape is not known to mean the same here");
    }
    Copy(2);
    return absl::OkStatus();
  }

  absl::Status Property() {
    const size_t close = pattern_.find('}', at_);
    if (close == std::string_view::npos || pattern_[at_ + 2] != '{') {
      return absl::InvalidArgumentError(absl::StrCat("regex '", whole_, "' has \\p without {category}"));
    }
    std::string_view name = pattern_.substr(at_ + 3, close - at_ - 3);
    if (name.starts_with('^')) name.remove_prefix(1);
    if (std::find(std::begin(kCategories), std::end(kCategories), name) == std::end(kCategories)) {
      return Unsupported(whole_.substr(at_, close + 1 - at_),
                         "only Unicode's general categories are supported");
    }
    if (ignores_case_.back() && (name == "Lu" || name == "Ll" || name == "Lt")) {
      return Unsupported(whole_.substr(at_, close + 1 - at_),
                         "within (?i: it means letters of any case there and of that case here");
    }
    Copy(close + 1 - at_);
    return absl::OkStatus();
  }

  const std::string& whole_;
  std::string_view pattern_;
  size_t at_ = 0;
  bool in_class_ = false;
  std::vector<bool> ignores_case_ = {false};  // by open group, the whole pattern first
  std::string result_;
};

double ThreadSeconds() {
  timespec taken;
  RETORT_CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &taken) == 0);
  return static_cast<double>(taken.tv_sec) + 1e-9 * static_cast<double>(taken.tv_nsec);
}

// Of processor time, so that a busy machine refuses nothing; it begins to count when as much time has passed
// on the wall, which takes no system call to see.
class TimeLimit {
 public:
  explicit TimeLimit(double seconds) : seconds_(seconds) {}

  double seconds() const { return seconds_; }
  bool exceeded() {
    if (MonotonicSeconds() - begin_ <= seconds_) return false;
    if (thread_begin_ < 0) thread_begin_ = ThreadSeconds();
    return ThreadSeconds() - thread_begin_ > seconds_;
  }

 private:
  const double seconds_;
  const double begin_ = MonotonicSeconds();
  double thread_begin_ = -1;  // negative: it does not count yet
};

std::string ErrorText(int code) {
  std::array<unsigned char, 256> text;
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

struct Regex::Code {
  std::string source;  // as messages show it
  pcre2_code* pattern = nullptr;
  pcre2_match_context* limits = nullptr;
  bool jit = false;
};

void Regex::FreeCode::operator()(Code* code) const {
  pcre2_match_context_free(code->limits);
  pcre2_code_free(code->pattern);
  delete code;
}

absl::StatusOr<Regex> Regex::Compile(const std::string& pattern) {
  ASSIGN_OR_RETURN(const std::string translated, PatternTranslator(pattern).Translate());
  absl::StatusOr<Regex> regex = CompilePcre(pattern, translated, PCRE2_UTF | PCRE2_UCP);
  if (!regex.ok()) {
    return absl::Status(regex.status().code(),
                        absl::StrCat("regex '", pattern, "' ", regex.status().message()));
  }
  return regex;
}

absl::StatusOr<Regex> Regex::Literal(std::string_view text) {
  RETORT_CHECK(!text.empty());
  return CompilePcre(text, text, PCRE2_UTF | PCRE2_LITERAL);
}

absl::StatusOr<Regex> Regex::WordCharacter() {
  constexpr std::string_view kWord = "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]";
  return CompilePcre(kWord, kWord, PCRE2_UTF | PCRE2_UCP);
}

absl::StatusOr<Regex> Regex::CompilePcre(std::string_view source, std::string_view pattern,
                                         uint32_t options) {
  std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE where = 0;
  Regex regex(new Code{.source = std::string(source)});
  regex.code_->pattern = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                       options | PCRE2_USE_OFFSET_LIMIT, &error, &where, context.get());
  if (regex.code_->pattern == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("is malformed: ", ErrorText(error)));
  }
  uint32_t matches_empty = 0;
  pcre2_pattern_info(regex.code_->pattern, PCRE2_INFO_MATCHEMPTY, &matches_empty);
  if (matches_empty != 0) {
    return absl::UnimplementedError("can match the empty string; only patterns that cannot are supported");
  }
  regex.code_->limits = pcre2_match_context_create(nullptr);
  pcre2_set_match_limit(regex.code_->limits, kMostTries);
  pcre2_set_depth_limit(regex.code_->limits, UINT32_MAX);  // the heap's limit is one on depth
  pcre2_set_heap_limit(regex.code_->limits, kMostHeapKib);
  regex.code_->jit = pcre2_jit_compile(regex.code_->pattern, PCRE2_JIT_COMPLETE) == 0;
  return regex;
}

absl::StatusOr<std::vector<Regex::Match>> Regex::FindAll(std::string_view text) const {
  std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data(
      pcre2_match_data_create_from_pattern(code_->pattern, nullptr), pcre2_match_data_free);
  std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> limits(
      pcre2_match_context_copy(code_->limits), pcre2_match_context_free);
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(data.get());
  TimeLimit time_limit(kMostSeconds + kMostSecondsPerByte * static_cast<double>(text.size()));
  const auto gave_up = [&](size_t at, const std::string& why) {
    return absl::InvalidArgumentError(absl::StrCat(
        "regex '", Shown(code_->source), "' gave up at byte ", at, " of a text of ", text.size(), " bytes: ",
        why, ". It tries too many ways to match; use a tokenizer with a simpler one, or cut the text"));
  };
  std::vector<Match> matches;
  size_t looks_at = kPlacesAtOnce;  // the clock
  for (size_t at = 0; at < text.size();) {
    if (at >= looks_at && time_limit.exceeded()) {
      return gave_up(at, absl::StrCat("it took more than ", time_limit.seconds(), " s"));
    }
    size_t next = std::min(at + kPlacesAtOnce, text.size());  // no match may begin here or later
    if (at >= looks_at) looks_at = next;
    while (next < text.size() && IsContinuation(text[next])) ++next;
    pcre2_set_offset_limit(limits.get(), next - 1);
    int result = PCRE2_ERROR_JIT_STACKLIMIT;
    if (code_->jit)
      result = pcre2_jit_match(code_->pattern, subject, text.size(), at, 0, data.get(), limits.get());
    // The interpreter takes more memory.
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) {
      result = pcre2_match(code_->pattern, subject, text.size(), at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                           data.get(), limits.get());
    }
    if (result < 0 && result != PCRE2_ERROR_NOMATCH) {
      return gave_up(at, absl::StrCat(ErrorText(result), " (", kMostTries, " tries from one place, ",
                                      kMostHeapKib / 1024, " MiB)"));
    }
    if (result >= 0) matches.push_back({bounds[0], bounds[1]});
    at = result >= 0 ? bounds[1] : next;
  }
  return matches;
}

absl::StatusOr<Regex> PatternField(const nlohmann::json& object, const std::string& key) {
  const nlohmann::json& pattern = Field(object, "pattern");
  ASSIGN_OR_RETURN(const std::string regex, StringField(pattern, "Regex", ""));
  ASSIGN_OR_RETURN(const std::string literal, StringField(pattern, "String", ""));
  if (regex.empty() == literal.empty()) {
    return Unsupported(key, pattern, R"({"Regex": "..."} or {"String": "..."})");
  }
  return regex.empty() ? Regex::Literal(literal) : Regex::Compile(regex);
}

}  // namespace retort
