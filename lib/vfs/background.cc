#include "vfs/background.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/log.h"
#include "io/blocked_signals.h"
#include "meta/session.h"
#include "vfs/volume.h"

namespace skerry::vfs {
namespace {

constexpr TimeNs kBeatNs = 5'000'000'000;
constexpr TimeNs kBeatTimeoutNs = 15'000'000'000;
constexpr auto kStep = std::chrono::seconds(1);
constexpr int kReclaimStepsPerBeat = 16;

/// Beats of many clients must not fall together: 80 % to 120 % of the interval.
TimeNs jittered(Random& random, TimeNs interval) {
  return interval * 8 / 10 +
         static_cast<TimeNs>(random.next() % static_cast<uint64_t>(interval * 4 / 10));
}

void report(const char* what, const Status& status) {
  if (status.ok() || !log_enabled(LogLevel::kWarning)) return;
  if (status.error().code() == ECANCELED) return;
  log_message(LogLevel::kWarning, std::string(what) + ": " + status.error().message());
}

}  // namespace

Result<std::unique_ptr<Background>> Background::start(Volume& volume) {
  std::unique_ptr<Background> background(new Background(volume));
  const BlockedSignals blocked;
  try {
    background->thread_ = std::thread([self = background.get()] {
      pthread_setname_np(pthread_self(), "skerry-bg");
      self->run();
    });
  } catch (const std::system_error& e) {
    return Error(EAGAIN, std::string("cannot start the background thread: ") + e.what());
  }
  return background;
}

Background::~Background() {
  if (!thread_.joinable()) return;
  cancel_.cancel();
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Background::wake() {
  {
    std::lock_guard lock(mutex_);
    wake_ = true;
  }
  changed_.notify_all();
}

void Background::run() {
  Random& random = volume_.meta().random();
  const TimeNs interval = std::min(kBeatNs, volume_.format().session_expiry_ns / 5);
  TimeNs next_beat = volume_.clock().monotonic_ns() + jittered(random, interval);
  for (;;) {
    bool woken = false;
    {
      std::unique_lock lock(mutex_);
      changed_.wait_until(lock, std::chrono::steady_clock::now() + kStep,
                          [&] { return stop_ || wake_; });
      if (stop_) return;
      woken = std::exchange(wake_, false);
    }
    try {
      OpContext ctx = volume_.own_context(kBeatTimeoutNs);
      ctx.cancel = &cancel_;
      if (!volume_.options().read_only) volume_.files().background_step(ctx);
      report("access times", volume_.access_times().commit(ctx, volume_.meta()));
      volume_.locks().settle(ctx);
      TimeNs now = volume_.clock().monotonic_ns();
      if (woken || now >= next_beat) {
        next_beat = now + jittered(random, interval);
        beat(ctx);
      }
    } catch (const std::exception& e) {
      log_message(LogLevel::kError, std::string("background: ") + e.what());
    }
  }
}

void Background::beat(const OpContext& ctx) {
  if (volume_.meta().client() == 0) return;  // read-only on a store that refuses writes
  Status beat = meta::heartbeat(ctx, volume_.meta());
  if (!beat.ok() && beat.error().code() == ESTALE) {
    log_message(LogLevel::kWarning, "the session was ended by others; opening a new one");
    beat = volume_.renew_session(ctx);
  }
  report("heartbeat", beat);
  if (beat.ok() && !volume_.options().read_only) reclaim(ctx);
}

void Background::reclaim(const OpContext& ctx) {
  auto remove = [this](const OpContext& c, const std::vector<meta::ObjectId>& ids) {
    return volume_.blocks().remove_objects(c, ids);
  };
  for (int i = 0; i < kReclaimStepsPerBeat; i++) {
    auto step = meta::reclaim_step(ctx, volume_.meta(), remove);
    if (!step.ok()) {
      report("reclaim", std::move(step).error());
      return;
    }
    if (!step->elected || step->inodes + step->objects == 0) return;
  }
}

}  // namespace skerry::vfs
