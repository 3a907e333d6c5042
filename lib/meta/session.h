// Sessions and reclaim: how clients that never speak to each other agree on what may be deleted.
//
// The volume has an epoch, advanced by the reclaimer alone. Whatever leaves the namespace (an
// orphan inode, an object without references) is tagged with the epoch of the commit that removed
// it, so a removal writes nothing shared. A client's heartbeat publishes the epoch that every list
// of extents it still uses is newer than, after it pinned those of its open inodes that have become
// orphans. What is tagged e may be deleted once every live client has published e + 2 and no pin
// holds it: one epoch because a client may publish while the removal commits, one because the tag
// may be read before the epoch moved. Time is the store's, never a client's: a client is stale when
// its heartbeat is older than the expiry by the store's clock (and has been seen to stand still:
// session_watch.h), is then removed together with its pins and locks, and its later commits are
// refused (ESTALE).
//
// What the data layer owes for this (its side of the argument in session.cc):
//   1. Opening. An opener enters an EpochGuard, looks the file up, calls note_open() and only then
//      leaves the guard. note_closed() comes after the handle's last read, readahead included.
//   2. Cold reads. A list of extents is kept with a label: meta.current_epoch() as it was before
//      the read that loaded the list. A read that will go to the object store enters an EpochGuard,
//      then compares the label with meta.current_epoch(). Equal: the list may be used as it is,
//      for as long as the guard lives. Otherwise it notes the new epoch, asks for the file's
//      version (get_attributes past the cache, or load_file) and either relabels the list, when the
//      version is the one it was loaded at, or loads it again. Reads from memory or disk caches
//      need neither guard nor label: blocks are immutable.
//   3. A guard held for long delays reclaim, never harms it: hold it for one batch of GETs, not for
//      the life of a handle.
//   4. An object that is missing although the list was valid means that this client's session was
//      removed (it could not publish for the expiry): heartbeat() says ESTALE; it is not damage.
//   5. Ids from next_object() belong to the session they were taken under. A writer notes
//      meta.client() before it asks for an id and uploads again under a new id when client() has
//      changed before its commit: gc may have deleted what the old session had not committed.
#pragma once

#include <functional>

#include "meta/meta.h"

