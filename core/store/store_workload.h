// A workload for tests that interrupt it, and what must be there afterwards.
#pragma once

#include <set>

#include "core/store/store_fixture.h"

namespace retort {

// What layer 0's checkpoint of a step holds: one tensor that stays, one that changes.
inline std::vector<NamedBytes> TensorsOf(uint64_t step) {
  return {{"frozen", Noise(300, 1)}, {"moving", Noise(kChunkBytes + 10, step + 2)}};
}

// Publishes the steps after `acknowledged` up to `last_step`, each with an event in a transaction of its own,
// until an operation fails. Returns the last step whose commit was acknowledged, which `acknowledge` hears of
// at once.
template <class Acknowledge>
uint64_t Work(Store& store, uint64_t acknowledged, uint64_t last_step, Acknowledge acknowledge) {
  while (acknowledged < last_step) {
    const uint64_t step = acknowledged + 1;
    if (!Publish(store, 0, 1, step, 1.0 / static_cast<double>(step), TensorsOf(step)).ok()) break;
    acknowledged = step;
    acknowledge(step);
    const absl::Status status = store.Transact([step](Transaction& transaction) {
      v1::EventRecord event;
      event.set_kind(v1::EVENT_KIND_CHECKPOINT_PUBLISHED);
      event.add_steps(step);
      transaction.AddEvent(event);
      return absl::OkStatus();
    });
    if (!status.ok()) break;
  }
  return acknowledged;
}

// What is there after a cut: step `acknowledged`, or the one whose commit was under way, as a whole.
inline void ExpectWhole(Store& store, uint64_t acknowledged) {
  const auto task = store.Get(TaskKey{1, kStage, 0});
  ASSERT_TRUE(task.ok()) << task.status();
  EXPECT_GE(task->step(), acknowledged);
  EXPECT_LE(task->step(), acknowledged + 1);
  const auto events = store.List(EventsFrom(1));
  ASSERT_TRUE(events.ok()) << events.status();
  EXPECT_GE(events->size() + 1, acknowledged);
  EXPECT_LE(events->size(), task->step());
  if (task->step() == 0) {
    EXPECT_THAT(Ranges(store), testing::IsEmpty());
    return;
  }
  const auto tensors = ReadCheckpoint(store, {1, kStage, 0, task->last_publish()});
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  EXPECT_TRUE(*tensors == TensorsOf(task->step()));
  const auto manifest = store.Get(ManifestKey{1, kStage, 0, task->last_publish()});
  const std::set<uint64_t> referred = PublishesOf(*manifest);
  EXPECT_THAT(Ranges(store), testing::ElementsAreArray(referred));
}

}  // namespace retort
