// The report in headless Chromium: it must not be wider than a desktop's or a phone's window.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdio.h>

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "cli/report/markup.h"
#include "cli/report/report_page.h"
#include "cli/report/testing_run_files.h"
#include "core/base/files.h"

namespace retort {
namespace {

using testing::StartsWith;

std::string OutputOf(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "r");
  std::string output;
  for (int c = fgetc(pipe); c != EOF; c = fgetc(pipe)) output += static_cast<char>(c);
  return pclose(pipe) == 0 ? output : "";
}

std::string Chromium() {
  std::string path =
      OutputOf("command -v chromium || command -v chromium-browser || command -v google-chrome");
  return path.substr(0, path.find('\n'));
}

// A run whose texts, names and numbers are as long as real ones.
RunFiles WideRun() {
  RunFiles files = Files();
  files.result["job"] = "smollm2-135m-" + std::string(120, 'x');
  files.result["identity"]["teacher_sha256"] = std::string(64, 'a');
  files.result["identity"]["job"]["teacher"]["path"] = std::string(200, 'p');
  files.shown["samples"][0]["prompt"] = std::string(400, 'w');
  nlohmann::json &result = files.result, &stages = result["stages"];
  for (int layer = 3; layer < 30; ++layer) {
    result["layer_types"].push_back("discrete_mamba2");
    for (nlohmann::json* student :
         {&result["initial"], &stages[0]["student"], &stages[1]["student"], &result["student"]}) {
      (*student)["hidden_distance"].push_back(123.456 * layer);
    }
  }
  return files;
}

// What the page says of itself in a window of `width`: "WIDTH OVERHANG BACKGROUND". It is a frame of that
// width, as Chromium's own windows are never as narrow as a phone's.
std::string Measured(const std::string& page, int width, bool dark) {
  const std::filesystem::path directory = std::filesystem::path(testing::TempDir()) / "report_browser";
  std::filesystem::create_directories(directory);
  const std::string frame = absl::StrCat(
      "<!DOCTYPE html><body><iframe id=f style='border:0;height:900px;width:", width, "px' srcdoc=\"",
      EscapeHtml(page),
      "\" onload=\"const d = f.contentDocument, r = d.documentElement; document.title = 'seen ' + "
      "f.contentWindow.innerWidth + ' ' + (r.scrollWidth - r.clientWidth) + ' ' + "
      "f.contentWindow.getComputedStyle(d.body).backgroundColor\"></iframe></body>");
  EXPECT_TRUE(WriteFileAtomically(directory / "frame.html", frame).ok());
  const std::string dom = OutputOf(absl::StrCat(
      Chromium(), " --headless --no-sandbox --disable-gpu --window-size=1400,1000 --user-data-dir=",
      (directory / "profile").string(), " --blink-settings=preferredColorScheme=", dark ? 0 : 1,
      " --dump-dom ", (directory / "frame.html").string(), " 2>/dev/null"));
  std::filesystem::remove_all(directory);
  const size_t begin = dom.find("<title>seen "), end = dom.find("</title>", begin);
  return begin == std::string::npos ? dom.substr(0, 300) : dom.substr(begin + 12, end - begin - 12);
}

TEST(ReportInABrowser, IsNoWiderThanItsWindow) {
  if (Chromium().empty()) GTEST_SKIP() << "no chromium here: NOBODY HAS LOOKED AT THE REPORT'S WIDTH";
  const absl::StatusOr<std::string> page = ReportPage(WideRun());
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_EQ(Measured(*page, 1280, /*dark=*/false), "1280 0 rgb(252, 252, 251)");
  EXPECT_EQ(Measured(*page, 1280, /*dark=*/true), "1280 0 rgb(21, 24, 27)");
  EXPECT_EQ(Measured(*page, 390, /*dark=*/false), "390 0 rgb(252, 252, 251)");
  EXPECT_EQ(Measured(*page, 390, /*dark=*/true), "390 0 rgb(21, 24, 27)");
  // What hangs over is seen.
  EXPECT_THAT(Measured("<!DOCTYPE html><body style='margin:0'><p style='width:900px'>wide", 390, false),
              StartsWith("390 510 "));
}

}  // namespace
}  // namespace retort
