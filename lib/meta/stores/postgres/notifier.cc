#include "meta/stores/postgres/notifier.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <new>
#include <system_error>

#include "base/log.h"
#include "io/blocked_signals.h"
#include "meta/stores/postgres/change_message.h"
#include "meta/stores/postgres/layout.h"

namespace skerry::meta::postgres {

namespace {

constexpr TimeNs kBatchNs = 10 * kMillisecond;  // between two notifications
// A client that is closed within this time opens no connection for its notifications.
constexpr TimeNs kConnectDelayNs = 20 * kMillisecond;
constexpr TimeNs kConnectLimitNs = 10'000 * kMillisecond;
constexpr TimeNs kCallLimitNs = 5'000 * kMillisecond;
constexpr TimeNs kLastCallLimitNs = 1'000 * kMillisecond;
constexpr TimeNs kPingNs = 5'000 * kMillisecond;  // of an idle connection
constexpr TimeNs kFirstRetryNs = 100 * kMillisecond, kLastRetryNs = 5'000 * kMillisecond;
constexpr size_t kMaxKeys = 4096;
constexpr size_t kMaxPayloads = 16;  // of one batch
constexpr size_t kMaxChannelBytes = 63;

/// Two volumes whose names are cut to the same drop a record now and then without need.
std::string channel_of(const std::string& schema) {
  std::string channel = "skerry_" + schema;
  if (channel.size() <= kMaxChannelBytes) return channel;
  size_t end = kMaxChannelBytes;
  while ((static_cast<uint8_t>(channel[end]) & 0xc0) == 0x80) --end;  // no half of a character
  channel.resize(end);
  return channel;
}

}  // namespace

Notifier::Notifier(ConnInfo info, Clock& clock, bool enabled)
    : info_(std::move(info)),
      channel_(channel_of(info_.schema)),
      id_(system_random().next() | 1),
      clock_(clock),
      made_ns_(clock.monotonic_ns()),
      enabled_(enabled) {
  if (!enabled) return;
  event_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (event_ < 0) enabled_ = false;
}

Notifier::~Notifier() {
  if (event_ >= 0) close(event_);
}

void Notifier::wake() {
  const uint64_t one = 1;
  static_cast<void>(!write(event_, &one, sizeof one));
}

/// The mutex is held.
bool Notifier::start_thread() {
  if (started_) return true;
  const BlockedSignals blocked;
  try {
    thread_ = std::thread([this] {
      pthread_setname_np(pthread_self(), "skerry-notify");
      run();
    });
    started_ = true;
  } catch (const std::system_error&) {
    enabled_ = false;  // others see the changes when their leases end
  }
  return started_;
}

void Notifier::note(const CommitRequest& request,
                    const std::vector<MutationOutcome>& outcomes) noexcept {
  if (!enabled_.load(std::memory_order_relaxed)) return;
  try {
    const std::vector<std::string> changes = changes_of(request, outcomes);
    if (!changes.empty()) add(changes);
  } catch (const std::bad_alloc&) {
    std::lock_guard lock(mutex_);
    everything_ = true;
  }
}

void Notifier::add(const std::vector<std::string>& keys) {
  std::lock_guard lock(mutex_);
  if (stop_) return;
  const bool first = keys_.empty() && !everything_;
  if (!everything_) keys_.insert(keys.begin(), keys.end());
  if (keys_.size() > kMaxKeys) {
    keys_.clear();
    everything_ = true;
  }
  if (!first) return;
  first_key_ns_ = clock_.monotonic_ns();
  if (start_thread()) wake();
}

void Notifier::tell(ChangeSink* sink) {
  std::lock_guard lock(sink_mutex_);
  sink_ = sink;
  told_.store(sink != nullptr, std::memory_order_relaxed);
}

void Notifier::hear() {
  if (hearing_.load(std::memory_order_relaxed) || !enabled_.load(std::memory_order_relaxed)) return;
  std::lock_guard lock(mutex_);
  if (stop_ || hearing_.exchange(true)) return;
  if (start_thread()) wake();
}

Status Notifier::wait(const OpContext& ctx, uint64_t seen, TimeNs timeout_ns) {
  hear();
  const TimeNs end = std::min(ctx.deadline_ns, ctx.clock->monotonic_ns() + timeout_ns);
  for (;;) {
    SKERRY_TRY(ctx.check());
    const TimeNs left = std::min(end - ctx.clock->monotonic_ns(), Store::kWaitSliceNs);
    if (heard() != seen || left <= 0) return {};
    {
      std::unique_lock lock(mutex_);
      if (hears_) {
        changed_.wait_for(lock, std::chrono::nanoseconds(left),
                          [&] { return heard() != seen || !hears_; });
        continue;
      }
    }
    ctx.clock->sleep_ns(left);
    return ctx.check();
  }
}

std::vector<std::string> Notifier::stop() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  if (thread_.joinable()) {
    cancel_.cancel();
    wake();
    thread_.join();
  }
  const std::vector<std::string> keys = take_keys();
  return keys.empty() ? std::vector<std::string>() : change_payloads(id_, keys);
}

