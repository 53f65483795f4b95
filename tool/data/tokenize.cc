#include "tool/data/tokenize.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <queue>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/base/random.h"
#include "core/base/status_macros.h"
#include "tool/data/json_line.h"
#include "tool/data/text_file.h"
#include "train/chat/chat_template.h"
#include "train/data/indexed_dataset_writer.h"
#include "train/data/tokenizer.h"
#include "train/data/utf8.h"

namespace retort {
namespace {

namespace fs = std::filesystem;

// A word's bytes are counted in 31 bits, and a space may become three of them.
constexpr size_t kLongestDocumentBytes = size_t{512} << 20;

struct Document {
  std::string text;
  uint64_t hash = 0;  // of what is said in it, which decides whether it is held out
};

using DocumentFn = std::function<absl::Status(const Document& document, uint64_t ill_formed_parts)>;
// Of a .jsonl file's line.
using LineFn = std::function<absl::StatusOr<Document>(std::string_view line)>;

constexpr uint64_t kEmptyHash = 0xcbf29ce484222325;

// FNV-1a. Part of what a corpus is, through Draw: do not change.
uint64_t Hash(std::string_view text, uint64_t before = kEmptyHash) {
  for (const char byte : text) before = (before ^ static_cast<uint8_t>(byte)) * 0x100000001b3;
  return before;
}

uint64_t Hash(const std::vector<ChatMessage>& chat) {
  uint64_t hash = kEmptyHash;
  for (const ChatMessage& message : chat) {
    for (const std::string& part : {message.role, message.content}) hash = Hash({"", 1}, Hash(part, hash));
  }
  return hash;
}

absl::Status AtLine(const fs::path& file, uint64_t line, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(file.string(), ":", line, ": ", status.message()));
}

absl::Status TooLong(const fs::path& file, uint64_t line) {
  return absl::InvalidArgumentError(absl::StrCat(file.string(), line > 0 ? absl::StrCat(":", line) : "",
                                                 ": a document of more than 512 MiB; cut it into several"));
}

absl::Status UseLine(const fs::path& file, uint64_t number, std::string_view line, const LineFn& read,
                     const DocumentFn& use) {
  if (line.find_first_not_of(" \t\r") == std::string_view::npos) return absl::OkStatus();
  std::string storage;
  uint64_t ill_formed_parts = 0;
  const absl::StatusOr<Document> document = read(RepairLine(line, &storage, &ill_formed_parts));
  return document.ok() ? use(*document, ill_formed_parts) : AtLine(file, number, document.status());
}

absl::Status ForEachLine(const fs::path& file, const LineFn& read, const std::atomic<bool>& stop,
                         const DocumentFn& use) {
  ASSIGN_OR_RETURN(TextFile text_file, TextFile::Open(file, stop));
  std::string text;
  uint64_t number = 1;
  size_t searched = 0;  // bytes of `text` without a line's end
  for (bool more = true; more;) {
    ASSIGN_OR_RETURN(more, text_file.Read(&text));
    size_t begin = 0;
    for (size_t end = text.find('\n', searched); end != std::string::npos; end = text.find('\n', begin)) {
      RETURN_IF_ERROR(UseLine(file, number++, std::string_view(text).substr(begin, end - begin), read, use));
      begin = end + 1;
    }
    text.erase(0, begin);
    searched = text.size();
    if (text.size() > kLongestDocumentBytes) return TooLong(file, number);
  }
  return UseLine(file, number, text, read, use);
}

absl::Status UseWhole(const fs::path& file, const std::atomic<bool>& stop, const DocumentFn& use) {
  ASSIGN_OR_RETURN(TextFile text_file, TextFile::Open(file, stop));
  Document document;
  for (bool more = true; more;) {
    ASSIGN_OR_RETURN(more, text_file.Read(&document.text));
    if (document.text.size() > kLongestDocumentBytes) return TooLong(file, 0);
  }
  document.hash = Hash(document.text);
  return use(document, CountIllFormed(document.text));
}

// Such as /dev/stdin behind `|`, or a shell's <(...), whose names do not say what they bring.
bool IsPipe(const fs::path& file) {
  std::error_code ignored;  // of a path that cannot be looked up: reading it says why
  return fs::is_fifo(file, ignored);
}

absl::Status CheckNotStopped(const std::atomic<bool>& stop) {
  return stop.load() ? absl::CancelledError("interrupted; nothing was written") : absl::OkStatus();
}

// Calls `use` with each document of the inputs, in order, until it returns an error or `stop` is set.
absl::Status ForEachDocument(const TokenizeOptions& options, const LineFn& read,
                             const std::atomic<bool>& stop, const DocumentFn& use) {
  const DocumentFn use_or_stop = [&](const Document& document, uint64_t ill_formed_parts) {
    RETURN_IF_ERROR(CheckNotStopped(stop));
    return use(document, ill_formed_parts);
  };
  for (const fs::path& file : options.inputs) {
    const absl::Status status = WithoutCompression(file).extension() == ".txt"
                                    ? UseWhole(file, stop, use_or_stop)
                                    : ForEachLine(file, read, stop, use_or_stop);
    RETURN_IF_ERROR(CheckNotStopped(stop));
    RETURN_IF_ERROR(status);
  }
  return CheckNotStopped(stop);
}

// Where a document falls in the draw of those held out. Part of what a corpus is: do not change.
uint64_t Draw(uint64_t seed, const Document& document) { return MixSeed(seed, {document.hash}); }

// The documents whose draw is at most this are held out; none: no document is.
absl::StatusOr<std::optional<uint64_t>> HoldoutThreshold(const TokenizeOptions& options, const LineFn& read,
                                                         const std::atomic<bool>& stop) {
  if (options.holdout_fraction > 0) return static_cast<uint64_t>(options.holdout_fraction * 0x1p64);
  if (options.holdout_documents == 0) return std::nullopt;
  std::priority_queue<uint64_t> smallest;  // the largest on top
  uint64_t documents = 0;
  RETURN_IF_ERROR(ForEachDocument(options, read, stop, [&](const Document& document, uint64_t) {
    if (document.text.empty()) return absl::OkStatus();
    ++documents;
    smallest.push(Draw(options.holdout_seed, document));
    if (smallest.size() > options.holdout_documents) smallest.pop();
    return absl::OkStatus();
  }));
  if (documents <= options.holdout_documents) {
    return absl::InvalidArgumentError(absl::StrCat("cannot hold out ", options.holdout_documents,
                                                   " documents: the inputs have ", documents,
                                                   ", and some must be left for training"));
  }
  return smallest.top();
}

absl::Status CheckOptions(const TokenizeOptions& options) {
  if (options.inputs.empty()) return absl::InvalidArgumentError("no input file; give .jsonl or .txt files");
  for (const fs::path& file : options.inputs) {
    const fs::path kind = WithoutCompression(file).extension();
    if (kind != ".jsonl" && kind != ".txt" && !IsPipe(file)) {
      return absl::InvalidArgumentError(
          absl::StrCat("input ", file.string(),
                       " is neither .jsonl (a document a line) nor .txt (one document), nor "
                       "one of these with .gz or .zst behind"));
    }
    if (options.chat && kind == ".txt") {
      return absl::InvalidArgumentError(
          absl::StrCat("input ", file.string(), " is text, and chats come as .jsonl; leave out --chat"));
    }
    std::error_code ignored;  // of a path that cannot be looked up: reading it says why
    if (fs::is_directory(file, ignored))
      return absl::InvalidArgumentError(absl::StrCat(file.string(), " is a directory"));
    if (options.holdout_documents > 0 && IsPipe(file)) {
      return absl::InvalidArgumentError(
          absl::StrCat("a number of documents to hold out is drawn by reading the inputs twice, and ",
                       file.string(), " is a pipe; give a fraction instead, or a file"));
    }
  }
  if (options.output.empty()) return absl::InvalidArgumentError("no output was named");
  if (!(options.holdout_fraction >= 0 && options.holdout_fraction < 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("holdout fraction ", options.holdout_fraction, " is not in [0, 1)"));
  }
  if (options.holdout_fraction > 0 && options.holdout_documents > 0) {
    return absl::InvalidArgumentError("give a fraction or a number of documents to hold out, not both");
  }
  const bool holdout = options.holdout_fraction > 0 || options.holdout_documents > 0;
  if (holdout && options.holdout_output.empty()) {
    return absl::InvalidArgumentError("documents are to be held out, but no holdout output was named");
  }
  if (!holdout && !options.holdout_output.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("holdout output ", options.holdout_output.string(),
                     " was named, but neither a fraction nor a number of documents"));
  }
  return absl::OkStatus();
}

