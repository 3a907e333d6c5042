// LockTable: the file locks of one opened volume, its owners among themselves and towards other
// clients.
//
// What this client holds is kept here and, as one list a file, in the metadata (meta/ops.h,
// lock.cc). A lock is taken by committing a longer list, so the store decides between clients;
// between owners of this client the table decides. One commit at a time for a file.
//
// Who waits for an owner of this client is woken by the unlock itself. Who waits for another client
// is woken by that client's commit (Store::wait_for_change): one of the waiting threads watches for
// all. A waiter looks again at least once a second, because a client that died commits nothing: its
// session expires, and whoever finds it expired removes it.
//
// Who has waited for a record lock for a second notes his wait in the metadata and looks, now and
// then, whether he waits for himself, through whatever owners of whatever clients
// (meta/ops/lock_waits.cc). Circles within this client are found at once, from memory.
//
// Which handles an owner has taken record locks through is kept as well: with the last of them its
// locks go. A kernel tells of a closed file when it has time, and an owner's number may be
// another's by then (an open file description's is its address), so a handle that is gone takes
// nothing from an owner who has come by another since.
//
// What is written under a lock is flushed before the lock is given up, and before one is taken, and
// is bound to the session that holds the lock (OpenInode::bind). When that session is gone, the
// locks are, and perhaps others hold them: what was not flushed is dropped, and handles that were
// open at that time answer EIO until they are closed (as NFS clients do).
#pragma once

#include <atomic>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/result.h"
#include "data/file_store.h"
#include "io/op_context.h"
#include "meta/ops.h"

namespace skerry::vfs {

class Volume;

/// Thread-safe.
class LockTable {
 public:
  explicit LockTable(Volume& volume) : volume_(volume) {}
  LockTable(const LockTable&) = delete;
  LockTable& operator=(const LockTable&) = delete;

  using Inode = std::shared_ptr<data::OpenInode>;

  /// Takes `wanted` for its owner. Without `wait` EAGAIN if another owner's lock excludes it. With
  /// it waits until ctx ends it (ECANCELED, ETIMEDOUT); EDEADLK where owners would wait for each
  /// other for ever (record locks only; at once within this client, after a second or more through
  /// others). ENOLCK: too many ranges, or a volume opened without a session. EIO: the session was
  /// lost with locks of this file.
  /// `handle`: through which; see release_handle().
  Status take(const OpContext& ctx, const Inode& inode, const meta::FileLock& wanted, bool wait,
              uint64_t handle);
  /// Gives up the owner's locks in the range. Flushes first, and keeps the locks where that fails.
  /// EIO: they were lost with their session, and what was written under them is dropped.
  /// `forced`: the owner is gone. What fails is tried again by settle(), and until then nobody else
  /// gets the lock: he would not see what was written under it, and have it come later.
  Status release(const OpContext& ctx, const Inode& inode, const meta::FileLock& range,
                 bool forced) {
    return release(ctx, inode, range, forced, nullptr);
  }
  /// What close(2) does: gives up all record locks that the owner has of the file, whatever handle
  /// they were taken through. As forced.
  void release_owner(const OpContext& ctx, const Inode& inode, uint64_t owner);
  /// Gives up the record locks of those owners who have come to this file by this handle and by no
  /// other. As forced.
  void release_handle(const OpContext& ctx, const Inode& inode, uint64_t handle);
  /// The first lock that keeps `wanted` from being taken. F_GETLK.
  Result<std::optional<meta::LockHolder>> find(const OpContext& ctx, meta::Ino ino,
                                               const meta::FileLock& wanted);
  /// False while nobody here has locked anything: a relaxed load.
  bool any() const noexcept { return count_.load(std::memory_order_acquire) != 0; }
  /// Whether the owner holds anything of the file.
  bool holds(meta::Ino ino, meta::LockKind kind, uint64_t owner);
  /// EIO if the session that holds the file's locks is gone. Asks the store only where another
  /// client may have committed since it last asked, or once a lease: removing a session is a
  /// commit.
  Status verify(const OpContext& ctx, const data::OpenInode& inode);

