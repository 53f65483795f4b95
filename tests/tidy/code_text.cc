#include "tests/tidy/code_text.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace retort::tidy {
namespace {

bool IsWordChar(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

bool IsSpace(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

void Blank(std::string& text, size_t begin, size_t end) {
  for (size_t i = begin; i < end; ++i) {
    if (text[i] != '\n') text[i] = ' ';
  }
}

size_t EndOf(absl::string_view text, absl::string_view mark, size_t from) {
  const size_t at = text.find(mark, from);
  return at == absl::string_view::npos ? text.size() : at + mark.size();
}

// End of the literal whose opening quote stands at `open`.
size_t EndOfQuoted(absl::string_view text, size_t open) {
  size_t i = open + 1;
  while (i < text.size() && text[i] != text[open] && text[i] != '\n') i += text[i] == '\\' ? 2 : 1;
  return std::min(i + 1, text.size());
}

size_t EndOfRawString(absl::string_view text, size_t quote) {
  const size_t paren = text.find('(', quote);
  if (paren == absl::string_view::npos) return text.size();
  const std::string close = ")" + std::string(text.substr(quote + 1, paren - quote - 1)) + "\"";
  return EndOf(text, close, paren);
}

// Blanks preprocessor directives with their continuation lines: their braces need not balance.
std::string WithoutDirectives(std::string code) {
  size_t line = 0;
  bool continued = false;
  while (line < code.size()) {
    const size_t end = std::min(code.find('\n', line), code.size());
    const size_t first = code.find_first_not_of(" \t", line);
    const bool directive = continued || (first < end && code[first] == '#');
    continued = directive && end > line && code[end - 1] == '\\';
    if (directive) Blank(code, line, end);
    line = end + 1;
  }
  return code;
}

absl::string_view Trim(absl::string_view text) {
  while (!text.empty() && IsSpace(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsSpace(text.back())) text.remove_suffix(1);
  return text;
}

absl::string_view FirstWord(absl::string_view text) {
  size_t end = 0;
  while (end < text.size() && IsWordChar(text[end])) ++end;
  return text.substr(0, end);
}

// Drops a leading `template <...>` and leading words that may stand before `class` or `namespace`.
absl::string_view WithoutPrefix(absl::string_view header) {
  for (;;) {
    header = Trim(header);
    const absl::string_view word = FirstWord(header);
    if (word == "template") {
      size_t i = header.find('<');
      int depth = 0;
      for (; i < header.size(); ++i) {
        if (header[i] == '<') ++depth;
        if (header[i] == '>' && --depth == 0) break;
      }
      header.remove_prefix(std::min(i + 1, header.size()));
    } else if (word == "inline" || word == "static" || word == "typedef" || word == "constexpr") {
      header.remove_prefix(word.size());
    } else {
      return header;
    }
  }
}

enum class Opens { kDeclarations, kFunction, kValue };

// What a brace at declaration level opens, told from the text before it.
Opens WhatOpens(absl::string_view header) {
  constexpr std::array<absl::string_view, 6> kScopes = {"namespace", "class", "struct",
                                                        "union",     "enum",  "extern"};
  header = WithoutPrefix(header);
  if (std::find(kScopes.begin(), kScopes.end(), FirstWord(header)) != kScopes.end())
    return Opens::kDeclarations;
  if (header.empty() || header.find('(') == absl::string_view::npos || header.back() == '=')
    return Opens::kValue;
  return Opens::kFunction;
}

std::string NameOf(absl::string_view header) {
  size_t end = header.find('(');
  while (end > 0 && IsSpace(header[end - 1])) --end;
  size_t begin = end;
  while (begin > 0 && (IsWordChar(header[begin - 1]) || header[begin - 1] == ':' || header[begin - 1] == '~'))
    --begin;
  return std::string(header.substr(begin, end - begin));
}

bool EndsAccessLabel(absl::string_view code, size_t colon) {
  if (code[colon] != ':') return false;
  constexpr std::array<absl::string_view, 3> kLabels = {"public", "protected", "private"};
  return std::any_of(kLabels.begin(), kLabels.end(), [&](absl::string_view label) {
    return colon >= label.size() && code.substr(colon - label.size(), label.size()) == label;
  });
}

// Offset just past the brace that closes the one at `open`.
size_t EndOfBlock(absl::string_view code, size_t open) {
  int depth = 0;
  for (size_t i = open; i < code.size(); ++i) {
    if (code[i] == '{') ++depth;
    if (code[i] == '}' && --depth == 0) return i + 1;
  }
  return code.size();
}

// In a constructor's initialiser list `: a_{x}, b_(y) {` only the last brace opens the body.
size_t BodyOf(absl::string_view code, size_t open) {
  for (;;) {
    const size_t next = code.find_first_not_of(" \t\n", EndOfBlock(code, open));
    if (next == absl::string_view::npos || (code[next] != ',' && code[next] != '{')) return open;
    open = code.find('{', next);
    if (open == absl::string_view::npos) return code.size();
  }
}

}  // namespace

std::string CodeOnly(absl::string_view text) {
  std::string code(text);
  size_t i = 0;
  while (i < text.size()) {
    const char c = text[i];
    size_t end = i + 1;
    if (text.substr(i, 2) == "//") {
      end = std::min(text.find('\n', i), text.size());
      Blank(code, i, end);
    } else if (text.substr(i, 2) == "/*") {
      end = EndOf(text, "*/", i + 2);
      Blank(code, i, end);
    } else if (c == '"') {
      const bool raw = i > 0 && text[i - 1] == 'R';
      end = raw ? EndOfRawString(text, i) : EndOfQuoted(text, i);
      Blank(code, i + 1, end - 1);
    } else if (c == '\'' && (i == 0 || !IsWordChar(text[i - 1]))) {  // not the separator in 1'000
      end = EndOfQuoted(text, i);
      Blank(code, i + 1, end - 1);
    }
    i = end;
  }
  return code;
}

int LineAt(absl::string_view text, size_t offset) {
  return 1 +
         static_cast<int>(std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(offset), '\n'));
}

std::vector<size_t> FindWord(absl::string_view text, absl::string_view word) {
  std::vector<size_t> found;
  for (size_t at = text.find(word); at != absl::string_view::npos; at = text.find(word, at + 1)) {
    const size_t end = at + word.size();
    const bool starts = at == 0 || !IsWordChar(word.front()) || !IsWordChar(text[at - 1]);
    const bool ends = end == text.size() || !IsWordChar(word.back()) || !IsWordChar(text[end]);
    if (starts && ends) found.push_back(at);
  }
  return found;
}

std::vector<FunctionSpan> Functions(absl::string_view text) {
  const std::string code = WithoutDirectives(CodeOnly(text));
  const absl::string_view view = code;
  std::vector<FunctionSpan> functions;
  size_t header = 0;
  size_t i = 0;
  int parens = 0;  // a brace inside parentheses is a default argument's value
  while (i < code.size()) {
    const char c = code[i];
    if (c == '(') ++parens;
    if (c == ')') --parens;
    if (c == '{') {
      const absl::string_view before = view.substr(header, i - header);
      const Opens opens = parens > 0 ? Opens::kValue : WhatOpens(before);
      if (opens == Opens::kFunction) {
        const size_t end = EndOfBlock(view, BodyOf(view, i));
        const size_t first = view.find_first_not_of(" \t\n", header);
        functions.push_back({NameOf(before), LineAt(view, first), LineAt(view, end - 1)});
        header = i = end;
        continue;
      }
      if (opens == Opens::kValue) {
        i = EndOfBlock(view, i);
        continue;
      }
    }
    if (c == '{' || c == '}' || (c == ';' && parens == 0) || EndsAccessLabel(view, i)) header = i + 1;
    ++i;
  }
  return functions;
}

}  // namespace retort::tidy
