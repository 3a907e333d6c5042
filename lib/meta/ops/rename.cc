#include <algorithm>
#include <unordered_map>

#include "meta/ops/common.h"

namespace skerry::meta {

using internal::Attempts;
using internal::Change;
using internal::check_directory;
using internal::Unseen;
using internal::View;
using internal::Wanted;

namespace {

/// The directories from one up to the root. The rename serial is read first, so if a commit finds
/// it unchanged then nobody moved any directory to another parent since.
class Ancestry {
 public:
  explicit Ancestry(Meta& meta) : meta_(meta) {}

  /// Reads the serial and, in the same round trip, the ancestors the cache guesses.
  Status load(const OpContext& ctx, std::initializer_list<Ino> from) {
    ReadRequest request;
    request.keys.push_back(volume_key(kVolumeRenameSerial));
    const Freshness fresh = meta_.freshness(ctx);
    for (Ino ino : from) {
      CachedAttributes found;
      for (size_t depth = 0; ino != kRootIno && ino != 0 && depth < kMaxGuess; ++depth) {
        request.inodes.push_back(ino);
        if (!meta_.cache().find_attributes(ino, fresh, false, &found)) break;
        ino = found.parent;
      }
    }
    SKERRY_ASSIGN(ReadResult seen, meta_.store().read(ctx, request));
    if (seen.records[0]) serial_ = std::get<VolumeRecord>(*seen.records[0]);
    remember(request, seen);
    return {};
  }

  /// True if `ino` is `from` or lies above it. ENOENT if `from` is not in the tree any more. Where
  /// it had to read more, that is of a later moment: see unchanged().
  Result<bool> is_above(const OpContext& ctx, Ino ino, Ino from) {
    for (size_t depth = 0; depth <= parents_.size(); ++depth) {
      if (from == ino) return true;
      if (from == kRootIno) return false;
      auto it = parents_.find(from);
      if (it == parents_.end()) {
        SKERRY_TRY(ctx.check());
        ReadRequest request;
        request.inodes.push_back(from);
        SKERRY_ASSIGN(ReadResult seen, meta_.store().read(ctx, request));
        remember(request, seen);
        it = parents_.find(from);
        if (it == parents_.end()) return Error(ENOENT, "the directory was removed");
      }
      from = it->second;
    }
    return Error(EIO, "the directories above form a loop");
  }

  /// Whether no directory got another parent since load(): then all that was read holds at one
  /// moment.
  Result<bool> unchanged(const OpContext& ctx) {
    ReadRequest request;
    request.keys.push_back(volume_key(kVolumeRenameSerial));
    SKERRY_ASSIGN(ReadResult seen, meta_.store().read(ctx, request));
    const auto& now = seen.records[0];
    if (!now || !serial_) return now.has_value() == serial_.has_value();
    return std::get<VolumeRecord>(*now).version == serial_->version;
  }

  void expect_unchanged(Change* change) const {
    if (serial_) {
      change->expect(ExpectVersion{volume_key(kVolumeRenameSerial), serial_->version});
    } else {
      change->expect(ExpectAbsent{volume_key(kVolumeRenameSerial)});
    }
    change->add(AddNumber{kVolumeRenameSerial, 1});
  }

 private:
  static constexpr size_t kMaxGuess = 256;

  void remember(const ReadRequest& request, const ReadResult& seen) {
    for (size_t i = 0; i < request.inodes.size(); ++i) {
      const auto& home = seen.homes[i];
      if (home && home->table == Table::kEntry) parents_[request.inodes[i]] = home->parent;
    }
  }

  Meta& meta_;
  std::optional<VolumeRecord> serial_;
  std::unordered_map<Ino, Ino> parents_;
};

struct Place {
  Ino dir;
  std::string_view name;
};

/// Puts `entry` under its new name; the row of its old name is the caller's. Returns the row.
EntryRecord put_moved(const EntryRecord& entry, const Place& to, TimeNs now, Change* change) {
  Attributes attr = entry.attr;
  attr.ctime_ns = now;
  attr.version += 1;
  if (!entry.linked) {
    if (attr.is_dir()) attr.nlink = 2;  // as stored: subdirectories are counted in dirstat
    EntryRecord moved = internal::plain_entry(to.dir, to.name, attr);
    change->put(moved);
    return moved;
  }
  EntryRecord moved = internal::linked_entry(to.dir, to.name, attr, attr.version);
  change->put(moved);
  change->remove(link_key(attr.ino, entry.parent, entry.name));
  change->put(LinkRecord{attr.ino, to.dir, std::string(to.name)});
  // The link count decides nothing here, so the inode may change meanwhile.
  Patch patch;
  patch.ino = attr.ino;
  patch.max_ctime_ns = now;
  change->add(std::move(patch));
  return moved;
}

class Rename {
 public:
  Rename(const OpContext& ctx, Meta& meta, const Place& from, const Place& to, unsigned flags)
      : ctx_(ctx), meta_(meta), from_(from), to_(to), flags_(flags) {}

