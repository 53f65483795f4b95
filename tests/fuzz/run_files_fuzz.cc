// Any bytes as the files of a finished run, which "\\n---\\n" parts: result.json, report.json, metrics.jsonl.
// Refused, or a report and a table.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "cli/report/report_page.h"
#include "cli/report/run_files.h"
#include "cli/show/result_table.h"
#include "core/base/check.h"
#include "tests/fuzz/scratch_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const retort::ScratchFiles files;
  constexpr std::string_view kMark = "\n---\n";
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  std::filesystem::path file;
  for (const char* name : {"result.json", "report.json", "metrics.jsonl"}) {
    const size_t end = std::min(rest.find(kMark), rest.size());
    file = files.Write(name, rest.substr(0, end));
    rest.remove_prefix(std::min(end + kMark.size(), rest.size()));
  }
  const auto run = retort::ReadRunFiles(file.parent_path());
  if (!run.ok()) return 0;
  const auto page = retort::ReportPage(*run);
  if (!page.ok()) return 0;
  RETORT_CHECK(!retort::RenderResult(run->result).empty());
  return 0;
}