std::vector<std::string> Notifier::take_keys() {
  std::lock_guard lock(mutex_);
  std::vector<std::string> keys;
  if (everything_) {
    keys.push_back(change_key(ChangeKind::kEverything, 0));
  } else {
    keys.assign(keys_.begin(), keys_.end());
  }
  keys_.clear();
  everything_ = false;
  return keys;
}

// ---- the thread

void Notifier::run() {
  TimeNs retry = kFirstRetryNs;
  while (wait_for_work()) {
    const TimeNs began = clock_.monotonic_ns();
    Status served;
    try {
      served = serve();
    } catch (const std::bad_alloc&) {
      served = Error(ENOMEM, "out of memory");
    }
    lost();
    if (served.ok()) return;  // stopped, or of no use here
    if (log_enabled(LogLevel::kInfo)) {
      log_message(LogLevel::kInfo, "notifications: " + served.error().message());
    }
    if (clock_.monotonic_ns() - began > kLastRetryNs) retry = kFirstRetryNs;
    if (!pause(retry)) return;
    retry = std::min(2 * retry, kLastRetryNs);
  }
}

/// False when it is to end.
bool Notifier::wait_for_work() {
  for (;;) {
    TimeNs left = kLastRetryNs;  // until somebody wakes it
    {
      std::lock_guard lock(mutex_);
      if (stop_) return false;
      if (hearing_.load(std::memory_order_relaxed)) return true;
      if (!keys_.empty() || everything_) {
        left = first_key_ns_ + kConnectDelayNs - clock_.monotonic_ns();
        if (left <= 0) return true;
      }
    }
    wait_for_event(-1, left);
  }
}

bool Notifier::pause(TimeNs for_ns) {
  const TimeNs end = clock_.monotonic_ns() + for_ns;
  for (;;) {
    {
      std::lock_guard lock(mutex_);
      if (stop_) return false;
    }
    const TimeNs left = end - clock_.monotonic_ns();
    if (left <= 0) return true;
    wait_for_event(-1, left);
  }
}

/// Until the socket can be read, somebody wakes the thread, or the time is over.
void Notifier::wait_for_event(int socket, TimeNs for_ns) {
  pollfd waiting[] = {{event_, POLLIN, 0}, {socket, POLLIN, 0}};
  const auto limit = static_cast<int>(std::max<TimeNs>(for_ns, 0) / kMillisecond + 1);
  if (poll(waiting, socket < 0 ? 1 : 2, limit) <= 0) return;
  uint64_t count = 0;
  if ((waiting[0].revents & POLLIN) != 0) {
    static_cast<void>(!read(event_, &count, sizeof count));
  }
}

OpContext Notifier::limited(TimeNs limit_ns) const {
  OpContext ctx;
  ctx.clock = &clock_;
  ctx.cancel = &cancel_;
  ctx.deadline_ns = clock_.monotonic_ns() + limit_ns;
  return ctx;
}

Status Notifier::serve() {
  SKERRY_ASSIGN(std::unique_ptr<Connection> connection,
                Connection::open(limited(kConnectLimitNs), info_));
  SKERRY_TRY(subscribe(*connection));
  if (!enabled_) return {};
  for (;;) {
    SKERRY_TRY(take(*connection));
    bool stop = false;
    {
      std::lock_guard lock(mutex_);
      stop = stop_;
    }
    if (stop) {
      OpContext last = limited(kLastCallLimitNs);
      last.cancel = nullptr;
      return send(*connection, last);
    }
    SKERRY_TRY(step(*connection));
  }
}

