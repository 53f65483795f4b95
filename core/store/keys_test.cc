#include "core/store/keys.h"

#include <algorithm>
#include <random>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort {
namespace {

template <class Key>
std::string Hex(const Key& key) {
  return absl::BytesToHexString(WriteKey(key));
}

// What is on disk: these strings never change.
TEST(Keys, HaveTheBytesThatAreOnDisk) {
  EXPECT_EQ(Hex(RunKey{0x0102030405060708}), "0102030405060708");
  EXPECT_EQ(Hex(TaskKey{7, v1::STAGE_HIDDEN_STATE_ALIGNMENT, 300}), "0000000000000007020000012c");
  EXPECT_EQ(Hex(LeaseKey{41}), "0000000000000029");
  EXPECT_EQ(Hex(AttemptKey{7, 41}), "00000000000000070000000000000029");
  EXPECT_EQ(Hex(EventKey{65536}), "0000000000010000");
  EXPECT_EQ(Hex(ManifestKey{7, v1::STAGE_END_TO_END, 0, 23}), "000000000000000703000000000000000000000017");
  EXPECT_EQ(Hex(ChunkKey{23, 0xffffffff}), "0000000000000017ffffffff");
  EXPECT_EQ(Hex(RequestKey{"a-1"}), "612d31");
  EXPECT_EQ(Hex(MetaKey{}), "73746f7265");
}

TEST(Keys, NameTheirFamilies) {
  std::vector<std::string> names;
  for (const Family family : kFamilies) names.emplace_back(FamilyName(family));
  EXPECT_THAT(names, testing::ElementsAre("runs", "tasks", "leases", "attempts", "events", "manifests",
                                          "chunks", "requests", "meta"));
}

TEST(Keys, ShowThemselvesInMessages) {
  EXPECT_EQ(ToString(ManifestKey{7, v1::STAGE_HIDDEN_STATE_ALIGNMENT, 4, 23}), "manifests/7/2/4/23");
  EXPECT_EQ(ToString(ChunkKey{23, 0}), "chunks/23/0");
  EXPECT_EQ(ToString(RequestKey{"a-1"}), "requests/a-1");
  EXPECT_EQ(ToString(MetaKey{}), "meta/store");
}

TEST(Keys, OfWrongLengthAreRefused) {
  TaskKey task;
  MetaKey meta;
  RequestKey request;
  const std::string bytes = WriteKey(TaskKey{1, v1::STAGE_PREPARE, 2});
  EXPECT_TRUE(ParseKey(bytes, task));
  EXPECT_FALSE(ParseKey(bytes.substr(1), task));
  EXPECT_FALSE(ParseKey(bytes + "x", task));
  EXPECT_FALSE(ParseKey("", task));
  EXPECT_FALSE(ParseKey("stores", meta));
  EXPECT_FALSE(ParseKey("", request));
}

// Numbers that are near each other, near powers of two, or anything.
class Numbers {
 public:
  explicit Numbers(uint64_t seed) : random_(seed) {}
  uint64_t Next() {
    const uint64_t power = uint64_t{1} << random_() % 64;
    switch (random_() % 3) {
      case 0:
        return random_() % 4;
      case 1:
        return power - 1 + random_() % 3;
      default:
        return random_();
    }
  }
  v1::Stage NextStage() { return static_cast<v1::Stage>(random_() % 5); }

 private:
  std::mt19937_64 random_;
};

template <class Key>
void ExpectOrderAndRoundTrip(Key (*make)(Numbers&)) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Numbers numbers(seed);
  for (int i = 0; i < 3000; ++i) {
    const Key a = make(numbers), b = make(numbers);
    EXPECT_EQ(WriteKey(a) < WriteKey(b), a < b) << ToString(a) << " and " << ToString(b);
    Key parsed;
    ASSERT_TRUE(ParseKey(WriteKey(a), parsed));
    EXPECT_EQ(parsed, a);
  }
}

TEST(Keys, AreParsedBackAndOrderedAsTheirFields) {
  using N = Numbers;
  ExpectOrderAndRoundTrip<RunKey>([](N& n) { return RunKey{n.Next()}; });
  ExpectOrderAndRoundTrip<TaskKey>([](N& n) {
    return TaskKey{n.Next(), n.NextStage(), static_cast<uint32_t>(n.Next())};
  });
  ExpectOrderAndRoundTrip<AttemptKey>([](N& n) { return AttemptKey{n.Next(), n.Next()}; });
  ExpectOrderAndRoundTrip<LeaseKey>([](N& n) { return LeaseKey{n.Next()}; });
  ExpectOrderAndRoundTrip<EventKey>([](N& n) { return EventKey{n.Next()}; });
  ExpectOrderAndRoundTrip<ManifestKey>([](N& n) {
    return ManifestKey{n.Next(), n.NextStage(), static_cast<uint32_t>(n.Next()), n.Next()};
  });
  ExpectOrderAndRoundTrip<ChunkKey>([](N& n) { return ChunkKey{n.Next(), static_cast<uint32_t>(n.Next())}; });
  ExpectOrderAndRoundTrip<RequestKey>([](N& n) { return RequestKey{absl::StrCat("r", n.Next())}; });
}

template <class Key>
bool Holds(const KeyRange<Key>& range, const Key& key) {
  const std::string bytes = WriteKey(key);
  return bytes >= range.first && (range.end.empty() || bytes < range.end);
}

TEST(KeyRange, HoldsItsOwnAndNoOthers) {
  constexpr uint64_t kMax = ~uint64_t{0};
  const v1::Stage stage = v1::STAGE_MATRIX_ORIENTATION, next_stage = v1::STAGE_HIDDEN_STATE_ALIGNMENT;
  EXPECT_TRUE(Holds(TasksOf(255), TaskKey{255, v1::STAGE_PREPARE, 0xffffffff}));
  EXPECT_FALSE(Holds(TasksOf(255), TaskKey{256, v1::STAGE_UNSPECIFIED, 0}));
  EXPECT_FALSE(Holds(TasksOf(255), TaskKey{254, v1::STAGE_PREPARE, 0xffffffff}));
  EXPECT_TRUE(Holds(TasksOf(kMax), TaskKey{kMax, stage, 1}));
  EXPECT_TRUE(Holds(TasksOf(3, stage), TaskKey{3, stage, 0xffffffff}));
  EXPECT_FALSE(Holds(TasksOf(3, stage), TaskKey{3, next_stage, 0}));
  EXPECT_TRUE(Holds(ManifestsOf(TaskKey{3, stage, 255}), ManifestKey{3, stage, 255, kMax}));
  EXPECT_FALSE(Holds(ManifestsOf(TaskKey{3, stage, 255}), ManifestKey{3, stage, 256, 0}));
  EXPECT_TRUE(Holds(AttemptsOf(3), AttemptKey{3, kMax}));
  EXPECT_FALSE(Holds(AttemptsOf(3), AttemptKey{4, 0}));
  EXPECT_TRUE(Holds(ChunksOf(9), ChunkKey{9, 0xffffffff}));
  EXPECT_FALSE(Holds(ChunksOf(9), ChunkKey{10, 0}));
  EXPECT_TRUE(Holds(EventsFrom(9), EventKey{kMax}));
  EXPECT_FALSE(Holds(EventsFrom(9), EventKey{8}));
  EXPECT_TRUE(Holds(AllOf<RunKey>(), RunKey{0}));
}

}  // namespace
}  // namespace retort
