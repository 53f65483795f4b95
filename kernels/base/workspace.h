// Scratch memory for a kernel's call or item.
#pragma once

#include <cstdint>

namespace retort {

// `floats` uninitialised floats at a 64-byte boundary, freed with the object. Ends the process when memory is
// exhausted.
class Workspace {
 public:
  explicit Workspace(int64_t floats);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  float* data() const { return data_; }

 private:
  float* data_;
};

}  // namespace retort
