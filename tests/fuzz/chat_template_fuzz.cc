// Any bytes as a chat template: refused, or rendered.
#include <cstddef>
#include <cstdint>
#include <string>

#include "train/chat/jinja_interpreter.h"
#include "train/chat/jinja_parser.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using retort::jinja::Dict, retort::jinja::MakeDict, retort::jinja::MakeList, retort::jinja::None;
  const auto body = retort::jinja::Parse(std::string(reinterpret_cast<const char*>(data), size));
  if (!body.ok()) return 0;
  const auto message = [](const char* role, const char* content) {
    return MakeDict({{"role", {std::string(role)}}, {"content", {std::string(content)}}});
  };
  const Dict globals = {{"messages", MakeList({message("user", "a b"), message("assistant", "c")})},
                        {"tools", {None{}}},
                        {"bos_token", {std::string("<s>")}},
                        {"add_generation_prompt", {true}}};
  (void)retort::jinja::Render(*body, globals, absl::UnixEpoch()).status();
  return 0;
}