namespace skerry::meta {

struct SessionInfo {
  ClientRecord client;
  bool stale = false;
  uint64_t pins = 0;
  uint64_t locked_files = 0;
};

/// One heartbeat: pins orphans that are open here, unpins closed ones, publishes the epoch. ESTALE
/// if the session was removed: the caller decides (reopen_session makes a new one). Success at once
/// where the volume was opened without a session. Thread-safe.
Status heartbeat(const OpContext& ctx, Meta& meta);
/// After ESTALE: registers a new session under a new client id and drops every cache. Files that
/// were open and have no name any more may be gone: their handles must fail with ESTALE from here
/// on, whatever their inode's record says (reclaim may have begun to take it apart).
Status reopen_session(const OpContext& ctx, Meta& meta);
/// Removes the session of `client` with its pins and locks if it has expired, as reclaim would: for
/// whoever waits for a lock it holds, and asks every second or so (see session_watch.h). True if
/// there is no such session any more.
Result<bool> remove_stale_session(const OpContext& ctx, Meta& meta, ClientId client);
/// The records that a session's removal takes with it, beside the client's own.
void add_session_removal(ClientId client, std::vector<Mutation>* mutations);
/// After a removal: files that only clients without a session had locked are no longer listed as
/// locked. `files`: from locked_by() before. What fails is left; it does no harm.
void tidy_locked_files(const OpContext& ctx, Meta& meta, const std::vector<Ino>& files);
inline constexpr uint32_t kTidiedFiles = 4096;  // of one session
Result<std::vector<SessionInfo>> sessions(const OpContext& ctx, Meta& meta);

struct ReclaimResult {
  uint64_t stale_sessions = 0;      // removed
  uint64_t suspected_sessions = 0;  // left: have to be watched for longer, see session_watch.h
  uint64_t inodes = 0;              // orphans deleted
  uint64_t objects = 0;             // objects deleted
  uint64_t pending_inodes = 0;      // left: young or pinned (counted up to a bound)
  uint64_t pending_objects = 0;
  uint64_t failed_objects = 0;  // of those pending: `remove` failed for them, tried again next time
  bool elected = false;         // false: another client is the reclaimer just now
};
/// Deletes objects (1,000 at most a call): success means each of them is gone; after an error any
/// of them may be.
using DeleteObjects = std::function<Status(const OpContext&, const std::vector<ObjectId>&)>;
/// One bounded step: becomes or stays the reclaimer (a lease by the store's clock), removes stale
/// sessions, advances the epoch if there is anything to reclaim, deletes what may be. Objects
/// first, their garbage records second; every step may crash and be done again. An error of the
/// metadata store ends the step and nothing more is deleted; an error of `remove` costs the objects
/// it concerns (failed_objects), unless it was the deadline.
Result<ReclaimResult> reclaim_step(const OpContext& ctx, Meta& meta, const DeleteObjects& remove);

// ---- gc: objects that no metadata knows (uploads whose client died before its commit).
/// Calls `visit` with every object id the metadata refers to (extents and garbage) in [first,
/// last], any order, duplicates allowed; streamed, memory bounded. Any error aborts: the caller
/// must then delete nothing (fail closed). Order for a caller: uncommitted_floor, then list the
/// object store, then this. See gc.cc for what the scan's separate pages mean on a busy volume.
Status for_each_object(const OpContext& ctx, Meta& meta, ObjectId first, ObjectId last,
                       const std::function<void(ObjectId)>& visit);
/// Objects with a smaller id that for_each_object does not name are garbage: no live client can
/// still be about to commit them. Read it BEFORE listing the object store.
Result<ObjectId> uncommitted_floor(const OpContext& ctx, Meta& meta);
/// Takes back the references that no extent holds, of objects below `floor` (of the line above):
/// those of a pack whose slices were never committed. Objects without any then become garbage. The
/// number of objects mended. An error may leave a part done, never wrong.
Result<uint64_t> repair_references(const OpContext& ctx, Meta& meta, ObjectId floor);

// ---- fsck: invariants of the records.
struct FsckProblem {
  std::string kind;    // "dangling-entry", "nlink", "dirstat", "references", "usage", ...
  std::string detail;  // a sentence naming inode, path or key
};
struct FsckResult {
  uint64_t directories = 0, files = 0, symlinks = 0, others = 0, orphans = 0, extents = 0;
  std::vector<FsckProblem> problems;  // bounded; `problem_count` counts all
  uint64_t problem_count = 0;
  uint64_t surplus_objects = 0;  // with more references than extents: see repair_references()
};
/// Streams over all tables: every entry's parent is a directory that exists and leads to the root,
/// link counts and link records agree, dirstat equals the children, every extent's object has the
/// right reference count (too many of them are counted apart: a client died, or a flush failed for
/// good, and gc takes them back), no object is both live and garbage, lengths and inline flags
/// agree, usage equals the sum of lengths. `extent` (may be empty) is called for every live extent
/// so that the caller can check its data. Changes nothing. The tables are read one after the other,
/// page by page: on a volume that others are changing, what it reports may be a change seen half.
/// Only a report from a quiet volume, or one that comes again, is damage.
struct FsckLimits {
  size_t inodes_per_pass = 1'000'000;   // twice 40 bytes of memory each, at most
  size_t objects_per_pass = 4'000'000;  // twice 16 bytes each
  size_t max_problems = 1000;           // kept in FsckResult::problems
};
Result<FsckResult> fsck(const OpContext& ctx, Meta& meta,
                        const std::function<void(Ino, uint64_t chunk, const Extent&)>& extent,
                        const FsckLimits& limits = {});

}  // namespace skerry::meta
