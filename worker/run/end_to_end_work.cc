#include "worker/run/end_to_end_work.h"

#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/status_macros.h"
#include "model/lm/torch_seam.h"
#include "model/student/make_student.h"
#include "model/student/student_directory.h"
#include "worker/run/rank_state.h"
#include "worker/run/report_json.h"
#include "worker/run/result_json.h"
#include "worker/run/run_identity.h"
#include "worker/run/this_machine.h"

namespace retort {
namespace {

using nlohmann::json;

constexpr char kMeasured[] = "result/measured";
constexpr char kTeacher[] = "teacher", kUntrained[] = "untrained";  // moments of ShowMatrixOnce

std::string Whose(const v1::CheckpointRef& ref) {
  return absl::StrCat("the checkpoint of ", StageName(static_cast<Stage>(ref.stage())), ", layer ",
                      ref.layer(), ", publish ", ref.publish());
}

std::vector<int64_t> Converted(const ModelConfig& config) {
  std::vector<int64_t> layers;
  for (int64_t l = 0; l < config.num_layers(); ++l) {
    if (config.layers[l] == MixerType::kMamba2) layers.push_back(l);
  }
  return layers;
}

}  // namespace

EndToEndWork::EndToEndWork(const v1::Slice& slice, const RunMaterial& material, LanguageModel teacher,
                           GangCalls& gang, std::optional<LeftRank>& left, Log& log)
    : assignment_(slice),
      rank_(slice.layers(0).layer()),
      left_(left),
      log_(log),
      inputs_(material.inputs()),
      teacher_(std::move(teacher)),
      student_(MakeStudent(teacher_, material.student_config(), slice.job().student().init(),
                           slice.job().data().seed())),
      batches_(material.batches()) {
  if (slice.gang().world_size() > 1) gang_.emplace(slice.gang(), gang, log);
  for (const StagePlan& plan : PlanStages(slice.job())) {
    if (plan.stage == Stage::kEndToEnd) {
      plan_ = plan;
    } else {
      earlier_.push_back({.plan = plan, .histories = {}, .student = nullptr});
    }
  }
}

absl::StatusOr<std::unique_ptr<EndToEndWork>> EndToEndWork::Load(
    const v1::Slice& slice, const RunMaterial& material, LanguageModel teacher, CheckpointSource& source,
    GangCalls& gang, std::optional<LeftRank>& left, Log& log, const std::atomic<bool>& stop,
    const std::function<void()>& on_measuring) {
  std::unique_ptr<EndToEndWork> work(new EndToEndWork(slice, material, std::move(teacher), gang, left, log));
  RETURN_IF_ERROR(work->CheckHandover());
  if (work->rank_ != 0) {
    RETURN_IF_ERROR(work->AssembleToTrain(source, stop));
    work->TakeLeft();
    return work;
  }
  ASSIGN_OR_RETURN(work->evaluation_, Evaluation::Open(slice.job(), work->inputs_, work->teacher_.config));
  on_measuring();
  RETURN_IF_ERROR(work->evaluation_->ContinuePrompts(work->teacher_, log, work->context(), stop));
  RETURN_IF_ERROR(slice.layers(0).has_checkpoint() ? work->Resume(source, stop)
                                                   : work->Assemble(source, stop));
  work->TakeLeft();
  return work;
}

void EndToEndWork::TakeLeft() {
  const std::optional<LeftRank> left = std::exchange(left_, std::nullopt);
  if (!left || training_ == nullptr || left->state.history.steps() <= history_.steps()) return;
  log_.Info(absl::StrCat("goes on from step ", left->state.history.steps(),
                         ", to which this worker had come as a rank before; the last checkpoint is of step ",
                         history_.steps()),
            context());
  TakeState(left->state, training_->optimizer(), history_);
  alike_generation_ = left->state.generation;
  is_unreported_ = true;
}

LogContext EndToEndWork::context() const {
  return {.run_id = assignment_.run_id(),
          .stage = v1::STAGE_END_TO_END,
          .token = assignment_.token(),
          .step = history_.steps()};
}

const v1::CheckpointRef* EndToEndWork::Handed(Stage stage, int64_t layer) const {
  for (const v1::CheckpointRef& ref : assignment_.handover()) {
    if (ref.stage() == static_cast<int>(stage) && ref.layer() == layer) return &ref;
  }
  return nullptr;
}

absl::Status EndToEndWork::CheckHandover() const {
  for (const StageRecord& stage : earlier_) {
    for (const int64_t layer : Converted(student_.config)) {
      if (Handed(stage.plan.stage, layer) != nullptr) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("the hand-over of run ", assignment_.run_id(), " lacks layer ", layer, " of ",
                       StageName(stage.plan.stage), ": the student cannot be assembled"));
    }
  }
  return absl::OkStatus();
}

