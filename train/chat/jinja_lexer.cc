#include "train/chat/jinja_lexer.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace retort::jinja {
namespace {

using Kind = Token::Kind;

bool IsNameStart(char c) { return absl::ascii_isalpha(static_cast<unsigned char>(c)) || c == '_'; }
bool IsNamePart(char c) { return IsNameStart(c) || absl::ascii_isdigit(static_cast<unsigned char>(c)); }
bool IsSpace(char c) { return absl::ascii_isspace(static_cast<unsigned char>(c)); }

void AppendUtf8(uint32_t point, std::string& text) {
  if (point < 0x80) {
    text += static_cast<char>(point);
  } else if (point < 0x800) {
    text += static_cast<char>(0xC0 | point >> 6);
    text += static_cast<char>(0x80 | (point & 0x3F));
  } else {
    if (point < 0x10000) {
      text += static_cast<char>(0xE0 | point >> 12);
    } else {
      text += static_cast<char>(0xF0 | point >> 18);
      text += static_cast<char>(0x80 | (point >> 12 & 0x3F));
    }
    text += static_cast<char>(0x80 | (point >> 6 & 0x3F));
    text += static_cast<char>(0x80 | (point & 0x3F));
  }
}

class Lexer {
 public:
  // One newline at the end does not count.
  explicit Lexer(const std::string& source)
      : source_(source.ends_with('\n') ? source.substr(0, source.size() - 1) : source) {}

