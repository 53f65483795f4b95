// Any bytes as a config.json: refused, or a model whose sizes can be multiplied and whose student reads back.
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "core/base/check.h"
#include "model/io/model_config.h"
#include "nlohmann/json.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const auto config = retort::ParseModelConfig(text, "config.json");
  if (!config.ok()) return 0;
  RETORT_CHECK(config->vocab_size * config->hidden_size > 0);
  RETORT_CHECK(config->heads * config->head_dim * config->hidden_size > 0);
  for (const int64_t id : config->eos_tokens) RETORT_CHECK(id >= 0 && id < config->vocab_size) << id;
  if (!config->is_student()) return 0;
  RETORT_CHECK(config->mamba2.inner() * config->hidden_size > 0);
  const std::string written = retort::StudentConfigJson(*config).dump();
  const auto again = retort::ParseModelConfig(written, "config.json");
  RETORT_CHECK(again.ok()) << again.status();
  RETORT_CHECK(retort::StudentConfigJson(*again).dump() == written);
  return 0;
}
