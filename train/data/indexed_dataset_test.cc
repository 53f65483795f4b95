#include "train/data/indexed_dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "train/data/indexed_dataset_writer.h"
#include "train/data/testing_dataset.h"

namespace retort {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kGoldens[] = RETORT_SOURCE_DIR "/tests/golden/indexed_dataset/";
constexpr int32_t kVocabSize = 70001;  // of the goldens

std::vector<std::vector<int32_t>> AllDocuments(const IndexedDataset& dataset) {
  std::vector<std::vector<int32_t>> documents;
  for (uint64_t i = 0; i < dataset.num_documents(); ++i) {
    const auto [offset, size] = dataset.document(i);
    EXPECT_TRUE(dataset.ReadTokens(offset, size, documents.emplace_back(size).data()).ok());
  }
  return documents;
}

// Opens a copy of the golden `short` pair after `damage` changed the bytes of its index, or of its tokens.
absl::Status OpenDamaged(void (*damage)(std::string* index, std::string* bin)) {
  std::string index = *ReadFile(kGoldens + std::string("short.idx"));
  std::string bin = *ReadFile(kGoldens + std::string("short.bin"));
  damage(&index, &bin);
  std::ofstream(TestPath("d.idx"), std::ios::binary) << index;
  std::ofstream(TestPath("d.bin"), std::ios::binary) << bin;
  return IndexedDataset::Open(TestPath("d.bin"), kVocabSize).status();
}

template <typename T>
void Put(T value, size_t at, std::string* bytes) {
  std::memcpy(bytes->data() + at, &value, sizeof(value));
}

TEST(IndexedDataset, ReadsWhatMegatronWrites) {
  const auto dataset = IndexedDataset::Open(kGoldens + std::string("short.bin"), kVocabSize);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ(dataset->num_tokens(), 6);
  EXPECT_THAT(AllDocuments(*dataset),
              ElementsAre(ElementsAre(1, 2, 3), ElementsAre(65498, 0), ElementsAre(), ElementsAre(7)));
}

TEST(IndexedDataset, JoinsTheSequencesOfADocument) {
  const auto dataset = IndexedDataset::Open(kGoldens + std::string("parts.bin"), kVocabSize);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_THAT(AllDocuments(*dataset), ElementsAre(ElementsAre(1, 70000, 3, 4), ElementsAre(5, 6)));
}

TEST(IndexedDataset, ReadsAcrossDocuments) {
  const auto dataset = IndexedDataset::Open(kGoldens + std::string("short.bin"), kVocabSize);
  std::vector<int32_t> ids(4);
  ASSERT_TRUE(dataset->ReadTokens(2, 4, ids.data()).ok());
  EXPECT_THAT(ids, ElementsAre(3, 65498, 0, 7));
}

TEST(IndexedDataset, RefusesToReadBeyondItsEnd) {
  const auto dataset = IndexedDataset::Open(kGoldens + std::string("short.bin"), kVocabSize);
  std::vector<int32_t> ids(8);
  EXPECT_EQ(dataset->ReadTokens(4, 3, ids.data()).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(dataset->ReadTokens(4, UINT64_MAX - 2, ids.data()).code(), absl::StatusCode::kOutOfRange);
}

TEST(IndexedDataset, NamesATokenOutsideTheVocabulary) {
  const absl::Status status = IndexedDataset::Open(kGoldens + std::string("short.bin"), 65498).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("short.bin: token 3, in document 1, is 65498, outside"),
                                      HasSubstr("vocabulary of 65498"), HasSubstr("`retort data tokenize`")));
}

TEST(IndexedDataset, FindsATokenOutsideTheVocabularyWhereverItStands) {
  for (const int32_t vocab_size : {1000, 70000}) {
    for (const size_t at : {0, 16383, 16384, 39999}) {
      std::vector<int32_t> ids(40'000, vocab_size - 2);
      ids[at] = vocab_size - 1;
      const fs::path bin = WriteDocuments("long", {{}, ids}, vocab_size);
      EXPECT_TRUE(IndexedDataset::Open(bin, vocab_size).ok());
      EXPECT_THAT(IndexedDataset::Open(bin, vocab_size - 1).status().message(),
                  HasSubstr(absl::StrCat("token ", at, ", in document 1, is ", vocab_size - 1, ", ")));
    }
  }
}

TEST(IndexedDataset, RefusesANegativeToken) {
  std::string bin = *ReadFile(kGoldens + std::string("parts.bin"));
  Put<int32_t>(-1, 4, &bin);
  fs::copy_file(kGoldens + std::string("parts.idx"), TestPath("n.idx"), fs::copy_options::overwrite_existing);
  std::ofstream(TestPath("n.bin"), std::ios::binary) << bin;
  EXPECT_THAT(IndexedDataset::Open(TestPath("n.bin"), kVocabSize).status().message(),
              HasSubstr("n.bin: token 1, in document 0, is -1, outside"));
}

TEST(IndexedDataset, RefusesAnotherEnding) {
  EXPECT_THAT(IndexedDataset::Open("corpus.txt", kVocabSize).status().message(),
              HasSubstr("does not end in .bin"));
}

TEST(IndexedDataset, NamesAMissingIndex) {
  std::ofstream(TestPath("alone.bin")) << "x";
  const absl::Status status = IndexedDataset::Open(TestPath("alone.bin"), kVocabSize).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("alone.idx"));
}

TEST(IndexedDataset, RefusesAFileThatIsNoIndex) {
  const absl::Status status = OpenDamaged([](std::string* index, std::string*) { (*index)[0] = 'X'; });
  EXPECT_THAT(status.message(), HasSubstr("no Megatron index"));
}

