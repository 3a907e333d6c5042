#include "meta/attribute_changes.h"
#include "meta/ops/common.h"

namespace skerry::meta {

using internal::Attempts;
using internal::attributes_of;
using internal::Change;

namespace {

Status not_owner() { return Error(EPERM, "only the owner or root may do this"); }

Status check_mode(const Credentials& who, const Attributes& attr) {
  return who.is_root() || who.uid == attr.uid ? Status() : not_owner();
}

/// chown(2): root alone gives files away; an owner may choose among its own groups.
Status check_owner(const Credentials& who, const Attributes& attr, const SetAttributes& set) {
  if (who.is_root()) return {};
  if (who.uid != attr.uid) return not_owner();
  if (set.uid && *set.uid != attr.uid) return Error(EPERM, "only root may give a file away");
  if (set.gid && *set.gid != attr.gid && !who.in_group(*set.gid)) {
    return Error(EPERM, "the caller is not in the group");
  }
  return {};
}

/// utimensat(2): both times "now" needs write permission, anything else ownership.
Status check_times(const OpContext& ctx, Meta& meta, const Attributes& attr,
                   const SetAttributes& set) {
  const Credentials& who = ctx.credentials;
  if (who.is_root() || who.uid == attr.uid) return {};
  if (set.atime_now && set.mtime_now) return check_access(ctx, meta, attr, kWrite);
  return not_owner();
}

bool sets_times(const SetAttributes& set) {
  return set.atime_ns || set.mtime_ns || set.atime_now || set.mtime_now;
}

/// What an immutable or append-only file refuses; "now" for both times may be said of one that is
/// append-only, to those who may write to it.
Status check_inode_flags(const Attributes& attr, const SetAttributes& set) {
  if ((attr.flags & kInodeFlags) == 0) return {};
  const bool touches = set.atime_now && set.mtime_now && (attr.flags & kFlagImmutable) == 0;
  if (set.mode || set.uid || set.gid || (sets_times(set) && !touches)) {
    return Error(EPERM, "the file is immutable or append-only");
  }
  return {};
}

/// chattr(1).
Status check_new_flags(const Credentials& who, const Attributes& attr, uint32_t flags) {
  if (attr.type != FileType::kRegular && !attr.is_dir()) {
    return Error(EOPNOTSUPP, "only files and directories have inode flags");
  }
  if ((flags & ~kInodeFlags) != 0) return Error(EOPNOTSUPP, "inode flags that are not supported");
  if (who.is_root()) return {};
  if (who.uid != attr.uid) return not_owner();
  if ((attr.flags & kInodeFlags) == flags) return {};
  return Error(EPERM, "only root makes files immutable or append-only, or ends it");
}

Status check_change(const OpContext& ctx, Meta& meta, const Attributes& attr,
                    const SetAttributes& set) {
  const Credentials& who = ctx.credentials;
  SKERRY_TRY(check_inode_flags(attr, set));
  if (set.inode_flags) SKERRY_TRY(check_new_flags(who, attr, *set.inode_flags));
  if (set.mode) SKERRY_TRY(check_mode(who, attr));
  if (set.uid || set.gid) SKERRY_TRY(check_owner(who, attr, set));
  if (sets_times(set)) {
    SKERRY_TRY(check_times(ctx, meta, attr, set));
  }
  return {};
}

/// The mode after: what chmod(2) and chown(2) make of the suid and sgid bits.
uint32_t mode_after(const Credentials& who, const Attributes& attr, const SetAttributes& set) {
  const auto outside = [&](uint32_t gid) { return !who.is_root() && !who.in_group(gid); };
  const uint32_t gid = set.gid.value_or(attr.gid);
  if (set.mode) {
    uint32_t mode = *set.mode & 07777;
    if (outside(gid)) mode &= ~internal::kSetGroupId;
    return mode;
  }
  if ((!set.uid && !set.gid) || attr.is_dir()) return attr.mode;
  const bool outsider = outside(gid) || outside(attr.gid);
  return mode_without(attr.mode, outsider ? 06000 | kClearForOutsider : 06000);
}

Attributes attributes_after(const Credentials& who, const Attributes& attr,
                            const SetAttributes& set, TimeNs now) {
  Attributes after = attr;
  after.mode = mode_after(who, attr, set);
  after.uid = set.uid.value_or(attr.uid);
  after.gid = set.gid.value_or(attr.gid);
  if (set.atime_ns || set.atime_now) after.atime_ns = set.atime_now ? now : *set.atime_ns;
  if (set.mtime_ns || set.mtime_now) after.mtime_ns = set.mtime_now ? now : *set.mtime_ns;
  if (set.inode_flags) after.flags = (attr.flags & ~kInodeFlags) | *set.inode_flags;
  // As set-user-ID: chown(2), capabilities(7).
  if ((set.uid || set.gid) && !attr.is_dir()) after.flags &= ~kFlagCapability;
  after.ctime_ns = now;
  after.version += 1;
  return after;
}

bool is_empty(const SetAttributes& set) {
  return !set.mode && !set.uid && !set.gid && !set.inode_flags && !sets_times(set);
}

}  // namespace

Result<Attributes> set_attributes(const OpContext& ctx, Meta& meta, Ino ino,
                                  const SetAttributes& set) {
  if (is_empty(set)) return get_attributes(ctx, meta, ino);
  MetadataCache& cache = meta.cache();
  for (Attempts attempts(ctx, meta);;) {
    SKERRY_TRY(attempts.next());
    const MetadataCache::Ticket ticket = meta.ticket();
    SKERRY_ASSIGN(CachedAttributes seen, attributes_of(ctx, meta, ino, attempts.source(), true));
    const Attributes& attr = seen.attr;
    SKERRY_TRY(check_change(ctx, meta, attr, set));
    const Attributes after = attributes_after(ctx.credentials, attr, set, meta.now_ns());
    Patch patch;
    patch.ino = ino;
    if (after.mode != attr.mode) patch.mode = after.mode;
    if (after.uid != attr.uid) patch.uid = after.uid;
    if (after.gid != attr.gid) patch.gid = after.gid;
    if (set.atime_ns || set.atime_now) patch.atime_ns = after.atime_ns;
    const bool sets_mtime = set.mtime_ns || set.mtime_now;
    if (sets_mtime) patch.mtime_ns = after.mtime_ns;
    patch.ctime_ns = after.ctime_ns;
    patch.set_flags = after.flags & ~attr.flags;
    patch.clear_flags = attr.flags & ~after.flags;
    Change change(meta);
    change.expect(ExpectAttributes{ino, attr.version});
    change.add(std::move(patch));
    if (attr.is_dir() && sets_mtime) {
      // A directory's time is the latest of its own and its dirstat records'.
      for (uint64_t shard = 0; shard < attr.shards; ++shard) {
        change.add(AddDirStat{ino, shard, after.mtime_ns, 0, 0, true});
      }
    }
    SKERRY_ASSIGN(CommitResult result, change.commit(ctx));
    if (result.applied) {
      cache.publish_attributes(ticket, {after, seen.parent, seen.linked});
      return after;
    }
  }
}

}  // namespace skerry::meta
