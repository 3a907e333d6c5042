// Calls of many threads that share round trips where there are more of them than connections.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "meta/stores/postgres/pool.h"
#include "meta/stores/postgres/program.h"

namespace skerry::meta::postgres {

/// So many calls go at once, each on a connection of its own. Those that come meanwhile wait, and
/// when one has come back they go together: one pipeline, one transaction, one flush of the
/// server's log. An error of one undoes them all, so that then each goes once more by itself, and
/// fewer go together for a while.
///
/// What is locked in such a transaction is locked by a call before the others, in the order of
/// every commit, so that two of them do not wait for each other in a circle.
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

  /// As Connection::run() of a single call, which is a transaction of its own or shares one with
  /// calls that know nothing of it.
  Result<Answer> run(const OpContext& ctx, const Call& call, const LockSet& locks = {});

 private:
  struct Waiting {
    enum class State { kQueued, kLeads, kTaken, kAlone, kDone };
    Waiting(const Call& c, const LockSet& l) : call(c), locks(l) {}

    const Call call;  // copies: who gave up may be gone while it is under way
    const LockSet locks;
    State state = State::kQueued;  // this and what follows: guarded by mutex_
    std::optional<Result<Answer>> answer;
    std::condition_variable changed;
  };
  using Group = std::vector<std::shared_ptr<Waiting>>;

  Result<Answer> alone(const OpContext& ctx, const Call& call);
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
