#include "core/config/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <optional>
#include <sstream>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/plain_text.h"
#include "core/base/status_macros.h"

namespace retort {
namespace {

bool IsContinuation(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) == 0x80; }

absl::Status ErrorAt(const std::string& name, TextPosition position, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(name, ":", position.line, ":", position.column, ": ", what));
}

absl::Status CheckText(std::string_view text, const std::string& name) {
  TextPosition position;
  while (!text.empty()) {
    const size_t length = Utf8CharacterBytes(text);
    if (length == 0) return ErrorAt(name, position, "not UTF-8 text; save the file in UTF-8");
    const auto first = static_cast<unsigned char>(text[0]);
    if (first == 0x7f || (first < 0x20 && first != '\n' && first != '\r' && first != '\t')) {
      return ErrorAt(name, position, "a control character; remove it");
    }
    if (first == '\n') {
      position = {position.line + 1, 1};
    } else {
      ++position.column;
    }
    text.remove_prefix(length);
  }
  return absl::OkStatus();
}

// Collects yaml-cpp's events into a tree, and the first thing that our subset leaves out.
class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(const std::string& text) : text_(text) {
    line_starts_.push_back(0);
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\n') line_starts_.push_back(i + 1);
    }
  }

  YamlNode TakeRoot() { return std::move(root_); }
  const std::optional<std::pair<TextPosition, std::string>>& error() const { return error_; }

  // yaml-cpp counts from 0, and columns in bytes.
  TextPosition PositionOf(const YAML::Mark& mark) {
    if (mark.is_null() || static_cast<size_t>(mark.line) >= line_starts_.size()) return {};
    const size_t start = line_starts_[static_cast<size_t>(mark.line)];
    const size_t end = std::min(text_.size(), start + static_cast<size_t>(mark.column));
    // Marks mostly go forward, so a long line is counted once.
    if (counted_to_ < start || counted_to_ > end) {
      counted_to_ = start;
      continuations_ = 0;
    }
    continuations_ +=
        static_cast<int>(std::count_if(text_.begin() + static_cast<ptrdiff_t>(counted_to_),
                                       text_.begin() + static_cast<ptrdiff_t>(end), IsContinuation));
    counted_to_ = end;
    return {mark.line + 1, mark.column + 1 - continuations_};
  }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Add(YamlNode::Kind::kNull, mark, "", anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Add(YamlNode::Kind::kNull, mark, "", anchor);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    Add(YamlNode::Kind::kScalar, mark, tag, anchor).text = value;
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open_.push_back(&Add(YamlNode::Kind::kList, mark, tag, anchor));
  }
  void OnSequenceEnd() override { open_.pop_back(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open_.push_back(&Add(YamlNode::Kind::kMap, mark, tag, anchor));
  }
  void OnMapEnd() override { open_.pop_back(); }

 private:
  YamlNode& Add(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    const TextPosition position = PositionOf(mark);
    if (anchor != YAML::NullAnchor) Reject(position, "anchors and aliases are not read; write the value out");
    // "?" is yaml-cpp's tag of an unquoted value, "!" of a quoted one.
    if (!tag.empty() && tag != "?" && tag != "!") Reject(position, "tags are not read; remove it");
    // Pointers to open nodes stay good: only the innermost one grows.
    YamlNode& node = open_.empty() ? root_ : open_.back()->items.emplace_back();
    node.kind = kind;
    node.position = position;
    return node;
  }

  void Reject(TextPosition position, const char* what) {
    if (!error_) error_.emplace(position, what);
  }

  const std::string& text_;
  std::vector<size_t> line_starts_;
  size_t counted_to_ = 0;  // a byte of the line that PositionOf looked at last
  int continuations_ = 0;  // from that line's start to there
  YamlNode root_;
  std::vector<YamlNode*> open_;
  std::optional<std::pair<TextPosition, std::string>> error_;
};

}  // namespace

absl::StatusOr<YamlNode> ParseYaml(const std::string& contents, const std::string& name) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  const std::string text = contents.substr(contents.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0);
  RETURN_IF_ERROR(CheckText(text, name));
  TreeBuilder builder(text);
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder)) return YamlNode();
    YamlNode root = builder.TakeRoot();
    if (builder.error()) return ErrorAt(name, builder.error()->first, builder.error()->second);
    TreeBuilder rest(text);
    if (parser.HandleNextDocument(rest)) {
      return ErrorAt(name, rest.TakeRoot().position, "a second YAML document; put each in a file of its own");
    }
    return root;
  } catch (const YAML::Exception& exception) {
    return ErrorAt(
        name, builder.PositionOf(exception.mark),
        absl::StrCat("not valid YAML: ", exception.msg, "; correct the syntax here or just before"));
  }
}

}  // namespace retort
