// Calls of many threads that share round trips where there are more of them than connections.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "meta/stores/postgres/plain_commit.h"
#include "meta/stores/postgres/pool.h"
#include "meta/stores/postgres/program.h"

namespace skerry::meta::postgres {

/// So many calls go at once, each on a connection of its own. Those that come meanwhile wait, and
/// when one has come back they go together: one pipeline, one transaction, one flush of the
/// server's log. An error of one undoes them all, so that then each goes once more by itself, and
/// fewer go together for a while.
///
/// What is locked in such a transaction is locked in the order of every commit, so that two of them
/// do not wait for each other in a circle: plain commits are merged, and before others goes a call
/// that locks.
///
/// Thread-safe.
class CallGroup {
 public:
  static constexpr size_t kMostTogether = 16;

  /// `locking`: the statement that takes the program of lock_program(), as a commit.
  CallGroup(Pool& pool, const Statement& locking, unsigned at_once)
      : pool_(pool), locking_(locking), at_once_(at_once) {}
  CallGroup(const CallGroup&) = delete;
  CallGroup& operator=(const CallGroup&) = delete;

  /// One call with what it locks, or a plain commit.
  struct Work {
    std::optional<Call> call;
    LockSet locks;
    std::shared_ptr<const PlainCommit> plain;  // with who may send it again; if there is no `call`
    std::optional<Call> whole;                 // the plain commit as one statement
    std::vector<const Call*> calls() const;
  };

  /// As Connection::run() of the work's calls, which are a transaction of their own or share one
  /// with others that know nothing of it. A plain commit that shared one has no results; alone it
  /// is sent `whole`, where there is such a statement.
  Result<Answer> run(const OpContext& ctx, Work work);

 private:
  struct Waiting {
    enum class State { kQueued, kLeads, kTaken, kAlone, kDone };
    explicit Waiting(Work w) : work(std::move(w)) {}

    const Work work;               // who gave up may be gone while it is under way
    State state = State::kQueued;  // this and what follows: guarded by mutex_
    std::optional<Result<Answer>> answer;
    std::condition_variable changed;
  };
  using Group = std::vector<std::shared_ptr<Waiting>>;

  Result<Answer> alone(const OpContext& ctx, const Work& work);
  Result<Answer> go_alone(const OpContext& ctx, std::unique_lock<std::mutex>& lock,
                          const Work& work);
  Result<Answer> lead(const OpContext& ctx, std::unique_lock<std::mutex>& lock,
                      const std::shared_ptr<Waiting>& me);
  Result<Answer> send(const OpContext& ctx, const Group& group, bool* with_locks);
  void hand_out(const OpContext& ctx, const Group& group, bool with_locks, Result<Answer> sent);
  static void finish(Waiting& waiting, Waiting::State state);
  void come_back();

  Pool& pool_;
  const Statement& locking_;
  const unsigned at_once_;
  std::mutex mutex_;
  unsigned under_way_ = 0;                      // guarded by mutex_, as what follows
  std::deque<std::shared_ptr<Waiting>> queue_;  // state kQueued
  size_t together_ = kMostTogether;
};

}  // namespace skerry::meta::postgres
