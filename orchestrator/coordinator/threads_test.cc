// What waits for what, and that many threads at once leave a State that fits together.
#include <atomic>
#include <condition_variable>
#include <thread>

#include "gmock/gmock.h"
#include "orchestrator/coordinator/coordinator_fixture.h"
#include "rocksdb/file_system.h"
#include "tests/support/child_process.h"

namespace retort::orchestrator {
namespace {

using absl::StatusCode;

// A disk in memory on which syncs take until it is let go.
class SlowDisk {
 public:
  SlowDisk() : memory_(MemoryDisk()) {
    env_ = rocksdb::NewCompositeEnv(std::make_shared<Disk>(memory_->GetFileSystem(), *this));
  }
  rocksdb::Env* env() { return env_.get(); }

  void Hold() {
    MutexLock lock(mutex_);
    is_held_ = true;
  }
  void LetGo() {
    {
      MutexLock lock(mutex_);
      is_held_ = false;
    }
    let_go_.notify_all();
  }
  bool has_waiting() {
    MutexLock lock(mutex_);
    return waiting_ > 0;
  }

 private:
  class File : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    File(std::unique_ptr<rocksdb::FSWritableFile> target, SlowDisk& disk)
        : FSWritableFileOwnerWrapper(std::move(target)), disk_(disk) {}
    rocksdb::IOStatus Sync(const rocksdb::IOOptions& options, rocksdb::IODebugContext* context) override {
      disk_.Wait();
      return FSWritableFileOwnerWrapper::Sync(options, context);
    }

   private:
    SlowDisk& disk_;
  };
  class Disk : public rocksdb::FileSystemWrapper {
   public:
    Disk(const std::shared_ptr<FileSystem>& target, SlowDisk& disk)
        : FileSystemWrapper(target), disk_(disk) {}
    const char* Name() const override { return "SlowDisk"; }
    rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSWritableFile>* result,
                                      rocksdb::IODebugContext* context) override {
      std::unique_ptr<rocksdb::FSWritableFile> file;
      const rocksdb::IOStatus status = target()->NewWritableFile(path, options, &file, context);
      if (status.ok()) *result = std::make_unique<File>(std::move(file), disk_);
      return status;
    }

   private:
    SlowDisk& disk_;
  };

  void Wait() {
    MutexLock lock(mutex_);
    ++waiting_;
    let_go_.wait(mutex_, [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return !is_held_; });
    --waiting_;
  }

  std::unique_ptr<rocksdb::Env> memory_;
  std::unique_ptr<rocksdb::Env> env_;
  Mutex mutex_;
  std::condition_variable_any let_go_;
  bool is_held_ ABSL_GUARDED_BY(mutex_) = false;
  int waiting_ ABSL_GUARDED_BY(mutex_) = 0;
};

class ThreadsTest : public testing::Test {
 protected:
  ThreadsTest() : on_(disk_.env()) {
    EXPECT_EQ(on_.Start(), absl::OkStatus());
    for (const char* worker : {"w1", "w2"}) EXPECT_EQ(on_.Register(worker), absl::OkStatus());
    EXPECT_EQ(on_.Submit().status(), absl::OkStatus());
    prepare_ = on_.TakeSlice("w1").value();
    EXPECT_NE(prepare_.token(), 0u);
  }

  v1::HeartbeatRequest HeartbeatOf(const std::string& worker, uint64_t token) const {
    auto request = on_.From<v1::HeartbeatRequest>(worker);
    if (token != 0) request.mutable_progress()->set_token(token);
    if (token != 0) request.mutable_progress()->set_phase(v1::SLICE_PHASE_TRAINING);
    return request;
  }

  SlowDisk disk_;
  CoordinatorOnDisk on_;
  v1::Slice prepare_;
};

TEST_F(ThreadsTest, HeartbeatsAndQuestionsDoNotWaitForTheDisk) {
  disk_.Hold();
  std::thread submitting([this] { EXPECT_EQ(on_.Submit("another").status(), absl::OkStatus()); });
  ASSERT_TRUE(Eventually(10, [this] { return disk_.has_waiting(); }));
  const auto holder = on_.coordinator->TryHeartbeat(HeartbeatOf("w1", prepare_.token()));
  ASSERT_TRUE(holder.has_value());
  EXPECT_EQ((*holder)->verdict().action(), v1::LEASE_ACTION_CONTINUE);
  EXPECT_TRUE(on_.coordinator->TryHeartbeat(HeartbeatOf("w2", 0)).has_value());
  EXPECT_EQ(on_.coordinator->List({})->runs_size(), 1) << "the other is not on the disk yet";
  disk_.LetGo();
  submitting.join();
  EXPECT_EQ(on_.coordinator->List({})->runs_size(), 2);
}

TEST_F(ThreadsTest, AHeartbeatOfALeaseThatIsBeingChangedWaits) {
  disk_.Hold();
  std::thread completing([this] { EXPECT_EQ(on_.Complete("w1", prepare_), absl::OkStatus()); });
  ASSERT_TRUE(Eventually(10, [this] { return disk_.has_waiting(); }));
  EXPECT_FALSE(on_.coordinator->TryHeartbeat(HeartbeatOf("w1", prepare_.token())).has_value());
  EXPECT_TRUE(on_.coordinator->TryHeartbeat(HeartbeatOf("w2", 0)).has_value());
  disk_.LetGo();
  completing.join();
  EXPECT_EQ(on_.Heartbeat("w1", prepare_.token())->verdict().action(), v1::LEASE_ACTION_STOP);
}

TEST_F(ThreadsTest, ManyAtOnceLeaveAStateThatFitsTogether) {
  ASSERT_EQ(on_.DoSlice("w1", prepare_), absl::OkStatus());
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  for (const char* worker : {"w1", "w2"}) {
    threads.emplace_back([&, worker] {
      while (!stop) {
        EXPECT_TRUE(on_.coordinator->Heartbeat(HeartbeatOf(worker, 0)).ok());
        std::this_thread::yield();
      }
    });
  }
  threads.emplace_back([&] {
    while (!stop) {
      EXPECT_TRUE(on_.coordinator->ListWorkers().ok());
      EXPECT_TRUE(on_.coordinator->Watch(1, 0, 5).ok());
      std::this_thread::yield();
    }
  });
  for (int i = 0; i < 50; ++i) {
    on_.coordinator->Tick();
    const std::string name = absl::StrCat("run", i);
    ASSERT_EQ(on_.Submit(name).status(), absl::OkStatus());
    v1::CancelRequest cancel;
    cancel.set_request_id("cancel " + name);
    cancel.mutable_run()->set_name(name);
    ASSERT_EQ(on_.coordinator->Cancel(cancel).status(), absl::OkStatus());
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(CheckInvariants(on_.coordinator->state()), testing::IsEmpty());
  EXPECT_EQ(on_.coordinator->state().workers.size(), 2u);
  ASSERT_EQ(on_.Start(), absl::OkStatus());
  EXPECT_EQ(on_.coordinator->state().runs.size(), 51u);
}

}  // namespace
}  // namespace retort::orchestrator
