// What `retort watch` draws on a terminal: layers x stages, and the last events under it. Pure.
#pragma once

#include <deque>
#include <string>

#include "retort/v1/run_service.pb.h"

namespace retort {

struct ScreenSize {
  int columns = 80;
  int rows = 24;
};

// At most `screen.rows` - 1 lines of at most `screen.columns` - 1 characters, each with a newline. Neighbours
// among the layers that show the same become one row; when the rows do not suffice, the layers at work come
// first and a line says how many are left out.
std::string RenderLive(const v1::RunStatus& run, const std::deque<v1::Event>& last_events, ScreenSize screen);

}  // namespace retort
