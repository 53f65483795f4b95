// How an instruct model wants a chat written: the Jinja template beside its tokenizer, as transformers'
// apply_chat_template renders it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "train/chat/jinja_syntax.h"

namespace retort {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

// Immutable, so thread-safe.
class ChatTemplate {
 public:
  // Of a Hugging Face directory: chat_template.jinja, else "chat_template" in tokenizer_config.json (of
  // several the one called "default"). Nothing when it has none, as base models. INVALID_ARGUMENT or
  // UNIMPLEMENTED names the file, the template's line and what is wrong or not supported there.
  static absl::StatusOr<std::optional<ChatTemplate>> Load(const std::filesystem::path& model);

  // The chat as text, of which special tokens are a part: to be encoded without a bos before it. `answers`:
  // followed by what begins the assistant's next message. `now` stands where a template wants the date.
  // Errors as above; INVALID_ARGUMENT too where the template refuses the chat (two messages of one role in a
  // row).
  absl::StatusOr<std::string> Render(const std::vector<ChatMessage>& chat, bool answers,
                                     absl::Time now) const;

 private:
  std::string origin_;  // for messages
  std::vector<jinja::Statement> body_;
  jinja::Dict tokens_;  // bos_token and so on, to their texts
};

}  // namespace retort
