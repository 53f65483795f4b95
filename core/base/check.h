// RETORT_CHECK(condition) << context: our own broken invariants end the process with the place and the
// context. Errors of the world are absl::Status instead. (LibTorch's headers own the name CHECK.)
#pragma once

#include <cstdlib>
#include <iostream>
#include <sstream>

namespace retort {

class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition) {
    message_ << file << ":" << line << ": check failed: " << condition << " ";
  }
  [[noreturn]] ~CheckFailure() {
    std::cerr << message_.str() << std::endl;
    std::abort();
  }
  std::ostream& stream() { return message_; }

 private:
  std::ostringstream message_;
};

}  // namespace retort

#define RETORT_CHECK(condition) \
  if (condition) {              \
  } else                        \
    ::retort::CheckFailure(__FILE__, __LINE__, #condition).stream()
