#include "meta/ops/common.h"

#include <algorithm>
#include <limits>

namespace skerry::meta::internal {

namespace {

constexpr unsigned kMaxAttempts = 128;
constexpr unsigned kEagerAttempts = 3;  // without a pause
constexpr TimeNs kFirstPauseNs = 100'000;
constexpr unsigned kMaxPauseDoublings = 7;

/// Both the entry's row and its attributes, if the cache has them and they belong together.
bool cached_entry(MetadataCache& cache, const Freshness& fresh, Ino dir, std::string_view name,
                  std::optional<EntryRecord>* out) {
  CachedEntry entry;
  if (!cache.find_entry(dir, name, fresh, &entry)) return false;
  if (entry.ino == 0) {
    out->reset();
    return true;
  }
  CachedAttributes attributes;
  if (!cache.find_attributes(entry.ino, fresh, false, &attributes)) return false;
  // While link(2) moves a file's attributes the two may be of different states.
  if (attributes.linked != entry.linked) return false;
  EntryRecord& record = out->emplace();
  record.parent = dir;
  record.name = name;
  record.linked = entry.linked;
  record.attr = attributes.attr;
  record.version = entry.linked ? entry.version : attributes.attr.version;
  return true;
}

}  // namespace

Status Attempts::next() {
  SKERRY_TRY(ctx_.check());
  if (count_ >= kMaxAttempts) return Error(EBUSY, "gave up after too many conflicting changes");
  if (count_ >= kEagerAttempts) {
    const unsigned doublings = std::min(count_ - kEagerAttempts, kMaxPauseDoublings);
    const auto limit = static_cast<uint64_t>(kFirstPauseNs) << doublings;
    meta_.clock().sleep_ns(static_cast<TimeNs>(limit / 4 + meta_.random().next() % limit));
  }
  ++count_;
  return {};
}

CachedAttributes cached_home(const AttributeHome& home, const MetadataCache::Ticket& ticket) {
  CachedAttributes attributes;
  attributes.attr = home.attr;
  if (home.table == Table::kEntry && home.attr.is_dir()) attributes.parent = home.parent;
  attributes.linked = home.table == Table::kInode;
  attributes.mark = ticket.mark;
  return attributes;
}

void remember_entry(Meta& meta, const MetadataCache::Ticket& ticket, Ino dir, std::string_view name,
                    const std::optional<EntryRecord>& entry, bool times_stale) {
  MetadataCache& cache = meta.cache();
  if (!entry) {
    cache.insert_entry(ticket, dir, name, {});
    return;
  }
  cache.insert_entry(ticket, dir, name, {entry->attr.ino, entry->linked, entry->version});
  const bool is_dir = entry->attr.is_dir();
  cache.insert_attributes(ticket,
                          {entry->attr, is_dir ? dir : 0, entry->linked, is_dir && times_stale});
}

Result<View> look(const OpContext& ctx, Meta& meta, const Wanted& wanted, Source source,
                  bool exact) {
  MetadataCache& cache = meta.cache();
  const Freshness fresh = meta.freshness(ctx);
  View view;
  view.ticket = meta.ticket();
  view.inodes.resize(wanted.inodes.size());
  view.entries.resize(wanted.entries.size());
  ReadRequest request;
  request.join = true;
  std::vector<size_t> missing_inodes, missing_entries;
  for (size_t i = 0; i < wanted.inodes.size(); ++i) {
    CachedAttributes found;
    if (source == Source::kCacheOrStore &&
        cache.find_attributes(wanted.inodes[i], fresh, exact, &found)) {
      view.inodes[i] = found;
      view.some_cached = true;
      continue;
    }
    missing_inodes.push_back(i);
    request.inodes.push_back(wanted.inodes[i]);
  }
  for (size_t i = 0; i < wanted.entries.size(); ++i) {
    const auto& [dir, name] = wanted.entries[i];
    if (source == Source::kCacheOrStore &&
        cached_entry(cache, fresh, dir, name, &view.entries[i])) {
      view.some_cached = true;
      continue;
    }
    missing_entries.push_back(i);
    request.keys.push_back(entry_key(dir, name));
  }
  request.keys.insert(request.keys.end(), wanted.keys.begin(), wanted.keys.end());
  if (request.keys.empty() && request.inodes.empty()) return view;

  SKERRY_ASSIGN(ReadResult seen, meta.store().read(ctx, request));
  for (size_t i = 0; i < missing_inodes.size(); ++i) {
    auto& home = seen.homes[i];
    if (!home) {
      if (!meta.exact()) cache.forget_attributes(wanted.inodes[missing_inodes[i]]);
      continue;
    }
    const CachedAttributes attributes = cached_home(*home, view.ticket);
    cache.insert_attributes(view.ticket, attributes);
    view.inodes[missing_inodes[i]] = attributes;
  }
  for (size_t i = 0; i < missing_entries.size(); ++i) {
    auto& entry = view.entries[missing_entries[i]];
    if (seen.records[i]) entry = std::get<EntryRecord>(std::move(*seen.records[i]));
    const auto& [dir, name] = wanted.entries[missing_entries[i]];
    remember_entry(meta, view.ticket, dir, name, entry);
  }
  for (size_t i = missing_entries.size(); i < seen.records.size(); ++i) {
    view.keys.push_back(std::move(seen.records[i]));
  }
  return view;
}

Unseen unseen_name(const OpContext& ctx, Meta& meta, Ino dir, std::string_view name,
                   Attributes* directory) {
  MetadataCache& cache = meta.cache();
  const Freshness fresh = meta.freshness(ctx);
  CachedAttributes found;
  if (!cache.find_attributes(dir, fresh, false, &found) || !found.attr.is_dir()) return Unseen::kNo;
  *directory = found.attr;
  // As if the file were somebody else's: where that matters it has to be looked at.
  Attributes child;
  child.uid = ~ctx.credentials.uid;
  if (!check_delete(ctx, meta, found.attr, child).ok()) return Unseen::kNo;
  CachedEntry entry;
  if (!cache.find_entry(dir, name, fresh, &entry)) return Unseen::kMayBeFile;
  if (entry.ino == 0) return Unseen::kFree;
  if (entry.linked) return Unseen::kNo;
  if (!cache.find_attributes(entry.ino, fresh, false, &found)) return Unseen::kMayBeFile;
  const bool plain = found.attr.type == FileType::kRegular && !found.linked &&
                     (found.attr.flags & kInodeFlags) == 0;
  return plain ? Unseen::kFile : Unseen::kNo;
}

Status check_directory(const OpContext& ctx, Meta& meta,
                       const std::optional<CachedAttributes>& dir) {
  if (!dir) return Error(ENOENT, "the directory was removed");
  if (!dir->attr.is_dir()) return Error(ENOTDIR);
  Status allowed = check_access(ctx, meta, dir->attr, kExecute);
  if (!allowed.ok() && allowed.error().code() == ESTALE) {
    return Error(ENOENT, "the directory was removed");
  }
  return allowed;
}

Result<CachedAttributes> attributes_of(const OpContext& ctx, Meta& meta, Ino ino, Source source,
                                       bool exact) {
  Wanted wanted;
  wanted.inodes = {ino};
  SKERRY_ASSIGN(View view, look(ctx, meta, wanted, source, exact));
  if (!view.inodes[0]) return Error(ESTALE, "the inode does not exist any more");
  return *view.inodes[0];
}

int Change::expect(Expectation expectation) {
  expectations_.push_back(std::move(expectation));
  return static_cast<int>(expectations_.size()) - 1;
}

void Change::expect_entry(const EntryRecord& entry) {
  expect(ExpectVersion{entry_key(entry.parent, entry.name), entry.version, entry.attr.ino});
}

void Change::touch(const Attributes& dir, TimeNs now, int64_t entries, int64_t subdirs) {
  for (AddDirStat& add : directories_) {
    if (add.ino != dir.ino) continue;
    add.entries += entries;
    add.subdirs += subdirs;
    add.mtime_ns = std::max(add.mtime_ns, now);
    return;
  }
  directories_.push_back(AddDirStat{dir.ino, counters_of(dir).b, now, subdirs, entries});
}

Key Change::counters_of(const Attributes& dir) const {
  // Clients are numbered one after another, so those of one thread each use different records too.
  const uint64_t shard = dir.shards <= 1 ? 0 : (meta_.client() + meta_.lane()) % dir.shards;
  return dirstat_key(dir.ino, shard);
}

Result<CommitResult> Change::commit(const OpContext& ctx, Durability durability, ClientId session) {
  if (meta_.options().read_only) return Error(EROFS, "the volume is open for reading only");
  first_directory_ = mutations_.size();
  // By inode, so that commits that touch the same two directories lock them in the same order.
  std::sort(directories_.begin(), directories_.end(),
            [](const AddDirStat& a, const AddDirStat& b) { return a.ino < b.ino; });
  for (const AddDirStat& add : directories_) mutations_.push_back(add);
  if (bytes_ != 0 || inodes_ != 0) {
    mutations_.push_back(AddUsage{0, meta_.usage_client(), bytes_, inodes_});
  }
  return meta_.commit(ctx, std::move(expectations_), std::move(mutations_), durability, session);
}

bool Change::directory_gone(const CommitResult& result) const {
  if (result.applied || result.failed_mutation < 0) return false;
  const auto failed = static_cast<size_t>(result.failed_mutation);
  return failed >= first_directory_ && failed < first_directory_ + directories_.size();
}

Attributes new_attributes(const OpContext& ctx, Meta& meta, const Attributes& dir, Ino ino,
                          const NewInode& what, TimeNs now) {
  const Credentials& who = ctx.credentials;
  Attributes attr;
  attr.ino = ino;
  attr.type = what.type;
  attr.rdev = what.rdev;
  attr.length = what.length;
  attr.uid = who.uid;
  attr.gid = (dir.mode & kSetGroupId) != 0 ? dir.gid : who.gid;
  attr.atime_ns = attr.mtime_ns = attr.ctime_ns = attr.btime_ns = now;
  const uint32_t umask = what.ignores_umask ? 0 : who.umask;
  switch (what.type) {
    case FileType::kDirectory:
      // mkdir(2): of the special bits only the sticky one is taken; set-group-ID is inherited.
      attr.mode = (what.mode & 01777 & ~umask) | (dir.mode & kSetGroupId);
      attr.nlink = 2;
      attr.shards = std::max<uint32_t>(meta.store().capabilities().dirstat_shards, 1);
      break;
    case FileType::kSymlink:
      attr.mode = 0777;
      break;
    default:
      attr.mode = what.mode & 07777 & ~umask;
      if (!who.is_root() && !who.in_group(attr.gid)) attr.mode &= ~kSetGroupId;
      break;
  }
  return attr;
}

Attributes remove_name(const EntryRecord& entry, TimeNs now, bool replaced, Change* change) {
  Attributes after = entry.attr;
  after.nlink -= 1;
  after.ctime_ns = now;
  after.version += 1;
  const Ino ino = after.ino;
  change->expect_entry(entry);
  if (!replaced) change->remove(entry_key(entry.parent, entry.name));
  if (entry.linked) {
    // Whether this is the last name depends on the inode record.
    change->expect(ExpectVersion{inode_key(ino), entry.attr.version, ino});
    change->remove(link_key(ino, entry.parent, entry.name));
    if (after.nlink != 0) {
      Patch patch;
      patch.ino = ino;
      patch.add_nlink = -1;
      patch.ctime_ns = now;
      change->add(std::move(patch));
      return after;
    }
    change->remove(inode_key(ino));
  }
  if (after.type == FileType::kRegular) {
    change->put(OrphanRecord{after});
    change->use(-static_cast<int64_t>(after.length), -1);
    return after;
  }
  // Nothing reads data through an open symlink, fifo or device: no need to outlive its name.
  if (after.type == FileType::kSymlink) change->remove(symlink_key(ino));
  change->add(DeleteRange{Table::kXattr, ino, {}, {}});
  change->use(0, -1);
  return after;
}

void remove_directory(const EntryRecord& entry, bool replaced, Change* change) {
  const Ino ino = entry.attr.ino;
  // The dirstat records go first: every create in the directory changes one of them, so whoever
  // comes second of a create and this finds out.
  change->add(DeleteRange{Table::kDirStat, ino, {}, {}});
  if (!replaced) change->remove(entry_key(entry.parent, entry.name));
  change->add(DeleteRange{Table::kXattr, ino, {}, {}});
  change->use(0, -1);
}

void forget_removed(Meta& meta, const MetadataCache::Ticket& ticket, Ino dir, std::string_view name,
                    const EntryRecord& entry) {
  meta.cache().publish_entry(ticket, dir, name, {});
  meta.cache().forget_attributes(entry.attr.ino);
  meta.cache().touch_directory(dir);
}

EntryRecord plain_entry(Ino parent, std::string_view name, const Attributes& attr) {
  EntryRecord entry;
  entry.parent = parent;
  entry.name = name;
  entry.version = attr.version;
  entry.attr = attr;
  return entry;
}

EntryRecord linked_entry(Ino parent, std::string_view name, const Attributes& attr,
                         uint64_t version) {
  EntryRecord entry;
  entry.parent = parent;
  entry.name = name;
  entry.linked = true;
  entry.version = version;
  entry.attr.ino = attr.ino;
  entry.attr.type = attr.type;
  entry.attr.version = version;
  return entry;
}

}  // namespace skerry::meta::internal
