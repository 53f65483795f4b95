#include <cstdint>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/command_line.h"
#include "core/base/terminal.h"
#include "tool/flags.h"
#include "tool/verbs.h"

namespace retort {

Parsed<TokenizeOptions> ParseTokenize(const std::vector<std::string>& args, std::ostream& out,
                                      std::ostream& err) {
  constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max();
  TokenizeOptions options;
  std::vector<std::string> files;
  std::string date = absl::FormatCivilTime(options.date);
  CLI::App app;
  DescribeCommand(
      app, "retort data tokenize",
      "Turns text into token files: PREFIX.bin and PREFIX.idx in Megatron's format.",
      {"retort data tokenize --tokenizer models/smollm2 --out corpus/train pages/*.txt",
       "retort data tokenize --tokenizer models/smollm2 --eod '<|endoftext|>' --out corpus/train \\\n"
       "      --holdout 0.02 --holdout-out corpus/eval pages.jsonl",
       "retort data tokenize --tokenizer models/smollm2-instruct --chat --out corpus/chats chats.jsonl"});
  app.add_option("FILES", files,
                 "NAME.txt (one document) or NAME.jsonl (one document a line), also .gz or .zst")
      ->required();
  app.add_option("--tokenizer", options.tokenizer, "A directory with tokenizer.json, or that file")
      ->type_name("DIR")
      ->required();
  app.add_option("--out", options.output, "Where the tokens go")->type_name("PREFIX")->required();
  app.add_option("--eod", options.end_of_document, "Token that ends each document (default: none)")
      ->type_name("TOKEN");
  CLI::Option* text_field =
      app.add_option("--text-field", options.text_field,
                     "Member of a .jsonl object that holds the text (default: text; of chats: messages)")
          ->type_name("NAME");
  app.add_flag("--chat", options.chat,
               "Documents are chats; write them as the tokenizer's chat template says");
  app.add_option("--date", date, "The date that a chat template which asks for it is given")
      ->type_name("YYYY-MM-DD")
      ->capture_default_str();
  CLI::Option* fraction =
      app.add_option("--holdout", options.holdout_fraction, "Keep this share of the documents apart, below 1")
          ->check(CLI::Range(0.0, 1.0))
          ->type_name("FRACTION");
  CLI::Option* documents =
      app.add_option("--holdout-documents", options.holdout_documents, "Keep this many documents apart")
          ->check(CLI::Range(uint64_t{1}, kMost))
          ->type_name("N")
          ->excludes(fraction);
  app.add_option("--holdout-seed", options.holdout_seed, "Decides which documents")
      ->check(IsSeed)
      ->type_name("S")
      ->capture_default_str();
  const CLI::Option* holdout_out =
      app.add_option("--holdout-out", options.holdout_output, "Where they go")->type_name("PREFIX");
  if (const std::optional<int> exit_code = ParseCommand(app, args, out, err)) {
    return *exit_code;
  }
  if ((*fraction || *documents) != static_cast<bool>(*holdout_out)) {
    return ReportError(app.get_name(),
                       absl::InvalidArgumentError("--holdout-out goes together with --holdout or "
                                                  "--holdout-documents; give both or neither"),
                       err);
  }
  if (!absl::ParseCivilTime(date, &options.date)) {
    return ReportError(
        app.get_name(),
        absl::InvalidArgumentError(absl::StrCat("--date ", date, " is no day; give one as 2024-07-26")), err);
  }
  if (options.chat && !*text_field) options.text_field = "messages";
  options.inputs.assign(files.begin(), files.end());
  return options;
}

std::string RenderTokenize(const TokenizeOptions& options, const TokenizeReport& report) {
  Table table(
      {{"OUTPUT"}, {"DOCUMENTS", Align::kRight}, {"TOKENS", Align::kRight}, {"BYTES", Align::kRight}});
  const auto add = [&table](const std::filesystem::path& output, const TokenizeReport::Side& side) {
    table.AddRow({output.string(), absl::StrCat(side.documents), absl::StrCat(side.tokens),
                  absl::StrCat(side.text_bytes)});
  };
  add(options.output, report.train);
  if (!options.holdout_output.empty()) {
    add(options.holdout_output, report.holdout);
  }
  const std::string left_out =
      report.empty_documents == 0 ? "" : absl::StrCat(report.empty_documents, " empty documents left out\n");
  const std::string replaced =
      report.ill_formed_parts == 0
          ? ""
          : absl::StrCat(report.ill_formed_parts, " parts were not UTF-8 and became U+FFFD\n");
  return table.Render() + left_out + replaced;
}

}  // namespace retort
