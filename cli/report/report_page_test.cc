#include "cli/report/report_page.h"

#include <stdlib.h>

#include <fstream>
#include <sstream>

#include "cli/report/testing_run_files.h"
#include "core/base/check.h"
#include "core/base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(ReportPage, SaysWhatWasDistilledHowWellAndHowToRepeatIt) {
  const absl::StatusOr<std::string> page = ReportPage(Files());
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_THAT(*page, HasSubstr("2 of 3 attention layers of <code>models/t</code> became mamba2"));
  EXPECT_THAT(*page, AllOf(HasSubstr("<b>1.5×</b>"), HasSubstr("30 against 20"), HasSubstr("<b>25.0 %</b>"),
                           HasSubstr("<b>16.1k</b><span>tokens of training"), HasSubstr("<b>1m15s</b>")));
  EXPECT_THAT(*page, AllOf(HasSubstr("123.5k parameters, the student 234.6k"),
                           HasSubstr("<span class=kept title=\"layer 0: attention\">0</span>"),
                           HasSubstr("<span class=made title=\"layer 1: mamba2\">1</span>")));
  EXPECT_THAT(*page, HasSubstr("<tr class=last><td>after end to end</td><td>30.00</td><td>0.500</td>"
                               "<td>0.250</td><td>–</td><td>7.50</td><td>–</td></tr>"));
  EXPECT_THAT(*page, HasSubstr("<td>matrix orientation</td><td>12k</td><td>30s</td><td>400</td>"
                               "<td>9.5000</td><td>3.2500</td>"));
  EXPECT_THAT(*page, AllOf(HasSubstr("layer 2: 3.5"), HasSubstr("mean of the layers: 3.25"),
                           HasSubstr("loss: 2.125")));
  EXPECT_THAT(*page, AllOf(HasSubstr("student untrained: 3 from the teacher"),
                           HasSubstr("student after matrix orientation: 0 from the teacher"),
                           HasSubstr("Head 0 of layer 1 on the first 2 held-out tokens")));
  EXPECT_THAT(*page, AllOf(HasSubstr("<pre>retort run job.yaml --root DIR --threads 3</pre>"),
                           HasSubstr("name: tiny\nteacher:\n"), HasSubstr("state_size: 64"),
                           HasSubstr("lr: 0.001"), HasSubstr("bb22")));
}

TEST(ReportPage, ColoursTheHeatMapFromTheLeastToTheMost) {
  const absl::StatusOr<std::string> page = ReportPage(Files());
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_THAT(*page, HasSubstr("<td style='background:#440154;color:#fff'>5</td>"));
  EXPECT_THAT(*page, HasSubstr("<td style='background:#fde725;color:#000'>200</td>"));
  EXPECT_THAT(*page, Not(HasSubstr("<td>0</td><td style")));  // the kept layer has no row
}

TEST(ReportPage, ShowsKeptLayersThatMovedAndLeavesThemOutOfTheMean) {
  RunFiles files = Files();
  files.result["stages"][1]["student"] = files.result["student"] = Student(30, 5, 0.5);
  const absl::StatusOr<std::string> page = ReportPage(files);
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_THAT(*page, HasSubstr("<td>0.250</td><td>–</td><td>7.50</td>"));
  EXPECT_THAT(*page, HasSubstr("<tr><td>0 (kept)</td><td style='background:#440154;color:#fff'>0</td>"));
  EXPECT_THAT(*page, HasSubstr("<td style='background:#440154;color:#fff'>0.5</td>"));
  EXPECT_THAT(*page, HasSubstr("<tr><td>1</td>"));
}

TEST(ReportPage, NeedsNothingBesideItAndRunsNothing) {
  const absl::StatusOr<std::string> page = ReportPage(Files());
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_THAT(*page, AllOf(HasSubstr("Once &lt;script&gt;"), HasSubstr("more &amp; more"),
                           HasSubstr("Some &lt;CPU&gt;")));
  for (const char* outside : {"<script", "http:", "https:", "<link", "@import", "url("}) {
    EXPECT_THAT(*page, Not(HasSubstr(outside)));
  }
}

TEST(ReportPage, TakesARunWithoutStagesMatricesAndSamples) {
  RunFiles files = Files();
  files.result["stages"] = json::array();
  files.result["student"] = files.result["initial"];
  files.losses.clear();
  files.shown.erase("matrices");
  files.shown["samples"] = json::array();
  const absl::StatusOr<std::string> page = ReportPage(files);
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_THAT(*page, AllOf(HasSubstr("<tr class=last><td>student, untrained</td>"),
                           Not(HasSubstr("One head")), Not(HasSubstr("How they write"))));
}

TEST(ReportPage, ScrollsNothingOnPaper) {
  const absl::StatusOr<std::string> page = ReportPage(Files());
  ASSERT_TRUE(page.ok()) << page.status();
  const std::string paper = page->substr(page->rfind("@media print"));
  EXPECT_THAT(paper,
              AllOf(HasSubstr(".sample p { max-height: none; overflow: visible; }"),
                    HasSubstr("pre { white-space: pre-wrap;"), HasSubstr("td { white-space: normal; }")));
}

TEST(ReportPage, SaysWhyThereAreNoSamples) {
  RunFiles files = Files();
  files.shown["samples"] = json::array();
  files.shown["no_samples"] = "t/tokenizer.json: 'model.type' is \"<X>\"";
  const absl::StatusOr<std::string> page = ReportPage(files);
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_THAT(*page,
              HasSubstr("No samples: the teacher's tokenizer cannot be read. t/tokenizer.json: 'model.type' "
                        "is &quot;&lt;X&gt;&quot;"));
}

