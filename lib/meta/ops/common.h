// What the operations share: reading what they decide on, putting a commit together, trying again.
//
// Every operation has the same shape:
//   for (Attempts attempts(ctx, meta);;) {
//     SKERRY_TRY(attempts.next());
//     SKERRY_ASSIGN(View view, look(ctx, meta, wanted, attempts.source()));
//     ... decide; return errors that what was seen justifies ...
//     Change change(meta); ... expectations and mutations ...
//     SKERRY_ASSIGN(CommitResult result, change.commit(ctx));
//     if (result.applied) { ... tell the cache ...; return ...; }
//   }
// The first attempt may decide on cached records: whatever is decided on is also expected, so a
// stale one only costs another attempt. Later attempts read the store. An error that was decided on
// records which others may have changed since is confirmed by who makes the call:
// lib/vfs/confirm.h.
#pragma once

#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "meta/meta.h"
#include "meta/metadata_cache.h"
#include "meta/ops.h"

namespace skerry::meta::internal {

inline constexpr uint32_t kSetGroupId = 02000;
inline constexpr uint32_t kSticky = 01000;

enum class Source { kCacheOrStore, kStore };

/// Bounds and paces the attempts of one operation.
class Attempts {
 public:
  Attempts(const OpContext& ctx, Meta& meta) : ctx_(ctx), meta_(meta) {}
  /// To be called before each attempt: the context's error, or EBUSY after too many conflicts.
  /// From the fourth attempt on it sleeps first, a random time that doubles up to about 16 ms.
  Status next();
  Source source() const { return count_ <= 1 ? Source::kCacheOrStore : Source::kStore; }

 private:
  const OpContext& ctx_;
  Meta& meta_;
  unsigned count_ = 0;
};

/// Names what an operation wants to see; views are borrowed for the call.
struct Wanted {
  std::vector<Ino> inodes;
  std::vector<std::pair<Ino, std::string_view>> entries;
  std::vector<Key> keys;  // any other records: never from the cache
};

struct View {
  MetadataCache::Ticket ticket;
  std::vector<std::optional<CachedAttributes>> inodes;  // of directories times may be stale
  std::vector<std::optional<EntryRecord>> entries;      // joined
  std::vector<std::optional<Record>> keys;
  bool some_cached = false;  // not all of it is one snapshot of the store
};

/// One round trip at most, none if the cache knows everything. What is read goes to the cache.
/// `exact`: directories' times and link counts are wanted as well.
Result<View> look(const OpContext& ctx, Meta& meta, const Wanted& wanted, Source source,
                  bool exact = false);

/// What a read after `ticket` said of an inode, as the cache keeps it.
CachedAttributes cached_home(const AttributeHome& home, const MetadataCache::Ticket& ticket);
/// Tells the cache what a read after `ticket` said of (dir, name); `entry` is joined, but for what
/// a directory's children changed with `times_stale`.
void remember_entry(Meta& meta, const MetadataCache::Ticket& ticket, Ino dir, std::string_view name,
                    const std::optional<EntryRecord>& entry, bool times_stale = false);

/// What is known of a name whose file may be moved by MoveFile without having been read.
enum class Unseen : uint8_t { kMayBeFile, kFree, kFile, kNo };
/// From the cache alone. `dir` gets the attributes of the directory. kNo: it is not known, ctx's
/// user may not take names out of it whatever they lead to, or the name is known to lead to no
/// plain file: it takes a look to know what to say. kFree: the name is known to be free. kFile: all
/// of the file is known.
Unseen unseen_name(const OpContext& ctx, Meta& meta, Ino dir, std::string_view name,
                   Attributes* directory);

/// ENOENT if the directory is gone, ENOTDIR if it is none, EACCES without search permission.
Status check_directory(const OpContext& ctx, Meta& meta,
                       const std::optional<CachedAttributes>& dir);

/// The attributes of an inode as cached or read; ESTALE if it does not exist.
Result<CachedAttributes> attributes_of(const OpContext& ctx, Meta& meta, Ino ino, Source source,
                                       bool exact);

/// The expectations and mutations of one commit. Directory counters and usage are merged: one
/// mutation a directory, one for the volume.
class Change {
 public:
  explicit Change(Meta& meta) : meta_(meta) {}

  /// The index that CommitResult::failed_expectation would give.
  int expect(Expectation expectation);
  void expect_entry(const EntryRecord& entry);
  void expect_absent(Key key) { expect(ExpectAbsent{std::move(key)}); }
  void put(Record record) { mutations_.push_back(Put{std::move(record)}); }
  void remove(Key key) { mutations_.push_back(Delete{std::move(key)}); }
  void add(Mutation mutation) { mutations_.push_back(std::move(mutation)); }
  size_t mutation_count() const { return mutations_.size(); }

  /// Children of `dir` changed at `now`. Also the guard that it still exists.
  void touch(const Attributes& dir, TimeNs now, int64_t entries, int64_t subdirs);
  /// The record that touch() changes.
  Key counters_of(const Attributes& dir) const;
  void use(int64_t bytes, int64_t inodes) {
    bytes_ += bytes;
    inodes_ += inodes;
  }

  /// Called once. EROFS for a read-only client.
  Result<CommitResult> commit(const OpContext& ctx, Durability durability = Durability::kVisible,
                              ClientId session = 0);
  /// The same for what is no change of a file: also on a read-only client. `session` 0: the
  /// current.
  Result<CommitResult> commit_as(const OpContext& ctx, ClientId session) {
    return meta_.commit(ctx, std::move(expectations_), std::move(mutations_), Durability::kVisible,
                        session);
  }
  /// True if the conflict says that a touched directory is gone.
  bool directory_gone(const CommitResult& result) const;

 private:
  Meta& meta_;
  std::vector<Expectation> expectations_;
  std::vector<Mutation> mutations_;
  std::vector<AddDirStat> directories_;
  int64_t bytes_ = 0;
  int64_t inodes_ = 0;
  size_t first_directory_ = 0;
};

/// What the caller of create(2), mkdir(2) and the like asks for.
struct NewInode {
  FileType type;
  uint32_t mode;  // before umask
  uint64_t rdev = 0;
  uint64_t length = 0;
  bool ignores_umask = false;  // the directory has a default ACL
};
/// Attributes of an inode made in `dir` by ctx's user: umask, group and set-group-ID inheritance.
Attributes new_attributes(const OpContext& ctx, Meta& meta, const Attributes& dir, Ino ino,
                          const NewInode& what, TimeNs now);

/// Adds what removes one name of a file that is not a directory: the entry (unless `replaced`, when
/// a Put of the same key follows), links, side records, the orphan, usage. Does not touch the
/// directory. Returns the attributes after.
Attributes remove_name(const EntryRecord& entry, TimeNs now, bool replaced, Change* change);
/// Adds what removes an empty directory except for touching its parent.
void remove_directory(const EntryRecord& entry, bool replaced, Change* change);

/// Tells the cache of an own commit that removed the name `entry` had.
void forget_removed(Meta& meta, const MetadataCache::Ticket& ticket, Ino dir, std::string_view name,
                    const EntryRecord& entry);

/// The entry that leads to the attributes which are in its own row.
EntryRecord plain_entry(Ino parent, std::string_view name, const Attributes& attr);
/// An entry that leads to an inode record.
EntryRecord linked_entry(Ino parent, std::string_view name, const Attributes& attr,
                         uint64_t version);

}  // namespace skerry::meta::internal
