// One simulated history: clients run, the dust settles, everything is checked.
#pragma once

#include <string>

#include "model/world.h"

namespace skerry::model {

struct Outcome {
  std::string failure;  // empty: none
  std::string trace;    // its last events
  uint64_t steps = 0;
  bool planted = false;
  uint64_t fingerprint = 0;  // of the history: equal for equal seeds
};
Outcome simulate(const Options& options);

/// Everyone has left: what is on record must be what the model says, and nothing else.
void check_final_state(World& world, const struct VolumeShape& shape);

}  // namespace skerry::model
