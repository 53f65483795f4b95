#include "tests/system/cluster_fixture.h"

#include <gmock/gmock.h>
#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "core/config/job_file.h"
#include "train/data/testing_dataset.h"

namespace retort {
namespace {

// Under `token`; 0: under any.
std::optional<v1::Event> FirstOfStageTwo(const RunHistory& history, v1::EventKind kind, uint64_t token = 0) {
  for (const v1::Event& event : history.OfKind(kind)) {
    const bool is_under_token = token == 0 || event.token() == token;
    if (is_under_token && event.stage() == v1::STAGE_HIDDEN_STATE_ALIGNMENT) return event;
  }
  return std::nullopt;
}

}  // namespace

v1::JobSpec ClusterJob::Spec() const {
  constexpr uint64_t kStepTokens = 256;
  const std::filesystem::path file = TestPath("job.yaml");
  WriteChangedJob(
      file,
      {{"matrix_orientation:     {tokens: 5120",
        absl::StrCat("matrix_orientation:     {tokens: ", orientation_steps * kStepTokens)},
       {"hidden_state_alignment: {tokens: 5120",
        absl::StrCat("hidden_state_alignment: {tokens: ", alignment_steps * kStepTokens)},
       {"end_to_end:             {tokens: 5120",
        absl::StrCat("end_to_end:             {tokens: ", end_to_end_steps * kStepTokens)},
       {"world_size: 1", absl::StrCat("world_size: ", world_size, ", elastic: ", elastic ? "true" : "false")},
       {"{every: 8 steps}", absl::StrCat("{every: ", interval_steps, " steps}")}});
  return LoadJob(file, {TinyJobDirectory()}).value();
}

uint64_t ClusterJob::StepsOf(v1::Stage stage) const {
  if (stage == v1::STAGE_MATRIX_ORIENTATION) return orientation_steps;
  if (stage == v1::STAGE_END_TO_END) return end_to_end_steps;
  return stage == v1::STAGE_HIDDEN_STATE_ALIGNMENT ? alignment_steps : 0;
}

void ClusterTest::StartWorkers(Cluster& cluster, const std::vector<std::string>& names) {
  for (const std::string& name : names) cluster.StartWorker(name, TinyJobDirectory());
  AwaitWorkers(cluster, names.size());
}

void ClusterTest::AwaitWorkers(Cluster& cluster, size_t count) {
  ASSERT_TRUE(Eventually(kDeadlineSeconds, [&] { return cluster.registered_workers() == count; }));
}

Files ClusterTest::ResultOf(Cluster& cluster, const RunHistory& history, uint64_t run_id) {
  EXPECT_TRUE(history.HasEnded(kDeadlineSeconds)) << history.Render();
  EXPECT_EQ(history.status().summary().state(), v1::RUN_STATE_SUCCEEDED) << history.Render();
  if (history.status().summary().state() != v1::RUN_STATE_SUCCEEDED) return {};
  return cluster.Download(run_id);
}

const Files& ClusterTest::Undisturbed(const ClusterJob& job) {
  static std::map<ClusterJob, Files> files;
  if (!files.contains(job)) {
    Cluster cluster(RETORT_BIN_DIR);
    std::vector<std::string> names;
    for (uint32_t rank = 0; rank < job.world_size; ++rank) names.push_back(absl::StrCat("calm-", rank));
    StartWorkers(cluster, names);
    const uint64_t run_id = cluster.Submit(job.Spec());
    const RunHistory history(cluster.address(), run_id);
    files[job] = ResultOf(cluster, history, run_id);
  }
  return files[job];
}

void ClusterTest::ExpectTheUndisturbedStudent(const Files& files, const ClusterJob& job) {
  std::set<std::string> names;
  for (const auto& [name, bytes] : files) names.insert(name);
  EXPECT_THAT(names,
              testing::ElementsAre("metrics.jsonl", "report.json", "result.json", "student/config.json",
                                   "student/model.safetensors", "student/tokenizer.json"));
  for (const auto& [name, bytes] : files) {
    const bool times = name == "metrics.jsonl" || name == "result.json";
    EXPECT_TRUE(times || bytes == Undisturbed(job).at(name)) << name;
  }
}

std::string ClusterTest::StopInStageTwo(Cluster& cluster, const RunHistory& history, const ClusterJob& job) {
  constexpr int kRunMilliseconds = 5, kPauseMilliseconds = 20;
  std::optional<v1::Event> granted, published;
  EXPECT_TRUE(Eventually(kDeadlineSeconds, [&] {
    granted = FirstOfStageTwo(history, v1::EVENT_KIND_LEASE_GRANTED);
    return granted || history.HasEnded(0);
  }));
  if (!granted) return "";
  EXPECT_TRUE(Eventually(kDeadlineSeconds, [&] {
    cluster.worker(granted->worker_name()).Signal(SIGCONT);
    poll(nullptr, 0, kRunMilliseconds);
    cluster.worker(granted->worker_name()).Signal(SIGSTOP);
    poll(nullptr, 0, kPauseMilliseconds);
    published = FirstOfStageTwo(history, v1::EVENT_KIND_CHECKPOINT_PUBLISHED, granted->token());
    return published || history.HasEnded(0);
  }));
  const bool is_early = published && published->steps(0) < job.alignment_steps / 2;
  EXPECT_TRUE(is_early) << history.Render();
  return is_early ? granted->worker_name() : "";
}

bool ClusterTest::IsMidTraining(const v1::Event& event, const ClusterJob& job) {
  return std::any_of(event.steps().begin(), event.steps().end(),
                     [&](uint64_t step) { return step > 0 && step < job.StepsOf(event.stage()); });
}

std::vector<v1::Event> ClusterTest::EndedMidTraining(const RunHistory& history, const std::string& worker,
                                                     v1::EndCause cause, const ClusterJob& job) {
  std::vector<v1::Event> ended;
  for (const v1::Event& event : history.OfKind(v1::EVENT_KIND_LEASE_ENDED)) {
    const bool is_theirs = worker.empty() || event.worker_name() == worker;
    if (is_theirs && event.cause() == cause && IsMidTraining(event, job)) ended.push_back(event);
  }
  return ended;
}

bool ClusterTest::FallsIntoTraining(const RunHistory& history, int64_t unix_ms, const ClusterJob& job) {
  std::set<std::pair<v1::Stage, uint32_t>> begun;
  for (const v1::Event& event : history.OfKind(v1::EVENT_KIND_CHECKPOINT_PUBLISHED)) {
    for (int i = 0; i < event.layers_size(); ++i) {
      const std::pair<v1::Stage, uint32_t> task(event.stage(), event.layers(i));
      if (event.time_unix_ms() > unix_ms && begun.contains(task)) return true;
      const bool is_between = event.steps(i) > 0 && event.steps(i) < job.StepsOf(event.stage());
      if (event.time_unix_ms() <= unix_ms && is_between) begun.insert(task);
    }
  }
  return false;
}

}  // namespace retort
