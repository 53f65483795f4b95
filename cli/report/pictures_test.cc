#include <cstdint>
#include <limits>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "cli/report/colours.h"
#include "cli/report/line_chart.h"
#include "cli/report/markup.h"
#include "cli/report/matrix_image.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

TEST(EscapeHtml, LeavesNoMarkupAndNoControlCharacters) {
  EXPECT_EQ(EscapeHtml("a<b> & \"c\"\n\té"), "a&lt;b&gt; &amp; &quot;c&quot;\n\té");
  EXPECT_EQ(EscapeHtml(std::string("a\0b\x7f", 4)),
            "a\xef\xbf\xbd"
            "b\xef\xbf\xbd");
}

TEST(Colours, RunFromEndToEndAndStopThere) {
  EXPECT_EQ(Sequential(0), (Rgb{68, 1, 84}));
  EXPECT_EQ(Sequential(1), (Rgb{253, 231, 37}));
  EXPECT_EQ(Sequential(0.0625), (Rgb{70, 23, 104}));  // halfway between the first two anchors
  EXPECT_EQ(Sequential(7), Sequential(1));
  EXPECT_EQ(Sequential(kNan), Sequential(0));
  EXPECT_EQ(Hex(Diverging(0)), "#ffffff");
  EXPECT_EQ(Diverging(-9), (Rgb{33, 78, 150}));
  EXPECT_TRUE(IsLight(Sequential(1)));
  EXPECT_FALSE(IsLight(Sequential(0)));
}

double Contrast(Rgb a, Rgb b) {
  const double x = Luminance(a) + 0.05, y = Luminance(b) + 0.05;
  return x > y ? x / y : y / x;
}

TEST(Colours, OfLinesStandOutOnLightAndOnDarkPaper) {
  EXPECT_NEAR(Luminance({255, 255, 255}), 1, 1e-9);
  EXPECT_NEAR(Luminance({128, 128, 128}), 0.2158, 1e-4);
  for (int i = 0; i <= 20; ++i) {
    const Rgb line = OfOneLightness(i / 20.0);
    EXPECT_GT(Contrast(line, {0xfc, 0xfc, 0xfb}), 3) << Hex(line);
    EXPECT_GT(Contrast(line, {0x15, 0x18, 0x1b}), 3) << Hex(line);
  }
}

TEST(Colours, TextIsBlackOrWhiteWhicheverStandsOutMore) {
  for (int i = 0; i <= 100; ++i) {
    const Rgb cell = Sequential(i / 100.0);
    const Rgb text = IsLight(cell) ? Rgb{0, 0, 0} : Rgb{255, 255, 255};
    EXPECT_GT(Contrast(cell, text), 4.5) << Hex(cell);
  }
}

// The little-endian number of `width` bytes at `place`.
uint32_t NumberAt(const std::string& bytes, size_t place, int width) {
  uint32_t number = 0;
  for (int i = 0; i < width; ++i) {
    number |= uint32_t{static_cast<unsigned char>(bytes[place + static_cast<size_t>(i)])} << (8 * i);
  }
  return number;
}

TEST(MatrixImage, IsABitmapOfOnePixelANumber) {
  const std::string text = MatrixImageUrl({4, -1, 0}, 4);
  absl::string_view url = text;
  ASSERT_TRUE(absl::ConsumePrefix(&url, "data:image/bmp;base64,"));
  std::string bytes;
  ASSERT_TRUE(absl::Base64Unescape(url, &bytes));
  ASSERT_EQ(bytes.size(), 54u + 2 * 8);
  EXPECT_EQ(bytes.substr(0, 2), "BM");
  EXPECT_EQ(NumberAt(bytes, 2, 4), bytes.size());
  EXPECT_EQ(NumberAt(bytes, 10, 4), 54u);  // where pixels begin
  EXPECT_EQ(NumberAt(bytes, 18, 4), 2u);   // width
  EXPECT_EQ(NumberAt(bytes, 22, 4), 2u);   // height, from the bottom
  EXPECT_EQ(NumberAt(bytes, 28, 2), 24u);
  // Blue, green, red. Bottom row: -1 of 4 is half strength, then 0; top row: full, then above the diagonal.
  EXPECT_EQ(NumberAt(bytes, 54, 3), 0x78a6d6u);
  EXPECT_EQ(NumberAt(bytes, 57, 3), 0xffffffu);
  EXPECT_EQ(NumberAt(bytes, 62, 3), 0xaa460au);
  EXPECT_EQ(NumberAt(bytes, 65, 3), 0xe2e2e2u);
}

TEST(MatrixImage, IsBlackWhereItIsNotFinite) {
  std::string bytes;
  ASSERT_TRUE(
      absl::Base64Unescape(absl::StripPrefix(MatrixImageUrl({kNan}, 1), "data:image/bmp;base64,"), &bytes));
  EXPECT_EQ(NumberAt(bytes, 54, 3), 0u);
}

TEST(LineChart, DrawsLogarithmicallyWithGapsWhereThereIsNothingToDraw) {
  const std::string svg = LineChart("Losses", {{"a < b", {100, 10, kNan, 1}, "#123456", false}});
  // 100 / 1.05 .. 105 on an axis of 240 px: 10 lies in the middle.
  EXPECT_THAT(svg, AllOf(HasSubstr("aria-label=\"Losses\""), HasSubstr("<title>a &lt; b</title>"),
                         HasSubstr("stroke:#123456")));
  EXPECT_THAT(svg, HasSubstr("d='M212.5 14.5h0L351.0 132.0M628.0 249.5h0'"));
  for (const char* tick : {">1<", ">10<", ">100<", ">0<", ">4<"}) EXPECT_THAT(svg, HasSubstr(tick));
}

TEST(LineChart, PutsTicksIntoANarrowRange) {
  const std::string svg = LineChart("", {{"", {3.45, 3.8}, "red", true}});
  EXPECT_THAT(svg, AllOf(HasSubstr(">3.4<"), HasSubstr(">3.6<"), HasSubstr(">3.8<"), HasSubstr("line main")));
}

TEST(LineChart, EndsOnNumbersAtTheEdgeOfTheirRange) {
  const double largest = std::numeric_limits<double>::max(),
               least = std::numeric_limits<double>::denorm_min();
  EXPECT_THAT(LineChart("", {{"", {largest, 1, least}, "red", false}}), HasSubstr(">1<"));
  const std::string wide = LineChart("", {{"", {1e-100, 1e100}, "red", false}});
  EXPECT_THAT(wide, HasSubstr(">1e-59<"));  // each 21st power of ten
  EXPECT_LT(wide.size(), 3'000u);
}

TEST(LineChart, ThinsLongLinesToMeansAndTakesAnEmptyOne) {
  std::vector<double> values(100'000, 1);
  values[99'999] = 1e9;
  const std::string svg = LineChart("", {{"", values, "red", false}});
  EXPECT_LT(svg.size(), 10'000u);
  EXPECT_THAT(svg, HasSubstr(">1e+06<"));  // the mean of the last run of 313 is over 3e6
  EXPECT_THAT(svg, Not(HasSubstr(">1e+09<")));
  EXPECT_THAT(LineChart("", {{"", {}, "red", false}, {"", {kNan}, "red", false}}), HasSubstr("</svg>"));
}

}  // namespace
}  // namespace retort
