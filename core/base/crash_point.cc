#include "core/base/crash_point.h"

#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "core/base/check.h"

namespace retort {
namespace {

struct Armed {
  std::string name;              // empty: none
  std::atomic<int> passages{1};  // left until the end
};

Armed& ArmedPoint() {
  static Armed& armed = *[] {
    auto* read = new Armed;
    const char* text = std::getenv("RETORT_CRASH_AT");
    const std::vector<std::string> parts = absl::StrSplit(text == nullptr ? "" : text, ':');
    read->name = parts[0];
    int passages = 1;
    RETORT_CHECK(parts.size() == 1 || (parts.size() == 2 && absl::SimpleAtoi(parts[1], &passages)))
        << "RETORT_CRASH_AT=" << text << " is not NAME or NAME:COUNT";
    read->passages = passages;
    return read;
  }();
  return armed;
}

}  // namespace

void CrashPoint(std::string_view name) {
  static const bool is_armed = !ArmedPoint().name.empty();
  if (!is_armed || ArmedPoint().name != name) return;
  constexpr int kExitAsBySigkill = 137;
  if (--ArmedPoint().passages == 0) _exit(kExitAsBySigkill);
}

}  // namespace retort