/// Also tells the others that this client may have kept something from them while it had no
/// connection; and since it hears that itself, it knows that it hears.
Status Notifier::subscribe(Connection& connection) {
  SKERRY_ASSIGN(
      Answer answer,
      connection.script(limited(kCallLimitNs),
                        "SET application_name='skerry notifications';"
                        // Nothing is lost with a notification that a crash undoes.
                        "SET synchronous_commit=off;LISTEN " +
                            quoted(channel_) + ";SELECT pg_notify(" + connection.literal(channel_) +
                            "," + connection.literal(change_payloads(id_, {})[0]) + ")"));
  last_sent_ns_ = last_answer_ns_ = clock_.monotonic_ns();
  if (!answer.error) return {};
  // An engine without notifications, or a user who may not: asking again is no use.
  if (log_enabled(LogLevel::kInfo)) {
    log_message(LogLevel::kInfo, info_.shown + ": no notifications: " + answer.error->message);
  }
  enabled_ = false;
  return {};
}

/// When what is waiting is to be sent.
TimeNs Notifier::due_ns() {
  std::lock_guard lock(mutex_);
  if (keys_.empty() && !everything_) return INT64_MAX;
  return std::max(first_key_ns_, last_sent_ns_ + kBatchNs);
}

Status Notifier::step(Connection& connection) {
  const TimeNs due = due_ns();
  const TimeNs ping = last_answer_ns_ + kPingNs;
  TimeNs now = clock_.monotonic_ns();
  if (due > now && ping > now) {
    wait_for_event(connection.socket(), std::min(due, ping) - now);
    return {};
  }
  if (due <= now) return send(connection, limited(kCallLimitNs));
  // A network that was cut says nothing by itself.
  SKERRY_ASSIGN(Answer answer, connection.script(limited(kCallLimitNs), "SELECT 1"));
  if (answer.error) return error_of(*answer.error, info_.shown);
  last_answer_ns_ = clock_.monotonic_ns();
  return {};
}

Status Notifier::send(Connection& connection, const OpContext& ctx) {
  const std::vector<std::string> keys = take_keys();
  if (keys.empty()) return {};
  std::vector<std::string> payloads = change_payloads(id_, keys);
  if (payloads.size() > kMaxPayloads) {
    payloads = change_payloads(id_, {change_key(ChangeKind::kEverything, 0)});
  }
  std::string sql;
  for (const std::string& payload : payloads) {
    sql += (sql.empty() ? "SELECT pg_notify(" : ",pg_notify(") + connection.literal(channel_) +
           "," + connection.literal(payload) + ")";
  }
  Result<Answer> answer = connection.script(ctx, sql);
  Status sent;
  if (!answer.ok()) {
    sent = std::move(answer).error();
  } else if (answer->error) {
    sent = error_of(*answer->error, info_.shown);
  }
  last_sent_ns_ = last_answer_ns_ = clock_.monotonic_ns();
  if (!sent.ok()) {
    std::lock_guard lock(mutex_);
    keys_.clear();
    everything_ = true;
  }
  return sent;
}

/// What has come since the last look.
Status Notifier::take(Connection& connection) {
  std::vector<std::string> payloads;
  SKERRY_TRY(connection.take_notifications(&payloads));
  bool others = false;
  bool own = false;
  {
    std::lock_guard lock(sink_mutex_);
    for (const std::string& payload : payloads) {
      (read_payload(payload, id_, sink_) == id_ ? own : others) = true;
    }
  }
  if (own) set_hears(true);
  if (others) {
    std::lock_guard lock(mutex_);
    heard_.fetch_add(1, std::memory_order_acq_rel);
    changed_.notify_all();
  }
  return {};
}

void Notifier::set_hears(bool hears) {
  {
    std::lock_guard lock(mutex_);
    if (hears_ == hears) return;
  }
  if (hears) {
    std::lock_guard lock(sink_mutex_);
    if (sink_ != nullptr) sink_->all_changed();
  }
  std::lock_guard lock(mutex_);
  hears_ = hears;
  heard_.fetch_add(1, std::memory_order_acq_rel);
  changed_.notify_all();
}

void Notifier::lost() { set_hears(false); }

}  // namespace skerry::meta::postgres
