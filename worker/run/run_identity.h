// What decides a run's numbers, as result.json says it.
#pragma once

#include "nlohmann/json.hpp"
#include "retort/v1/job.pb.h"
#include "retort/v1/work.pb.h"

namespace retort {

// The job without its name and how often it is saved, which change no number.
v1::JobSpec DecidingJob(const v1::JobSpec& job);

// {job, teacher_sha256, data_sha256{path}, threads, compute_path, version}; `job` is DecidingJob's, `version`
// the program's with numerics_id.
nlohmann::json RunIdentity(const v1::JobSpec& job, const v1::InputHashes& inputs,
                           const v1::Numerics& numerics);

}  // namespace retort
