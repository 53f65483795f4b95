#include "kernels/ssd/ssd.h"

#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/base/testing_threads.h"
#include "kernels/ssd/testing_ssd.h"

namespace retort {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
using Decay = std::function<float(int64_t)>;

// Each result beside the double reference and the reference computed with absolute values, which bounds the
// rounding errors: every float result is a sum of products with relative error k eps of the sum of absolute
// values, k growing as the square root of the terms met on the way (a rounding per product and per level).
class Ssd : public testing::TestWithParam<InstructionSet> {
 protected:
  void Run(TestingSsd<float>& problem, int threads = 1) {
    SsdForward(problem.Forward(), TestingThreads(threads), GetParam());
    SsdBackward(problem.Backward(), TestingThreads(threads), GetParam());
  }

  void ExpectReference(const SsdShape& shape, const Decay& decay, bool with_options = true) {
    auto fast = RandomSsd<float>(shape, 1, decay);
    auto reference = RandomSsd<double>(shape, 1, decay), absolute = reference;
    fast.with_d = reference.with_d = absolute.with_d = with_options;
    fast.with_states = reference.with_states = absolute.with_states = with_options;
    fast.with_dt = reference.with_dt = absolute.with_dt = with_options;
    for (std::vector<double>* values : absolute.Inputs()) {
      if (values == &absolute.log_decay) continue;
      for (double& value : *values) value = std::abs(value);
    }
    Run(fast);
    for (TestingSsd<double>* problem : {&reference, &absolute}) {
      SsdForwardReference(problem->Forward());
      SsdBackwardReference(problem->Backward());
    }
    const int64_t terms = shape.tokens + shape.width + shape.state;
    const double tolerance = 4 * std::sqrt(terms) * 6e-8;
    const auto expect = [&](const char* name, auto member) {
      const auto& got = fast.*std::get<0>(member);
      const auto &want = reference.*std::get<1>(member), &bound = absolute.*std::get<1>(member);
      for (size_t i = 0; i < want.size(); ++i) {
        ASSERT_LE(std::abs(got[i] - want[i]), tolerance * bound[i] + 1e-30)
            << name << "[" << i << "] = " << got[i] << ", not " << want[i] << "; T " << shape.tokens << " H "
            << shape.heads << " G " << shape.groups << " P " << shape.width << " N " << shape.state;
      }
    };
    using F = TestingSsd<float>;
    using D = TestingSsd<double>;
    expect("y", std::pair(&F::y, &D::y));
    expect("final_state", std::pair(&F::final_state, &D::final_state));
    expect("dx", std::pair(&F::dx, &D::dx));
    expect("dlog_decay", std::pair(&F::dlog_decay, &D::dlog_decay));
    expect("db", std::pair(&F::db, &D::db));
    expect("dc", std::pair(&F::dc, &D::dc));
    if (with_options) expect("dd", std::pair(&F::dd, &D::dd));
    if (with_options) expect("ddt", std::pair(&F::ddt, &D::ddt));
    expect("dinitial_state", std::pair(&F::dinitial_state, &D::dinitial_state));
  }
};

INSTANTIATE_TEST_SUITE_P(, Ssd, testing::ValuesIn(SupportedInstructionSets()),
                         [](const auto& info) { return std::string(Name(info.param)); });

float Mild(int64_t t) { return -0.05f - 0.4f * static_cast<float>(t * 7 % 11) / 11.0f; }

TEST_P(Ssd, EqualsTheReferenceAtAllLengths) {
  for (const int64_t tokens : {0, 1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 200, 257}) {
    ExpectReference({1, tokens, 3, 3, 32, 16}, Mild);
    if (HasFatalFailure()) return;
  }
}

TEST_P(Ssd, EqualsTheReferenceAtALongSequence) { ExpectReference({1, 2048, 1, 1, 16, 16}, Mild); }

TEST_P(Ssd, EqualsTheReferenceAtAllSizes) {
  for (const int64_t width : {1, 3, 16, 32, 48, 64, 80, 128}) {
    for (const int64_t state : {1, 5, 16, 32, 48, 64, 128}) {
      ExpectReference({1, 70, 2, 1, width, state}, Mild);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(Ssd, EqualsTheReferenceWithBatchesAndGroups) {
  for (const int64_t groups : {1, 2, 6}) {
    ExpectReference({3, 40, 6, groups, 16, 32}, Mild);
    if (HasFatalFailure()) return;
  }
}

// Three heads of a group make two work items and five make ten, with heads in two pieces of columns.
TEST_P(Ssd, EqualsTheReferenceWhereItemsCutHeads) {
  for (const int64_t heads : {3, 5}) {
    for (const int64_t width : {32, 64}) {
      ExpectReference({2, 70, heads, 1, width, 32}, Mild);
      if (HasFatalFailure()) return;
    }
  }
  ExpectReference({1, 70, 6, 2, 32, 16}, Mild);
}

TEST_P(Ssd, EqualsTheReferenceWithSeveralHeadsAnItem) {
  for (const int64_t heads : {8, 18, 32}) {
    ExpectReference({1, 70, heads, heads, 16, 16}, Mild);
    if (HasFatalFailure()) return;
  }
}

TEST_P(Ssd, NeedsNeitherDNorStatesNorStepSizes) {
  ExpectReference({2, 40, 2, 2, 16, 16}, Mild, /*with_options=*/false);
}

TEST_P(Ssd, IsStableForAllDecays) {
  const std::vector<std::pair<const char*, Decay>> decays = {
      {"none", [](int64_t) { return 0.0f; }},
      {"long memory", [](int64_t) { return -1e-6f; }},
      {"strong", [](int64_t) { return -50.0f; }},
      {"makes denormals", [](int64_t) { return -3.0f; }},
      {"hard resets among mild", [](int64_t t) { return t % 13 == 5 ? -1e4f : -0.01f; }},
      {"documents", [](int64_t t) { return t % 40 == 20 ? -kInfinity : -0.1f; }},
      {"forgets all", [](int64_t) { return -kInfinity; }}};
  for (const auto& [name, decay] : decays) {
    SCOPED_TRACE(name);
    ExpectReference({1, 100, 2, 1, 16, 32}, decay);
    if (HasFatalFailure()) return;
  }
}

TEST_P(Ssd, SaysWhetherADecayGrows) {
  auto problem = RandomSsd<float>({1, 70, 3, 3, 16, 16}, 2, Mild);
  EXPECT_TRUE(SsdForward(problem.Forward(), TestingThreads(2), GetParam()));
  problem.log_decay[65 * 3 + 1] = 1e-6f;
  EXPECT_FALSE(SsdForward(problem.Forward(), TestingThreads(2), GetParam()));
}

TEST_P(Ssd, KeepsNanFromEarlierTokens) {
  for (const int64_t poisoned : {0, 5, 16, 33, 69}) {
    auto clean = RandomSsd<float>({1, 70, 1, 1, 16, 16}, 2, Mild), bad = clean;
    Run(clean);
    for (auto* values : {&bad.x, &bad.b, &bad.c}) {
      std::fill_n(values->begin() + poisoned * 16, 16, NAN);
    }
    bad.log_decay[poisoned] = bad.dt[poisoned] = NAN;
    Run(bad);
    for (int64_t i = 0; i < poisoned * 16; ++i) ASSERT_EQ(bad.y[i], clean.y[i]) << poisoned << " " << i;
    EXPECT_TRUE(std::isnan(bad.y[poisoned * 16]));
  }
}

// The gradient's causality is the other way round: a NaN in dy reaches only earlier tokens.
TEST_P(Ssd, KeepsNanGradientsFromLaterTokens) {
  auto clean = RandomSsd<float>({1, 70, 1, 1, 16, 16}, 3, Mild), bad = clean;
  Run(clean);
  std::fill_n(bad.dy.begin() + 20 * 16, 16, NAN);
  Run(bad);
  for (int64_t i = 21 * 16; i < 70 * 16; ++i) ASSERT_EQ(bad.dx[i], clean.dx[i]) << i;
  EXPECT_TRUE(std::isnan(bad.dx[0]));
}

TEST_P(Ssd, IsTheSameBitsForAnyNumberOfThreads) {
  auto one = RandomSsd<float>({2, 100, 6, 2, 32, 16}, 4, Mild), two = one;
  Run(one, 1);
  Run(two, 2);
  EXPECT_EQ(one.y, two.y);
  EXPECT_EQ(one.dx, two.dx);
  EXPECT_EQ(one.db, two.db);
  EXPECT_EQ(one.dlog_decay, two.dlog_decay);
  EXPECT_EQ(one.ddt, two.ddt);
  EXPECT_EQ(one.dd, two.dd);
}

// Outputs of this size go past the caches where their rows begin at a line of 64 bytes, and not elsewhere.
TEST_P(Ssd, WritesPastTheCachesWhatItWritesThroughThem) {
  auto problem = RandomSsd<float>({1, 1030, 32, 32, 64, 64}, 7, Mild);
  const auto outputs = [&](int64_t floats_off_a_line) {
    std::vector<std::vector<float>> results;
    std::vector<std::vector<float>> memory;
    const auto place = [&](SsdArray<float>& to) {
      memory.emplace_back(problem.y.size() + 32, NAN);
      const auto address = reinterpret_cast<uintptr_t>(memory.back().data());
      to.data = memory.back().data() + (64 - address % 64) / sizeof(float) + floats_off_a_line;
    };
    auto forward = problem.Forward();
    auto backward = problem.Backward();
    const auto placed = {&forward.y_BTHP, &backward.dx_BTHP, &backward.db_BTGN, &backward.dc_BTGN};
    for (SsdArray<float>* array : placed) place(*array);
    SsdForward(forward, TestingThreads(2), GetParam());
    SsdBackward(backward, TestingThreads(2), GetParam());
    for (const SsdArray<float>* array : placed) {
      results.emplace_back(array->data, array->data + problem.y.size());
    }
    return results;
  };
  EXPECT_EQ(outputs(0), outputs(1));
}

// Splitting at a chunk's boundary and carrying the state changes nothing; one problem's middle is another's.
TEST_P(Ssd, ContinuesFromItsState) {
  auto whole = RandomSsd<float>({1, 96, 2, 2, 16, 16}, 5, Mild);
  auto first = whole, second = whole;
  Run(whole);
  first.shape.tokens = 32;
  Run(first);
  second.shape.tokens = 64;
  for (auto* values : {&second.x, &second.b, &second.c})
    values->erase(values->begin(), values->begin() + 32 * 32);
  for (auto* values : {&second.log_decay, &second.dt})
    values->erase(values->begin(), values->begin() + 32 * 2);
  second.initial_state = first.final_state;
  Run(second);
  EXPECT_EQ(second.final_state, whole.final_state);
  for (int64_t i = 0; i < 64 * 32; ++i) ASSERT_EQ(second.y[i], whole.y[32 * 32 + i]);
}

TEST_P(Ssd, StepsAsItScans) {
  for (const int64_t state : {16, 64, 7}) {
    auto scan = RandomSsd<float>({2, 5, 4, 2, 16, state}, 6, Mild);
    scan.with_dt = false;
    Run(scan);
    std::vector<float> states = scan.initial_state, y(scan.y.size());
    const auto in = scan.Forward();
    for (int64_t t = 0; t < 5; ++t) {
      const auto at = [t](auto array) {
        array.data += t * array.token;
        return array;
      };
      SsdArray<float> out = {y.data() + t * in.y_BTHP.token, in.y_BTHP.batch, 0, in.y_BTHP.head};
      SsdStep({in.shape, at(in.x_BTHP), at(in.log_decay_BTH), at(in.b_BTGN), at(in.c_BTGN), in.d_H, out,
               states.data()},
              SerialExecutor(), GetParam());
    }
    // Sums of some tens of products of size 1 in another order.
    EXPECT_THAT(y, testing::Pointwise(testing::FloatNear(2e-4f), scan.y));
    EXPECT_THAT(states, testing::Pointwise(testing::FloatNear(2e-5f), scan.final_state));
  }
}

}  // namespace
}  // namespace retort