TEST(IndexedDataset, RefusesAnotherVersion) {
  const absl::Status status =
      OpenDamaged([](std::string* index, std::string*) { Put<uint64_t>(2, 9, index); });
  EXPECT_THAT(status.message(), HasSubstr("version 2"));
}

TEST(IndexedDataset, NamesATokenTypeItCannotRead) {
  const absl::Status status =
      OpenDamaged([](std::string* index, std::string*) { Put<uint8_t>(5, 17, index); });
  EXPECT_THAT(status.message(), HasSubstr("5 (int64)"));
}

TEST(IndexedDataset, DetectsATruncatedIndexAtEveryLength) {
  const std::string whole = *ReadFile(kGoldens + std::string("short.idx"));
  fs::copy_file(kGoldens + std::string("short.bin"), TestPath("t.bin"), fs::copy_options::overwrite_existing);
  for (size_t size = 0; size < whole.size(); ++size) {
    std::ofstream(TestPath("t.idx"), std::ios::binary) << whole.substr(0, size);
    EXPECT_FALSE(IndexedDataset::Open(TestPath("t.bin"), kVocabSize).ok()) << size;
  }
}

TEST(IndexedDataset, DetectsTruncatedTokens) {
  const absl::Status status = OpenDamaged([](std::string*, std::string* bin) { bin->pop_back(); });
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("has 11 bytes"), HasSubstr("describes 12")));
}

TEST(IndexedDataset, RefusesCountsThatOverflow) {
  const absl::Status status = OpenDamaged([](std::string* index, std::string*) {
    // 12 * 2^62 is 0 modulo 2^64: taken at its word, the header asks for exactly this file's size.
    Put<uint64_t>(uint64_t{1} << 62, 18, index);
    Put<uint64_t>((index->size() - 34) / 8, 26, index);
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(status.message(), HasSubstr("which do not hold exactly"));
}

TEST(IndexedDataset, RefusesSequencesThatAreNotBackToBack) {
  EXPECT_THAT(
      OpenDamaged([](std::string* index, std::string*) { Put<int64_t>(4, 34 + 16 + 8, index); }).message(),
      HasSubstr("sequence 1 has 2 tokens at byte 4"));
  EXPECT_THAT(OpenDamaged([](std::string* index, std::string*) { Put<int32_t>(-3, 34, index); }).message(),
              HasSubstr("sequence 0 has -3 tokens"));
}

TEST(IndexedDataset, RefusesADocumentTableOutOfOrder) {
  constexpr size_t kTable = 34 + 4 * 12;
  EXPECT_THAT(OpenDamaged([](std::string* index, std::string*) { Put<int64_t>(1, kTable, index); }).message(),
              HasSubstr("does not begin with sequence 0"));
  EXPECT_THAT(
      OpenDamaged([](std::string* index, std::string*) { Put<int64_t>(9, kTable + 8, index); }).message(),
      HasSubstr("document 2 begins with sequence 2"));
  EXPECT_THAT(
      OpenDamaged([](std::string* index, std::string*) { Put<int64_t>(3, kTable + 32, index); }).message(),
      HasSubstr("ends with sequence 3 of 4"));
}

TEST(IndexedDatasetWriter, WritesMegatronsBytes) {
  const fs::path bin = WriteDocuments("short", {{1, 2, 3}, {65498, 0}, {}, {7}}, 65499);
  EXPECT_EQ(*ReadFile(bin), *ReadFile(kGoldens + std::string("short.bin")));
  EXPECT_EQ(*ReadFile(TestPath("short.idx")), *ReadFile(kGoldens + std::string("short.idx")));
}

TEST(IndexedDatasetWriter, UsesFourBytesForALargeVocabulary) {
  const fs::path bin = WriteDocuments("large", {{1, 70000}, {65499}}, 70001);
  EXPECT_EQ(fs::file_size(bin), 12);
  EXPECT_THAT(AllDocuments(*IndexedDataset::Open(bin, kVocabSize)),
              ElementsAre(ElementsAre(1, 70000), ElementsAre(65499)));
}

TEST(IndexedDatasetWriter, WritesMoreThanItsBuffer) {
  const std::vector<int32_t> document(300'000, 5);
  const fs::path bin = WriteDocuments("long", {document, {1}, document, document});
  const auto dataset = IndexedDataset::Open(bin, 1000);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_THAT(AllDocuments(*dataset), ElementsAre(document, ElementsAre(1), document, document));
}

TEST(IndexedDatasetWriter, RefusesATokenOutsideTheVocabulary) {
  auto writer = IndexedDatasetWriter::Create(TestPath("w"), 10);
  EXPECT_EQ(writer->Add({3, 10}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(writer->Add({-1}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(writer->num_documents(), 0);
}

TEST(IndexedDatasetWriter, LeavesTheOldPairWithoutFinish) {
  const fs::path bin = WriteDocuments("old", {{1, 2}});
  {
    auto writer = IndexedDatasetWriter::Create(TestPath("old"), 10);
    ASSERT_TRUE(writer->Add({9}).ok());
  }
  EXPECT_THAT(AllDocuments(*IndexedDataset::Open(bin, 10)), ElementsAre(ElementsAre(1, 2)));
  EXPECT_EQ(std::distance(fs::directory_iterator(bin.parent_path()), fs::directory_iterator()), 2);
}

TEST(IndexedDatasetWriter, MakesMissingDirectories) {
  auto writer = IndexedDatasetWriter::Create(TestPath("a") / "b" / "c", 10);
  ASSERT_TRUE(writer.ok()) << writer.status();
  ASSERT_TRUE(writer->Add({9}).ok());
  ASSERT_TRUE(writer->Finish().ok());
  EXPECT_TRUE(fs::exists(TestPath("a") / "b" / "c.idx"));
}

}  // namespace
}  // namespace retort
