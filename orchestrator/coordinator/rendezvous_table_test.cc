#include "orchestrator/coordinator/rendezvous_table.h"

#include "gtest/gtest.h"

namespace retort::orchestrator {
namespace {

v1::RendezvousRequest At(uint64_t generation) {
  v1::RendezvousRequest request;
  request.set_generation(generation);
  return request;
}

v1::RendezvousRequest Set(uint64_t generation, const std::string& key, const std::string& value) {
  v1::RendezvousRequest request = At(generation);
  request.mutable_set()->set_key(key);
  request.mutable_set()->set_value(value);
  return request;
}

v1::RendezvousRequest Get(uint64_t generation, const std::vector<std::string>& keys) {
  v1::RendezvousRequest request = At(generation);
  for (const std::string& key : keys) request.mutable_get()->add_keys(key);
  return request;
}

TEST(RendezvousTable, HasWhatWasSetInTheGeneration) {
  RendezvousTable table;
  ASSERT_TRUE(table.Do(1, Set(5, "a", "one")).ok());
  const auto reply = table.Do(1, Get(5, {"a", "b"}));
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->values(0).value(), "one");
  EXPECT_FALSE(reply->values(1).exists());
  EXPECT_FALSE(table.Do(2, Get(5, {"a"}))->values(0).exists()) << "another run's";
}

TEST(RendezvousTable, DropsAGenerationWithTheNext) {
  RendezvousTable table;
  ASSERT_TRUE(table.Do(1, Set(5, "a", "one")).ok());
  EXPECT_FALSE(table.Do(1, Get(6, {"a"}))->values(0).exists());
  EXPECT_TRUE(absl::IsFailedPrecondition(table.Do(1, Get(5, {"a"})).status()));
}

TEST(RendezvousTable, AddsToANumber) {
  RendezvousTable table;
  v1::RendezvousRequest add = At(5);
  add.mutable_add()->set_key("n");
  add.mutable_add()->set_amount(3);
  EXPECT_EQ(table.Do(1, add)->values(0).value(), "3");
  EXPECT_EQ(table.Do(1, add)->values(0).value(), "6");
  ASSERT_TRUE(table.Do(1, Set(5, "n", "no number")).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(table.Do(1, add).status()));
}

TEST(RendezvousTable, SetsWhatIsAsExpected) {
  RendezvousTable table;
  v1::RendezvousRequest compare = At(5);
  compare.mutable_compare_set()->set_key("a");
  compare.mutable_compare_set()->set_desired("one");
  EXPECT_EQ(table.Do(1, compare)->values(0).value(), "one");
  compare.mutable_compare_set()->set_desired("two");
  EXPECT_EQ(table.Do(1, compare)->values(0).value(), "one");
  compare.mutable_compare_set()->set_expected("one");
  EXPECT_EQ(table.Do(1, compare)->values(0).value(), "two");
}

TEST(RendezvousTable, IsBounded) {
  RendezvousTable table;
  EXPECT_TRUE(absl::IsInvalidArgument(table.Do(1, Set(5, std::string(257, 'k'), "")).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(table.Do(1, Set(5, "", "")).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(table.Do(1, Set(5, "a", std::string(65'537, 'v'))).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(table.Do(1, At(5)).status()));
  absl::Status status;
  for (int i = 0; i < 300 && status.ok(); ++i) {
    status = table.Do(1, Set(5, "k" + std::to_string(i), std::string(65'536, 'v'))).status();
  }
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_TRUE(table.Do(1, Set(6, "a", "one")).ok());
}

TEST(RendezvousTable, ForgetsRunsThatAreNotWanted) {
  RendezvousTable table;
  ASSERT_TRUE(table.Do(1, Set(5, "a", "one")).ok());
  ASSERT_TRUE(table.Do(2, Set(5, "a", "two")).ok());
  table.Keep([](uint64_t run_id) { return run_id == 2; });
  EXPECT_FALSE(table.Do(1, Get(5, {"a"}))->values(0).exists());
  EXPECT_TRUE(table.Do(2, Get(5, {"a"}))->values(0).exists());
}

}  // namespace
}  // namespace retort::orchestrator
