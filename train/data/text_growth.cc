#include "train/data/text_growth.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace retort {

absl::Status TextGrowth::Add(const std::string& key, size_t from_bytes, size_t to_bytes) {
  from_bytes = std::max<size_t>(from_bytes, 1);
  const uint64_t step = std::clamp<uint64_t>((to_bytes + from_bytes - 1) / from_bytes, 1, kMost + 1);
  times_ *= step;
  if (times_ <= kMost) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat("'", key, "' puts ", to_bytes, " bytes for ", from_bytes,
                                               ": with the steps before it a text may become more than ",
                                               kMost, " times as long, which is not supported"));
}

}  // namespace retort