absl::Status EndToEndWork::TakeStage(StageRecord& stage, CheckpointSource& source,
                                     const std::atomic<bool>& stop) {
  const bool student_too = stage.student.is_null();
  for (const int64_t layer : Converted(student_.config)) {
    if (stop.load()) return absl::CancelledError("loading stopped");
    const v1::CheckpointRef& ref = *Handed(stage.plan.stage, layer);
    ASSIGN_OR_RETURN(const SavedLayer history, source.Fetch(ref, "history/"));
    ASSIGN_OR_RETURN(stage.histories[layer],
                     LoadHistory(SavedTensors(history, Whose(ref)), static_cast<uint64_t>(stage.plan.steps)));
    if (!student_too) continue;
    ASSIGN_OR_RETURN(const SavedLayer saved, source.Fetch(ref, "student/"));
    RETURN_IF_ERROR(LoadStudentTensors(SavedTensors(saved, Whose(ref)), layer, student_));
  }
  return absl::OkStatus();
}

absl::Status EndToEndWork::MeasureOnce(json& measured, const std::string& what, const LanguageModel& model,
                                       const std::atomic<bool>& stop) {
  if (!measured.is_null()) return absl::OkStatus();
  const double begin = MonotonicSeconds();
  const LanguageModel* beside = &model == &teacher_ ? nullptr : &teacher_;
  ASSIGN_OR_RETURN(measured, evaluation_->Measure(model, beside, stop));
  const double seconds = MonotonicSeconds() - begin;
  json& sum = measured_["seconds"];
  sum = (sum.is_null() ? 0.0 : sum.get<double>()) + seconds;
  log_.Info(absl::StrFormat("%s: perplexity %.6g, measured in %.1f s", what,
                            measured["perplexity"].get<double>(), seconds),
            context());
  return absl::OkStatus();
}

absl::Status EndToEndWork::ShowMatrixOnce(const std::string& moment, const LanguageModel& model) {
  const std::optional<int64_t> layer = ShownLayer(student_.config);
  json& matrix = measured_["matrices"][moment];
  if (!layer || !matrix.is_null()) return absl::OkStatus();
  ASSIGN_OR_RETURN(matrix, HeadMatrixJson(model, teacher_, *layer, evaluation_->windows().front()));
  return absl::OkStatus();
}

absl::Status EndToEndWork::Assemble(CheckpointSource& source, const std::atomic<bool>& stop) {
  RETURN_IF_ERROR(MeasureOnce(measured_["teacher"], "the teacher", teacher_, stop));
  RETURN_IF_ERROR(ShowMatrixOnce(kTeacher, teacher_));
  RETURN_IF_ERROR(MeasureOnce(measured_["initial"], "the untrained student", student_, stop));
  RETURN_IF_ERROR(ShowMatrixOnce(kUntrained, student_));
  for (StageRecord& stage : earlier_) {
    const std::string name = StageName(stage.plan.stage);
    RETURN_IF_ERROR(TakeStage(stage, source, stop));
    RETURN_IF_ERROR(MeasureOnce(measured_["stages"][name], absl::StrCat("the student assembled after ", name),
                                student_, stop));
    RETURN_IF_ERROR(ShowMatrixOnce(name, student_));
    stage.student = measured_["stages"][name];
  }
  if (plan_) training_ = std::make_unique<EndToEnd>(*plan_, teacher_, student_, *batches_);
  return absl::OkStatus();
}

absl::Status EndToEndWork::AssembleToTrain(CheckpointSource& source, const std::atomic<bool>& stop) {
  RETORT_CHECK(plan_.has_value()) << "a gang without steps to take";
  if (assignment_.layers(0).has_checkpoint()) {
    const v1::CheckpointRef& ref = assignment_.layers(0).checkpoint();
    ASSIGN_OR_RETURN(const SavedLayer saved, source.Fetch(ref, ""));
    return TakeCheckpoint(SavedTensors(saved, Whose(ref)), saved.step);
  }
  if (!earlier_.empty()) {
    for (const int64_t layer : Converted(student_.config)) {
      if (stop.load()) return absl::CancelledError("loading stopped");
      const v1::CheckpointRef& ref = *Handed(earlier_.back().plan.stage, layer);
      ASSIGN_OR_RETURN(const SavedLayer saved, source.Fetch(ref, "student/"));
      RETURN_IF_ERROR(LoadStudentTensors(SavedTensors(saved, Whose(ref)), layer, student_));
    }
  }
  training_ = std::make_unique<EndToEnd>(*plan_, teacher_, student_, *batches_);
  return absl::OkStatus();
}