  /// Gives up what belongs to sessions other than the current one. After reopen_session().
  void drop_lost();
  /// The volume closes: its locks go with its session.
  void close();
  /// Tries again to release what could not be released. To be called now and then.
  void settle(const OpContext& ctx);

 private:
  /// A wait that is noted in the metadata.
  struct Noted {
    meta::FileLock lock;
    const CancelToken* token;  // tells apart waits of one owner
    meta::ClientId session;    // under which it is noted; with another it is not any more
  };
  /// That an owner of record locks has come by a handle.
  struct Claim {
    uint64_t owner;
    uint64_t handle;
    friend bool operator==(const Claim&, const Claim&) = default;
  };
  struct Entry {
    meta::Ino ino = 0;
    bool busy = false;       // somebody commits, or decides what to
    bool unsettled = false;  // the metadata may say more than `held`
    std::vector<meta::FileLock> held;
    std::vector<meta::FileLock> leaving;  // ranges of `held` whose owners are gone
    std::vector<Noted> noted;
    std::vector<Claim> claims;
    meta::ClientId session = 0;                  // that holds them
    Inode inode;                                 // stays open while anything is held or unsettled
    std::list<const CancelToken*> waiters;       // for what others hold to become less
    std::list<const CancelToken*> busy_waiters;  // for the right to change it
    size_t users = 0;                            // keep the entry in the table
  };
  /// Of one owner waiting for another, both of this client.
  struct Edge {
    uint64_t waiter;
    uint64_t holder;
    const Entry* entry;
    const CancelToken* token;  // tells apart waits of one owner
  };
  struct Obstacle {
    bool local = false;
    std::optional<meta::LockHolder> remote;
    bool none() const { return !local && !remote; }
  };
  class Use;
  class Busy;

  Status take_it(const OpContext& ctx, const Inode& inode, const meta::FileLock& wanted, bool wait,
                 uint64_t handle);
  OpContext step_context(const OpContext& ctx) const;
  Result<Obstacle> attempt(const OpContext& ctx, Entry& entry, const Inode& inode,
                           const meta::FileLock& wanted, const CancelToken& token);
  Status take_or_wait(const OpContext& ctx, Use& use, const Inode& inode,
                      const meta::FileLock& wanted, bool wait);
  bool waits_for_itself(const Entry& entry, const meta::FileLock& wanted, const CancelToken& token);
  Result<bool> closes_circle(const OpContext& ctx, Use& use, const Inode& inode,
                             const meta::FileLock& wanted);
  Status note_wait(const OpContext& ctx, Entry& entry, const Inode& inode, const Noted& wait);
  void forget_wait(const OpContext& ctx, Use& use, const Inode& inode);
  static std::vector<meta::FileLock> with_waits(const Entry& entry, meta::ClientId session,
                                                std::vector<meta::FileLock> held,
                                                const CancelToken* without = nullptr);
  void wait_for_other_client(const OpContext& ctx, const CancelToken& token, uint32_t seen,
                             uint64_t generation);
  Status settle_entry(const OpContext& ctx, Entry& entry);
  Status release_leaving(const OpContext& ctx, Entry& entry);
  Status release(const OpContext& ctx, const Inode& inode, const meta::FileLock& range, bool forced,
                 const Claim* last_claim);
  Status give_up(const OpContext& ctx, Entry& entry, const Inode& inode,
                 const meta::FileLock& range);
  bool forget_lost(std::unique_lock<std::mutex>& lock, Entry& entry);
  void lose(std::unique_lock<std::mutex>& lock, Entry& entry);
  void wake(Entry& entry);
  void keep_or_erase(Entry& entry);

  Volume& volume_;
  std::atomic<uint64_t> verified_{0};  // mark of when the session was last seen to be there
  std::atomic<size_t> count_{0};       // of entries_
  std::mutex mutex_;                   // guards all below; never held across I/O
  std::map<meta::Ino, std::unique_ptr<Entry>> entries_;
  std::vector<Edge> edges_;
  std::list<const CancelToken*> remote_waiters_;
  bool watched_ = false;  // one of them watches for all
};

}  // namespace skerry::vfs