TEST(ReportPage, NamesTheFileAndThePlaceOfWhatIsNoResult) {
  RunFiles files = Files();
  files.result["stages"][1]["seconds"] = "long";
  EXPECT_EQ(
      ReportPage(files).status(),
      absl::DataLossError("result.json: \"stages/1/seconds\" is \"long\", not a number from 0 to 1e15; it "
                          "is not what this version leaves: fetch the run again"));
  files = Files();
  files.shown["samples"][0].erase("student");
  EXPECT_EQ(ReportPage(files).status(),
            absl::DataLossError("report.json: \"samples/0/student\" is missing; it is not what this version "
                                "leaves: fetch the run again"));
  files = Files();
  files.result["student"]["hidden_distance"].push_back(1);
  EXPECT_EQ(
      ReportPage(files).status(),
      absl::DataLossError("result.json: in \"student\": \"hidden_distance\" has 4 numbers, \"layer_types\" 3 "
                          "layers; fetch the run again"));
}

TEST(ReportPage, DrawsAMatrixThatIsNotFinite) {
  RunFiles files = Files();
  files.shown["matrices"]["students"][0]["values"][1] = nullptr;
  absl::StatusOr<std::string> page = ReportPage(files);
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_THAT(*page, AllOf(HasSubstr("student untrained: black where not finite"),
                           HasSubstr("student after matrix orientation: 0 from the teacher")));
  files.shown["matrices"]["teacher"][0] = nullptr;
  page = ReportPage(files);
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_THAT(*page, AllOf(HasSubstr("teacher: attention, black where not finite"),
                           HasSubstr("<figcaption>student after matrix orientation</figcaption>")));
}

TEST(ReportPage, RefusesMatricesOfOtherSizes) {
  RunFiles files = Files();
  files.shown["matrices"]["students"][1]["values"].push_back(1);
  EXPECT_EQ(
      ReportPage(files).status(),
      absl::DataLossError("report.json: the matrix of the student matrix_orientation has 4 numbers, the "
                          "teacher's 3; fetch the run again"));
  for (const json& teacher : {json::array(), json{1, 2}}) {
    files.shown["matrices"]["teacher"] = teacher;
    EXPECT_TRUE(absl::IsDataLoss(ReportPage(files).status())) << teacher;
  }
}

class WriteReportTest : public ::testing::Test {
 protected:
  WriteReportTest() {
    std::string name = (std::filesystem::temp_directory_path() / "retort_report_XXXXXX").string();
    RETORT_CHECK(mkdtemp(name.data()) != nullptr) << name;
    directory_ = name;
    Put("result.json", Files().result.dump());
    Put("report.json", Files().shown.dump());
    Put("metrics.jsonl", R"({"stage":"end_to_end","step":1,"layer":null,"loss":4.5}
{"stage":"end_to_end","step":2,"layer":null,"loss":null}
)");
  }
  ~WriteReportTest() override { std::filesystem::remove_all(directory_); }

  void Put(const char* name, const std::string& contents) {
    std::ofstream(directory_ / name, std::ios::binary) << contents;
  }

  std::filesystem::path directory_;
};

TEST_F(WriteReportTest, WritesThePageOfTheFiles) {
  ASSERT_EQ(WriteReport(directory_), absl::OkStatus());
  const absl::StatusOr<std::string> page = ReadFile(directory_ / "report.html");
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_THAT(*page, AllOf(HasSubstr("<title>tiny – Retort</title>"), HasSubstr("Losses of end to end")));
}

TEST_F(WriteReportTest, NamesTheFileAndPlaceOfWhatIsWrong) {
  Put("metrics.jsonl", "{\"stage\":\"end_to_end\",\"step\":1,\"layer\":null,\"loss\":4.5}\n{\"stage\":1}\n");
  absl::Status status = WriteReport(directory_);
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("metrics.jsonl:2: "));
  Put("metrics.jsonl", "");
  Put("result.json", "[]");
  status = WriteReport(directory_);
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("result.json is not what a run leaves: no JSON object"));
  for (const std::string& text : {std::string(1'000'000, '['), std::string(R"({"job": 1, "job": 2})")}) {
    Put("result.json", text);
    EXPECT_TRUE(absl::IsDataLoss(WriteReport(directory_))) << text.substr(0, 50);
  }
  std::filesystem::remove(directory_ / "result.json");
  status = WriteReport(directory_);
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("has no result.json"), HasSubstr("retort run")));
  std::ostringstream err;
  NoteReport("retort run", directory_, err);
  EXPECT_THAT(err.str(),
              AllOf(HasSubstr("retort run: the run is complete, but"), HasSubstr("`retort report ")));
}

TEST(ReportPage, NamesTheWorkersThatTrainedStageThree) {
  RunFiles files = Files();
  files.result["stages"][1]["world_size"] = 2;
  const absl::StatusOr<std::string> page = ReportPage(files);
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_THAT(*page, AllOf(HasSubstr("<pre>retort run job.yaml --root DIR --threads 3 --workers 2</pre>"),
                           HasSubstr("world_size: 2")));
  files.result["stages"][1]["world_size"] = "two";
  EXPECT_EQ(ReportPage(files).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace retort