absl::Status EndToEndWork::TakeCheckpoint(const SavedTensors& tensors, uint64_t step) {
  if (step != assignment_.layers(0).next_step()) {
    return absl::DataLossError(absl::StrCat(Whose(assignment_.layers(0).checkpoint()), " is at step ", step,
                                            ", not ", assignment_.layers(0).next_step()));
  }
  RETURN_IF_ERROR(LoadStudentTensors(tensors, kWholeStudent, student_));
  ASSIGN_OR_RETURN(history_, LoadHistory(tensors, step));
  copied_steps_ = history_.steps();
  if (!plan_) return absl::OkStatus();
  training_ = std::make_unique<EndToEnd>(*plan_, teacher_, student_, *batches_);
  return LoadMoments(tensors, step, training_->optimizer());
}

absl::Status EndToEndWork::Resume(CheckpointSource& source, const std::atomic<bool>& stop) {
  const v1::CheckpointRef& ref = assignment_.layers(0).checkpoint();
  ASSIGN_OR_RETURN(const SavedLayer saved, source.Fetch(ref, ""));
  const SavedTensors tensors(saved, Whose(ref));
  ASSIGN_OR_RETURN(const std::string text, tensors.Text(kMeasured));
  measured_ = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!measured_.is_object() || !measured_.contains("seconds")) {
    return absl::DataLossError(absl::StrCat(Whose(ref), ": ", kMeasured, " is not what was measured"));
  }
  for (StageRecord& stage : earlier_) {
    stage.student = measured_["stages"][StageName(stage.plan.stage)];
    RETURN_IF_ERROR(TakeStage(stage, source, stop));
  }
  return TakeCheckpoint(tensors, saved.step);
}

absl::StatusOr<bool> EndToEndWork::EnterGang(const std::atomic<bool>& stop) {
  if (gang_->group() != nullptr) return true;
  ASSIGN_OR_RETURN(const bool has_joined, gang_->Join(stop, context()));
  if (!has_joined) return false;
  const size_t before = history_.steps();
  const absl::StatusOr<bool> has_taken = CatchTorch("entering the gang", [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const bool takes, TakeOverState(*gang_->group(), assignment_.gang().elastic(),
                                                     alike_generation_, training_->optimizer(), history_));
    training_->Join(gang_->group());
    return takes;
  });
  if (has_taken.ok()) {
    alike_generation_ = gang_->generation();
    if (*has_taken) LogTakeover(before);
    return true;
  }
  LeaveGang();
  if (!absl::IsUnavailable(has_taken.status())) return has_taken.status();
  log_.Warning(has_taken.status().message(), context());
  return false;
}

void EndToEndWork::LogTakeover(size_t from_step) {
  if (history_.steps() != from_step) {
    log_.Info(absl::StrCat("took another rank's state over, from step ", from_step, " to ", history_.steps()),
              context());
  } else {
    log_.Warning(absl::StrCat("took another rank's state over at step ", from_step,
                              ", to which it had come another way"),
                 context());
  }
}

void EndToEndWork::LeaveGang() {
  training_->Join(nullptr);
  gang_->Leave();
}

StepReport EndToEndWork::ReportHere(double seconds) const {
  StepReport report;
  report.layers.push_back(
      {.layer = rank_, .step = history_.steps(), .loss = history_.losses.back(), .seconds = seconds});
  return report;
}

absl::StatusOr<StepReport> EndToEndWork::Step(const std::atomic<bool>& stop) {
  UseComputeThreads();
  RETORT_CHECK(training_ != nullptr);
  if (std::exchange(is_unreported_, false)) return ReportHere(0);
  const uint64_t total = assignment_.layers(0).total_steps();
  if (gang_) {
    // At the last step a rank above 0 waits for a generation that would need its state.
    if (history_.steps() == total) LeaveGang();
    const size_t before = history_.steps();
    ASSIGN_OR_RETURN(const bool is_there, EnterGang(stop));
    if (!is_there) return StepReport();
    // At once, so that it is published even if no step follows.
    if (history_.steps() != before) return ReportHere(0);
    if (history_.steps() == total) return StepReport();
  }
  RETORT_CHECK(history_.steps() < total);
  const int ranks = gang_ ? gang_->group()->world_size() : 1;
  const double begin = MonotonicSeconds();
  const absl::StatusOr<double> loss =
      training_->Step(static_cast<int64_t>(history_.steps()), stop, gang_ ? gang_->ballot() : Ballot::kApply);
  if (gang_ && (!loss.ok() || training_->verdict() == Ballot::kApplyAndPart)) LeaveGang();
  if (gang_ && absl::IsUnavailable(loss.status())) {
    log_.Warning(absl::StrCat("the gang parts: ", loss.status().message()), context());
    return StepReport();
  }
  RETURN_IF_ERROR(loss.status());
  const double seconds = MonotonicSeconds() - begin;
  history_.losses.push_back(*loss);
  history_.seconds.push_back(ranks * seconds);
  return ReportHere(seconds);
}