  Status run() {
    Wanted wanted;
    wanted.inodes = {from_.dir, to_.dir};
    wanted.entries = {{from_.dir, from_.name}, {to_.dir, to_.name}};
    for (Attempts attempts(ctx_, meta_);;) {
      SKERRY_TRY(attempts.next());
      SKERRY_ASSIGN(view_, look(ctx_, meta_, wanted, attempts.source()));
      bool nothing_to_do = false;
      Status decided = decide(&nothing_to_do);
      // An answer without a commit rests on several records: they must be of one snapshot.
      if ((!decided.ok() || nothing_to_do) && view_.some_cached) continue;
      SKERRY_TRY(std::move(decided));
      if (nothing_to_do) return {};
      Change change(meta_);
      bool moved_meanwhile = false;
      Status outside = check_ancestors(&change, &moved_meanwhile);
      if (moved_meanwhile) continue;
      SKERRY_TRY(std::move(outside));
      const int empty = exchange() ? swap(&change) : move(&change);
      SKERRY_ASSIGN(CommitResult result, change.commit(ctx_));
      if (result.applied) {
        publish();
        return {};
      }
      if (empty >= 0 && result.failed_expectation == empty) return Error(ENOTEMPTY);
      if (change.directory_gone(result)) return Error(ENOENT, "the directory was removed");
    }
  }

 private:
  bool exchange() const { return (flags_ & kRenameExchange) != 0; }
  const Attributes& from_dir() const { return view_.inodes[0]->attr; }
  const Attributes& to_dir() const { return view_.inodes[1]->attr; }
  const EntryRecord& source() const { return *view_.entries[0]; }
  const std::optional<EntryRecord>& target() const { return view_.entries[1]; }
  bool across() const { return from_.dir != to_.dir; }

  /// rename(2)'s errors in the order in which Linux finds them.
  Status decide(bool* nothing_to_do) const {
    SKERRY_TRY(check_directory(ctx_, meta_, view_.inodes[0]));
    SKERRY_TRY(check_directory(ctx_, meta_, view_.inodes[1]));
    if (!view_.entries[0]) return Error(ENOENT);
    if (target() && (flags_ & kRenameNoReplace) != 0) return Error(EEXIST);
    if (!target() && exchange()) return Error(ENOENT);
    if (source().attr.ino == to_.dir) return Error(EINVAL, "a directory into itself");
    if (exchange() && target()->attr.ino == from_.dir) {
      return Error(EINVAL, "a directory into itself");
    }
    // Two names of one file, or twice the same name: nothing happens.
    if (target() && source().attr.ino == target()->attr.ino) {
      *nothing_to_do = true;
      return {};
    }
    SKERRY_TRY(check_delete(ctx_, meta_, from_dir(), source().attr));
    if (!target()) {
      SKERRY_TRY(check_access(ctx_, meta_, to_dir(), kWrite | kExecute));
    } else {
      SKERRY_TRY(check_delete(ctx_, meta_, to_dir(), target()->attr));
      if (!exchange()) {
        if (source().attr.is_dir() && !target()->attr.is_dir()) return Error(ENOTDIR);
        if (!source().attr.is_dir() && target()->attr.is_dir()) return Error(EISDIR);
      }
    }
    if (!across()) return {};
    // Its ".." changes.
    if (source().attr.is_dir()) SKERRY_TRY(check_access(ctx_, meta_, source().attr, kWrite));
    if (exchange() && target()->attr.is_dir()) {
      SKERRY_TRY(check_access(ctx_, meta_, target()->attr, kWrite));
    }
    return {};
  }

  /// A directory that gets another parent must not come to lie below itself. An error counts only
  /// if no directory was moved while the ancestors were read.
  Status check_ancestors(Change* change, bool* moved_meanwhile) {
    if (!across()) return {};
    const bool source_moves = source().attr.is_dir();
    const bool target_moves = exchange() && target()->attr.is_dir();
    if (!source_moves && !target_moves) return {};
    Ancestry ancestry(meta_);
    SKERRY_TRY(ancestry.load(ctx_, {to_.dir, from_.dir}));
    Status outside;
    if (source_moves) outside = check_outside(ancestry, source().attr.ino, to_.dir);
    if (outside.ok() && target_moves) {
      outside = check_outside(ancestry, target()->attr.ino, from_.dir);
    }
    if (outside.ok()) {
      ancestry.expect_unchanged(change);
      return {};
    }
    SKERRY_ASSIGN(const bool unchanged, ancestry.unchanged(ctx_));
    *moved_meanwhile = !unchanged;
    return outside;
  }

  Status check_outside(Ancestry& ancestry, Ino moved, Ino dir) {
    SKERRY_ASSIGN(const bool inside, ancestry.is_above(ctx_, moved, dir));
    if (inside) return Error(EINVAL, "a directory into its own subtree");
    return {};
  }

