// An event of a run as one line for people. Pure.
#pragma once

#include <string>

#include "retort/v1/run_service.pb.h"

namespace retort {

// "lease granted: matrix_orientation layers 4-6 to alpha from steps 300,300,250 (token 41)", without a
// newline. An event of a kind that this program does not know shows its number and its text.
std::string EventText(const v1::Event& event);

// EventText after its time: "2026-11-25T22:31:05Z ".
std::string EventLine(const v1::Event& event);

// EventText after the time of day: "22:31:05 ".
std::string ShortEventLine(const v1::Event& event);

}  // namespace retort
