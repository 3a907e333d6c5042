// Group commit: commits of many threads share SQLite transactions, and durable ones share flushes.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "io/op_context.h"
#include "meta/store.h"
#include "meta/stores/sqlite/commit_apply.h"
#include "meta/stores/sqlite/connection.h"

namespace skerry::meta::sqlite {

/// Owns the writing connection. Thread-safe.
///
/// Callers queue. The first becomes the leader: it takes the database's write lock, applies what is
/// queued by then, each commit in a savepoint so that a conflict undoes one alone, and commits
/// once. While another process has the lock, the leader sleeps outside the fork gate between
/// attempts.
///
/// Durable commits that were applied wait for a flush of the WAL, which one of them does for all
/// that wait by then. While it runs, callers that want no flush commit on; durable ones gather, so
/// that they share the next transaction and the next flush, and each is woken once.
class CommitQueue {
 public:
  struct Options {
    bool record_requests = false;
    TimeNs lock_timeout_ns = 0;  // how long another process's lock is waited for
  };
  CommitQueue(std::unique_ptr<Connection> connection, Clock& clock, WalWatch& watch,
              const Options& options);

  Result<CommitResult> commit(const OpContext& ctx, const CommitRequest& request);

  /// Every commit applied before this call, by anyone, survives power loss when it returns.
  ///
  /// One fdatasync of the WAL does it. A commit's frames are in the WAL before COMMIT returns, and
  /// a recovery keeps every commit up to the first damaged frame, so what a flush that began later
  /// has written is kept together with all before it. A restart of the WAL overwrites frames, but
  /// only after a checkpoint that (synchronous=NORMAL, in every process) flushed the WAL, copied
  /// all frames into the database and flushed that: such commits are durable already. The WAL file
  /// stays the same while this connection is open, since only the last to close removes it.
  Status sync(const OpContext& ctx);

 private:
  struct Pending {
    const OpContext* ctx;
    const CommitRequest* request;
    // Guarded by mutex_:
    enum class State : uint8_t { kQueued, kTaken, kApplied, kDone } state = State::kQueued;
    // What follows belongs to the leader while the state is kTaken.
    bool settled = false;
    bool alone = false;  // shares no transaction: one that did failed as a whole
    bool exact = false;  // see CommitApplier::apply
    TimeNs give_up_ns = 0;
    CommitResult result;
    std::optional<Error> error;
    std::condition_variable wake;

    bool durable() const { return request->durability == Durability::kDurable; }
    bool done() const { return state == State::kDone; }
  };
  using Lock = std::unique_lock<std::mutex>;

  void keep_unflushed(const RequestId& id, CommitResult result);
  std::optional<CommitResult> take_unflushed(const RequestId& id);
  bool may_lead(const Pending& me) const;
  void lead(Lock& lock, Pending& leader);
  void settle_group(Pending& leader);
  void flush_applied(Lock& lock, Pending& me);
  void finish(Pending& pending, Pending& me);
  bool begin(Pending& leader);
  void take_group();
  void run(const std::vector<Pending*>& group);
  int run_one(Pending& pending, bool savepoint);
  void fail_group(const std::vector<Pending*>& group, int rc);
  void roll_back();
  Status may_wait(Pending& pending);
  void withdraw(Pending& pending);
  void wake_next();
  void pause(unsigned attempt);

  int flush(const OpContext& ctx);
  int rescue(const OpContext& ctx);

  std::unique_ptr<Connection> connection_;  // used by the leader alone
  Clock& clock_;
  CommitApplier applier_;
  const Options options_;
  uint32_t jitter_ = 0x9e3779b9;  // of the leader's pauses
  std::vector<Pending*> group_;   // what the leader has taken from the queue

  std::mutex mutex_;               // guards what follows
  std::deque<Pending*> queue_;     // kQueued
  std::vector<Pending*> applied_;  // kApplied, waiting for a flush
  std::vector<Pending*> flushed_;  // kApplied, in the flush that runs; null where one gave up
  bool leading_ = false;
  bool flushing_ = false;
  // Answers of durable commits that were applied and could not be flushed. Sent again, such a
  // request is flushed and not applied again.
  std::deque<std::pair<RequestId, CommitResult>> unflushed_;
  std::condition_variable led_;

  std::mutex sync_mutex_;
  std::condition_variable synced_;
  uint64_t sync_started_ = 0;   // guarded by sync_mutex_, as are these three
  uint64_t sync_finished_ = 0;  // the last one that succeeded
  bool syncing_ = false;
  bool flush_failed_ = false;  // touched by the one who syncs
};

}  // namespace skerry::meta::sqlite
