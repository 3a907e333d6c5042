// World: what the clients of one simulation share, and what the simulation knows about them.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_set>
#include <vector>

#include "meta/stores/memory/memory_store.h"
#include "model/call_window.h"
#include "model/data_oracle.h"
#include "model/namespace_model.h"
#include "model/scheduler.h"
#include "object/memory/memory_store.h"

namespace skerry::model {

/// Bugs that a self-test puts into the stores, each of which the checks must notice.
enum class Plant {
  kNone,
  kDropCommit,       // says that a commit was applied, and it was not
  kDoubleCommit,     // applies an append twice
  kLoseAppend,       // appends to the length and not to the data
  kLoseName,         // a removed name leaves no orphan behind
  kStaleRead,        // answers reads from a snapshot of a while ago
  kStaleGeneration,  // does not tell that others committed
  kKeepGarbage,      // says that objects were deleted, and keeps them
  kDeleteLive,       // deletes an object that is in use
  kSwapObjects,      // gives one object's bytes for another's
  kZeroObject,       // gives zeros for an object
  kIgnoreSession,    // applies what a client commits whose session is gone
  kSkewLocks,        // lets two clients lock a file at the same time
};

/// What a seed may do to the clients.
struct FaultRates {
  uint64_t one_in = 0;  // calls; 0: none
  bool errors = false;
  bool delays = false;
  bool crashes = false;
  bool freezes = false;
  bool clock_jumps = false;
};

struct Options {
  uint64_t seed = 1;
  Plant plant = Plant::kNone;
  bool trace = false;
  unsigned max_clients = 4;
  unsigned max_calls = 60;  // a client's, at most
  bool faults = true;
};

/// One opened volume of one simulated client, from its opening to its close or crash.
struct Incarnation {
  int number = 0;  // unique in the simulation: names the client in the oracle
  int slot = 0;
  std::unique_ptr<SimClock> clock;
  std::unique_ptr<SimRandom> random;
  bool dead = false;          // crashed: nothing it does reaches the stores
  uint64_t injected = 0;      // faults so far
  bool session_lost = false;  // others removed a session of it
  std::set<meta::ClientId> sessions;
  std::multiset<Ino> open;           // inodes that its handles hold
  std::set<Ino> lost_locks;          // locked when a session was removed, not opened anew since
  bool by_handle = false;            // what it does just now is done through files opened before
  CallWindow* window = nullptr;      // the call in flight
  CallWindow* strict = nullptr;      // the same as if nothing were cached; null: it is `window`
  TimeNs began_ns = INT64_MAX;       // as `began`
  std::deque<std::string> inbox;     // notifications that it has not heard of yet
  Moment began = kNever;             // when it began
  std::function<void(Ino)> on_data;  // told of the inode whose data an own commit changed
};

/// A lock that a client was told it has, until it begins to give it up.
struct BelievedLock {
  int incarnation = 0;
  meta::ClientId session = 0;
  meta::FileLock lock;
};

class World {
 public:
  explicit World(const Options& options);

  const Options options;
  Dice dice;
  FaultRates rates;
  Scheduler scheduler;
  SimClock server_clock;
  std::shared_ptr<meta::MemoryDatabase> database;
  std::shared_ptr<MemoryObjectStore> objects;
  meta::MemoryStore inspector;  // sees the database as it is
  NamespaceModel names;
  DataOracle data;
  std::vector<std::unique_ptr<Incarnation>> incarnations;
  std::unordered_set<std::string> applied;  // request ids
  bool quiet = false;                       // no faults any more
  bool planted = false;                     // the planted bug has happened
  unsigned crashes_left = 2, freezes_left = 1;
  TimeNs lease_ns = 0;  // how old an answer may be where clients cache by time; 0: never
  /// What the names were like at some time within the lease before `began`, or since.
  std::vector<NamespaceModel> past(TimeNs began) const;
  /// A logical time that was not later than `time`.
  Moment moment_at(TimeNs time) const;
  /// A call begins.
  void note_moment(Moment moment) { moments_.emplace_back(scheduler.now(), moment); }

  Incarnation& start_incarnation(int slot);
  /// `by` was told that it has the lock. Nobody else with a session may believe the contrary.
  void lock_granted(const Incarnation& by, Ino ino, meta::ClientId session,
                    const meta::FileLock& lock);
  /// `by` is about to give up what the owner has of the file, or to close it.
  void lock_given_up(const Incarnation& by, Ino ino, const meta::FileLock& lock);

  /// An applied commit of `by`; checks it against the model and the call in flight.
  void before_commit(Incarnation& by, const meta::CommitRequest& request);
  void after_commit(Incarnation& by, const meta::CommitRequest& request);

  void fail(const std::string& why);
  bool failed() const { return !failure_.empty(); }
  const std::string& failure() const { return failure_; }

  bool tracing() const { return options.trace; }
  void trace(const std::string& line);
  const std::deque<std::string>& trace_lines() const { return lines_; }

 private:
  void watch_sessions(Incarnation& by, const meta::CommitRequest& request);
  void check_reclaim(const Incarnation& by, const TreeChange& change);
  void compare(const std::set<Ino>& inos);
  void check_locks(const Incarnation& by, const meta::CommitRequest& request);

  // By file and client, as the records say.
  std::map<Ino, std::map<meta::ClientId, std::vector<meta::FileLock>>> locks_;
  std::map<Ino, std::vector<BelievedLock>> believed_;
  std::deque<std::pair<TimeNs, NamespaceModel>> past_;  // with when it ended
  std::deque<std::pair<TimeNs, Moment>> moments_;
  TreeChange change_;
  std::string failure_;
  std::deque<std::string> lines_;
};

/// A commit in one line.
std::string text_of(const meta::CommitRequest& request);

}  // namespace skerry::model
