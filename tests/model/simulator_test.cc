#include <catch2/catch.hpp>
#include <cstdlib>
#include <iostream>
#include <sstream>

#include "model/simulation.h"

namespace skerry::model {
namespace {

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 0);
}

std::string last_lines(const std::string& text, size_t count) {
  size_t at = text.size();
  while (at > 0 && count > 0) {
    at = text.rfind('\n', at - 1);
    if (at == std::string::npos) return text;
    --count;
  }
  return text.substr(at);
}

/// The same history with fewer calls, clients and faults, as long as it still fails.
Options shrink(Options options) {
  auto fails = [](const Options& o) { return !simulate(o).failure.empty(); };
  Options tried = options;
  tried.faults = false;
  if (fails(tried)) options = tried;
  for (unsigned clients = 1; clients < options.max_clients; ++clients) {
    tried = options;
    tried.max_clients = clients;
    if (fails(tried)) options = tried;
  }
  for (unsigned calls = 1; calls < options.max_calls; calls += 1 + calls / 8) {
    tried = options;
    tried.max_calls = calls;
    if (fails(tried)) options = tried;
  }
  return options;
}

std::string report(const Options& failed) {
  Options options = failed;
  if (from_environment("SKERRY_SIM_SHRINK", 1) != 0) options = shrink(failed);
  options.trace = true;
  const Outcome outcome = simulate(options);
  const uint64_t lines = from_environment("SKERRY_SIM_LINES", 60);
  std::ostringstream text;
  text << "seed " << options.seed << ", step " << outcome.steps << " (shrunk to "
       << options.max_clients << " clients, " << options.max_calls << " calls"
       << (options.faults ? "" : ", no faults") << "):\n"
       << outcome.failure << "\n"
       << last_lines(outcome.trace, lines) << "\nreplay: SKERRY_SIM_SEED=" << options.seed
       << " skerry_model_test \"simulator: 1000 seeds\" (SKERRY_SIM_LINES: how much of the trace; "
          "SKERRY_SIM_SHRINK=0: as it was)";
  return text.str();
}

}  // namespace

TEST_CASE("simulator: 1000 seeds", "[simulator]") {
  const uint64_t one = from_environment("SKERRY_SIM_SEED", 0);
  const uint64_t first = one != 0 ? one : from_environment("SKERRY_SIM_FIRST", 1);
  const uint64_t count = one != 0 ? 1 : from_environment("SKERRY_SIM_SEEDS", 1000);
  const bool go_on = from_environment("SKERRY_SIM_GO_ON", 0) != 0;
  uint64_t failures = 0;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    Options options;
    options.seed = seed;
    const Outcome outcome = simulate(options);
    if (outcome.failure.empty()) continue;
    ++failures;
    if (go_on) {
      std::cout << "seed " << seed << ": " << outcome.failure.substr(0, 300) << std::endl;
      continue;
    }
    FAIL(report(options));
  }
  CHECK(failures == 0);
}

TEST_CASE("simulator: a seed repeats itself", "[simulator]") {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Options options;
    options.seed = seed;
    CHECK(simulate(options).fingerprint == simulate(options).fingerprint);
    options.trace = true;
    CHECK(simulate(options).trace == simulate(options).trace);
  }
}

TEST_CASE("simulator: planted bugs are found", "[simulator]") {
  const Plant plant =
      GENERATE(Plant::kDropCommit, Plant::kDoubleCommit, Plant::kLoseAppend, Plant::kLoseName,
               Plant::kStaleRead, Plant::kStaleGeneration, Plant::kKeepGarbage, Plant::kSwapObjects,
               Plant::kZeroObject, Plant::kIgnoreSession, Plant::kSkewLocks);
  CAPTURE(static_cast<int>(plant));
  bool found = false;
  for (uint64_t seed = 1; seed <= 5000 && !found; ++seed) {
    Options options;
    options.seed = seed;
    options.plant = plant;
    found = !simulate(options).failure.empty();
    if (found) std::cout << static_cast<int>(plant) << " by seed " << seed << "\n";
  }
  CHECK(found);
}

}  // namespace skerry::model
