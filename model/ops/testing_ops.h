// What the tests of the ops share.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/util/Exception.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/io/safetensors.h"
#include "model/io/testing_tensors.h"

namespace retort {

inline void ExpectRefused(const std::function<void()>& call, const std::string& message) {
  try {
    call();
  } catch (const c10::Error& error) {
    EXPECT_THAT(error.what_without_backtrace(), testing::HasSubstr(message));
    return;
  }
  ADD_FAILURE() << "not refused: " << message;
}

// `run` gives tensors; two threads, which the tests run with, and one must give the same.
inline void ExpectSameBitsOnOneThread(const std::function<std::vector<at::Tensor>()>& run) {
  const int threads = at::get_num_threads();
  EXPECT_GE(threads, 2) << "one thread would be compared with itself";
  const std::vector<at::Tensor> many = run();
  at::set_num_threads(1);
  const std::vector<at::Tensor> one = run();
  at::set_num_threads(threads);
  ASSERT_EQ(one.size(), many.size());
  for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(one[i].equal(many[i])) << i;
}

inline std::map<std::string, at::Tensor> GoldenTensors(const std::string& path) {
  const auto file = SafetensorsFile::Open(RETORT_SOURCE_DIR "/tests/golden/" + path);
  std::map<std::string, at::Tensor> tensors;
  if (!file.ok()) {
    ADD_FAILURE() << file.status();
    return tensors;
  }
  for (const std::string& name : file->names()) tensors[name] = *file->Read(name);
  return tensors;
}

}  // namespace retort
