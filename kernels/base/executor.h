// How a kernel's work reaches threads. A kernel cuts its work into items by its shapes alone, never by the
// number of threads, and writes each output in one item: so one thread or many give the same bits.
#pragma once

#include <cstdint>

namespace retort {

// A borrowed callable `void(int64_t item)`: valid as long as what it was made from.
class ItemBody {
 public:
  template <class Callable>
  ItemBody(const Callable& callable)  // NOLINT(google-explicit-constructor): lambdas are passed directly
      : callable_(&callable),
        call_([](const void* callable, int64_t item) { (*static_cast<const Callable*>(callable))(item); }) {}
  void operator()(int64_t item) const { call_(callable_, item); }

 private:
  const void* callable_;
  void (*call_)(const void*, int64_t);
};

class Executor {
 public:
  virtual ~Executor() = default;
  // Calls body(0) ... body(items - 1), each once, in any order and on any threads; returns when all are done.
  // The body must not throw.
  virtual void Run(int64_t items, ItemBody body) const = 0;
};

// All items in order on the calling thread.
class SerialExecutor : public Executor {
 public:
  void Run(int64_t items, ItemBody body) const override;
};

}  // namespace retort
