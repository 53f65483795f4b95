// Text files to Megatron token files: `retort data tokenize`.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/civil_time.h"

namespace retort {

struct TokenizeOptions {
  // A directory with tokenizer.json, or that file.
  std::filesystem::path tokenizer;
  // NAME.jsonl: one JSON object a line, each one document. NAME.txt: one document. Either may be compressed,
  // with .gz or .zst behind its name, or be a pipe; one of another name is read as .jsonl. Read in this
  // order; no document may be longer than 512 MiB.
  std::vector<std::filesystem::path> inputs;
  // Where the documents go: OUTPUT.bin and OUTPUT.idx. A final ".bin" is taken off first.
  std::filesystem::path output;
  // The member of a .jsonl object that holds the text; of a chat its messages.
  std::string text_field = "text";
  // Each document is a chat, written as the tokenizer's chat template says; inputs are .jsonl.
  bool chat = false;
  // What a chat template that asks for the date is given. Never today, or the same chats would become other
  // tokens tomorrow. When nobody says: the date that Llama 3's templates write where there is no clock.
  absl::CivilDay date = absl::CivilDay(2024, 7, 26);
  // Text of the token that ends each document, e.g. "<|endoftext|>"; empty: documents get no end.
  std::string end_of_document;

  // Documents kept apart for evaluation, written to HOLDOUT_OUTPUT.bin and .idx. At most one of the two is
  // set; both zero: none. Which ones is decided by (holdout_seed, text) alone, of a chat by
  // its roles and contents, so it depends on neither the order nor the number of input files nor the chat
  // template nor the date, and equal texts always lie on the same side.
  double holdout_fraction = 0;     // in [0, 1): expected share of the documents
  uint64_t holdout_documents = 0;  // this many documents (more when texts repeat); reads the inputs twice
  uint64_t holdout_seed = 0;
  std::filesystem::path holdout_output;
};

struct TokenizeReport {
  struct Side {
    uint64_t documents = 0;
    uint64_t tokens = 0;
    uint64_t text_bytes = 0;
  };
  Side train;
  Side holdout;
  uint64_t empty_documents = 0;   // had no text and were left out
  uint64_t ill_formed_parts = 0;  // of all texts (of .jsonl: lines): not UTF-8, read as U+FFFD each
};

// Reads document by document: memory holds one document and four bytes per earlier one. On an error no output
// appears. INVALID_ARGUMENT names the option, or file and line, that is wrong and what would be right;
// NOT_FOUND the file that is missing; DATA_LOSS file and byte where a compressed one is cut short or damaged;
// errors of Tokenizer::Load pass through. A side without a document is an error. CANCELLED soon after `stop`
// was set: at the next document, or while an input that is a pipe brings nothing.
absl::StatusOr<TokenizeReport> TokenizeFiles(const TokenizeOptions& options, const std::atomic<bool>& stop);

}  // namespace retort
