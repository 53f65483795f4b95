// One request to submit, sent many times at once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "core/rpc/call.h"
#include "tests/system/cluster_fixture.h"

namespace retort {
namespace {

using testing::SizeIs;

TEST_F(ClusterTest, OneRequestSentTenTimesMakesOneRun) {
  constexpr std::chrono::milliseconds kDeadline{60'000};
  Cluster cluster(RETORT_BIN_DIR);
  StartWorkers(cluster, {"a"});
  v1::SubmitRequest request;
  request.set_request_id("the-same");
  *request.mutable_job() = ClusterJob().Spec();
  std::vector<uint64_t> run_ids(10);
  std::vector<std::thread> senders;
  for (uint64_t& run_id : run_ids) {
    senders.emplace_back([&cluster, &request, &run_id] {
      const auto reply = Call(cluster.stub(), &v1::RunService::Stub::Submit, request, kDeadline);
      EXPECT_TRUE(reply.ok()) << reply.status();
      if (reply.ok()) run_id = reply->run_id();
    });
  }
  for (std::thread& sender : senders) sender.join();
  EXPECT_THAT(std::set<uint64_t>(run_ids.begin(), run_ids.end()), SizeIs(1));
  const RunHistory history(cluster.address(), run_ids[0]);
  ExpectTheUndisturbedStudent(ResultOf(cluster, history, run_ids[0]));
  const auto list = Call(cluster.stub(), &v1::RunService::Stub::List, v1::ListRequest(), kDeadline);
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_EQ(list->runs_size(), 1);
}

}  // namespace
}  // namespace retort