  /// Returns the index of the expectation that the replaced directory is empty, or -1.
  int move(Change* change) {
    const TimeNs now = meta_.now_ns();
    const bool is_dir = source().attr.is_dir();
    int empty = -1;
    change->expect_entry(source());
    change->remove(entry_key(from_.dir, from_.name));
    if (!target()) {
      change->expect_absent(entry_key(to_.dir, to_.name));
    } else if (is_dir) {
      change->expect_entry(*target());
      empty = change->expect(ExpectEmpty{Table::kEntry, target()->attr.ino});
      internal::remove_directory(*target(), true, change);
    } else {
      internal::remove_name(*target(), now, true, change);
    }
    moved_source_ = put_moved(source(), to_, now, change);
    change->touch(from_dir(), now, -1, is_dir ? -1 : 0);
    change->touch(to_dir(), now, target() ? 0 : 1, is_dir && !target() ? 1 : 0);
    return empty;
  }

  int swap(Change* change) {
    const TimeNs now = meta_.now_ns();
    change->expect_entry(source());
    change->expect_entry(*target());
    // One name is free at a time, so no inode ever has two rows of its own.
    change->remove(entry_key(from_.dir, from_.name));
    moved_source_ = put_moved(source(), to_, now, change);
    moved_target_ = put_moved(*target(), from_, now, change);
    const int64_t gain = (source().attr.is_dir() ? 1 : 0) - (target()->attr.is_dir() ? 1 : 0);
    change->touch(from_dir(), now, 0, -gain);
    change->touch(to_dir(), now, 0, gain);
    return -1;
  }

  void publish() {
    MetadataCache& cache = meta_.cache();
    cache.forget_attributes(source().attr.ino);
    if (target()) cache.forget_attributes(target()->attr.ino);
    if (exchange()) {
      publish_row(*moved_target_);
    } else {
      cache.publish_entry(view_.ticket, from_.dir, from_.name, {});
    }
    publish_row(*moved_source_);
    cache.touch_directory(from_.dir);
    if (across()) cache.touch_directory(to_.dir);
  }
  void publish_row(const EntryRecord& row) {
    meta_.cache().publish_entry(view_.ticket, row.parent, row.name,
                                {row.attr.ino, row.linked, row.version});
  }

  const OpContext& ctx_;
  Meta& meta_;
  const Place from_, to_;
  const unsigned flags_;
  View view_;
  std::optional<EntryRecord> moved_source_, moved_target_;
};

}  // namespace

namespace {

/// Renames a plain file that need not be known, over another perhaps, in one round trip. False:
/// that was not possible, and nothing has changed.
Result<bool> rename_unseen(const OpContext& ctx, Meta& meta, const Place& from, const Place& to,
                           unsigned flags) {
  if ((flags & kRenameExchange) != 0 || (from.dir == to.dir && from.name == to.name)) return false;
  Attributes from_dir, to_dir;
  const Unseen source = internal::unseen_name(ctx, meta, from.dir, from.name, &from_dir);
  const Unseen target = internal::unseen_name(ctx, meta, to.dir, to.name, &to_dir);
  if (source == Unseen::kNo || source == Unseen::kFree || target == Unseen::kNo) return false;
  if (target == Unseen::kFile) return false;
  // What is known is expected, where the store loses nothing by it.
  if (source == Unseen::kFile && target == Unseen::kFree && meta.exact()) return false;
  const MetadataCache::Ticket ticket = meta.ticket();
  const TimeNs now = meta.now_ns();
  Change change(meta);
  change.add(MoveFile{entry_key(from.dir, from.name), entry_key(to.dir, to.name),
                      (flags & kRenameNoReplace) == 0, now, meta.usage_client(),
                      change.counters_of(to_dir)});
  change.touch(from_dir, now, -1, 0);
  change.touch(to_dir, now, 1, 0);
  SKERRY_ASSIGN(CommitResult result, change.commit(ctx));
  if (!result.applied) return false;
  const MutationOutcome& outcome = result.outcomes.front();
  const Attributes& moved = *outcome.moved;
  MetadataCache& cache = meta.cache();
  if (outcome.number != 0) cache.forget_attributes(outcome.number);
  cache.publish_entry(ticket, from.dir, from.name, {});
  cache.publish_attributes(ticket, {moved});
  cache.publish_entry(ticket, to.dir, to.name, {moved.ino, false, moved.version});
  cache.touch_directory(from.dir);
  cache.touch_directory(to.dir);
  return true;
}

}  // namespace

Status rename(const OpContext& ctx, Meta& meta, Ino from_dir, std::string_view from, Ino to_dir,
              std::string_view to, unsigned flags) {
  if ((flags & ~(kRenameNoReplace | kRenameExchange)) != 0 ||
      flags == (kRenameNoReplace | kRenameExchange)) {
    return Error(EINVAL, "rename flags that do not go together");
  }
  SKERRY_TRY(check_name(from));
  SKERRY_TRY(check_name(to));
  const Place source{from_dir, from}, target{to_dir, to};
  SKERRY_ASSIGN(const bool done, rename_unseen(ctx, meta, source, target, flags));
  if (done) return {};
  return Rename(ctx, meta, source, target, flags).run();
}

}  // namespace skerry::meta
