#include "meta/ops/acl.h"
#include "meta/ops/common.h"

namespace skerry::meta {

using internal::Attempts;
using internal::Change;
using internal::check_directory;
using internal::NewInode;
using internal::Source;
using internal::View;
using internal::Wanted;

namespace {

/// What forbids making a new name in `dir`, once it is known that the name is free.
Status may_create(const OpContext& ctx, Meta& meta, const Attributes& dir, const CreateArgs& args) {
  SKERRY_TRY(check_access(ctx, meta, dir, kWrite | kExecute));
  const bool device = args.type == FileType::kCharDevice || args.type == FileType::kBlockDevice;
  if (device && !ctx.credentials.is_root()) return Error(EPERM, "only root may make devices");
  return {};
}

Status check_target(const CreateArgs& args) {
  if (args.type != FileType::kSymlink) return {};
  if (args.target.empty()) return Error(ENOENT, "a symbolic link to nothing");
  if (args.target.size() > kMaxSymlinkBytes) return Error(ENAMETOOLONG, "the link's target");
  return {};
}

void put_inode(const Attributes& attr, Ino dir, std::string_view name, const CreateArgs& args,
               Change* change) {
  change->put(internal::plain_entry(dir, name, attr));
  for (uint64_t shard = 0; shard < attr.shards; ++shard) {
    change->put(DirStatRecord{attr.ino, shard, attr.mtime_ns, 0, 0});
  }
  if (attr.type == FileType::kSymlink) {
    change->put(SymlinkRecord{attr.ino, std::string(args.target)});
  }
  change->use(0, 1);
}

/// The default ACL of `dir`, null if it has none. False if the directory is not as `dir` says.
Result<bool> inherited_acl(const OpContext& ctx, Meta& meta, const Attributes& dir,
                           std::shared_ptr<const Acl>* acl) {
  Attributes now = dir;
  Result<std::shared_ptr<const Acl>> loaded =
      internal::load_acl(ctx, meta, AclKind::kDefault, &now);
  if (!loaded.ok()) {
    if (loaded.error().code() == ESTALE) return Error(ENOENT, "the directory was removed");
    return std::move(loaded).error();
  }
  *acl = *std::move(loaded);
  return now.version == dir.version;
}

}  // namespace

Result<Created> create(const OpContext& ctx, Meta& meta, Ino dir, std::string_view name,
                       const CreateArgs& args) {
  SKERRY_TRY(check_name(name));
  SKERRY_TRY(check_target(args));
  Ino ino = 0;
  for (Attempts attempts(ctx, meta);;) {
    SKERRY_TRY(attempts.next());
    // The name itself is not read: that it is free is expected at commit. Only a second attempt,
    // or one that will fail, wants to know who has it (an existing name is told before EACCES, and
    // for that both must be of one moment).
    const bool from_store = attempts.source() == Source::kStore;
    Wanted wanted;
    wanted.inodes = {dir};
    if (from_store) wanted.entries = {{dir, name}};
    SKERRY_ASSIGN(View view, look(ctx, meta, wanted, attempts.source()));
    SKERRY_TRY(check_directory(ctx, meta, view.inodes[0]));
    const Attributes parent = view.inodes[0]->attr;
    const Status allowed = may_create(ctx, meta, parent, args);
    CachedEntry known;
    const bool maybe_there =
        meta.cache().find_entry(dir, name, meta.freshness(ctx), &known) && known.ino != 0;
    std::optional<Attributes> existing;
    if (from_store) {
      if (view.entries[0]) existing = view.entries[0]->attr;
    } else if (!allowed.ok() || maybe_there) {
      Result<Attributes> found = lookup(ctx, meta, dir, name);
      if (!found.ok() && found.error().code() != ENOENT) return std::move(found).error();
      if (found.ok()) existing = *found;
    }
    if (existing) {
      if (args.exclusive) return Error(EEXIST);
      return Created{*existing, false};
    }
    if (!allowed.ok()) {
      if (from_store) return allowed.error();
      continue;
    }
    std::shared_ptr<const Acl> inherited;
    if ((parent.flags & kFlagDefaultAcl) != 0 && args.type != FileType::kSymlink) {
      SKERRY_ASSIGN(bool current, inherited_acl(ctx, meta, parent, &inherited));
      if (!current) continue;
    }
    if (ino == 0) {
      SKERRY_ASSIGN(ino, meta.next_ino(ctx));
    }
    const TimeNs now = meta.now_ns();
    const uint64_t length = args.type == FileType::kSymlink ? args.target.size() : 0;
    Attributes attr = internal::new_attributes(
        ctx, meta, parent, ino,
        NewInode{args.type, args.mode, args.rdev, length, inherited != nullptr}, now);
    Change change(meta);
    change.expect_absent(entry_key(dir, name));
    if (inherited != nullptr) {
      change.expect(ExpectAttributes{dir, parent.version});
      internal::inherit_acls(inherited, meta, &attr, &change);
    }
    put_inode(attr, dir, name, args, &change);
    change.touch(parent, now, 1, attr.is_dir() ? 1 : 0);
    SKERRY_ASSIGN(CommitResult result, change.commit(ctx));
    if (result.applied) {
      meta.cache().publish_attributes(view.ticket, {attr, attr.is_dir() ? dir : 0});
      meta.cache().publish_entry(view.ticket, dir, name, {ino, false, attr.version});
      meta.cache().touch_directory(dir);
      return Created{attr, true};
    }
    if (change.directory_gone(result)) return Error(ENOENT, "the directory was removed");
    if (args.exclusive && result.failed_expectation == 0) return Error(EEXIST);
  }
}

Result<Attributes> create_orphan(const OpContext& ctx, Meta& meta, Ino dir, uint32_t mode) {
  Wanted wanted;
  wanted.inodes = {dir};
  Ino ino = 0;
  for (Attempts attempts(ctx, meta);;) {
    SKERRY_TRY(attempts.next());
    SKERRY_ASSIGN(View view, look(ctx, meta, wanted, attempts.source()));
    SKERRY_TRY(check_directory(ctx, meta, view.inodes[0]));
    const Attributes& parent = view.inodes[0]->attr;
    SKERRY_TRY(check_access(ctx, meta, parent, kWrite | kExecute));
    std::shared_ptr<const Acl> inherited;
    if ((parent.flags & kFlagDefaultAcl) != 0) {
      SKERRY_ASSIGN(bool current, inherited_acl(ctx, meta, parent, &inherited));
      if (!current) continue;
    }
    if (ino == 0) {
      SKERRY_ASSIGN(ino, meta.next_ino(ctx));
    }
    Attributes attr = internal::new_attributes(
        ctx, meta, parent, ino, NewInode{FileType::kRegular, mode, 0, 0, inherited != nullptr},
        meta.now_ns());
    attr.nlink = 0;
    Change change(meta);
    change.expect(ExpectExists{dirstat_key(dir, 0)});
    if (inherited != nullptr) {
      change.expect(ExpectAttributes{dir, parent.version});
      internal::inherit_acls(inherited, meta, &attr, &change);
    }
    change.put(OrphanRecord{attr});
    SKERRY_ASSIGN(CommitResult result, change.commit(ctx));
    if (result.applied) {
      meta.cache().publish_attributes(view.ticket, {attr});
      return attr;
    }
    if (result.failed_expectation == 0) return Error(ENOENT, "the directory was removed");
  }
}

}  // namespace skerry::meta
