#include "base/log.h"

#include <atomic>
#include <cstdint>

namespace skerry {
namespace {

// The one process-wide variable: a host has one log, and errors are logged before any volume
// exists. A sequence lock instead of a mutex, so that a child forked amid a call cannot inherit it
// locked; both sides give up after kMaxTries (a message is lost, nothing hangs).
struct Installed {
  std::atomic<uint32_t> sequence{0};  // odd while the rest is being replaced
  std::atomic<LogSink> sink{nullptr};
  std::atomic<void*> context{nullptr};
  std::atomic<int> max_level{-1};  // -1: nothing is logged
};

constexpr int kMaxTries = 10000;

constinit Installed installed;

}  // namespace

void set_log_sink(LogSink sink, void* context, LogLevel max_level) noexcept {
  uint32_t even = 0;
  for (int i = 0; i < kMaxTries; i++) {
    even = installed.sequence.load() & ~1u;
    if (installed.sequence.compare_exchange_weak(even, even + 1)) break;
  }
  installed.sink.store(sink);
  installed.context.store(context);
  installed.max_level.store(sink == nullptr ? -1 : static_cast<int>(max_level));
  installed.sequence.store(even + 2);
}

bool log_enabled(LogLevel level) noexcept {
  return static_cast<int>(level) <= installed.max_level.load(std::memory_order_relaxed);
}

void log_message(LogLevel level, std::string_view message) noexcept {
  if (!log_enabled(level)) return;
  for (int i = 0; i < kMaxTries; i++) {
    uint32_t before = installed.sequence.load();
    LogSink sink = installed.sink.load();
    void* context = installed.context.load();
    if ((before & 1) != 0 || installed.sequence.load() != before) continue;
    if (sink != nullptr) sink(context, level, message);
    return;
  }
}

}  // namespace skerry
