// Ctrl-C: the first one asks the program to save and stop, the second one ends it at once.
#pragma once

#include <atomic>

namespace retort {

// Handles SIGINT and SIGTERM from now on: the first of either sets the returned flag, which lives as long as
// the process; a SIGINT after that ends the process with code 130, without clean-up. Call once, early in
// main, and poll the flag from any thread.
const std::atomic<bool>& InstallInterruptHandler();

}  // namespace retort
