// Errors, and templates that mean harm; what good ones render is in chat_template_test.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "train/chat/jinja_interpreter.h"
#include "train/chat/jinja_parser.h"

namespace retort::jinja {
namespace {

using testing::HasSubstr;

// The text, or the error.
std::string Rendered(const std::string& source) {
  const auto body = Parse(source);
  if (!body.ok()) return body.status().ToString();
  const auto text = Render(*body, {}, absl::UnixEpoch());
  return text.ok() ? *text : text.status().ToString();
}

TEST(JinjaErrors, NameTheLine) {
  EXPECT_EQ(Rendered("\n{{ 'a }}"), "INVALID_ARGUMENT: line 2: the string that begins in line 2 has no end");
  EXPECT_EQ(Rendered("{# a"), "INVALID_ARGUMENT: line 1: a comment {# has no end #}");
  EXPECT_EQ(Rendered("{{ a"), "INVALID_ARGUMENT: line 1: a tag has no end");
  EXPECT_EQ(Rendered("{{ a $ }}"), "INVALID_ARGUMENT: line 1: '$' means nothing here");
  EXPECT_EQ(Rendered("{{ a) }}"), "INVALID_ARGUMENT: line 1: ')' closes nothing");
  EXPECT_EQ(Rendered("{{ 1 2 }}"), "INVALID_ARGUMENT: line 1: expected }}, found '2'");
  EXPECT_EQ(Rendered("{% if a %}\n{{ 1 }}\n"),
            "INVALID_ARGUMENT: line 2: the end, where {% endif %} is missing");
  EXPECT_EQ(
      Rendered("{% endif %}"),
      "UNIMPLEMENTED: line 1: {% endif %} is not supported here; if, for, set, macro, generation, break and "
      "continue are");
  EXPECT_EQ(Rendered("{% for a b in c %}"), "INVALID_ARGUMENT: line 1: expected 'in', found 'b'");
  EXPECT_EQ(Rendered("\n{% include 'x' %}"),
            "UNIMPLEMENTED: line 2: {% include %} is not supported here; if, for, set, macro, generation, "
            "break and "
            "continue are");
  EXPECT_EQ(Rendered("a\n{{ b.c }}"), "INVALID_ARGUMENT: line 2: b is undefined");
  EXPECT_EQ(Rendered("{{ 1 +\n b.c }}"), "INVALID_ARGUMENT: line 2: b is undefined");
  EXPECT_EQ(Rendered("{{ b() }}"), "INVALID_ARGUMENT: line 1: b is undefined");
  EXPECT_EQ(Rendered("{{ 1 < 'a' }}"), "INVALID_ARGUMENT: line 1: cannot take a number < a string");
  EXPECT_EQ(Rendered("{{ 1 // 0 }}"), "INVALID_ARGUMENT: line 1: a division by 0");
  EXPECT_EQ(Rendered("{{ [1] }}"), "INVALID_ARGUMENT: line 1: a list is no text");
  EXPECT_EQ(Rendered("{{ 'a'.encode() }}"),
            "UNIMPLEMENTED: line 1: the method encode of a string is not supported here");
  EXPECT_EQ(Rendered("{{ 1 is callable }}"),
            "UNIMPLEMENTED: line 1: the test callable is not supported here");
  EXPECT_EQ(Rendered("{{ raise_exception('no') }}"), "FAILED_PRECONDITION: no");
}

// What is not reached is not looked at, as tools are in a chat without tools.
TEST(JinjaErrors, AreOfWhatIsReachedOnly) {
  EXPECT_EQ(Rendered("{% if tools %}{{ tools | forceescape | x(3) is weird }}{% endif %}ok"), "ok");
}

TEST(JinjaLimits, EndWhatHasNoEnd) {
  EXPECT_THAT(Rendered("{% for a in range(100) %}{% for b in range(1000) %}x{% endfor %}{% endfor %}"),
              HasSubstr("does not come to an end"));
  std::string sum = "1";
  for (int i = 0; i < 99; ++i) sum += " + 1";
  EXPECT_THAT(Rendered("{% for a in range(9000) %}{{ " + sum + " }}{% endfor %}"),
              HasSubstr("does not come to an end"));
  EXPECT_THAT(Rendered("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"), HasSubstr("calls go too deep"));
  EXPECT_THAT(Rendered("{{ range(1000000) | length }}"), HasSubstr("range is too long"));
  EXPECT_THAT(
      Rendered("{% set n = namespace(x='abcdefgh') %}{% for i in range(40) %}{% set n.x = n.x ~ n.x %}"
               "{% endfor %}"),
      HasSubstr("a text is too long"));
  EXPECT_THAT(
      Rendered("{% set n = namespace(x=[1]) %}{% for i in range(40) %}{% set n.x = n.x + n.x %}{% endfor %}"),
      HasSubstr("a list is too long"));
  EXPECT_THAT(
      Rendered("{% set n = namespace(x='abcdefgh') %}{% for i in range(13) %}{% set n.x = n.x ~ n.x %}"
               "{% endfor %}{{ n.x.replace('a', n.x) }}"),
      HasSubstr("a text is too long"));
  EXPECT_THAT(Rendered("{% for i in range(200) %}{{ 'x' }}{% endfor %}{{ 9999999999999999999 }}"),
              HasSubstr("is too large"));
  EXPECT_THAT(Rendered("{{ 2 ** 9999 }}"), HasSubstr("a number is too large"));
}

TEST(JinjaLimits, KeepIntegersWithin53Bits) {
  EXPECT_EQ(Rendered("{{ '-9007199254740992' | int % -1 }}"), "0");
  for (const char* large :
       {"('-9223372036854775808' | int) % -1", "'9007199254740993' | int", "'99999999999999999999' | int",
        "(2.0 ** 90) | int", "(2.0 ** 9999) | int", "9007199254740993"}) {
    EXPECT_THAT(Rendered(absl::StrCat("{{ ", large, " }}")), HasSubstr("is too large")) << large;
  }
  EXPECT_EQ(Rendered("{{ 'abc'[1::9007199254740992] }}{{ 'abc'[::-9007199254740992] }}"), "bc");
  EXPECT_EQ(Rendered("{{ range(9007199254740991, 9007199254740992, 9007199254740992) | length }}"), "1");
}

TEST(JinjaLimits, KeepNamespacesOutOfAllElse) {
  EXPECT_THAT(Rendered("{% set n = namespace() %}{% set n.n = [n] %}"),
              HasSubstr("line 1: a namespace cannot"));
  EXPECT_THAT(Rendered("{% set n = namespace() %}{% set n.n = n %}"), HasSubstr("cannot be within another"));
  EXPECT_THAT(Rendered("{% set n = namespace() %}{{ namespace(a=n) }}"),
              HasSubstr("cannot be within another"));
  EXPECT_THAT(Rendered("{% set n = namespace() %}{{ dict(a=n) }}"), HasSubstr("within a list or a dict"));
  EXPECT_THAT(Rendered("{% set d = {} %}{% set d.x = 1 %}"), HasSubstr("d is no namespace"));
}

TEST(JinjaLimits, KeepValuesShallow) {
  for (const char* use : {"n.x | tojson", "n.x == n.x", "[1] in n.x", "1"}) {
    EXPECT_THAT(Rendered(absl::StrCat("{% set n = namespace(x=[]) %}{% for i in range(19900) %}",
                                      "{% set n.x = [n.x] %}{% endfor %}{{ ", use, " }}")),
                HasSubstr("line 1: lists and dicts are nested too deeply"));
  }
  EXPECT_EQ(Rendered("{% set n = namespace(x=[]) %}{% for i in range(90) %}{% set n.x = {'a': n.x} %}"
                     "{% endfor %}{{ n.x == n.x }}"),
            "True");
}

// Of a value whose parts are shared, where a walk takes twice as long with each level.
TEST(JinjaLimits, KeepWalksShort) {
  EXPECT_THAT(Rendered("{% set n = namespace(x=[1]) %}{% for i in range(90) %}{% set n.x = [n.x, n.x] %}"
                       "{% endfor %}{{ n.x == n.x }}{{ n.x | tojson }}"),
              HasSubstr("a list is too long"));
  EXPECT_THAT(Rendered("{% set n = namespace(x='a') %}{% for i in range(21) %}{% set n.x = n.x ~ n.x %}"
                       "{% endfor %}{{ n.x.split('a') | length }}"),
              HasSubstr("a list is too long"));
  EXPECT_THAT(
      Rendered("{% set n = namespace(x='abcdefgh') %}{% for i in range(18) %}{% set n.x = n.x ~ n.x %}"
               "{% endfor %}{{ [n.x, n.x, n.x] | tojson }}"),
      HasSubstr("a text is too long"));
}

TEST(JinjaLimits, HoldForAllValuesTogether) {
  const std::string two_mib =
      "{% set n = namespace(x='abcdefgh', l=[]) %}{% for i in range(18) %}"
      "{% set n.x = n.x ~ n.x %}{% endfor %}";
  EXPECT_THAT(Rendered(two_mib + "{% for i in range(9000) %}{% set n.l = n.l + [n.x] %}{% endfor %}"),
              HasSubstr("the template makes too much"));
  EXPECT_THAT(Rendered(two_mib + "{% for i in range(9000) %}{% if n.x == n.x %}{% endif %}{% endfor %}"),
              HasSubstr("the template makes too much"));
}

// What takes the product of two sizes, or more than its bytes say.
TEST(JinjaLimits, HoldForWhatIsSearchedAndComparedTogether) {
  const std::string mib =
      "{% set n = namespace(x='aaaaaaaa') %}{% for i in range(17) %}{% set n.x = n.x ~ n.x %}{% endfor %}";
  std::string dict = "{% set d = {'k'";
  for (int i = 0; i < 5000; ++i) absl::StrAppend(&dict, ": 1, 'k", i, "'");
  dict += ": 1} %}";
  for (const std::string& use :
       {mib + "{% for i in range(9) %}{{ n.x.split(sep=n.x[:500000] ~ 'b') | length }}{% endfor %}",
        mib + "{% for i in range(9) %}{{ (n.x[:500000] ~ 'b') in n.x }}{% endfor %}",
        mib + "{% for i in range(9) %}{{ n.x.split(n.x[:500000] ~ 'b') | length }}{% endfor %}",
        mib + "{% for i in range(9) %}{{ n.x | replace(n.x[:500000] ~ 'b', '') | length }}{% endfor %}",
        mib + "{% for i in range(50) %}{{ n.x[0] }}{% endfor %}",
        mib + "{% for i in range(50) %}{{ n.x[:1] }}{% endfor %}",
        mib + "{% for i in range(50) %}{{ n.x | length }}{% endfor %}",
        mib + "{% for i in range(50) %}{% for c in n.x %}{% break %}{% endfor %}{% endfor %}",
        dict + "{% for i in range(100) %}{{ d == d }}{% endfor %}"}) {
    EXPECT_THAT(Rendered(use), HasSubstr("the template makes too much")) << use.substr(use.size() - 100);
  }
}

TEST(JinjaLimits, HoldWhatIsNestedDeeply) {
  EXPECT_THAT(Rendered("{{ " + std::string(100'000, '(') + std::string(100'000, ')') + "}}"),
              HasSubstr("nested too deeply"));
  EXPECT_THAT(Rendered("{{ " + std::string(100'000, '-') + "1 }}"), HasSubstr("nested too deeply"));
  EXPECT_THAT(Rendered("{{ " + std::string(100'000, '[') + std::string(100'000, ']') + "}}"),
              HasSubstr("nested too deeply"));
  for (const char* link : {" + 1", " | trim", ".a", "[0]", " < 1", " is defined", " if 1", "()"}) {
    std::string chain = "{{ 1";
    for (int i = 0; i < 10'000; ++i) chain += link;
    EXPECT_THAT(Rendered(chain + " }}"), HasSubstr("nested too deeply")) << link;
  }
  std::string nots = "{{ ", ifs;
  for (int i = 0; i < 10'000; ++i) nots += "not ", ifs += "{% if a %}";
  EXPECT_THAT(Rendered(nots + "1 }}"), HasSubstr("nested too deeply"));
  EXPECT_THAT(Rendered(ifs), HasSubstr("nested too deeply"));
}

TEST(JinjaLimits, LetLongChainsThrough) {
  std::string sum = "{{ 1";
  for (int i = 0; i < 150; ++i) sum += " + 1";
  EXPECT_EQ(Rendered(sum + " }}"), "151");
}

}  // namespace
}  // namespace retort::jinja
