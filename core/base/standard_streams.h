// The file descriptors 0, 1 and 2 of a process that was started with some of them closed (`program >&-`).
#pragma once

namespace retort {

// Call on the first line of main, before anything is opened: a file that got such a number would receive what
// is printed. Closed descriptors are opened on /dev/null the wrong way round, so that reading or writing them
// fails as it would have and FinishOutput reports output that was lost. Ends the process with status 1 when
// /dev/null cannot be opened.
void OccupyClosedStandardStreams();

}  // namespace retort
