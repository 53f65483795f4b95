#include "tests/tidy/code_text.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::tidy {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

TEST(CodeOnly, BlanksCommentsAndLiteralsInPlace) {
  EXPECT_EQ(CodeOnly("a(\"x\\\"y\"); // z\nb /* c\nd */ e"), "a(\"    \");     \nb     \n     e");
}

TEST(CodeOnly, SeesRawStringsAndCharactersAndDigitSeparators) {
  EXPECT_EQ(CodeOnly("R\"(a\"b)\" '\"' 1'000 + 'c'"), "R\"     \" ' ' 1'000 + ' '");
}

TEST(LineAt, CountsFromOne) {
  EXPECT_EQ(LineAt("ab\ncd\n", 0), 1);
  EXPECT_EQ(LineAt("ab\ncd\n", 4), 2);
}

TEST(FindWord, TakesWholeWordsOnly) {
  EXPECT_THAT(FindWord("usleep(1); my_usleep(2); usleep_all", "usleep"), ElementsAre(0));
}

TEST(Functions, NamesAndMeasuresDefinitionsInsideNamespacesAndClasses) {
  const auto functions = Functions(R"(
namespace a {
class Lease : public Base {
 public:
  explicit Lease(int x) : x_{x}, y_(2) {
    Use();
  }
  int x() const { return x_; }

 private:
  int x_ = 1;
};

template <class T>
absl::Status Table::Renew(const T& t,
                          int n) {
  if (n > 0) {
    return {};
  }
  auto f = [] { return 3; };
  return f();
}
}  // namespace a
)");
  ASSERT_THAT(functions, SizeIs(3));
  EXPECT_EQ(functions[0].name, "Lease");
  EXPECT_EQ(functions[0].last_line - functions[0].first_line, 2);
  EXPECT_EQ(functions[1].name, "x");
  EXPECT_EQ(functions[2].name, "Table::Renew");
  EXPECT_EQ(functions[2].first_line, 14);
  EXPECT_EQ(functions[2].last_line, 22);
}

TEST(Functions, AreNotSeenInTablesDeclarationsAndMacros) {
  EXPECT_THAT(
      Functions("#define RUN(x) \\\n  do { x(); } while (0)\n"
                "constexpr int kTable[] = {1, 2};\nstruct P { int a{F(3)}; };\nint G(int n = H({1}));\n"),
      IsEmpty());
}

}  // namespace
}  // namespace retort::tidy
