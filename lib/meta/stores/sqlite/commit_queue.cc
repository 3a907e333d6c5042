#include "meta/stores/sqlite/commit_queue.h"

#include <algorithm>
#include <chrono>
#include <new>

#include "meta/stores/sqlite/fork_gate.h"

namespace skerry::meta::sqlite {

namespace {

constexpr size_t kMaxGroup = 256;
constexpr size_t kMaxUnflushed = 4096;  // answers; a caller sends again within a second or gives up
// Waiters look at their deadline and cancellation so often.
constexpr auto kPoll = std::chrono::milliseconds(20);

}  // namespace

CommitQueue::CommitQueue(std::unique_ptr<Connection> connection, Clock& clock, WalWatch& watch,
                         const Options& options)
    : connection_(std::move(connection)),
      clock_(clock),
      applier_(*connection_, clock, watch, options.record_requests),
      options_(options) {
  group_.reserve(kMaxGroup);
}

Result<CommitResult> CommitQueue::commit(const OpContext& ctx, const CommitRequest& request) {
  Pending me{&ctx, &request};
  Lock lock(mutex_);
  if (std::optional<CommitResult> before = take_unflushed(request.request)) {
    me.result = *std::move(before);
    me.state = Pending::State::kApplied;
    applied_.push_back(&me);
  } else {
    queue_.push_back(&me);
  }
  while (!me.done()) {
    if (may_lead(me)) {
      leading_ = true;
      lead(lock, me);
      leading_ = false;
      wake_next();
      continue;
    }
    if (me.state == Pending::State::kApplied && !flushing_) {
      flush_applied(lock, me);
      continue;
    }
    me.wake.wait_for(lock, kPoll);
    if (me.done() || me.state == Pending::State::kTaken) continue;
    Status status = me.state == Pending::State::kQueued ? may_wait(me) : ctx.check();
    if (status.ok()) continue;
    withdraw(me);
    if (me.state != Pending::State::kApplied) return std::move(status).error();
    // Whether it survives power loss is not known.
    keep_unflushed(request.request, std::move(me.result));
    return std::move(status).error().set_maybe_applied();
  }
  if (me.error) return std::move(*me.error);
  return std::move(me.result);
}

bool CommitQueue::may_lead(const Pending& me) const {
  if (me.state != Pending::State::kQueued || leading_) return false;
  return !flushing_ || !me.durable();
}

void CommitQueue::withdraw(Pending& pending) {
  queue_.erase(std::remove(queue_.begin(), queue_.end(), &pending), queue_.end());
  applied_.erase(std::remove(applied_.begin(), applied_.end(), &pending), applied_.end());
  std::replace(flushed_.begin(), flushed_.end(), &pending, static_cast<Pending*>(nullptr));
}

void CommitQueue::keep_unflushed(const RequestId& id, CommitResult result) {
  if (id == RequestId{}) return;
  if (unflushed_.size() >= kMaxUnflushed) unflushed_.pop_front();
  unflushed_.emplace_back(id, std::move(result));
}

std::optional<CommitResult> CommitQueue::take_unflushed(const RequestId& id) {
  auto found = std::find_if(unflushed_.begin(), unflushed_.end(),
                            [&](const auto& answer) { return answer.first == id; });
  if (found == unflushed_.end()) return std::nullopt;
  CommitResult result = std::move(found->second);
  unflushed_.erase(found);
  return result;
}

/// From here on its owner may destroy it, once the mutex is free.
void CommitQueue::finish(Pending& pending, Pending& me) {
  pending.state = Pending::State::kDone;
  if (&pending != &me) pending.wake.notify_one();
}

/// Whoever has something to do now and does not know it yet.
void CommitQueue::wake_next() {
  if (!applied_.empty() && !flushing_) applied_.front()->wake.notify_one();
  if (!leading_) {
    for (Pending* pending : queue_) {
      if (!may_lead(*pending)) continue;
      pending->wake.notify_one();
      break;
    }
  }
  led_.notify_all();
}

/// One flush for all that are applied.
void CommitQueue::flush_applied(Lock& lock, Pending& me) {
  flushing_ = true;
  flushed_.swap(applied_);
  lock.unlock();
  Status synced = sync(*me.ctx);
  lock.lock();
  flushing_ = false;
  const bool mine_alone = !synced.ok() && !me.ctx->check().ok();
  for (Pending* pending : flushed_) {
    if (pending == nullptr) continue;
    if (mine_alone && pending != &me) {
      applied_.push_back(pending);  // another of them flushes
      continue;
    }
    if (!synced.ok()) {
      keep_unflushed(pending->request->request, std::move(pending->result));
      pending->error = Error(synced.error()).set_maybe_applied();
    }
    finish(*pending, me);
  }
  flushed_.clear();
  wake_next();
}

Status CommitQueue::may_wait(Pending& pending) {
  SKERRY_TRY(pending.ctx->check());
  const TimeNs now_ns = clock_.monotonic_ns();
  if (pending.give_up_ns == 0) pending.give_up_ns = now_ns + options_.lock_timeout_ns;
  if (now_ns < pending.give_up_ns) return {};
  return error_of(nullptr, SQLITE_BUSY, connection_->path());
}

void CommitQueue::pause(unsigned attempt) {
  jitter_ = jitter_ * 1664525u + 1013904223u;
  const TimeNs longest_ns = std::min<TimeNs>(TimeNs{50'000} << std::min(attempt, 5u), 1'500'000);
  clock_.sleep_ns(longest_ns / 2 + static_cast<TimeNs>(jitter_ >> 8) % (longest_ns / 2));
}

void CommitQueue::roll_back() {
  if (connection_->in_transaction()) connection_->execute(Fixed::kRollback);
  applier_.forget();
}

void CommitQueue::lead(Lock& lock, Pending& leader) {
  lock.unlock();
  for (unsigned attempt = 0;; ++attempt) {
    ForkGate gate;
    const int rc = connection_->execute(Fixed::kBeginImmediate);
    if (rc == SQLITE_OK) {
      lock.lock();
      take_group();
      lock.unlock();
      run(group_);
      gate.leave();
      lock.lock();
      settle_group(leader);
      return;
    }
    Status status;
    if (is_busy(rc)) {
      gate.leave();
      status = may_wait(leader);
      if (status.ok()) {
        pause(attempt);
        continue;
      }
    } else {
      status = connection_->error(rc);
      gate.leave();
    }
    // The others decide for themselves: the next of them leads.
    leader.error = std::move(status).error();
    lock.lock();
    withdraw(leader);
    leader.state = Pending::State::kDone;
    return;
  }
}

void CommitQueue::settle_group(Pending& leader) {
  for (Pending* pending : group_) {
    if (!pending->settled) {  // once more, by itself
      pending->state = Pending::State::kQueued;
      queue_.push_front(pending);
    } else if (pending->durable() && !pending->error && pending->result.applied) {
      pending->state = Pending::State::kApplied;
      applied_.push_back(pending);
    } else {
      finish(*pending, leader);
    }
  }
}

void CommitQueue::take_group() {
  group_.clear();
  while (!queue_.empty() && group_.size() < kMaxGroup) {
    Pending* next = queue_.front();
    if (next->alone && !group_.empty()) break;
    queue_.pop_front();
    next->state = Pending::State::kTaken;
    group_.push_back(next);
    if (next->alone) break;
  }
}

void CommitQueue::run(const std::vector<Pending*>& group) {
  const bool savepoints = group.size() > 1;
  bool applied = false;
  for (Pending* pending : group) {
    const int rc = run_one(*pending, savepoints);
    applied = applied || rc == SQLITE_OK;
    if (rc == SQLITE_OK || rc == kConflict || rc == kRefused) continue;
    if (rc == kUnsettled) {
      roll_back();
      pending->alone = pending->exact = true;
    } else {
      fail_group(group, rc);
    }
    return;
  }
  if (!applied) {
    roll_back();
  } else if (int rc = connection_->execute(Fixed::kCommit)) {
    fail_group(group, rc);
    return;
  }
  for (Pending* pending : group) pending->settled = true;
}

int CommitQueue::run_one(Pending& pending, bool savepoint) {
  try {
    if (savepoint) {
      if (int rc = connection_->execute(Fixed::kSavepoint)) return rc;
    }
    int rc = applier_.apply(*pending.request, pending.exact, &pending.result);
    if (rc == kUnsettled && savepoint) {
      applier_.forget();
      if (int undone = connection_->execute(Fixed::kRollbackTo)) return undone;
      rc = applier_.apply(*pending.request, true, &pending.result);
    }
    if (rc == kRefused) pending.error = applier_.refusal();
    if (!savepoint || (rc != SQLITE_OK && rc != kConflict && rc != kRefused)) return rc;
    if (rc != SQLITE_OK) {
      applier_.forget();
      if (int undone = connection_->execute(Fixed::kRollbackTo)) return undone;
    }
    if (int released = connection_->execute(Fixed::kRelease)) return released;
    return rc;
  } catch (const std::bad_alloc&) {
    return SQLITE_NOMEM;
  }
}

void CommitQueue::fail_group(const std::vector<Pending*>& group, int rc) {
  Error error = connection_->error(rc);
  roll_back();
  // What one commit met must not fail its neighbours, and answers found beside it do not count.
  for (Pending* pending : group) {
    pending->error.reset();
    pending->result = CommitResult{};
    pending->alone = true;
    if (group.size() > 1) continue;
    pending->error = std::move(error);
    pending->settled = true;
  }
}

Status CommitQueue::sync(const OpContext& ctx) {
  Lock lock(sync_mutex_);
  const uint64_t mine = sync_started_ + 1;  // one that runs now may have begun too early
  while (sync_finished_ < mine) {
    if (syncing_) {
      synced_.wait_for(lock, kPoll);
      SKERRY_TRY(ctx.check());
      continue;
    }
    syncing_ = true;
    const uint64_t number = ++sync_started_;
    lock.unlock();
    const int rc = flush(ctx);
    lock.lock();
    syncing_ = false;
    if (rc == SQLITE_OK) sync_finished_ = number;
    synced_.notify_all();
    if (rc == SQLITE_OK) continue;
    return Error(EIO, "database " + connection_->path() + ": its WAL cannot be flushed to disk (" +
                          sqlite3_errstr(rc) + ")");
  }
  return {};
}

int CommitQueue::flush(const OpContext& ctx) {
  if (flush_failed_) {
    if (int rc = rescue(ctx)) return rc;
    flush_failed_ = false;
  }
  // Outside the fork gate: a system call on a descriptor, nothing of SQLite's.
  sqlite3_file* wal = wal_file(connection_->db());
  const int rc = wal == nullptr ? SQLITE_IOERR_FSYNC : sync_file(wal);
  flush_failed_ = rc != SQLITE_OK;
  return rc;
}

// After a failed flush the kernel may count pages as written that are not, and another flush would
// succeed without them. A checkpoint writes their contents, still right in memory, to the database
// file and flushes that.
int CommitQueue::rescue(const OpContext& ctx) {
  Lock lock(mutex_);
  while (leading_) {
    led_.wait_for(lock, kPoll);
    if (!ctx.check().ok()) return SQLITE_IOERR_FSYNC;
  }
  leading_ = true;
  lock.unlock();
  int rc = SQLITE_BUSY;
  for (unsigned attempt = 0; attempt < 1000 && is_busy(rc) && ctx.check().ok(); ++attempt) {
    {
      ForkGate gate;
      rc = sqlite3_wal_checkpoint_v2(connection_->db(), "main", SQLITE_CHECKPOINT_FULL, nullptr,
                                     nullptr);
    }
    if (is_busy(rc)) pause(attempt);
  }
  lock.lock();
  leading_ = false;
  wake_next();
  return rc;
}

}  // namespace skerry::meta::sqlite
