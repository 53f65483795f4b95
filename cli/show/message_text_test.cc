#include "cli/show/message_text.h"

#include "gtest/gtest.h"
#include "retort/v1/run_service.pb.h"

namespace retort {
namespace {

v1::RunSummary SomeRun() {
  v1::RunSummary run;
  run.set_run_id(3);
  run.set_name("null");
  run.set_state(v1::RUN_STATE_RUNNING);
  run.set_done_fraction(0.5);
  return run;
}

TEST(MessageJson, HasEveryFieldUnderItsProtoName) {
  EXPECT_EQ(
      MessageJsonLine(SomeRun()),
      "{\"run_id\":\"3\",\"name\":\"null\",\"state\":\"RUN_STATE_RUNNING\",\"reason\":\"\",\"priority\":0,"
      "\"created_unix_ms\":\"0\",\"finished_unix_ms\":\"0\",\"done_fraction\":0.5,\"remaining_seconds\":0,"
      "\"workers\":0}\n");
}

TEST(MessageJson, IsIndentedForPeople) {
  v1::SubmitReply reply;
  reply.set_run_id(7);
  EXPECT_EQ(MessageJson(reply), "{\n \"run_id\": \"7\"\n}\n");
}

TEST(MessageYaml, QuotesEveryText) {
  EXPECT_EQ(MessageYaml(SomeRun()),
            "run_id: \"3\"\nname: \"null\"\nstate: \"RUN_STATE_RUNNING\"\nreason: \"\"\npriority: 0\n"
            "created_unix_ms: \"0\"\nfinished_unix_ms: \"0\"\ndone_fraction: 0.5\nremaining_seconds: "
            "0\nworkers: 0\n");
}

TEST(MessageYaml, NestsListsAndMaps) {
  v1::ListWorkersReply reply;
  v1::PlanReply plan;
  plan.add_reasons("one: two");
  plan.mutable_seconds()->set_basis(v1::BASIS_ASSUMED);
  EXPECT_EQ(MessageYaml(plan),
            "stages:\n  []\nseconds:\n  value: 0\n  basis: \"BASIS_ASSUMED\"\n  measured_run_id: \"0\"\n"
            "reasons:\n  - \"one: two\"\n");
}

TEST(ErrorJsonLine, HasCodeAndRequest) {
  EXPECT_EQ(ErrorJsonLine(absl::NotFoundError("no run \"x\""), 4, "abc"),
            "{\"error\":{\"code\":\"NOT_FOUND\",\"exit_code\":4,\"message\":\"no run \\\"x\\\"\","
            "\"request_id\":\"abc\"}}\n");
  EXPECT_EQ(ErrorJsonLine(absl::InternalError("\xff"), 1, ""),
            "{\"error\":{\"code\":\"INTERNAL\",\"exit_code\":1,\"message\":\"\xEF\xBF\xBD\"}}\n");
}

}  // namespace
}  // namespace retort
