#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log.h"

using namespace skerry;

TEST_CASE("log: off until the host installs a sink, then up to its level", "[base]") {
  std::vector<std::string> seen;
  CHECK_FALSE(log_enabled(LogLevel::kError));
  log_message(LogLevel::kError, "lost");
  set_log_sink(
      [](void* context, LogLevel, std::string_view message) {
        static_cast<std::vector<std::string>*>(context)->emplace_back(message);
      },
      &seen, LogLevel::kWarning);
  CHECK(log_enabled(LogLevel::kWarning));
  CHECK_FALSE(log_enabled(LogLevel::kInfo));
  log_message(LogLevel::kError, "error");
  log_message(LogLevel::kWarning, "warning");
  log_message(LogLevel::kInfo, "info");
  set_log_sink(nullptr, nullptr, LogLevel::kDebug);
  CHECK_FALSE(log_enabled(LogLevel::kError));
  log_message(LogLevel::kError, "lost again");
  CHECK(seen == std::vector<std::string>{"error", "warning"});
}

TEST_CASE("clock: sleeping lasts at least as long as asked for", "[base]") {
  Clock& clock = system_clock();
  TimeNs before = clock.monotonic_ns();
  clock.sleep_ns(2'000'000);
  clock.sleep_ns(0);
  clock.sleep_ns(-5);
  CHECK(clock.monotonic_ns() - before >= 2'000'000);
  CHECK(clock.now_ns() > TimeNs{1'600'000'000} * 1'000'000'000);
}

TEST_CASE("random: a forked child does not repeat its parent", "[base]") {
  system_random().next();
  int pipe_fds[2];
  REQUIRE(::pipe(pipe_fds) == 0);
  pid_t child = ::fork();
  if (child == 0) {
    uint64_t v = system_random().next();
    ::_exit(::write(pipe_fds[1], &v, sizeof v) == sizeof v ? 0 : 1);
  }
  uint64_t theirs = 0;
  CHECK(::read(pipe_fds[0], &theirs, sizeof theirs) == sizeof theirs);
  CHECK(theirs != system_random().next());
  int status = 0;
  CHECK(::waitpid(child, &status, 0) == child);
  ::close(pipe_fds[0]);
  ::close(pipe_fds[1]);
}