fs::path Prefix(const fs::path& output) {
  return output.extension() == ".bin" ? fs::path(output).replace_extension() : output;
}

absl::StatusOr<fs::path> Canonical(const fs::path& path) {
  std::error_code error;
  fs::path canonical = fs::weakly_canonical(path, error);
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot look up ", path.string()));
  return canonical;
}

// One output under way, and its share of the report.
struct Side {
  IndexedDatasetWriter writer;
  TokenizeReport::Side* report;
};

class TokenizeRun {
 public:
  static absl::StatusOr<TokenizeReport> Run(const TokenizeOptions& options, const std::atomic<bool>& stop) {
    TokenizeRun run(options, stop);
    RETURN_IF_ERROR(run.Prepare());
    RETURN_IF_ERROR(
        ForEachDocument(options, run.read_, stop, [&](const Document& document, uint64_t ill_formed_parts) {
          return run.Add(document, ill_formed_parts);
        }));
    RETURN_IF_ERROR(run.Finish());
    return run.report_;
  }

 private:
  TokenizeRun(const TokenizeOptions& options, const std::atomic<bool>& stop)
      : options_(options), stop_(stop) {}

  absl::Status Prepare() {
    absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::Load(options_.tokenizer);
    if (absl::IsUnimplemented(tokenizer.status())) {
      return absl::UnimplementedError(absl::StrCat(tokenizer.status().message(),
                                                   "; for this tokenizer make Megatron's .bin and .idx ",
                                                   "with another program: a job takes them from anywhere"));
    }
    ASSIGN_OR_RETURN(tokenizer_, std::move(tokenizer));
    if (!options_.end_of_document.empty()) {
      end_of_document_ = tokenizer_->TokenId(options_.end_of_document);
      if (!end_of_document_.has_value()) {
        return absl::InvalidArgumentError(absl::StrCat("end of document '", options_.end_of_document,
                                                       "' is no token of ", options_.tokenizer.string()));
      }
    }
    RETURN_IF_ERROR(ChooseReader());
    ASSIGN_OR_RETURN(threshold_, HoldoutThreshold(options_, read_, stop_));
    const fs::path output = Prefix(options_.output);
    ASSIGN_OR_RETURN(IndexedDatasetWriter train,
                     IndexedDatasetWriter::Create(output, tokenizer_->vocab_size()));
    train_.emplace(Side{std::move(train), &report_.train});
    if (!threshold_.has_value()) return absl::OkStatus();
    const fs::path holdout_output = Prefix(options_.holdout_output);
    ASSIGN_OR_RETURN(const fs::path canonical_output, Canonical(output));
    ASSIGN_OR_RETURN(const fs::path canonical_holdout, Canonical(holdout_output));
    if (canonical_output == canonical_holdout) {
      return absl::InvalidArgumentError(absl::StrCat("output and holdout output are both ", output.string()));
    }
    ASSIGN_OR_RETURN(IndexedDatasetWriter holdout,
                     IndexedDatasetWriter::Create(holdout_output, tokenizer_->vocab_size()));
    holdout_.emplace(Side{std::move(holdout), &report_.holdout});
    return absl::OkStatus();
  }

