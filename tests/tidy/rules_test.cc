#include "tests/tidy/rules.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tidy/include_rules.h"

namespace retort::tidy {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> Strings(const std::vector<Finding>& findings) {
  std::vector<std::string> strings;
  for (const Finding& finding : findings) strings.push_back(ToString(finding));
  return strings;
}

TEST(IncludeDirections, RefuseAnArrowUpwards) {
  EXPECT_THAT(Strings(CheckIncludeDirections({{"model/a.h", "\n#include \"train/b.h\"\n"}})),
              ElementsAre(HasSubstr("model/a.h:2: model/ may not include train/b.h")));
  EXPECT_THAT(Strings(CheckIncludeDirections({{"orchestrator/a.cc", "#include \"worker/b.h\"\n"}})),
              ElementsAre(HasSubstr("may not include worker/b.h")));
}

TEST(IncludeDirections, LetModelSeeOnlyTheBaseOfCore) {
  EXPECT_THAT(Strings(CheckIncludeDirections({{"model/a.cc", "#include \"core/config/b.h\"\n"}})),
              ElementsAre(HasSubstr("may not include core/config/b.h")));
  EXPECT_THAT(
      CheckIncludeDirections({{"model/a.cc", "#include \"core/base/b.h\"\n#include \"model/c.h\"\n"}}),
      IsEmpty());
}

TEST(IncludeDirections, KeepTheNetworkOutOfTheScience) {
  EXPECT_THAT(Strings(CheckIncludeDirections({{"train/a.cc", "#include <grpcpp/grpcpp.h>\n"}})),
              ElementsAre(HasSubstr("knows no network or store: grpcpp/grpcpp.h")));
}

TEST(IncludeDirections, LetUnitTestsUseTheTestSupport) {
  const std::string text = "#include \"tests/support/x.h\"\n";
  EXPECT_THAT(CheckIncludeDirections({{"core/base/a_test.cc", text}}), IsEmpty());
  EXPECT_THAT(Strings(CheckIncludeDirections({{"core/base/a.cc", text}})),
              ElementsAre(HasSubstr("may not include")));
}

TEST(TorchFreeFolders, AreCheckedThroughOtherHeaders) {
  const std::vector<SourceFile> files = {{"train/data/a.cc", "#include \"train/b.h\"\n"},
                                         {"train/b.h", "#include <ATen/ATen.h>\n"}};
  EXPECT_THAT(Strings(CheckTorchFreeFolders(files)),
              ElementsAre("train/data/a.cc:1: must not see LibTorch: train/b.h -> ATen/ATen.h"));
}

TEST(TorchFreeFolders, SurviveHeadersThatIncludeEachOther) {
  EXPECT_THAT(CheckTorchFreeFolders(
                  {{"core/a.h", "#include \"core/b.h\"\n"}, {"core/b.h", "#include \"core/a.h\"\n"}}),
              IsEmpty());
}

TEST(BannedWords, AreFoundInCode) {
  EXPECT_THAT(Strings(CheckBannedWords({{"core/a_test.cc", "void F() {\n  usleep(3);\n}\n"}})),
              ElementsAre(HasSubstr("core/a_test.cc:2: usleep")));
  EXPECT_THAT(Strings(CheckBannedWords({{"train/a.cc", "std::cout << 1;\n"}})),
              ElementsAre(HasSubstr("std::cout")));
  EXPECT_THAT(Strings(CheckBannedWords({{"core/a.h", "using namespace std;\n"}})),
              ElementsAre(HasSubstr("using namespace")));
  EXPECT_THAT(Strings(CheckBannedWords({{"core/a_test.cc", "EXPECT_TRUE(true);\n"}})),
              ElementsAre(HasSubstr("asserts nothing")));
  EXPECT_THAT(Strings(CheckBannedWords({{"core/a.h", "std::mutex mutex_;\n"}})),
              ElementsAre(HasSubstr("std::mutex")));
}

TEST(BannedWords, AreFreeInCommentsLiteralsAndTheirOwnPlaces) {
  EXPECT_THAT(CheckBannedWords({{"core/a_test.cc", "// usleep\nF(\"usleep\");\n"},
                                {"worker/main.cc", "std::cout << 1;\n"},
                                {"core/base/mutex.h", "std::mutex mutex_;\n"},
                                {"core/a.cc", "using namespace std;\n"}}),
              IsEmpty());
}

TEST(BannedWords, IncludeMarksOfUnfinishedWorkInComments) {
  const std::string mark = absl::StrCat("FIX", "ME");
  EXPECT_THAT(Strings(CheckBannedWords({{"core/a.cc", absl::StrCat("\n// ", mark, " later\n")}})),
              ElementsAre(HasSubstr(absl::StrCat("core/a.cc:2: ", mark))));
}

TEST(FileLengths, StopAtSixHundredLines) {
  EXPECT_THAT(CheckFileLengths({{"core/a.cc", std::string(600, '\n')}}), IsEmpty());
  EXPECT_THAT(Strings(CheckFileLengths({{"core/a.cc", std::string(601, '\n')}})),
              ElementsAre(HasSubstr("601 lines")));
  EXPECT_THAT(CheckFileLengths({{"tests/golden/a.json", std::string(601, '\n')}}), IsEmpty());
}

std::string FunctionOf(int lines) { return absl::StrCat("void F() {", std::string(lines - 1, '\n'), "}\n"); }

TEST(FunctionLengths, StopAtSeventyLinesAndLaterInKernels) {
  EXPECT_THAT(CheckFunctionLengths({{"core/a.cc", FunctionOf(70)}}, {}), IsEmpty());
  EXPECT_THAT(Strings(CheckFunctionLengths({{"core/a.cc", FunctionOf(71)}}, {})),
              ElementsAre("core/a.cc:1: F has 71 lines, more than 70"));
  EXPECT_THAT(CheckFunctionLengths({{"kernels/a.cc", FunctionOf(150)}}, {}), IsEmpty());
  EXPECT_THAT(Strings(CheckFunctionLengths({{"kernels/a.cc", FunctionOf(151)}}, {})),
              ElementsAre(HasSubstr("more than 150")));
}

TEST(FunctionLengths, RatchetOnlyShrinks) {
  const FunctionRatchet ratchet = {{"core/a.cc:F", 80}};
  EXPECT_THAT(CheckFunctionLengths({{"core/a.cc", FunctionOf(80)}}, ratchet), IsEmpty());
  EXPECT_THAT(Strings(CheckFunctionLengths({{"core/a.cc", FunctionOf(81)}}, ratchet)),
              ElementsAre(HasSubstr("more than 80")));
  EXPECT_THAT(Strings(CheckFunctionLengths({{"core/a.cc", FunctionOf(75)}}, ratchet)),
              ElementsAre(HasSubstr("down to 75 lines")));
  EXPECT_THAT(Strings(CheckFunctionLengths({{"core/a.cc", FunctionOf(60)}}, ratchet)),
              ElementsAre(HasSubstr("drop the ratchet entry core/a.cc:F")));
}

TEST(RegisteredTests, AreNamedByAListAtOrAboveThem) {
  EXPECT_THAT(CheckTestsAreRegistered({{"CMakeLists.txt", ""},
                                       {"core/base/CMakeLists.txt", "retort_test(a SRCS a_test.cc)"},
                                       {"core/base/a_test.cc", ""},
                                       {"tool/CMakeLists.txt", "retort_test(b SRCS data/b_test.cc)"},
                                       {"tool/data/b_test.cc", ""}}),
              IsEmpty());
  EXPECT_THAT(Strings(CheckTestsAreRegistered(
                  {{"core/CMakeLists.txt", "retort_test(a SRCS other_a_test.cc)"}, {"core/a_test.cc", ""}})),
              ElementsAre(HasSubstr("core/a_test.cc:1: no CMakeLists.txt names this test")));
}

TEST(HeaderGuards, AreDemandedOfHeadersOnly) {
  EXPECT_THAT(Strings(CheckHeaderGuards(
                  {{"core/a.h", "// #pragma once\n"}, {"core/b.h", "#pragma once\n"}, {"core/a.cc", ""}})),
              ElementsAre("core/a.h:1: no #pragma once"));
}

TEST(Scripts, HaveTheirBitAndOnlyThey) {
  EXPECT_THAT(Strings(CheckScriptsAreExecutable({{"dev", "#!/bin/sh\n", false}, {"a.cc", "", true}})),
              ElementsAre(HasSubstr("dev:1: a script that is not"), HasSubstr("a.cc:1: executable")));
  EXPECT_THAT(CheckScriptsAreExecutable({{"dev", "#!/bin/sh\n", true}, {"a.cc", "", false}}), IsEmpty());
}

TEST(MachinePaths, AreFoundButNotInsideLongerPaths) {
  const std::string path = absl::StrCat("/wo", "rk/x");
  EXPECT_THAT(Strings(CheckNoMachinePaths({{"a.md", absl::StrCat("\nsee ", path)}})),
              ElementsAre(HasSubstr("a.md:2:")));
  EXPECT_THAT(CheckNoMachinePaths({{"a.md", absl::StrCat("frame", path, " ${TMP}", path)}}), IsEmpty());
}

}  // namespace
}  // namespace retort::tidy
