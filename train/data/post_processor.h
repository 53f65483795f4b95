// The `post_processor` of a tokenizer.json: which tokens stand around a text that a model is given.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json_fwd.hpp"

namespace retort {

// Immutable, so thread-safe.
class PostProcessor {
 public:
  // From the `post_processor` object: null, ByteLevel (which moves offsets only) and TemplateProcessing (as
  // of Llama), alone or in a Sequence. INVALID_ARGUMENT for a malformed object, UNIMPLEMENTED for any other
  // one.
  static absl::StatusOr<PostProcessor> FromJson(const nlohmann::json& post_processor);

  const std::vector<int32_t>& before() const { return before_; }
  const std::vector<int32_t>& after() const { return after_; }

 private:
  absl::Status AddStep(const nlohmann::json& object);
  absl::Status AddTemplate(const nlohmann::json& object);

  std::vector<int32_t> before_;
  std::vector<int32_t> after_;
};

}  // namespace retort