  absl::Status ChooseReader() {
    read_ = [this](std::string_view line) -> absl::StatusOr<Document> {
      ASSIGN_OR_RETURN(std::string text, TextOfLine(line, options_.text_field));
      const uint64_t hash = Hash(text);
      return Document{std::move(text), hash};
    };
    if (!options_.chat) return absl::OkStatus();
    std::error_code ignored;  // the tokenizer was read
    const fs::path directory =
        fs::is_directory(options_.tokenizer, ignored) ? options_.tokenizer : options_.tokenizer.parent_path();
    ASSIGN_OR_RETURN(std::optional<ChatTemplate> chat_template, ChatTemplate::Load(directory));
    if (!chat_template) {
      return absl::InvalidArgumentError(
          absl::StrCat("there is no chat template beside the tokenizer in ", directory.string(),
                       ", neither chat_template.jinja nor a chat_template in tokenizer_config.json"));
    }
    read_ = [this, chat_template = *std::move(chat_template),
             now = absl::FromCivil(options_.date, absl::LocalTimeZone())](
                std::string_view line) -> absl::StatusOr<Document> {
      ASSIGN_OR_RETURN(const std::vector<ChatMessage> chat, ChatOfLine(line, options_.text_field));
      if (chat.empty()) return Document();
      ASSIGN_OR_RETURN(std::string text, chat_template.Render(chat, /*answers=*/false, now));
      return Document{std::move(text), Hash(chat)};
    };
    return absl::OkStatus();
  }

