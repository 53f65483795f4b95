// A job as the file that one would write for it: core/config/job_file.h read backwards.
#pragma once

#include <string>

#include "retort/v1/job.pb.h"

namespace retort {

// YAML with every value that `job` has, in the order of the reference; reading it gives `job` again, when it
// was read from a job file. A message taken from elsewhere may lack values; their keys are left out.
std::string WriteJob(const v1::JobSpec& job);

}  // namespace retort
