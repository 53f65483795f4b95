#include "tests/sim/chain.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/check.h"
#include "core/base/job_work.h"
#include "core/base/random.h"
#include "core/base/status_macros.h"

namespace retort::sim {
namespace {

constexpr uint32_t kDoomedLayer = 1;
constexpr uint64_t kDoomedStep = 2;

uint64_t FirstStudent(const v1::JobSpec& job, uint32_t layer) {
  return MixSeed(job.data().seed(), {1, layer});
}

template <class Number>
std::string BytesOf(const std::vector<Number>& numbers) {
  std::string bytes(numbers.size() * sizeof(Number), '\0');
  if (!numbers.empty()) std::memcpy(bytes.data(), numbers.data(), bytes.size());
  return bytes;
}

// `size` bytes that all follow from `state`.
std::string Fill(uint64_t state, size_t size) {
  std::vector<uint64_t> words((size + 7) / 8, state);
  return BytesOf(words).substr(0, size);
}

SavedTensor U8(const std::string& name, std::string bytes) {
  return {.name = name, .dtype = v1::DATA_TYPE_U8, .shape = {bytes.size()}, .bytes = std::move(bytes)};
}

// More than one chunk for some jobs.
size_t StudentBytes(const v1::JobSpec& job) {
  return job.data().seed() % 8 == 0 ? (size_t{1} << 20) + 24 : 96;
}

// For hashing hand-overs: the last state of a layer's stage.
uint64_t AddHandover(uint64_t sum, v1::Stage stage, uint32_t layer, const ChainState& state) {
  return MixSeed(sum, {static_cast<uint64_t>(stage), layer, state.student});
}

// The first state of END_TO_END: `last` and `all` over the hand-overs of each layer's last stage and of all.
ChainState Assembled(uint64_t last, uint64_t all) {
  ChainState state;
  state.student = last;
  state.measured = all;
  return state;
}

}  // namespace

void TakeStep(const v1::JobSpec& job, v1::Stage stage, uint32_t layer, ChainState& state) {
  state.student = MixSeed(state.student,
                          {job.data().seed(), static_cast<uint64_t>(stage), layer, state.step, state.adam});
  state.adam = MixSeed(state.adam, {state.student});
  state.losses.push_back(static_cast<double>(state.student % 1000 + 1) / 1000.0);
  ++state.step;
}

SavedLayer Save(const v1::JobSpec& job, v1::Stage stage, uint32_t layer, const ChainState& state) {
  SavedLayer saved = {.layer = layer, .step = state.step, .loss = 1, .tensors = {}};
  if (!state.losses.empty()) saved.loss = state.losses.back();
  saved.tensors.push_back(U8("adam/w/m", Fill(state.adam, 24)));
  saved.tensors.push_back({.name = "history/loss",
                           .dtype = v1::DATA_TYPE_F64,
                           .shape = {state.losses.size()},
                           .bytes = BytesOf(state.losses)});
  if (stage == v1::STAGE_END_TO_END) saved.tensors.push_back(U8("result/measured", Fill(state.measured, 8)));
  saved.tensors.push_back(U8("student/fixed", Fill(FirstStudent(job, layer), 40)));
  saved.tensors.push_back(U8("student/w", Fill(state.student, StudentBytes(job))));
  return saved;
}

absl::StatusOr<ChainState> Restore(const SavedLayer& saved) {
  ChainState state;
  state.step = saved.step;
  for (const SavedTensor& tensor : saved.tensors) {
    if (tensor.name == "history/loss") {
      state.losses.resize(tensor.bytes.size() / sizeof(double));
      if (!state.losses.empty()) std::memcpy(state.losses.data(), tensor.bytes.data(), tensor.bytes.size());
      continue;
    }
    uint64_t word = 0;
    if (tensor.bytes.size() < sizeof(word))
      return absl::DataLossError(absl::StrCat(tensor.name, " is short"));
    std::memcpy(&word, tensor.bytes.data(), sizeof(word));
    if (tensor.bytes != Fill(word, tensor.bytes.size())) {
      return absl::DataLossError(absl::StrCat(tensor.name, " is mixed from two states"));
    }
    if (tensor.name == "adam/w/m") state.adam = word;
    if (tensor.name == "result/measured") state.measured = word;
    if (tensor.name == "student/w") state.student = word;
  }
  return state;
}

v1::PreparedRun Prepare(const v1::JobSpec& job, uint32_t teacher_layers) {
  v1::PreparedRun prepared;
  v1::ModelShape& shape = *prepared.mutable_shape();
  shape.set_layers(teacher_layers);
  shape.set_hidden_size(256);
  shape.set_intermediate_size(768);
  shape.set_query_heads(4);
  shape.set_kv_heads(2);
  shape.set_head_dim(64);
  shape.set_vocab_size(1000);
  prepared.mutable_inputs()->set_teacher_sha256(std::string(32, 't'));
  for (int i = 0; i < job.data().train_size() + 1; ++i) {
    prepared.mutable_inputs()->add_data()->set_sha256(std::string(32, 'd'));
  }
  const v1::KeepAttention& keep = job.student().keep_attention();
  for (uint32_t kept = keep.auto_layers(); AwaitsProbe(keep) && kept > 0; --kept) {
    prepared.mutable_probed()->add_layers(teacher_layers - kept);
  }
  return prepared;
}

SavedLayer MakeResult(const v1::JobSpec& job, const ChainState& state) {
  SavedLayer result = {.layer = 0, .step = state.step, .loss = 1, .tensors = {}};
  result.tensors.push_back(
      U8("result.json", absl::StrCat(job.name(), " ", state.student, " ", state.measured, " ", state.step)));
  result.tensors.push_back(U8("student/model.safetensors", Fill(state.student, StudentBytes(job))));
  return result;
}

// ---- what an undisturbed run has

Undisturbed::Undisturbed(v1::JobSpec job, uint32_t teacher_layers) : job_(std::move(job)) {
  v1::KeepAttention keep = job_.student().keep_attention();
  if (AwaitsProbe(keep)) *keep.mutable_layers() = Prepare(job_, teacher_layers).probed().layers();
  layers_ = ConvertedLayers(teacher_layers, keep).value();
}

ChainState Undisturbed::First(v1::Stage stage, uint32_t layer) {
  const bool has_first = job_.stages().has_matrix_orientation();
  const bool has_second = job_.stages().has_hidden_state_alignment();
  const auto last_of = [&](v1::Stage earlier, uint32_t number) -> const ChainState& {
    const auto& budget = earlier == v1::STAGE_MATRIX_ORIENTATION
                             ? job_.stages().matrix_orientation().budget()
                             : job_.stages().hidden_state_alignment().budget();
    return StateAt(earlier, number, StageSteps(budget));
  };
  ChainState first;
  if (stage != v1::STAGE_END_TO_END) {
    first.student = stage == v1::STAGE_HIDDEN_STATE_ALIGNMENT && has_first
                        ? last_of(v1::STAGE_MATRIX_ORIENTATION, layer).student
                        : FirstStudent(job_, layer);
    return first;
  }
  uint64_t last = FirstStudent(job_, 0), all = last;
  for (const bool is_second : {false, true}) {
    if (!(is_second ? has_second : has_first)) continue;
    const v1::Stage earlier = is_second ? v1::STAGE_HIDDEN_STATE_ALIGNMENT : v1::STAGE_MATRIX_ORIENTATION;
    for (const uint32_t number : layers_) {
      all = AddHandover(all, earlier, number, last_of(earlier, number));
      if (is_second == has_second) last = AddHandover(last, earlier, number, last_of(earlier, number));
    }
  }
  return Assembled(last, all);
}

const ChainState& Undisturbed::StateAt(v1::Stage stage, uint32_t layer, uint64_t step) {
  if (states_[{stage, layer}].empty()) {
    ChainState first = First(stage, layer);
    states_[{stage, layer}].push_back(std::move(first));
  }
  std::vector<ChainState>& states = states_[{stage, layer}];
  while (states.size() <= step) {
    ChainState next = states.back();
    TakeStep(job_, stage, layer, next);
    states.push_back(std::move(next));
  }
  return states[step];
}

std::string Undisturbed::ResultFile() {
  const uint64_t steps = job_.stages().has_end_to_end() ? StageSteps(job_.stages().end_to_end().budget()) : 0;
  return MakeResult(job_, StateAt(v1::STAGE_END_TO_END, 0, steps)).tensors[0].bytes;
}

// ---- a slice's training

absl::StatusOr<ChainWork> ChainWork::Load(const v1::Slice& slice, const std::vector<SavedLayer>& fetched) {
  ChainWork work(slice);
  size_t next = 0;
  for (const v1::SliceLayer& described : slice.layers()) {
    Layer& layer = work.layers_[described.layer()];
    layer.total_steps = described.total_steps();
    layer.state.student = FirstStudent(slice.job(), described.layer());
    if (!described.has_checkpoint()) continue;
    ASSIGN_OR_RETURN(const ChainState restored, Restore(fetched.at(next++)));
    const bool is_own = described.checkpoint().stage() == slice.stage();
    layer.state.student = restored.student;
    if (is_own) layer.state = restored;
  }
  if (slice.stage() == v1::STAGE_END_TO_END && !slice.layers(0).has_checkpoint()) {
    const uint64_t none = FirstStudent(slice.job(), 0);
    uint64_t last = none, all = none;
    const v1::Stage last_stage =
        slice.handover().empty() ? v1::STAGE_UNSPECIFIED : slice.handover().rbegin()->stage();
    for (const v1::CheckpointRef& reference : slice.handover()) {
      ASSIGN_OR_RETURN(const ChainState handed, Restore(fetched.at(next++)));
      all = AddHandover(all, reference.stage(), reference.layer(), handed);
      if (reference.stage() == last_stage)
        last = AddHandover(last, reference.stage(), reference.layer(), handed);
    }
    work.layers_.at(slice.layers(0).layer()).state = Assembled(last, all);
  }
  return work;
}

std::vector<uint32_t> ChainWork::DoomedLayers() const {
  const v1::JobSpec& job = slice_.job();
  const v1::Stage stage =
      job.stages().has_matrix_orientation() ? v1::STAGE_MATRIX_ORIENTATION : v1::STAGE_END_TO_END;
  const uint32_t layer = stage == v1::STAGE_END_TO_END ? 0 : kDoomedLayer;
  const auto found = layers_.find(layer);
  if (!IsDoomed(job) || slice_.stage() != stage || found == layers_.end()) return {};
  return found->second.state.step == kDoomedStep ? std::vector<uint32_t>{layer} : std::vector<uint32_t>{};
}

uint64_t ChainWork::next_step() const {
  uint64_t slowest = ~uint64_t{0};
  for (const auto& [number, layer] : layers_) {
    if (layer.state.step < layer.total_steps) slowest = std::min(slowest, layer.state.step);
  }
  return slowest;
}

StepReport ChainWork::Step(double seconds_per_layer) {
  if (is_led()) return {};
  const uint64_t slowest = next_step();
  StepReport report;
  report.teacher_seconds = seconds_per_layer / 4;
  for (auto& [number, layer] : layers_) {
    if (layer.state.step != slowest || layer.state.step == layer.total_steps) continue;
    TakeStep(slice_.job(), slice_.stage(), number, layer.state);
    report.layers.push_back({.layer = number,
                             .step = layer.state.step,
                             .loss = layer.state.losses.back(),
                             .seconds = seconds_per_layer});
  }
  return report;
}

std::vector<SavedLayer> ChainWork::Copy(const std::vector<uint32_t>& layers) const {
  std::vector<SavedLayer> saved;
  for (const uint32_t number : layers) {
    saved.push_back(Save(slice_.job(), slice_.stage(), number, layers_.at(number).state));
  }
  return saved;
}

void ChainWork::Drop(const std::vector<uint32_t>& layers) {
  for (const uint32_t number : layers) layers_.erase(number);
}

}  // namespace retort::sim
