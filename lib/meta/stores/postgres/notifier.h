// Notifier: tells the other clients of a volume what this one commits, and this one's cache what
// the others do. One thread and one connection, neither of them in any call's way: commits leave
// their keys in a bounded list, and what the list holds is notified about every ten milliseconds.
//
// Nothing rests on a notification but how soon others see a change: one that is lost (the process
// died between commit and notification, the connection broke) is made good when the lease ends, or
// where a connection was lost and is there again, at once: then everything is told to have changed.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "io/op_context.h"
#include "meta/store.h"
#include "meta/stores/postgres/connection.h"

namespace skerry::meta::postgres {

/// Thread-safe. Belongs to the process that made it: a forked child must not touch it.
class Notifier {
 public:
  /// Starts nothing. `enabled` false: nothing ever happens, and nothing is heard.
  Notifier(ConnInfo info, Clock& clock, bool enabled);
  /// stop() was called.
  ~Notifier();
  Notifier(const Notifier&) = delete;
  Notifier& operator=(const Notifier&) = delete;

  /// `request` was applied with these outcomes, or may have been, without. The first call starts
  /// the thread.
  void note(const CommitRequest& request, const std::vector<MutationOutcome>& outcomes) noexcept;
  /// Whom to tell what others changed; null: nobody. No call is in progress when it returns.
  void tell(ChangeSink* sink);
  /// From now on others are listened to. A few nanoseconds but for the first call.
  void hear();
  /// The same once this client has been there for a while and has somebody to tell: a command that
  /// takes some milliseconds opens no second connection.
  void hear_if_old() {
    if (!hearing_.load(std::memory_order_relaxed) && told_.load(std::memory_order_relaxed) &&
        clock_.monotonic_ns() - made_ns_ > kSettledNs) {
      hear();
    }
  }

  /// Another number after each notification of another client, and when hearing began or ended.
  uint64_t heard() const noexcept { return heard_.load(std::memory_order_acquire); }
  /// See Store::wait_for_change(). Where nothing is heard it returns after kWaitSliceNs.
  Status wait(const OpContext& ctx, uint64_t seen, TimeNs timeout_ns);

  /// Ends the thread. What it could not send any more is returned, as payloads for `channel()`.
  std::vector<std::string> stop();
  const std::string& channel() const { return channel_; }

 private:
  static constexpr TimeNs kSettledNs = 100'000'000;

  void add(const std::vector<std::string>& keys);
  bool start_thread();
  void run();
  Status serve();
  Status subscribe(Connection& connection);
  Status step(Connection& connection);
  Status send(Connection& connection, const OpContext& ctx);
  Status take(Connection& connection);
  void lost();
  void set_hears(bool hears);
  bool wait_for_work();
  bool pause(TimeNs for_ns);
  void wait_for_event(int socket, TimeNs for_ns);
  void wake();
  OpContext limited(TimeNs limit_ns) const;
  std::vector<std::string> take_keys();
  TimeNs due_ns();

  const ConnInfo info_;
  const std::string channel_;
  const uint64_t id_;  // of this sender
  Clock& clock_;
  const TimeNs made_ns_;
  int event_ = -1;
  CancelToken cancel_;
  std::atomic<bool> enabled_;
  std::atomic<bool> hearing_{false};  // hear() was called
  std::atomic<bool> told_{false};     // there is a sink
  std::atomic<uint64_t> heard_{1};

  std::mutex sink_mutex_;
  ChangeSink* sink_ = nullptr;  // guarded by sink_mutex_

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::unordered_set<std::string> keys_;
  bool everything_ = false;  // instead of keys_
  TimeNs first_key_ns_ = 0;
  bool stop_ = false;
  bool hears_ = false;
  bool started_ = false;
  std::thread thread_;

  // Of the thread alone.
  TimeNs last_sent_ns_ = 0, last_answer_ns_ = 0;
};

}  // namespace skerry::meta::postgres
