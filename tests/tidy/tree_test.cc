// This repository obeys its own rules.
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tidy/include_rules.h"
#include "tests/tidy/rules.h"
#include "tests/tidy/source_tree.h"

namespace retort::tidy {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::Field;

const std::vector<SourceFile>& Tree() {
  static const auto& tree = *new auto(ReadSourceTree(RETORT_SOURCE_DIR).value());
  return tree;
}

void ExpectNone(const std::vector<Finding>& findings) {
  for (const Finding& finding : findings) ADD_FAILURE() << ToString(finding);
}

TEST(ReadSourceTree, WalksADirectoryThatGitDoesNotKnow) {
  const std::filesystem::path root = std::filesystem::path(testing::TempDir()) / "retort_tidy_walk";
  std::filesystem::remove_all(root);
  for (const char* path : {"build/a.cc", "core/b.cc", "core/.hidden/c.cc", ".ci/run"}) {
    std::filesystem::create_directories((root / path).parent_path());
    std::ofstream(root / path) << "text\n";
  }
  std::ofstream(root / "core/binary") << '\0';
  const auto files = ReadSourceTree(root.string());
  std::filesystem::remove_all(root);
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_THAT(*files,
              ElementsAre(Field(&SourceFile::path, ".ci/run"), Field(&SourceFile::path, "core/b.cc")));
}

TEST(Tree, IsReadWithItsHiddenScriptsAndWithoutBuildOutput) {
  EXPECT_THAT(Tree(), Contains(Field(&SourceFile::path, "dev")));
  EXPECT_THAT(Tree(), Contains(Field(&SourceFile::path, ".ci/run")));
  for (const SourceFile& file : Tree()) EXPECT_NE(file.path.substr(0, 6), "build/");
}

TEST(Tree, IncludesOnlyDownwards) { ExpectNone(CheckIncludeDirections(Tree())); }

TEST(Tree, KeepsLibTorchOutOfTorchFreeFolders) { ExpectNone(CheckTorchFreeFolders(Tree())); }

TEST(Tree, HasNoBannedWords) { ExpectNone(CheckBannedWords(Tree())); }

TEST(Tree, HasNoFileOverSixHundredLines) { ExpectNone(CheckFileLengths(Tree())); }

TEST(Tree, HasNoFunctionOverSeventyLines) { ExpectNone(CheckFunctionLengths(Tree(), /*ratchet=*/{})); }

TEST(Tree, RunsEveryTest) { ExpectNone(CheckTestsAreRegistered(Tree())); }

TEST(Tree, GuardsEveryHeader) { ExpectNone(CheckHeaderGuards(Tree())); }

TEST(Tree, MarksItsScriptsExecutable) { ExpectNone(CheckScriptsAreExecutable(Tree())); }

TEST(Tree, NamesNoMachine) { ExpectNone(CheckNoMachinePaths(Tree())); }

}  // namespace
}  // namespace retort::tidy
