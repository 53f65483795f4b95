// Random transactions and publishes against a plain map, with reopens in
// between. A failure prints the seed; RETORT_SEED=N repeats it.
#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>

#include "core/store/store_fixture.h"

namespace retort {
namespace {

class StoreModel {
 public:
  explicit StoreModel(uint64_t seed) : random_(seed) {}

  void Step() {
    switch (Below(10)) {
      case 0:
        return Reopen();
      case 1:
      case 2:
        return PublishLayer();
      case 3:
        return GiveUpPublish();
      default:
        return ChangeTasks();
    }
  }

  void Compare() {
    ASSERT_TRUE(Rows() == rows_);
    std::vector<uint64_t> ranges;
    for (const auto& [layer, checkpoint] : checkpoints_) ranges.push_back(checkpoint.publish);
    std::sort(ranges.begin(), ranges.end());
    ASSERT_EQ(Ranges(*store_), ranges);
    for (const auto& [layer, checkpoint] : checkpoints_) {
      const auto read = ReadCheckpoint(*store_, {1, kStage, layer, checkpoint.publish});
      ASSERT_TRUE(read.ok()) << read.status();
      ASSERT_TRUE(*read == checkpoint.tensors);
    }
    ASSERT_EQ(store_->Get(MetaKey{})->next_event_sequence(), next_event_);
  }

 private:
  struct Checkpoint {
    uint64_t publish;
    std::vector<NamedBytes> tensors;
  };

  std::map<TaskKey, std::string> Rows() {
    std::map<TaskKey, std::string> rows;
    const absl::Status status =
        store_->Scan<TaskKey>(AllOf<TaskKey>(), [&rows](const TaskKey& key, const v1::TaskRecord& task) {
          rows[key] = task.SerializeAsString();
          return absl::OkStatus();
        });
    EXPECT_TRUE(status.ok()) << status;
    return rows;
  }

  uint64_t Below(uint64_t bound) { return random_() % bound; }

  void Reopen() {
    store_.reset();
    store_ = Store::Open(kMemoryPath, disk_.get()).value();
  }

  // A transaction of a few puts, deletions and events, of which every fourth is refused by its body.
  void ChangeTasks() {
    std::map<TaskKey, std::string> rows = rows_;
    uint64_t event = next_event_;
    const bool is_refused = Below(4) == 0;
    const absl::Status status = store_->Transact([&](Transaction& transaction) -> absl::Status {
      for (uint64_t i = Below(5) + 1; i > 0; --i) {
        const TaskKey key = {Below(3) + 2, kStage, static_cast<uint32_t>(Below(4))};
        if (Below(3) == 0) {
          rows.erase(key);
          transaction.Delete(key);
        } else {
          v1::TaskRecord task = LeasedTask(key.run_id, key.layer, random_());
          task.set_message(std::string(Below(3000), static_cast<char>('a' + Below(26))));
          transaction.Put(task);
          task.set_version(kRecordVersion);
          rows[key] = task.SerializeAsString();
        }
        EXPECT_EQ(transaction.AddEvent(v1::EventRecord()), event++);
        EXPECT_EQ(transaction.Get(key).ok(), rows.contains(key));
      }
      return is_refused ? absl::CancelledError("refused") : absl::OkStatus();
    });
    EXPECT_EQ(status.ok(), !is_refused) << status;
    if (is_refused) return;
    rows_ = rows;
    next_event_ = event;
  }

  std::vector<NamedBytes> RandomTensors() {
    std::vector<NamedBytes> tensors;
    for (uint64_t i = Below(3) + 1; i > 0; --i) {
      const uint64_t size = Below(2) == 0 ? Below(5) : kChunkBytes * Below(3) + Below(2);
      // The first byte differs from tensor to tensor, so that each publish has a range of its own.
      tensors.push_back({absl::StrCat("t", i), absl::StrCat(++tensor_count_, "|", Noise(size, random_()))});
    }
    return tensors;
  }

  // A loss that falls, so that a task keeps one manifest, its last and best.
  void PublishLayer() {
    const auto layer = static_cast<uint32_t>(Below(3));
    Checkpoint checkpoint = {0, RandomTensors()};
    ++step_;
    const auto publish =
        Publish(*store_, layer, 1, step_, 1.0 / static_cast<double>(step_), checkpoint.tensors);
    ASSERT_TRUE(publish.ok()) << publish.status();
    checkpoint.publish = *publish;
    checkpoints_[layer] = checkpoint;
    const TaskKey key = {1, kStage, layer};
    rows_[key] = store_->Get(key)->SerializeAsString();
    EXPECT_EQ(store_->Get(key)->last_publish(), *publish);
  }

  void GiveUpPublish() {
    const std::vector<NamedBytes> tensors = RandomTensors();
    const auto writer = BeginPublish(*store_, {Declare(1, 0, 1, tensors)}).value();
    ASSERT_TRUE(Send(*writer, {tensors}).ok());
    EXPECT_TRUE(Below(2) == 0 || writer->Finish().ok());
  }

  std::mt19937_64 random_;
  std::unique_ptr<rocksdb::Env> disk_ = MemoryDisk();
  std::unique_ptr<Store> store_ = OpenWithTasks(kMemoryPath, 3, disk_.get());
  std::map<TaskKey, std::string> rows_ = Rows();
  std::map<uint32_t, Checkpoint> checkpoints_;  // by layer
  uint64_t next_event_ = 1;
  uint64_t step_ = 0;
  uint64_t tensor_count_ = 0;
};

TEST(StoreModel, AgreesWithAMap) {
  const char* given = std::getenv("RETORT_SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
  SCOPED_TRACE(absl::StrCat("RETORT_SEED=", seed));
  StoreModel model(seed);
  for (int step = 0; step < 120 && !testing::Test::HasFatalFailure(); ++step) {
    model.Step();
    model.Compare();
  }
}

}  // namespace
}  // namespace retort
