// How report.html looks.
#pragma once

namespace retort {

// The contents of its <style>.
extern const char kPageStyle[];

}  // namespace retort
