#include "worker/run/local_run.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <thread>

#include "absl/strings/str_cat.h"
#include "core/base/clock.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"
#include "model/lm/torch_seam.h"
#include "model/student/make_student.h"
#include "model/student/student_directory.h"
#include "model/teacher/llama.h"
#include "train/data/eval_windows.h"
#include "train/eval/evaluate.h"
#include "train/eval/free_running.h"
#include "train/optim/schedule.h"
#include "train/stages/end_to_end.h"
#include "train/stages/slice.h"
#include "train/stages/stage_plan.h"
#include "worker/run/input_hashes.h"
#include "worker/run/metrics_log.h"
#include "worker/run/result_json.h"
#include "worker/run/run_checkpoint.h"
#include "worker/run/run_identity.h"
#include "worker/run/this_machine.h"

namespace retort {
namespace {

using nlohmann::json;

constexpr char kCheckpointFile[] = "checkpoint.safetensors";
constexpr char kResultFile[] = "result.json";

// The stage under way: its trainers, behind what the loop needs of them.
class ActiveStage {
 public:
  ActiveStage(const StagePlan& plan, const LanguageModel& teacher, LanguageModel& student,
              const Batches& batches) {
    if (plan.stage == Stage::kEndToEnd) {
      end_to_end_ = std::make_unique<EndToEnd>(plan, teacher, student, batches);
      return;
    }
    for (int64_t l = 0; l < student.config.num_layers(); ++l) {
      if (student.converted(l)) layers_.push_back(l);
    }
    slice_ = std::make_unique<Slice>(plan, teacher, student, batches, layers_);
  }

  // One loss per layer of layers(), or one for the whole student. After an error, CANCELLED when `stop` is
  // set, the step was not applied.
  absl::StatusOr<std::vector<double>> Step(int64_t step, const std::atomic<bool>& stop) {
    std::vector<double> losses;
    if (slice_ != nullptr) {
      ASSIGN_OR_RETURN(const SliceStep trained, slice_->Step(step, layers_, stop));
      for (const TrainedLayer& layer : trained.layers) losses.push_back(layer.loss);
    } else {
      ASSIGN_OR_RETURN(const double loss, end_to_end_->Step(step, stop));
      losses.push_back(loss);
    }
    return losses;
  }

  // Empty in stage 3.
  const std::vector<int64_t>& layers() const { return layers_; }

  std::vector<AdamW*> optimizers() {
    if (end_to_end_ != nullptr) return {&end_to_end_->optimizer()};
    std::vector<AdamW*> optimizers;
    for (const int64_t layer : layers_) optimizers.push_back(&slice_->trainer(layer).optimizer());
    return optimizers;
  }

 private:
  std::vector<int64_t> layers_;
  std::unique_ptr<Slice> slice_;
  std::unique_ptr<EndToEnd> end_to_end_;
};

// One run, from its opened inputs to its result. Every phase leaves `state_` such that a save at its end is a
// point to resume from.
class LocalRun {
 public:
  LocalRun(const LocalRunOptions& options, Progress& progress, const std::atomic<bool>& stop)
      : options_(options), progress_(progress), stop_(stop), plans_(PlanStages(options.job)) {}

  absl::StatusOr<RunEnd> Run();

 private:
  absl::Status OpenInputs();
  absl::Status OpenStudent();
  // Of the finished run in out_dir; null when there is none.
  absl::StatusOr<json> FinishedIdentity() const;
  // Of the student, or of the teacher itself, on held-out and off-domain text; shown as "measuring `what`".
  absl::StatusOr<json> Measure(const LanguageModel& model, const std::string& what);
  absl::Status MeasureStart();
  absl::Status Train(const StagePlan& plan);
  absl::Status LogStep(const StagePlan& plan, const ActiveStage& stage, const std::vector<double>& losses,
                       double step_seconds);
  absl::Status FinishStage(const StagePlan& plan);
  absl::Status Finish();
  absl::Status Save(const std::vector<AdamW*>& optimizers);
  void RemoveCheckpoint() const;
  void CountTime();
  std::filesystem::path File(const char* name) const { return options_.out_dir / name; }

