#include "tool/generate.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cmath>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/base/command_line.h"
#include "core/base/random.h"
#include "core/base/status_macros.h"
#include "model/lm/decoding.h"
#include "model/lm/torch_seam.h"
#include "model/student/student_directory.h"
#include "train/chat/chat_template.h"
#include "train/data/tokenizer.h"

namespace retort {
namespace {

// The next token under the options; `index` counts the tokens drawn so far.
int64_t Choose(const at::Tensor& logits_V, const GenerateOptions& options, int64_t index) {
  if (options.temperature == 0) return logits_V.argmax().item<int64_t>();
  at::Tensor scaled = logits_V / options.temperature;
  if (options.top_k > 0 && options.top_k < scaled.size(0)) {
    const at::Tensor least = std::get<0>(scaled.topk(options.top_k)).min();
    scaled = scaled.masked_fill(scaled < least, -INFINITY);
  }
  // One uniform number per token, through the cumulated distribution: no generator state.
  constexpr double kTwoTo64 = 18446744073709551616.0;
  const double u = static_cast<double>(MixSeed(options.seed, {static_cast<uint64_t>(index)})) / kTwoTo64;
  const at::Tensor cumulative = at::softmax(scaled, -1).to(at::kDouble).cumsum(0);
  const at::Tensor target = cumulative[-1] * u;
  const int64_t chosen =
      at::searchsorted(cumulative, target, /*out_int32=*/false, /*right=*/true).item<int64_t>();
  return std::min(chosen, logits_V.size(0) - 1);
}

// Length of the longest prefix of `bytes` that does not end inside a UTF-8 character.
size_t WholeCharacters(const std::string& bytes) {
  for (size_t back = 1; back <= std::min<size_t>(3, bytes.size()); ++back) {
    const auto byte = static_cast<unsigned char>(bytes[bytes.size() - back]);
    if (byte < 0x80) break;
    if (byte < 0xC0) continue;
    const size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
    return length > back ? bytes.size() - back : bytes.size();
  }
  return bytes.size();
}

absl::StatusOr<std::vector<int32_t>> EncodePrompt(const GenerateOptions& options,
                                                  const Tokenizer& tokenizer) {
  if (!options.chat) return tokenizer.EncodeWhole(options.prompt);
  ASSIGN_OR_RETURN(const auto chat_template, ChatTemplate::Load(options.model));
  if (!chat_template) {
    return absl::InvalidArgumentError(absl::StrCat(
        "there is no chat template in ", options.model.string(),
        ", neither chat_template.jinja nor a chat_template in tokenizer_config.json; leave out --chat "
        "to have the text continued"));
  }
  ASSIGN_OR_RETURN(const std::string text,
                   chat_template->Render({{"user", options.prompt}}, /*answers=*/true, absl::Now()));
  return tokenizer.Encode(text);
}

absl::Status Generate(const GenerateOptions& options, std::ostream& out) {
  if (options.threads > 0) at::set_num_threads(options.threads);
  ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Load(options.model));
  ASSIGN_OR_RETURN(const std::vector<int32_t> prompt, EncodePrompt(options, *tokenizer));
  ASSIGN_OR_RETURN(const LanguageModel model, LoadModel(options.model));
  if (prompt.empty()) {
    return absl::InvalidArgumentError("the prompt is empty; give --prompt some text to continue");
  }
  for (int32_t id : prompt) {
    if (id >= model.config.vocab_size) {
      return absl::InvalidArgumentError(absl::StrCat("the tokenizer gives token ", id, ", the model knows ",
                                                     model.config.vocab_size,
                                                     "; tokenizer.json is not this model's"));
    }
  }
  if (options.tokens > model.config.context - static_cast<int64_t>(prompt.size())) {
    return absl::InvalidArgumentError(absl::StrCat("a prompt of ", prompt.size(), " tokens and ",
                                                   options.tokens, " more exceed the model's context of ",
                                                   model.config.context, "; lower --tokens"));
  }
  if (!options.chat) out << options.prompt;
  RETURN_IF_ERROR(FlushOutput(out));
  const int64_t capacity = static_cast<int64_t>(prompt.size()) + options.tokens;
  DecodeState state;
  const at::Tensor ids_BT = at::tensor(prompt, at::kInt).to(at::kLong).unsqueeze(0);
  at::Tensor logits_BV = Prefill(model, ids_BT, capacity, state);
  // Decoded together with the prompt's last token: where a text begins, the first space may not be shown.
  std::vector<int32_t> shown_ids = {prompt.back()};
  size_t shown = tokenizer->Decode(shown_ids).size();
  std::string text;
  for (int64_t i = 0; i < options.tokens; ++i) {
    const int64_t id = Choose(logits_BV[0], options, i);
    const auto& ends = model.config.eos_tokens;
    if (std::find(ends.begin(), ends.end(), id) != ends.end()) break;
    shown_ids.push_back(static_cast<int32_t>(id));
    text = tokenizer->Decode(shown_ids);
    const size_t whole = WholeCharacters(text);
    if (whole > shown) {
      out << text.substr(shown, whole - shown);
      RETURN_IF_ERROR(FlushOutput(out));
      shown = whole;
    }
    if (i + 1 < options.tokens) logits_BV = DecodeStep(model, at::full({1}, id, at::kLong), state);
  }
  if (shown < text.size()) out << text.substr(shown);
  out << "\n";
  return FlushOutput(out);
}

}  // namespace

absl::Status RunGenerate(const GenerateOptions& options, std::ostream& out) {
  return CatchTorch("generation", [&] { return Generate(options, out); });
}

}  // namespace retort
