// Store: a transactional database of records, reduced to two calls, each one round trip.
//
// A store holds no file-system logic: all of that is in lib/meta/ops, once, over this interface.
//   read()   a consistent snapshot of records by key, by range, and of attributes by inode;
//   commit() expectations and mutations, applied whole or not at all.
// Commits are serializable: an expectation that held when the commit was applied held together
// with all others of that commit. All calls are thread-safe and block; commits of many threads are
// grouped by the store. A store instance belongs to one client (one opened volume).
//
// Errors (as Error): EIO, ENOSPC, ETIMEDOUT, ECANCELED, ESTALE (the session is gone), EROFS,
// ENOMEM. A conflict is not an error: it is an answer. Error::maybe_applied() says that a commit's
// answer was lost; sending the same request_id again settles it.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "io/op_context.h"
#include "meta/records.h"

namespace skerry::meta {

/// Records of `table` whose key begins with the first `prefix_fields` of (a, b), in key order,
/// strictly after `after` where given (compared on the key fields that follow the prefix).
/// Examples: children of d after "x": {kEntry, a=d, prefix_fields=1, after={name="x"}};
///           all clients: {kClient, prefix_fields=0}; extents of one chunk: {kExtent, a=ino,
///           b=chunk, prefix_fields=2}.
struct Range {
  Table table = Table::kEntry;
  unsigned prefix_fields = 1;  // 0, 1 or 2
  uint64_t a = 0;
  uint64_t b = 0;
  std::optional<Key> after;       // its table is ignored
  uint32_t limit = 1024;          // at least 1
  bool with_attributes = true;    // entries: false returns name, ino and type alone (cheaper)
  std::optional<uint64_t> max_a;  // with prefix_fields = 0: only keys with a <= *max_a
};

struct RangePage {
  std::vector<Record> records;
  bool more = false;  // there may be records after the last one
};

/// Where the attributes of an inode are, with the name that leads to it (entry home only).
struct AttributeHome {
  Table table = Table::kEntry;  // kEntry, kInode or kOrphan
  Ino parent = 0;
  std::string name;
  Attributes attr;
};

struct ReadRequest {
  std::vector<Key> keys;
  std::vector<Range> ranges;
  std::vector<Ino> inodes;  // attributes of these, wherever they are
  /// Entries and inodes are returned with effective attributes: a linked entry's come from its
  /// inode record, and a directory's mtime, ctime (max) and nlink (2 + subdirectories) include its
  /// dirstat records.
  bool join = false;
  bool time = false;  // ReadResult::server_time_ns is wanted
};

struct ReadResult {
  std::vector<std::optional<Record>> records;       // as keys
  std::vector<RangePage> pages;                     // as ranges
  std::vector<std::optional<AttributeHome>> homes;  // as inodes
  TimeNs server_time_ns = 0;  // the store's clock, never a client's; 0 if not asked for
};

// ---- Expectations: what must hold for a commit to be applied.

/// The record is there at this version. For entries `ino` must match too (names are reused, inode
/// numbers are not). Tables: volume, entry, inode, orphan, object, locked.
struct ExpectVersion {
  Key key;
  uint64_t version = 0;
  Ino ino = 0;
};
struct ExpectAbsent {
  Key key;
};
/// Shared: conflicts with the record's removal, not with other commits that expect the same.
struct ExpectExists {
  Key key;
};
/// No record of `table` has key field a == `a`. Sees every commit applied before this one.
struct ExpectEmpty {
  Table table = Table::kEntry;
  uint64_t a = 0;
};
/// The attributes of `ino`, wherever they are, are at `version` (0: any version, merely exist).
struct ExpectAttributes {
  Ino ino = 0;
  uint64_t version = 0;
};
/// The extent records of (ino, chunk) with seq <= last_seq number exactly `count`: nothing of what
/// a compaction read has changed; later ones may have been added.
struct ExpectExtentPrefix {
  Ino ino = 0;
  uint64_t chunk = 0;
  uint64_t last_seq = 0;
  uint64_t count = 0;
};
using Expectation = std::variant<ExpectVersion, ExpectAbsent, ExpectExists, ExpectEmpty,
                                 ExpectAttributes, ExpectExtentPrefix>;

// ---- Mutations, applied in order after all expectations were found to hold.

/// Inserts the record or replaces it whole, with the version it carries. ClientRecord gets the
/// server's time, OrphanRecord and GarbageRecord{kCurrentEpoch} the volume's current epoch.
struct Put {
  Record record;
};
/// Removes the record if it is there.
struct Delete {
  Key key;
};
/// Removes every record of `table` whose key field a == `a` (dirstat shards, xattrs, extents ...).
/// With `b`: and whose field b == *b. With `max_c`: and whose field c <= *max_c.
struct DeleteRange {
  Table table = Table::kEntry;
  uint64_t a = 0;
  std::optional<uint64_t> b;
  std::optional<uint64_t> max_c;
};
/// Changes attributes in place wherever they are and adds one to the version (unless keep_version).
/// Conflict if there is no such inode. Absent optionals leave a field alone; `max_` fields are
/// commutative. Clearing kFlagCapability of a file that has it removes the xattr as well.
struct Patch {
  Ino ino = 0;
  std::optional<uint32_t> mode, uid, gid;
  std::optional<uint64_t> length;
  std::optional<TimeNs> atime_ns, mtime_ns, ctime_ns;
  uint64_t max_length = 0;
  TimeNs max_mtime_ns = INT64_MIN;
  TimeNs max_ctime_ns = INT64_MIN;
  TimeNs max_atime_ns = INT64_MIN;
  bool keep_version = false;  // of an access time: nothing that is kept by version rests on it
  uint32_t clear_mode = 0;    // suid and sgid dropped by a write: see clear_mode_of()
  uint32_t set_flags = 0;
  uint32_t clear_flags = 0;
  int32_t add_nlink = 0;
  ClientId usage_client = 0;  // see WriteData
};
/// Adds to a directory's counters; times by max. Conflict if the record is absent: the directory
/// is gone. This is the guard that makes create and rmdir exclude each other.
struct AddDirStat {
  Ino ino = 0;
  uint64_t shard = 0;
  TimeNs mtime_ns = 0;
  int64_t subdirs = 0;
  int64_t entries = 0;
  bool replace_time = false;  // utimes(2) on the directory: mtime_ns replaces the record's time
};
/// Data of a file. Adds one to the file's version (the seq of the new extent records), sets
/// length = max(length, end), mtime and ctime by max, clears `clear_mode` as Patch does and
/// kFlagCapability, with the xattr, always. `pieces` give positions
/// in chunk_offset relative to `offset`, or with `append` to the length the file has at that
/// moment. Conflict if the inode is gone, or if it has kFlagInline (see records.h) unless
/// `replace_inline`, which drops the flag and the inline record.
struct WriteData {
  Ino ino = 0;
  bool append = false;
  bool replace_inline = false;
  bool extend = true;  // false: the length stays (zero range or allocate with KEEP_SIZE)
  uint64_t offset = 0;
  uint64_t length = 0;  // bytes covered from offset; what append adds to the length
  std::vector<Extent> pieces;
  TimeNs mtime_ns = 0;
  uint32_t clear_mode = 0;
  /// If not 0, the change of the file's length is added to this client's usage record of scope 0
  /// (only the store knows the length before), unless the file is an orphan: it counted for nothing
  /// from when it lost its last name.
  ClientId usage_client = 0;
};
/// Adds to an object's references. An absent record counts as one; a result of zero or less
/// removes the record and makes the object garbage at the current epoch; exactly one removes it.
struct AddObjectReferences {
  ObjectId id = 0;
  int64_t delta = 0;
};
/// Creates the record at need.
struct AddUsage {
  uint64_t scope = 0;
  ClientId client = 0;
  int64_t bytes = 0;
  int64_t inodes = 0;
};
/// Adds to a volume record's number (created at 0); its outcome is the number before.
struct AddNumber {
  std::string name;
  uint64_t delta = 0;
};
/// Gives a regular file of one name another name, or none, without anybody having read it:
/// rename(2) and unlink(2) of what is not known. Conflict unless `from` is the entry of such a
/// file, not linked and without kInodeFlags. Its ctime is set and one added to its version. Without
/// `to` the file becomes an orphan, with a link less, and is taken out of `usage_client`'s usage of
/// scope 0. With `to`, another key: a file there that `from` could be goes the same way with
/// `replace`, and `counted_in` (a dirstat key) loses an entry; anything else there is a conflict.
struct MoveFile {
  Key from;
  std::optional<Key> to;
  bool replace = false;
  TimeNs ctime_ns = 0;
  ClientId usage_client = 0;
  std::optional<Key> counted_in;
};
using Mutation = std::variant<Put, Delete, DeleteRange, Patch, AddDirStat, WriteData,
                              AddObjectReferences, AddUsage, AddNumber, MoveFile>;

enum class Durability : uint8_t {
  kVisible,  // seen by everyone at once; survives this process, may be lost with the machine's
             // power
  kDurable,  // survives power loss, and so does every commit applied before it
};

using RequestId = std::array<uint64_t, 2>;

struct CommitRequest {
  RequestId request{};   // random; the same on every attempt of the same commit
  ClientId session = 0;  // refused with ESTALE when this client's record is gone; 0: no check
  std::vector<Expectation> expectations;
  std::vector<Mutation> mutations;
  Durability durability = Durability::kVisible;
};

/// What a mutation tells back. Patch, WriteData: the new version, and `number` = the length before.
/// AddNumber: the number before. MoveFile: the file as it is then, and of the file it replaced the
/// inode as `number` and the new version. Others: zeros.
struct MutationOutcome {
  uint64_t number = 0;
  uint64_t version = 0;
  std::optional<Attributes> moved = std::nullopt;
};

struct CommitResult {
  bool applied = false;
  /// If not applied: the first expectation that did not hold, or -1 and the mutation that met a
  /// conflict.
  int failed_expectation = -1;
  int failed_mutation = -1;
  std::vector<MutationOutcome> outcomes;  // as mutations, when applied
};

struct StoreCapabilities {
  uint32_t dirstat_shards = 1;   // how many dirstat records a new directory should get
  uint32_t usage_parts = 1;      // how many usage records a client should spread its commits over
  bool multi_host = false;       // may be shared between machines
  bool exact_generation = true;  // generation() proves that nobody else has committed
};

/// Is told what other clients have changed. What it is told has been committed and can be read.
/// Some changes may never be told, and some that did not happen may be.
class ChangeSink {
 public:
  virtual void entry_changed(Ino parent, std::string_view name) = 0;
  virtual void inode_changed(Ino ino) = 0;
  /// Entries came or went: the directory's times and link count are others.
  virtual void children_changed(Ino directory) = 0;
  /// Anything may have changed that was not told.
  virtual void all_changed() = 0;

