// The one place where LibTorch's exceptions become absl::Status.
#pragma once

#include <c10/util/Exception.h>

#include <new>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace retort {

// Runs `body`, which returns absl::Status or absl::StatusOr<T>. What LibTorch throws comes back as INTERNAL,
// out of memory as RESOURCE_EXHAUSTED; `doing` says what was under way.
template <typename Body>
auto CatchTorch(const std::string& doing, Body body) -> decltype(body()) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrCat(doing, ": out of memory; give it more, or fewer or shorter sequences at a time"));
  } catch (const c10::Error& error) {
    const std::string what = error.what_without_backtrace();
    if (what.find("can't allocate memory") != std::string::npos) {
      return absl::ResourceExhaustedError(absl::StrCat(
          doing, ": out of memory; give it more, or fewer or shorter sequences at a time (", what, ")"));
    }
    return absl::InternalError(absl::StrCat(doing, ": LibTorch: ", what));
  } catch (const std::exception& error) {  // what MKL, oneDNN and the standard library throw below LibTorch
    return absl::InternalError(absl::StrCat(doing, ": LibTorch: ", error.what()));
  }
}

}  // namespace retort