  absl::Status Add(const Document& document, uint64_t ill_formed_parts) {
    const std::string& text = document.text;
    // A chat template writes what stands around a document itself.
    ASSIGN_OR_RETURN(std::vector<int32_t> ids,
                     options_.chat ? tokenizer_->Encode(text) : tokenizer_->EncodeWhole(text));
    if (ids.empty()) {
      ++report_.empty_documents;
      return absl::OkStatus();
    }
    report_.ill_formed_parts += ill_formed_parts;
    if (end_of_document_.has_value()) ids.push_back(*end_of_document_);
    const bool hold_out = threshold_.has_value() && Draw(options_.holdout_seed, document) <= *threshold_;
    Side& side = hold_out ? *holdout_ : *train_;
    ++side.report->documents;
    side.report->tokens += ids.size();
    side.report->text_bytes += text.size();
    return side.writer.Add(ids);
  }

  absl::Status Finish() {
    if (report_.train.documents == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("no document of ", options_.inputs[0].string(),
                       options_.inputs.size() > 1 ? " and the other inputs" : "", " is left for ",
                       options_.output.string(), ": ", report_.holdout.documents, " were held out, ",
                       report_.empty_documents, " were empty; give files that hold text"));
    }
    if (holdout_.has_value() && report_.holdout.documents == 0) {
      return absl::InvalidArgumentError(absl::StrCat("none of ", report_.train.documents,
                                                     " documents was held out; ask for a larger fraction"));
    }
    if (holdout_.has_value()) RETURN_IF_ERROR(holdout_->writer.Finish());
    return train_->writer.Finish();
  }

  const TokenizeOptions& options_;
  const std::atomic<bool>& stop_;
  std::unique_ptr<Tokenizer> tokenizer_;
  LineFn read_;
  std::optional<int32_t> end_of_document_;
  std::optional<uint64_t> threshold_;
  std::optional<Side> train_;
  std::optional<Side> holdout_;  // set if threshold_ is
  TokenizeReport report_;
};

}  // namespace

absl::StatusOr<TokenizeReport> TokenizeFiles(const TokenizeOptions& options, const std::atomic<bool>& stop) {
  RETURN_IF_ERROR(CheckOptions(options));
  return TokenizeRun::Run(options, stop);
}

}  // namespace retort
