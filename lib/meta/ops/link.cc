#include "meta/ops/common.h"

namespace skerry::meta {

using internal::Attempts;
using internal::Change;
using internal::check_directory;

namespace {

/// The first additional name moves the attributes from the entry to an inode record.
Attributes link_named(const AttributeHome& home, Ino dir, std::string_view name, TimeNs now,
                      Change* change) {
  Attributes attr = home.attr;
  const Ino ino = attr.ino;
  const EntryRecord old_entry = internal::plain_entry(home.parent, home.name, attr);
  change->expect_entry(old_entry);
  attr.nlink = 2;
  attr.ctime_ns = now;
  attr.version += 1;
  change->put(internal::linked_entry(home.parent, home.name, attr, attr.version));
  change->put(internal::linked_entry(dir, name, attr, attr.version));
  change->put(InodeRecord{attr});
  change->put(LinkRecord{ino, home.parent, home.name});
  change->put(LinkRecord{ino, dir, std::string(name)});
  return attr;
}

Attributes link_linked(const AttributeHome& home, Ino dir, std::string_view name, TimeNs now,
                       Change* change) {
  Attributes attr = home.attr;
  change->expect(ExpectVersion{inode_key(attr.ino), attr.version, attr.ino});
  attr.nlink += 1;
  attr.ctime_ns = now;
  attr.version += 1;
  change->put(internal::linked_entry(dir, name, attr, attr.version));
  change->put(LinkRecord{attr.ino, dir, std::string(name)});
  Patch patch;
  patch.ino = attr.ino;
  patch.add_nlink = 1;
  patch.ctime_ns = now;
  change->add(std::move(patch));
  return attr;
}

/// linkat(2) of an O_TMPFILE: the file counts again.
Attributes link_orphan(const AttributeHome& home, Ino dir, std::string_view name, TimeNs now,
                       Change* change) {
  Attributes attr = home.attr;
  change->expect(ExpectVersion{orphan_key(attr.ino), attr.version, attr.ino});
  attr.nlink = 1;
  attr.ctime_ns = now;
  attr.version += 1;
  change->remove(orphan_key(attr.ino));
  change->put(internal::plain_entry(dir, name, attr));
  change->use(static_cast<int64_t>(attr.length), 1);
  return attr;
}

}  // namespace

Result<Attributes> link(const OpContext& ctx, Meta& meta, Ino ino, Ino dir, std::string_view name,
                        bool named) {
  SKERRY_TRY(check_name(name));
  MetadataCache& cache = meta.cache();
  for (Attempts attempts(ctx, meta);;) {
    SKERRY_TRY(attempts.next());
    const MetadataCache::Ticket ticket = meta.ticket();
    ReadRequest request;
    request.inodes = {ino, dir};
    request.keys = {entry_key(dir, name)};
    SKERRY_ASSIGN(ReadResult seen, meta.store().read(ctx, request));
    if (!seen.homes[0]) return Error(ESTALE, "the inode does not exist any more");
    const AttributeHome& home = *seen.homes[0];
    if (named && home.table == Table::kOrphan)
      return Error(ESTALE, "the file has no name any more");
    std::optional<CachedAttributes> parent;
    if (seen.homes[1]) parent = CachedAttributes{seen.homes[1]->attr};
    SKERRY_TRY(check_directory(ctx, meta, parent));
    if (seen.records[0]) return Error(EEXIST);
    SKERRY_TRY(check_access(ctx, meta, parent->attr, kWrite | kExecute));
    if ((home.attr.flags & kInodeFlags) != 0) {
      return Error(EPERM, "the file is immutable or append-only");
    }
    if (home.attr.is_dir()) return Error(EPERM, "directories have one name");
    if (home.attr.nlink >= kMaxLinks) return Error(EMLINK);

    const TimeNs now = meta.now_ns();
    Change change(meta);
    change.expect_absent(entry_key(dir, name));
    Attributes attr;
    switch (home.table) {
      case Table::kEntry:
        attr = link_named(home, dir, name, now, &change);
        break;
      case Table::kInode:
        attr = link_linked(home, dir, name, now, &change);
        break;
      default:
        attr = link_orphan(home, dir, name, now, &change);
        break;
    }
    change.touch(parent->attr, now, 1, 0);
    SKERRY_ASSIGN(CommitResult result, change.commit(ctx));
    if (result.applied) {
      const bool linked = home.table != Table::kOrphan;
      if (home.table == Table::kEntry) cache.forget_entry(home.parent, home.name);
      cache.publish_attributes(ticket, {attr, 0, linked});
      cache.publish_entry(ticket, dir, name, {ino, linked, attr.version});
      cache.touch_directory(dir);
      return attr;
    }
    if (result.failed_expectation == 0) return Error(EEXIST);
    if (change.directory_gone(result)) return Error(ENOENT, "the directory was removed");
  }
}

}  // namespace skerry::meta