std::vector<SavedLayer> EndToEndWork::Copy(const std::vector<uint32_t>&) {
  SavedLayer saved;
  saved.step = history_.steps();
  saved.loss = history_.MeanLossFrom(copied_steps_);
  SaveStudentTensors(student_, teacher_, kWholeStudent, saved);
  if (training_ != nullptr) SaveMoments(training_->optimizer(), saved);
  SaveHistory(history_, saved);
  saved.tensors.push_back(SaveText(kMeasured, measured_.dump()));
  SortByName(saved);
  copied_steps_ = history_.steps();
  std::vector<SavedLayer> copies;
  copies.push_back(std::move(saved));
  return copies;
}

void EndToEndWork::Drop(const std::vector<uint32_t>&) {
  const bool others_lack_it = rank_ != 0 && assignment_.gang().elastic() && history_.steps() > 0;
  if (training_ != nullptr && others_lack_it) {
    left_ = {assignment_.run_id(), assignment_.identity_sha256(),
             StateOf(training_->optimizer(), history_, alike_generation_)};
  }
  training_.reset();
  gang_.reset();
}

json EndToEndWork::ResultJson(const std::vector<StageRecord>& stages) const {
  json result = NewResult(assignment_.job().name(),
                          RunIdentity(assignment_.job(), assignment_.inputs(), assignment_.numerics()));
  result["layer_types"] = StudentConfigJson(student_.config)["layer_types"];
  result["teacher"] = measured_["teacher"];
  result["initial"] = measured_["initial"];
  double seconds = measured_["seconds"];
  for (const StageRecord& stage : stages) {
    json described = StageJson(stage);
    seconds += described["seconds"].get<double>();
    result["tokens_per_second"][StageName(stage.plan.stage)] =
        described["tokens"].get<double>() / described["seconds"].get<double>();
    result["stages"].push_back(std::move(described));
  }
  result["student"] = stages.empty() ? measured_["initial"] : stages.back().student;
  if (evaluation_->has_off_domain()) {
    result["off_domain"] = {{"teacher", result["teacher"]["off_domain"]},
                            {"student", result["student"]["off_domain"]}};
  }
  result["seconds"] = seconds;
  result["peak_memory_bytes"] = PeakMemoryBytes();
  return result;
}

absl::StatusOr<json> EndToEndWork::ReportJson(const std::vector<StageRecord>& stages,
                                              const std::atomic<bool>& stop) const {
  json report = {{"architecture", ArchitectureJson(teacher_, student_)}};
  ASSIGN_OR_RETURN(const json samples,
                   SamplesJson(student_, evaluation_->continuations(), inputs_.teacher, stop));
  report.update(samples);
  const std::optional<int64_t> layer = ShownLayer(student_.config);
  if (!layer) return report;
  json& matrices = report["matrices"];
  matrices = {{"layer", *layer}, {"head", 0}, {"teacher", measured_["matrices"][kTeacher]}};
  matrices["students"].push_back({{"after", kUntrained}, {"values", measured_["matrices"][kUntrained]}});
  for (const StageRecord& stage : stages) {
    const std::string name = StageName(stage.plan.stage);
    matrices["students"].push_back({{"after", name}, {"values", measured_["matrices"][name]}});
  }
  return report;
}

absl::StatusOr<SavedLayer> EndToEndWork::MakeResult(const std::atomic<bool>& stop) {
  UseComputeThreads();
  return CatchTorch("making the result", [&]() -> absl::StatusOr<SavedLayer> {
    std::vector<StageRecord> stages = earlier_;
    if (plan_) {
      json& measured = measured_["stages"][StageName(plan_->stage)];
      RETURN_IF_ERROR(MeasureOnce(measured, "the student at its end", student_, stop));
      RETURN_IF_ERROR(ShowMatrixOnce(StageName(plan_->stage), student_));
      stages.push_back({.plan = *plan_,
                        .histories = {{0, history_}},
                        .student = measured,
                        .world_size = gang_ ? gang_->world_size() : 1});
    }
    SavedLayer result;
    result.step = history_.steps();
    result.loss = history_.losses.empty() ? 0 : history_.losses.back();
    ASSIGN_OR_RETURN(std::vector<StudentFile> files, StudentFiles(student_, inputs_.teacher));
    for (StudentFile& file : files) {
      result.tensors.push_back(SaveText("student/" + file.name, std::move(file.contents)));
    }
    ASSIGN_OR_RETURN(const json report, ReportJson(stages, stop));
    result.tensors.push_back(SaveText("metrics.jsonl", MetricsText(stages)));
    result.tensors.push_back(SaveText("report.json", report.dump() + "\n"));
    result.tensors.push_back(SaveText("result.json", ResultJson(stages).dump(2) + "\n"));
    SortByName(result);
    return result;
  });
}

}  // namespace retort
