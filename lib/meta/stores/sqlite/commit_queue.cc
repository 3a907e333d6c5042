#include "meta/stores/sqlite/commit_queue.h"

#include <algorithm>
#include <chrono>
#include <new>

#include "meta/stores/sqlite/fork_gate.h"

namespace skerry::meta::sqlite {

namespace {

constexpr size_t kMaxGroup = 256;
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
  Result<CommitResult> result = wait_for_commit(ctx, request);
  if (!result.ok() || !result->applied || request.durability != Durability::kDurable) return result;
  Status synced = sync(ctx);
  if (!synced.ok()) return std::move(synced).error().set_maybe_applied();
  return result;
}

Result<CommitResult> CommitQueue::wait_for_commit(const OpContext& ctx,
                                                  const CommitRequest& request) {
  Pending me{&ctx, &request};
  Lock lock(mutex_);
  queue_.push_back(&me);
  while (!me.done) {
    if (!leading_) {
      leading_ = true;
      lead(lock, me);
      leading_ = false;
      wake_next();
      continue;
    }
    me.wake.wait_for(lock, kPoll);
    if (me.done || me.taken) continue;
    Status status = may_wait(me);
    if (!status.ok()) {
      withdraw(me);
      return std::move(status).error();
    }
  }
  if (me.error) return std::move(*me.error);
  return std::move(me.result);
}

void CommitQueue::withdraw(Pending& pending) {
  queue_.erase(std::remove(queue_.begin(), queue_.end(), &pending), queue_.end());
}

void CommitQueue::wake_next() {
  if (!queue_.empty()) queue_.front()->wake.notify_one();
  led_.notify_all();
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
      for (Pending* pending : group_) {
        if (pending->settled) {
          pending->done = true;  // from here on its owner may destroy it, once the mutex is free
          if (pending != &leader) pending->wake.notify_one();
        } else {  // once more, by itself
          pending->taken = false;
          queue_.push_front(pending);
        }
      }
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
    leader.done = true;
    lock.lock();
    withdraw(leader);
    return;
  }
}

void CommitQueue::take_group() {
  group_.clear();
  while (!queue_.empty() && group_.size() < kMaxGroup) {
    Pending* next = queue_.front();
    if (next->alone && !group_.empty()) break;
    queue_.pop_front();
    next->taken = true;
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