  absl::StatusOr<std::vector<Token>> Run() {
    while (at_ < source_.size()) {
      const size_t tag = FindTag();
      AddText(tag);
      if (at_ == source_.size()) break;
      const char kind = source_[at_ + 1];
      at_ += 2;
      if (at_ < source_.size() && (source_[at_] == '-' || source_[at_] == '+')) ++at_;
      if (kind == '#') {
        RETURN_IF_ERROR(SkipComment());
      } else {
        RETURN_IF_ERROR(ReadTag(kind));
      }
    }
    Add(Kind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  absl::Status Wrong(const std::string& what) const {
    return absl::InvalidArgumentError(absl::StrCat("line ", line_, ": ", what));
  }
  void Add(Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  bool Follows(const char* text) const {
    return source_.compare(at_, std::char_traits<char>::length(text), text) == 0;
  }

  // Of the next {{, {% or {#, or the end.
  size_t FindTag() const {
    for (size_t i = at_; i + 1 < source_.size(); ++i) {
      if (source_[i] == '{' && (source_[i + 1] == '{' || source_[i + 1] == '%' || source_[i + 1] == '#'))
        return i;
    }
    return source_.size();
  }

  // The text up to `end`, less the white space that the tag there takes.
  void AddText(size_t end) {
    std::string text = source_.substr(at_, end - at_);
    const int lines = static_cast<int>(std::count(text.begin(), text.end(), '\n'));
    const char sign = end + 2 < source_.size() ? source_[end + 2] : ' ';
    if (end < source_.size() && sign == '-') {
      text.erase(absl::StripTrailingAsciiWhitespace(text).size());
    } else if (end < source_.size() && sign != '+' && source_[end + 1] != '{') {
      const size_t line = text.rfind('\n') + 1;  // 0 without one
      const bool only_space =
          std::all_of(text.begin() + static_cast<std::ptrdiff_t>(line), text.end(), IsSpace);
      if (only_space && (line > 0 || starts_line_)) text.erase(line);
    }
    if (!text.empty()) Add(Kind::kText, text);
    if (end > at_) starts_line_ = false;
    line_ += lines;
    at_ = end;
  }

  // At the first character of a closing tag, which is `length` long without its sign.
  void EndTag(size_t length, bool trims_newline) {
    const char sign = source_[at_];
    const bool has_sign = sign == '-' || sign == '+';
    at_ += length + has_sign;
    starts_line_ = false;
    if (sign == '-') {
      for (; at_ < source_.size() && IsSpace(source_[at_]); ++at_) TakeLine();
    } else if (trims_newline && sign != '+' && at_ < source_.size() && source_[at_] == '\n') {
      TakeLine();
      ++at_;
    }
  }
  void TakeLine() {
    starts_line_ = source_[at_] == '\n';
    line_ += starts_line_;
  }

  absl::Status SkipComment() {
    const size_t end = source_.find("#}", at_);
    if (end == std::string::npos) return Wrong("a comment {# has no end #}");
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
    const char before = source_[end - 1];
    at_ = end - (before == '-' || before == '+');
    EndTag(2, /*trims_newline=*/true);
    return absl::OkStatus();
  }

  absl::Status ReadTag(char kind) {
    const bool is_block = kind == '%';
    Add(is_block ? Kind::kBlockBegin : Kind::kPrintBegin, "");
    std::string open;  // brackets
    while (true) {
      while (at_ < source_.size() && IsSpace(source_[at_])) line_ += source_[at_++] == '\n';
      if (at_ == source_.size()) return Wrong("a tag has no end");
      const size_t sign = source_[at_] == '-' || source_[at_] == '+' ? 1 : 0;
      if (open.empty() && source_.compare(at_ + sign, 2, is_block ? "%}" : "}}") == 0) {
        Add(is_block ? Kind::kBlockEnd : Kind::kPrintEnd, "");
        EndTag(2, is_block);
        return absl::OkStatus();
      }
      RETURN_IF_ERROR(ReadToken(open));
    }
  }

  absl::Status ReadToken(std::string& open) {
    const char c = source_[at_];
    if (IsNameStart(c)) {
      const size_t begin = at_;
      while (at_ < source_.size() && IsNamePart(source_[at_])) ++at_;
      Add(Kind::kName, source_.substr(begin, at_ - begin));
      return absl::OkStatus();
    }
    if (absl::ascii_isdigit(static_cast<unsigned char>(c))) return ReadNumber();
    if (c == '"' || c == '\'') return ReadString(c);
    for (const char* two : {"==", "!=", "<=", ">=", "//", "**"}) {
      if (!Follows(two)) continue;
      at_ += 2;
      Add(Kind::kOperator, two);
      return absl::OkStatus();
    }
    if (std::string("+-*/%~<>=|.,:()[]{}").find(c) == std::string::npos) {
      return Wrong(absl::StrCat("'", std::string(1, c), "' means nothing here"));
    }
    if (c == '(' || c == '[' || c == '{') open += c;
    if (c == ')' || c == ']' || c == '}') {
      const char opening = c == ')' ? '(' : c == ']' ? '[' : '{';
      if (open.empty() || open.back() != opening)
        return Wrong(absl::StrCat("'", std::string(1, c), "' closes nothing"));
      open.pop_back();
    }
    ++at_;
    Add(Kind::kOperator, std::string(1, c));
    return absl::OkStatus();
  }

  absl::Status ReadNumber() {
    const auto digits = [this] {
      while (at_ < source_.size() && absl::ascii_isdigit(static_cast<unsigned char>(source_[at_]))) ++at_;
    };
    const size_t begin = at_;
    digits();
    if (at_ + 1 < source_.size() && source_[at_] == '.' &&
        absl::ascii_isdigit(static_cast<unsigned char>(source_[at_ + 1]))) {
      ++at_;
      digits();
    }
    Add(Kind::kNumber, source_.substr(begin, at_ - begin));
    return absl::OkStatus();
  }

  absl::Status ReadString(char quote) {
    const int line = line_;
    std::string text;
    for (++at_; at_ < source_.size() && source_[at_] != quote; ++at_) {
      line_ += source_[at_] == '\n';
      if (source_[at_] != '\\' || at_ + 1 == source_.size()) {
        text += source_[at_];
        continue;
      }
      const char escape = source_[++at_];
      const size_t place = std::string("ntrabfv0\\'\"").find(escape);
      if (place != std::string::npos) {
        text += std::string("\n\t\r\a\b\f\v\0\\'\"", 11)[place];
      } else if (escape == 'x' || escape == 'u' || escape == 'U') {
        RETURN_IF_ERROR(ReadPoint(escape == 'x' ? 2 : escape == 'u' ? 4 : 8, text));
      } else {
        text += '\\';
        text += escape;
      }
    }
    if (at_ == source_.size())
      return Wrong(absl::StrCat("the string that begins in line ", line, " has no end"));
    ++at_;
    tokens_.push_back({Kind::kString, std::move(text), line});
    return absl::OkStatus();
  }

  // Of an escape like \u00e9: `at_` is at its letter, then at its last digit.
  absl::Status ReadPoint(size_t digits, std::string& text) {
    uint32_t point = 0;
    for (size_t i = 0; i < digits; ++i) {
      ++at_;
      if (at_ == source_.size() || !absl::ascii_isxdigit(static_cast<unsigned char>(source_[at_]))) {
        return Wrong(absl::StrCat("an escape in a string needs ", digits, " hexadecimal digits"));
      }
      const char c = absl::ascii_tolower(static_cast<unsigned char>(source_[at_]));
      point = point * 16 + static_cast<uint32_t>(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    if (point > 0x10FFFF) return Wrong("an escape in a string is no character");
    AppendUtf8(point, text);
    return absl::OkStatus();
  }

  const std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool starts_line_ = true;  // nothing was read of this line
  std::vector<Token> tokens_;
};

}  // namespace

absl::StatusOr<std::vector<Token>> Tokenize(const std::string& source) { return Lexer(source).Run(); }

}  // namespace retort::jinja