  const LocalRunOptions& options_;
  Progress& progress_;
  const std::atomic<bool>& stop_;
  const std::vector<StagePlan> plans_;
  RunInputs inputs_;
  LanguageModel teacher_, student_;
  std::optional<Batches> batches_;
  std::optional<MetricsLog> metrics_;
  TokenWindows eval_windows_, off_domain_windows_;  // the latter empty: none
  FreeRunningReference free_running_;
  std::optional<Checkpoint> resumed_;
  RunState state_;
  double counted_until_ = MonotonicSeconds();
};

WindowLimits LimitsOf(const v1::JobSpec& job, const ModelConfig& config) {
  return {.max_window = static_cast<int>(std::min<int64_t>(job.data().seq_len(), config.context)),
          .max_tokens = job.evaluation().tokens(),
          .vocab_size = static_cast<int32_t>(config.vocab_size)};
}

absl::Status LocalRun::OpenInputs() {
  ASSIGN_OR_RETURN(teacher_, LoadLlama(inputs_.teacher));
  const v1::DataSpec& data = options_.job.data();
  if (data.seq_len() > teacher_.config.context) {
    return absl::InvalidArgumentError(absl::StrCat("data.seq_len is ", data.seq_len(),
                                                   ", longer than the teacher's context of ",
                                                   teacher_.config.context));
  }
  ASSIGN_OR_RETURN(ModelConfig config, StudentConfig(teacher_.config, options_.job.student()));
  student_ = MakeStudent(teacher_, config, options_.job.student().init(), data.seed());
  ASSIGN_OR_RETURN(batches_, Batches::Open(inputs_.train, data.seq_len(), data.seed(), config.vocab_size));
  const WindowLimits limits = LimitsOf(options_.job, config);
  ASSIGN_OR_RETURN(eval_windows_, EvalWindows(inputs_.eval, limits));
  if (!inputs_.off_domain.empty()) {
    ASSIGN_OR_RETURN(off_domain_windows_, EvalWindows(inputs_.off_domain, limits));
  }
  return absl::OkStatus();
}

absl::Status LocalRun::OpenStudent() {
  if (resumed_) {
    state_ = resumed_->state();
    RETURN_IF_ERROR(resumed_->LoadStudent(student_));
  }
  ASSIGN_OR_RETURN(metrics_, MetricsLog::Open(File("metrics.jsonl"), state_.metrics_bytes));
  if (metrics_->bytes() < state_.metrics_bytes) {
    progress_.Note(absl::StrCat("metrics.jsonl has lost ", state_.metrics_bytes - metrics_->bytes(),
                                " bytes since the checkpoint: losses of earlier steps are missing in it"));
  }
  const v1::EvaluationSpec& spec = options_.job.evaluation();
  if (spec.prompts() == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(free_running_, MakeFreeRunningReference(teacher_, eval_windows_, spec, stop_));
  const int64_t found = free_running_.prompts_BT.defined() ? free_running_.prompts_BT.size(0) : 0;
  if (found < spec.prompts()) {
    progress_.Note(absl::StrCat("free-running agreement: data.eval gives ", found, " prompts of ",
                                spec.prompt_tokens(), " tokens, not ", spec.prompts()));
  }
  return absl::OkStatus();
}

absl::StatusOr<json> LocalRun::Measure(const LanguageModel& model, const std::string& what) {
  const LanguageModel* beside = &model == &teacher_ ? nullptr : &teacher_;
  const auto windows = static_cast<int64_t>(eval_windows_.size() + off_domain_windows_.size());
  progress_.StartPhase("measuring " + what, 0, windows, "window");
  int64_t measured_windows = 0;
  const auto on_window = [&] { progress_.Step({.step = ++measured_windows}); };
  ASSIGN_OR_RETURN(const Quality quality, Evaluate(model, beside, eval_windows_, stop_, on_window));
  json measured = QualityJson(quality);
  if (beside != nullptr && free_running_.prompts_BT.defined()) {
    ASSIGN_OR_RETURN(measured["free_running_agreement"], FreeRunningAgreement(model, free_running_, stop_));
  }
  if (!off_domain_windows_.empty()) {
    ASSIGN_OR_RETURN(const Quality off_domain,
                     Evaluate(model, nullptr, off_domain_windows_, stop_, on_window));
    measured["off_domain"] = QualityJson(off_domain);
  }
  progress_.EndPhase();
  return measured;
}

absl::Status LocalRun::MeasureStart() {
  ASSIGN_OR_RETURN(state_.result["teacher"], Measure(teacher_, "the teacher"));
  ASSIGN_OR_RETURN(state_.result["initial"], Measure(student_, "the untrained student"));
  CountTime();
  return Save({});
}

absl::Status LocalRun::Train(const StagePlan& plan) {
  ActiveStage stage(plan, teacher_, student_, *batches_);
  if (resumed_ && state_.step > 0) {
    for (AdamW* optimizer : stage.optimizers()) RETURN_IF_ERROR(resumed_->LoadOptimizer(*optimizer));
  }
  resumed_.reset();
  progress_.StartPhase(StageName(plan.stage), state_.step, plan.steps);
  const int64_t save_every = options_.job.checkpoint().every_steps();
  while (state_.step < plan.steps) {
    const double begin = MonotonicSeconds();
    const absl::StatusOr<std::vector<double>> losses = stage.Step(state_.step, stop_);
    if (absl::IsCancelled(losses.status())) RETURN_IF_ERROR(Save(stage.optimizers()));
    if (!losses.ok()) return losses.status();
    const double step_seconds = MonotonicSeconds() - begin;
    state_.stage_seconds += step_seconds;
    RETURN_IF_ERROR(LogStep(plan, stage, *losses, step_seconds));
    ++state_.step;
    progress_.Step({.step = state_.step,
                    .loss = state_.loss_last,
                    .tokens_per_second = plan.tokens_per_step() / step_seconds});
    if (state_.step % save_every == 0 || state_.step == plan.steps) RETURN_IF_ERROR(Save(stage.optimizers()));
  }
  progress_.EndPhase();
  return absl::OkStatus();
}

absl::Status LocalRun::LogStep(const StagePlan& plan, const ActiveStage& stage,
                               const std::vector<double>& losses, double step_seconds) {
  state_.loss_last = std::accumulate(losses.begin(), losses.end(), 0.0) / static_cast<double>(losses.size());
  if (state_.step == 0) state_.loss_first = state_.loss_last;
  for (size_t i = 0; i < losses.size(); ++i) {
    const json layer = stage.layers().empty() ? json(nullptr) : json(stage.layers()[i]);
    RETURN_IF_ERROR(metrics_->Append({{"stage", StageName(plan.stage)},
                                      {"step", state_.step + 1},
                                      {"layer", layer},
                                      {"loss", losses[i]},
                                      {"lr", WsdRate(state_.step, plan.steps, plan.lr)},
                                      {"step_seconds", step_seconds}}));
  }
  return absl::OkStatus();
}

absl::Status LocalRun::FinishStage(const StagePlan& plan) {
  ASSIGN_OR_RETURN(const json student, Measure(student_, "the student"));
  const int64_t tokens = plan.steps * plan.tokens_per_step();
  state_.result["stages"].push_back({{"name", StageName(plan.stage)},
                                     {"tokens", tokens},
                                     {"seconds", state_.stage_seconds},
                                     {"loss_first", state_.loss_first},
                                     {"loss_last", state_.loss_last},
                                     {"student", student}});
  state_.result["tokens_per_second"][StageName(plan.stage)] =
      static_cast<double>(tokens) / state_.stage_seconds;
  ++state_.stage;
  state_.step = 0;
  state_.stage_seconds = 0;
  return Save({});
}

absl::Status LocalRun::Finish() {
  json& result = state_.result;
  result["student"] = result["stages"].back()["student"];
  if (!off_domain_windows_.empty()) {
    result["off_domain"] = {{"teacher", result["teacher"]["off_domain"]},
                            {"student", result["student"]["off_domain"]}};
  }
  RETURN_IF_ERROR(SaveStudent(student_, inputs_.teacher, File("student")));
  CountTime();
  result["seconds"] = state_.seconds;
  result["peak_memory_bytes"] = state_.peak_memory_bytes;
  RETURN_IF_ERROR(WriteFileAtomically(File(kResultFile), result.dump(2) + "\n"));
  RemoveCheckpoint();
  return absl::OkStatus();
}

void LocalRun::RemoveCheckpoint() const {
  std::error_code ignored;  // a checkpoint left behind costs space only: result.json ends the run
  std::filesystem::remove(File(kCheckpointFile), ignored);
}

void LocalRun::CountTime() {
  const double now = MonotonicSeconds();
  state_.seconds += now - counted_until_;
  counted_until_ = now;
  state_.peak_memory_bytes = std::max(state_.peak_memory_bytes, PeakMemoryBytes());
}

absl::Status LocalRun::Save(const std::vector<AdamW*>& optimizers) {
  CountTime();
  state_.metrics_bytes = metrics_->bytes();
  return SaveCheckpoint(File(kCheckpointFile), state_, teacher_, student_, optimizers);
}

absl::StatusOr<json> LocalRun::FinishedIdentity() const {
  std::error_code error;
  if (!std::filesystem::exists(File(kResultFile), error) && !error) return json();
  ASSIGN_OR_RETURN(const std::string text, ReadFile(File(kResultFile)));
  const json result = json::parse(text, nullptr, /*allow_exceptions=*/false);
  const bool whole = result.is_object() && result.contains("identity") && result.contains("student") &&
                     result.contains("seconds") && result.contains("peak_memory_bytes");
  if (!whole) {
    return absl::DataLossError(absl::StrCat(File(kResultFile).string(),
                                            " is not a run's result; remove it or choose another --out"));
  }
  return result["identity"];
}

absl::StatusOr<RunEnd> LocalRun::Run() {
  ASSIGN_OR_RETURN(inputs_, ResolveInputs(options_.job, options_.roots));
  ASSIGN_OR_RETURN(resumed_, Checkpoint::Open(File(kCheckpointFile)));
  ASSIGN_OR_RETURN(const json finished, FinishedIdentity());
  const json& saved = resumed_ ? resumed_->state().identity : finished;
  int threads = options_.threads;
  if (threads == 0 && saved.contains("threads") && saved["threads"].is_number_integer())
    threads = saved["threads"];
  if (threads == 0) threads = static_cast<int>(std::thread::hardware_concurrency());
  SetComputeThreads(threads);
  ASSIGN_OR_RETURN(const v1::InputHashes hashes, InputHasher().Hash(options_.job, inputs_, stop_));
  const json identity = RunIdentity(options_.job, hashes, NumericsHere(options_.job.micro_batch()));
  if (!saved.is_null()) RETURN_IF_ERROR(CheckIdentity(saved, identity, options_.out_dir));
  if (!finished.is_null()) {
    progress_.Note(
        absl::StrCat(options_.out_dir.string(), " holds this run's result already; nothing to do"));
    RemoveCheckpoint();
    return RunEnd::kCompleted;
  }

  RETURN_IF_ERROR(OpenInputs());
  state_.identity = identity;
  state_.result = NewResult(options_.job.name(), identity);
  RETURN_IF_ERROR(OpenStudent());
  if (resumed_) {
    progress_.Note(absl::StrCat("going on from ", File(kCheckpointFile).string()));
  }
  if (!state_.result.contains("initial")) RETURN_IF_ERROR(MeasureStart());
  while (state_.stage < static_cast<int64_t>(plans_.size())) {
    const StagePlan& plan = plans_[state_.stage];
    if (state_.step < plan.steps) RETURN_IF_ERROR(Train(plan));
    RETURN_IF_ERROR(FinishStage(plan));
  }
  RETURN_IF_ERROR(Finish());
  return RunEnd::kCompleted;
}

}  // namespace

absl::StatusOr<RunEnd> RunLocally(const LocalRunOptions& options, Progress& progress,
                                  const std::atomic<bool>& stop) {
  std::error_code error;
  std::filesystem::create_directories(options.out_dir, error);
  if (error) {
    return absl::ErrnoToStatus(error.value(),
                               absl::StrCat("cannot create directory ", options.out_dir.string()));
  }
  ASSIGN_OR_RETURN(const DirectoryLock lock, DirectoryLock::Acquire(options.out_dir));
  RemoveStaleTemporaries(options.out_dir);
  RemoveStaleTemporaries(options.out_dir / "student");
  const absl::StatusOr<RunEnd> end =
      CatchTorch("the run", [&] { return LocalRun(options, progress, stop).Run(); });
  if (absl::IsCancelled(end.status())) {
    const bool saved = std::filesystem::exists(options.out_dir / kCheckpointFile, error);
    return saved ? RunEnd::kInterrupted : RunEnd::kInterruptedUnsaved;
  }
  return end;
}

}  // namespace retort