 protected:
  ~ChangeSink() = default;
};

class Store {
 public:
  virtual ~Store() = default;

  /// For messages: "sqlite:///srv/vol.db", never with secrets.
  virtual std::string describe() const = 0;
  virtual StoreCapabilities capabilities() const = 0;

  virtual Result<ReadResult> read(const OpContext& ctx, const ReadRequest& request) = 0;
  virtual Result<CommitResult> commit(const OpContext& ctx, CommitRequest request) = 0;

  /// Everything applied before this call survives power loss when it returns.
  virtual Status sync(const OpContext& ctx) = 0;

  /// With capabilities().exact_generation: while generation() returns the same value, no other
  /// client has committed anything, so records cached under that value are current, apart from this
  /// client's own commits. Costs a few nanoseconds: it is asked on every cached lookup. A store
  /// that cannot know returns another value after it has heard of a change; that it stays proves
  /// nothing.
  virtual uint64_t generation() noexcept = 0;

  /// From now on `sink` is told what other clients change, by a thread of the store's; null:
  /// nobody. No call of the former sink is in progress when it returns. Default: nothing is ever
  /// told.
  virtual void tell_changes(ChangeSink* sink) { static_cast<void>(sink); }

  /// Returns when generation() is no longer `seen`, after `timeout_ns`, or with ctx's error when
  /// its deadline passes or it is cancelled, which is noticed within kWaitSliceNs. May also return
  /// early: the caller looks for itself what has changed. Default: looks at generation() again
  /// after pauses on ctx.clock that double up to kWaitSliceNs. Override to be woken.
  virtual Status wait_for_change(const OpContext& ctx, uint64_t seen, TimeNs timeout_ns);
  static constexpr TimeNs kWaitSliceNs = 50'000'000;

  /// Reads `names` one below the other starting in `directory`: result[i] is the entry of names[i],
  /// joined; it ends early (shorter than names) at the first that is absent or not a directory
  /// (the absent one is not included). Of directories before the last name, times and link count
  /// may be without what their children changed. `start`: where given, gets the joined attributes
  /// of `directory`, or nothing if it is gone. Default: one read() a name; override to do it in one
  /// round trip.
  virtual Result<std::vector<EntryRecord>> resolve(const OpContext& ctx, Ino directory,
                                                   const std::vector<std::string>& names,
                                                   std::optional<AttributeHome>* start = nullptr);
};

}  // namespace skerry::meta
