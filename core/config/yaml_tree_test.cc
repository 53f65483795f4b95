#include "core/config/yaml_tree.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string ErrorOf(const std::string& text) { return std::string(ParseYaml(text, "f").status().message()); }

TEST(YamlTree, KeepsShapeTextAndPlace) {
  const YamlNode root = ParseYaml("a: 1\nb:\n  - x\n  - 'y z'\nc: ~\n", "f").value();
  ASSERT_EQ(root.kind, YamlNode::Kind::kMap);
  ASSERT_EQ(root.items.size(), 6u);
  EXPECT_EQ(root.items[1].text, "1");
  EXPECT_EQ(root.items[1].position, (TextPosition{1, 4}));
  ASSERT_EQ(root.items[3].kind, YamlNode::Kind::kList);
  EXPECT_EQ(root.items[3].items[1].text, "y z");
  EXPECT_EQ(root.items[3].items[1].position, (TextPosition{4, 5}));
  EXPECT_EQ(root.items[5].kind, YamlNode::Kind::kNull);
}

TEST(YamlTree, KeepsBothOfTwoEqualKeys) { EXPECT_EQ(ParseYaml("{a: 1, a: 2}", "f")->items.size(), 4u); }

TEST(YamlTree, CountsCharactersNotBytes) {
  EXPECT_EQ(ParseYaml("{é: 1, a: 2}", "f")->items[2].position, (TextPosition{1, 8}));
}

// Counting each position from the line's start would take minutes.
TEST(ParseYaml, GivesPositionsInALongLine) {
  constexpr size_t kItems = 300'000;
  std::string line = "{é: [";
  for (size_t i = 0; i < kItems; ++i) line += "é, ";
  const absl::StatusOr<YamlNode> root = ParseYaml(line + "]}", "f");
  ASSERT_TRUE(root.ok()) << root.status();
  const YamlNode& list = root->items.at(1);
  ASSERT_EQ(list.items.size(), kItems);
  EXPECT_EQ(list.items[0].position, (TextPosition{1, 6}));
  EXPECT_EQ(list.items[kItems - 1].position, (TextPosition{1, 6 + 3 * (static_cast<int>(kItems) - 1)}));
  EXPECT_EQ(root->position, (TextPosition{1, 1}));
}

TEST(YamlTree, SkipsAByteOrderMark) {
  EXPECT_EQ(ParseYaml("\xef\xbb\xbf"
                      "a: 1",
                      "f")
                ->items[1]
                .position,
            (TextPosition{1, 4}));
}

TEST(YamlTree, IsNullWithoutADocument) {
  for (const char* text : {"", "\n\n", "# only a comment\n", "---\n"}) {
    EXPECT_EQ(ParseYaml(text, "f")->kind, YamlNode::Kind::kNull) << text;
  }
}

TEST(YamlTree, ReportsSyntaxErrorsWithTheirPlace) {
  EXPECT_THAT(ErrorOf("a: 1\nb: [1, 2\n"),
              StartsWith("f:3:1: not valid YAML: end of sequence flow not found"));
  EXPECT_THAT(ErrorOf("a: b: c\n"), StartsWith("f:1:5: not valid YAML: illegal map value"));
}

TEST(YamlTree, RefusesAliasesSoThatNoBombCanBeBuilt) {
  EXPECT_EQ(ErrorOf("a: &x [1]\nb: [*x, *x]\n"),
            "f:1:4: anchors and aliases are not read; write the value out");
}

TEST(YamlTree, RefusesTags) { EXPECT_EQ(ErrorOf("a: !!int 1\n"), "f:1:4: tags are not read; remove it"); }

TEST(YamlTree, RefusesASecondDocument) {
  EXPECT_EQ(ErrorOf("a: 1\n---\nb: 1\n"), "f:3:1: a second YAML document; put each in a file of its own");
}

TEST(YamlTree, RefusesBytesThatAreNotUtf8) {
  EXPECT_EQ(ErrorOf("a: 1\nbé: \xff\n"), "f:2:5: not UTF-8 text; save the file in UTF-8");
  for (const char* bytes :
       {"\xc0\xaf", "\xe2\x82", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80", "\xe0\x80\x80"}) {
    EXPECT_THAT(ErrorOf(bytes), HasSubstr("not UTF-8")) << bytes;
  }
  EXPECT_TRUE(ParseYaml("a: \xf0\x9f\x98\x80", "f").ok());
}

TEST(YamlTree, RefusesControlCharacters) {
  EXPECT_EQ(ErrorOf(std::string("a: \0b", 5)), "f:1:4: a control character; remove it");
}

TEST(YamlTree, SurvivesDeepNesting) {
  EXPECT_THAT(ErrorOf(std::string(100'000, '[')), HasSubstr("not valid YAML"));
  EXPECT_THAT(ErrorOf(std::string(100'000, '{')), HasSubstr("not valid YAML"));
  std::string dashes;
  for (int i = 0; i < 100'000; ++i) dashes += "- ";
  EXPECT_THAT(ErrorOf(dashes), HasSubstr("not valid YAML"));
}

}  // namespace
}  // namespace retort
