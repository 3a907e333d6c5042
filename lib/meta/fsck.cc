// fsck: reads every table in key order, a page at a time, and compares what should agree.
//
//   directories  one scan of the entries finds them (24 bytes each), the tree is walked towards the
//                root, a second scan counts children beside the dirstat records;
//   inodes       tables keyed by inode are merged with a window of inodes, taken from the entries
//                and sorted; a volume with more inodes than a window holds takes several passes;
//   objects      the same with windows of object ids, counted from the extents.

#include <algorithm>
#include <functional>
#include <span>
#include <tuple>
#include <unordered_set>

#include "base/crc32c.h"
#include "meta/acl.h"
#include "meta/lock_list.h"
#include "meta/session.h"
#include "meta/table_scan.h"

namespace skerry::meta {

namespace {

struct Directory {
  Ino ino = 0;
  Ino parent = 0;
  uint32_t shards = 0;
};

/// Where an inode was met. A name is a linked entry: no home, but it wants one.
enum class Place : uint8_t { kEntry, kInode, kOrphan, kName };

struct Sighting {
  Ino ino = 0;
  uint64_t length = 0;  // kName: hash of parent and name
  uint64_t version = 0;
  uint32_t nlink = 0;
  uint32_t flags = 0;
  FileType type = FileType::kRegular;
  Place place = Place::kEntry;
};

struct ObjectCount {
  ObjectId id = 0;
  int64_t count = 0;
};

/// Names are compared by hash: 2^-64 a pair is rarer than a broken disk.
uint64_t hash_name(Ino parent, std::string_view name) {
  return std::hash<std::string_view>{}(name) ^ (parent * 0x9e3779b97f4a7c15u);
}

std::string inode_text(Ino ino) { return "inode " + std::to_string(ino); }

std::string entry_text(const EntryRecord& e) {
  return "entry '" + e.name + "' in directory " + std::to_string(e.parent);
}

Range from(Table table, uint64_t first, uint64_t last) {
  Range range = whole_table(table);
  // After every key whose first field is below `first`: names are at most 255 bytes, and no chunk,
  // parent or sequence number reaches the largest integer a store can hold.
  if (first > 0) {
    range.after = Key{table, first - 1, INT64_MAX, INT64_MAX, std::string(256, '\xff')};
  }
  if (last != UINT64_MAX) range.max_a = last;
  return range;
}

class Fsck {
 public:
  using ExtentVisitor = std::function<void(Ino, uint64_t chunk, const Extent&)>;
  Fsck(const OpContext& ctx, Meta& meta, const ExtentVisitor& extent, const FsckLimits& limits)
      : ctx_(ctx), meta_(meta), store_(meta.store()), extent_(extent), limits_(limits) {}

  Result<FsckResult> run() {
    SKERRY_TRY(read_counters());
    SKERRY_TRY(find_directories());
    check_tree();
    SKERRY_TRY(check_children());
    for (Ino first = 0;;) {
      SKERRY_ASSIGN(Ino last, check_inodes(first));
      if (last == UINT64_MAX) break;
      first = last + 1;
    }
    for (ObjectId first = 0;;) {
      SKERRY_ASSIGN(ObjectId last, check_objects(first));
      if (last == UINT64_MAX) break;
      first = last + 1;
    }
    SKERRY_TRY(check_usage());
    SKERRY_TRY(check_pins());
    SKERRY_TRY(check_locks());
    return std::move(result_);
  }

 private:
  struct InodeStreams;

  void report(const char* kind, std::string detail) {
    result_.problem_count += 1;
    if (result_.problems.size() < limits_.max_problems) {
      result_.problems.push_back({kind, std::move(detail)});
    }
  }

  Status read_counters();
  Status find_directories();
  void check_tree();
  Status check_children();
  Result<Ino> check_inodes(Ino first);
  Result<std::vector<Sighting>> collect_inodes(Ino first, Ino* last);
  Status check_inode(std::span<const Sighting> met, InodeStreams& streams);
  void count_inode(const Sighting& home);
  Status check_links(Ino ino, const Sighting* home, std::span<const Sighting> names,
                     InodeStreams& streams);
  Status check_data(Ino ino, const Sighting* home, InodeStreams& streams);
  void check_xattr_flags(const Sighting& home, uint32_t found);
  void check_extent(const Sighting& home, const ExtentRecord& record);
  Result<ObjectId> check_objects(ObjectId first);
  Status check_counts(ObjectId first, ObjectId last, const std::vector<ObjectCount>& live);
  Status check_usage();
  Status check_pins();
  Status check_locks();

  const OpContext& ctx_;
  const Meta& meta_;
  Store& store_;
  const ExtentVisitor& extent_;
  const FsckLimits limits_;
  FsckResult result_;
  Ino next_ino_ = 0;
  ObjectId next_object_ = 0;
  std::vector<Directory> directories_;  // by inode
  UsageRecord used_;
  std::unordered_set<ClientId> clients_;
};

struct Fsck::InodeStreams {
  RecordStream<LinkRecord> links;
  RecordStream<ExtentRecord> extents;
  RecordStream<InlineRecord> inlines;
  RecordStream<SymlinkRecord> symlinks;
  RecordStream<XattrRecord> xattrs;
};

Status Fsck::read_counters() {
  ReadRequest request;
  request.keys = {volume_key(kVolumeNextIno), volume_key(kVolumeNextObject)};
  SKERRY_ASSIGN(ReadResult read, store_.read(ctx_, request));
  SKERRY_ASSIGN(VolumeRecord ino, take_volume_record(read.records.at(0), kVolumeNextIno));
  SKERRY_ASSIGN(VolumeRecord object, take_volume_record(read.records.at(1), kVolumeNextObject));
  next_ino_ = ino.number;
  next_object_ = object.number;
  return {};
}

Status Fsck::find_directories() {
  SKERRY_TRY(scan_table<EntryRecord>(
      ctx_, store_, whole_table(Table::kEntry), [&](EntryRecord& entry) -> Status {
        if (!entry.attr.is_dir()) return {};
        directories_.push_back({entry.attr.ino, entry.parent, entry.attr.shards});
        if (entry.linked) {
          report("duplicate-inode", entry_text(entry) + " is a further name of a directory");
        }
        return {};
      }));
  auto by_ino = [](const Directory& a, const Directory& b) { return a.ino < b.ino; };
  std::stable_sort(directories_.begin(), directories_.end(), by_ino);
  // A directory met twice is reported with the inodes.
  auto same = [](const Directory& a, const Directory& b) { return a.ino == b.ino; };
  directories_.erase(std::unique(directories_.begin(), directories_.end(), same),
                     directories_.end());
  return {};
}

void Fsck::check_tree() {
  constexpr size_t kNone = SIZE_MAX;
  auto find = [&](Ino ino) {
    auto it = std::lower_bound(directories_.begin(), directories_.end(), ino,
                               [](const Directory& d, Ino i) { return d.ino < i; });
    if (it == directories_.end() || it->ino != ino) return kNone;
    return static_cast<size_t>(it - directories_.begin());
  };
  const size_t root = find(kRootIno);
  if (root == kNone || directories_[root].parent != 0) {
    report("root", "the root directory's record is missing or has a parent");
  }
  enum State : uint8_t { kUnknown, kOnPath, kReached, kLost };
  std::vector<State> states(directories_.size(), kUnknown);
  if (root != kNone) states[root] = kReached;
  std::vector<size_t> path;
  for (size_t start = 0; start < directories_.size(); ++start) {
    size_t at = start;
    while (at != kNone && states[at] == kUnknown) {
      states[at] = kOnPath;
      path.push_back(at);
      at = find(directories_[at].parent);
    }
    // Its own path means a circle.
    const State end = at != kNone && states[at] == kReached ? kReached : kLost;
    for (size_t index : path) {
      states[index] = end;
      if (end == kReached) continue;
      report("unreachable", "directory " + std::to_string(directories_[index].ino) +
                                ": its parents do not lead to the root");
    }
    path.clear();
  }
}

/// Three streams in the order of the directory's inode: directories, entries, dirstat records.
Status Fsck::check_children() {
  Range names = whole_table(Table::kEntry);
  names.with_attributes = false;
  RecordStream<EntryRecord> entries(ctx_, store_, names);
  RecordStream<DirStatRecord> stats(ctx_, store_, whole_table(Table::kDirStat));
  auto below = [](const EntryRecord& e, Ino directory) { return e.parent < directory; };
  auto skip_to = [&](Ino directory, bool all) -> Status {
    for (;;) {
      SKERRY_ASSIGN(EntryRecord * entry, entries.peek());
      if (entry == nullptr || !(all || below(*entry, directory))) break;
      const bool is_root = entry->parent == 0 && entry->attr.ino == kRootIno;
      if (!is_root) report("lost-entry", entry_text(*entry) + ": there is no such directory");
      entries.pop();
    }
    for (;;) {
      SKERRY_ASSIGN(DirStatRecord * stat, stats.peek());
      if (stat == nullptr || !(all || stat->ino < directory)) break;
      report("dirstat", "counts of " + inode_text(stat->ino) + ", which is no directory");
      stats.pop();
    }
    return {};
  };
  for (const Directory& directory : directories_) {
    SKERRY_TRY(skip_to(directory.ino, false));
    DirStatRecord counted, recorded;
    uint32_t shards = 0;
    for (;; entries.pop()) {
      SKERRY_ASSIGN(EntryRecord * entry, entries.peek());
      if (entry == nullptr || entry->parent != directory.ino) break;
      counted.entries += 1;
      counted.subdirs += entry->attr.is_dir() ? 1 : 0;
    }
    for (;; stats.pop()) {
      SKERRY_ASSIGN(DirStatRecord * stat, stats.peek());
      if (stat == nullptr || stat->ino != directory.ino) break;
      recorded.entries += stat->entries;
      recorded.subdirs += stat->subdirs;
      shards += 1;
    }
    const std::string name = "directory " + std::to_string(directory.ino);
    if (shards != directory.shards) {
      report("dirstat", name + " should have " + std::to_string(directory.shards) +
                            " records of counts, has " + std::to_string(shards));
    } else if (counted.entries != recorded.entries || counted.subdirs != recorded.subdirs) {
      report("dirstat",
             name + " holds " + std::to_string(counted.entries) + " entries, " +
                 std::to_string(counted.subdirs) + " of them directories; recorded are " +
                 std::to_string(recorded.entries) + " and " + std::to_string(recorded.subdirs));
    }
  }
  return skip_to(0, true);
}

/// Everything known of inodes from `first` to `*last`, by inode: as many as a window holds.
Result<std::vector<Sighting>> Fsck::collect_inodes(Ino first, Ino* last) {
  const size_t limit = std::max<size_t>(limits_.inodes_per_pass, 1);
  std::vector<Sighting> met;
  *last = UINT64_MAX;
  auto by_ino = [](const Sighting& a, const Sighting& b) { return a.ino < b.ino; };
  auto add = [&](const Sighting& s) {
    if (s.ino < first || s.ino > *last) return;
    met.push_back(s);
    if (met.size() < 2 * limit) return;
    std::nth_element(met.begin(), met.begin() + static_cast<ptrdiff_t>(limit - 1), met.end(),
                     by_ino);
    *last = met[limit - 1].ino;
    std::erase_if(met, [last](const Sighting& m) { return m.ino > *last; });
  };
  auto sighting = [](const Attributes& a, Place place) {
    return Sighting{a.ino, a.length, a.version, a.nlink, a.flags, a.type, place};
  };
  SKERRY_TRY(scan_table<EntryRecord>(
      ctx_, store_, whole_table(Table::kEntry), [&](EntryRecord& e) -> Status {
        Sighting s = sighting(e.attr, e.linked ? Place::kName : Place::kEntry);
        if (e.linked) s.length = hash_name(e.parent, e.name);
        add(s);
        return {};
      }));
  SKERRY_TRY(scan_table<InodeRecord>(ctx_, store_, from(Table::kInode, first, *last),
                                     [&](InodeRecord& r) -> Status {
                                       add(sighting(r.attr, Place::kInode));
                                       return {};
                                     }));
  SKERRY_TRY(scan_table<OrphanRecord>(ctx_, store_, from(Table::kOrphan, first, *last),
                                      [&](OrphanRecord& r) -> Status {
                                        add(sighting(r.attr, Place::kOrphan));
                                        return {};
                                      }));
  std::sort(met.begin(), met.end(), [](const Sighting& a, const Sighting& b) {
    return std::tie(a.ino, a.place, a.length) < std::tie(b.ino, b.place, b.length);
  });
  return met;
}

Result<Ino> Fsck::check_inodes(Ino first) {
  Ino last = 0;
  SKERRY_ASSIGN(std::vector<Sighting> met, collect_inodes(first, &last));
  auto stream = [&](Table table) { return from(table, first, last); };
  InodeStreams streams{
      RecordStream<LinkRecord>(ctx_, store_, stream(Table::kLink)),
      RecordStream<ExtentRecord>(ctx_, store_, stream(Table::kExtent)),
      RecordStream<InlineRecord>(ctx_, store_, stream(Table::kInline)),
      RecordStream<SymlinkRecord>(ctx_, store_, stream(Table::kSymlink)),
      RecordStream<XattrRecord>(ctx_, store_, stream(Table::kXattr)),
  };
  for (size_t i = 0; i < met.size();) {
    size_t end = i;
    while (end < met.size() && met[end].ino == met[i].ino) ++end;
    SKERRY_TRY(check_inode(std::span(met).subspan(i, end - i), streams));
    i = end;
  }
  // What is left belongs to inodes that were not met.
  SKERRY_TRY(check_links(UINT64_MAX, nullptr, {}, streams));
  SKERRY_TRY(check_data(UINT64_MAX, nullptr, streams));
  return last;
}

/// `met`: all sightings of one inode, homes before names.
Status Fsck::check_inode(std::span<const Sighting> met, InodeStreams& streams) {
  const Ino ino = met[0].ino;
  size_t homes = 0;
  while (homes < met.size() && met[homes].place != Place::kName) ++homes;
  const auto names = met.subspan(homes);
  const Sighting* home = homes > 0 ? &met[0] : nullptr;
  if (ino == 0 || ino >= next_ino_) {
    report("counter", inode_text(ino) + " is not below the counter of inode numbers");
  }
  if (homes > 1) report("duplicate-inode", inode_text(ino) + " has more than one record");
  if (home != nullptr) {
    count_inode(*home);
  } else {
    report("dangling-entry", std::to_string(names.size()) + " name(s) of " + inode_text(ino) +
                                 ", which does not exist");
  }
  SKERRY_TRY(check_links(ino, home, names, streams));
  return check_data(ino, home, streams);
}

void Fsck::count_inode(const Sighting& home) {
  if (home.place == Place::kOrphan) {
    result_.orphans += 1;  // uses nothing that is accounted: see unlink and link
    return;
  }
  used_.inodes += 1;
  if (home.type == FileType::kRegular) used_.bytes += static_cast<int64_t>(home.length);
  if (home.type == FileType::kDirectory) {
    result_.directories += 1;
  } else if (home.type == FileType::kRegular) {
    result_.files += 1;
  } else if (home.type == FileType::kSymlink) {
    result_.symlinks += 1;
  } else {
    result_.others += 1;
  }
}

/// Calls `visit(record)` for the records of `ino` and `stray(record)` for those before it.
template <typename R, typename Of, typename Stray, typename Visit>
Status take_until(RecordStream<R>& stream, Ino ino, Of of, Stray stray, Visit visit) {
  for (;; stream.pop()) {
    SKERRY_ASSIGN(R * record, stream.peek());
    if (record == nullptr || of(*record) > ino) return {};
    if (of(*record) < ino) {
      stray(*record);
    } else {
      visit(*record);
    }
  }
}

Status Fsck::check_links(Ino ino, const Sighting* home, std::span<const Sighting> names,
                         InodeStreams& streams) {
  std::vector<uint64_t> links;
  SKERRY_TRY(take_until(
      streams.links, ino, [](const LinkRecord& r) { return r.ino; },
      [&](const LinkRecord& r) {
        report("link", "a link record names " + inode_text(r.ino) + ", which does not exist");
      },
      [&](const LinkRecord& r) { links.push_back(hash_name(r.parent, r.name)); }));
  if (home == nullptr) return {};
  std::sort(links.begin(), links.end());
  const bool agree = std::equal(links.begin(), links.end(), names.begin(), names.end(),
                                [](uint64_t link, const Sighting& s) { return link == s.length; });
  if (!agree) {
    report("link", inode_text(ino) + " has " + std::to_string(names.size()) +
                       " linked entries and " + std::to_string(links.size()) +
                       " link records, which do not agree");
  }
  uint64_t expected = home->type == FileType::kDirectory ? 2 : 1;
  if (home->place == Place::kInode) expected = names.size();
  if (home->place == Place::kOrphan) expected = 0;
  if (home->nlink != expected) {
    report("nlink", inode_text(ino) + " records " + std::to_string(home->nlink) +
                        " links, should be " + std::to_string(expected));
  }
  if (home->place == Place::kInode && names.empty()) {
    report("lost-inode", inode_text(ino) + " has no name and is no orphan");
  }
  if (home->place != Place::kInode && !names.empty()) {
    report("link", inode_text(ino) + " is named by linked entries but is no linked inode");
  }
  return {};
}

Status Fsck::check_data(Ino ino, const Sighting* home, InodeStreams& streams) {
  auto missing = [this](const char* kind, Ino of) {
    report(kind, std::string(kind) + " record of " + inode_text(of) + ", which does not exist");
  };
  auto of_ino = [](const auto& r) { return r.ino; };
  bool has_extents = false, has_inline = false, has_target = false;
  SKERRY_TRY(take_until(
      streams.extents, ino, of_ino, [&](const ExtentRecord& r) { missing("extent", r.ino); },
      [&](const ExtentRecord& r) {
        has_extents = true;
        if (home == nullptr) return missing("extent", ino);
        check_extent(*home, r);
      }));
  SKERRY_TRY(take_until(
      streams.inlines, ino, of_ino, [&](const InlineRecord& r) { missing("inline", r.ino); },
      [&](const InlineRecord& r) {
        has_inline = true;
        if (home == nullptr) return missing("inline", ino);
        if (r.bytes.size() > home->length) {
          report("inline", inode_text(ino) + ": its data is longer than its length");
        }
        if (crc32c(0, as_bytes(r.bytes)) != r.crc) {
          report("inline", inode_text(ino) + ": its data does not match its checksum");
        }
      }));
  SKERRY_TRY(take_until(
      streams.symlinks, ino, of_ino, [&](const SymlinkRecord& r) { missing("symlink", r.ino); },
      [&](const SymlinkRecord& r) {
        has_target = true;
        if (home == nullptr) return missing("symlink", ino);
        if (home->type != FileType::kSymlink || r.target.size() != home->length) {
          report("symlink", inode_text(ino) + " is no symbolic link of its target's length");
        }
      }));
  uint32_t xattrs = 0;  // the flags that speak of what there is
  SKERRY_TRY(take_until(
      streams.xattrs, ino, of_ino, [&](const XattrRecord& r) { missing("xattr", r.ino); },
      [&](const XattrRecord& r) {
        if (home == nullptr) return missing("xattr", r.ino);
        if (auto kind = acl_kind(r.name)) {
          xattrs |= acl_flag(*kind);
          auto acl = Acl::parse(r.value);
          if (!acl.ok() || acl->empty()) {
            report("acl", inode_text(ino) + ": its ACL " + r.name + " is malformed");
          }
          return;
        }
        xattrs |= kFlagXattrs;
        if (r.name == kCapabilityXattr) xattrs |= kFlagCapability;
      }));
  if (home == nullptr) return {};
  check_xattr_flags(*home, xattrs);
  const bool inline_flag = (home->flags & kFlagInline) != 0;
  if (inline_flag != has_inline) {
    report("inline", inode_text(ino) + (inline_flag ? " is inline and has no inline record"
                                                    : " is not inline and has an inline record"));
  }
  if (has_extents && (inline_flag || home->type != FileType::kRegular)) {
    report("extent", inode_text(ino) + " has extents and is inline or no regular file");
  }
  if (home->type == FileType::kSymlink && !has_target) {
    report("symlink", inode_text(ino) + " is a symbolic link without a target");
  }
  return {};
}

void Fsck::check_xattr_flags(const Sighting& home, uint32_t found) {
  constexpr uint32_t kAcls = kFlagAccessAcl | kFlagDefaultAcl;
  if (((home.flags ^ found) & kAcls) != 0) {
    report("acl", inode_text(home.ino) + ": its flags and its ACLs do not agree");
  }
  if (!meta_.keeps_file_flags()) return;
  if ((found & ~home.flags & kFlagXattrs) != 0) {
    report("xattr", inode_text(home.ino) + " has extended attributes that its flags do not tell");
  }
  if (((home.flags ^ found) & kFlagCapability) != 0) {
    report("xattr", inode_text(home.ino) + ": its flags and its capabilities do not agree");
  }
}

void Fsck::check_extent(const Sighting& home, const ExtentRecord& record) {
  const std::string where = inode_text(home.ino) + ", chunk " + std::to_string(record.chunk) +
                            ", seq " + std::to_string(record.seq);
  if (record.seq > home.version) report("extent", where + ": newer than the file");
  if (record.chunk > kMaxFileSize / kChunkSize) report("extent", where + ": beyond any file");
  for (const Extent& e : record.extents) {
    result_.extents += 1;
    if (e.length == 0 || e.chunk_offset > kChunkSize || e.length > kChunkSize - e.chunk_offset) {
      report("extent", where + ": an extent leaves its chunk or is empty");
    }
    const bool in_slice =
        e.slice_skip <= e.slice_length && e.length <= e.slice_length - e.slice_skip;
    if (e.object != 0 && !in_slice) {
      report("extent", where + ": an extent leaves the slice it was stored as");
    }
    if (extent_) extent_(record.ino, record.chunk, e);
  }
}

Result<ObjectId> Fsck::check_objects(ObjectId first) {
  const size_t limit = std::max<size_t>(limits_.objects_per_pass, 1);
  ObjectId last = UINT64_MAX;
  std::vector<ObjectCount> live;
  // Sorts, adds counts of the same object together and cuts to the window.
  auto compact = [&] {
    std::sort(live.begin(), live.end(),
              [](const ObjectCount& a, const ObjectCount& b) { return a.id < b.id; });
    size_t kept = 0;
    for (size_t i = 0; i < live.size(); ++i) {
      if (kept > 0 && live[kept - 1].id == live[i].id) {
        live[kept - 1].count += live[i].count;
      } else {
        live[kept++] = live[i];
      }
    }
    live.resize(std::min(kept, limit));
    if (kept > limit) last = live.back().id;
  };
  SKERRY_TRY(scan_table<ExtentRecord>(ctx_, store_, whole_table(Table::kExtent),
                                      [&](ExtentRecord& record) -> Status {
                                        for (const Extent& e : record.extents) {
                                          if (e.object == 0 || e.object < first || e.object > last)
                                            continue;
                                          live.push_back({e.object, 1});
                                          if (live.size() >= 2 * limit) compact();
                                        }
                                        return {};
                                      }));
  compact();
  SKERRY_TRY(check_counts(first, last, live));
  return last;
}

Status Fsck::check_counts(ObjectId first, ObjectId last, const std::vector<ObjectCount>& live) {
  auto object_text = [](ObjectId id) { return "object " + std::to_string(id); };
  RecordStream<ObjectRecord> records(ctx_, store_, from(Table::kObject, first, last));
  auto compare = [&](ObjectId id, int64_t recorded, int64_t counted) {
    if (recorded == counted) return;
    if (recorded > counted) {
      result_.surplus_objects += 1;
      return;
    }
    report("references", object_text(id) + " is referred to by " + std::to_string(counted) +
                             " extents, recorded are " + std::to_string(recorded));
  };
  // Records of objects that no extent refers to lie between those that are.
  auto records_below = [&](ObjectId id) -> Status {
    for (;; records.pop()) {
      SKERRY_ASSIGN(ObjectRecord * record, records.peek());
      if (record == nullptr || record->id >= id) return {};
      compare(record->id, record->references, 0);
    }
  };
  for (const ObjectCount& object : live) {
    SKERRY_TRY(records_below(object.id));
    SKERRY_ASSIGN(ObjectRecord * record, records.peek());
    const bool shared = record != nullptr && record->id == object.id;
    compare(object.id, shared ? record->references : 1, object.count);
    if (shared) records.pop();
    if (object.id >= next_object_) {
      report("counter", object_text(object.id) + " is not below the counter of objects");
    }
  }
  SKERRY_TRY(records_below(UINT64_MAX));
  return scan_table<GarbageRecord>(
      ctx_, store_, whole_table(Table::kGarbage), [&](GarbageRecord& garbage) -> Status {
        const bool is_live = std::binary_search(
            live.begin(), live.end(), ObjectCount{garbage.object, 0},
            [](const ObjectCount& a, const ObjectCount& b) { return a.id < b.id; });
        if (is_live) report("garbage", object_text(garbage.object) + " is garbage and referred to");
        return {};
      });
}

Status Fsck::check_usage() {
  UsageRecord recorded;
  Range volume;
  volume.table = Table::kUsage;
  volume.a = 0;
  SKERRY_TRY(scan_table<UsageRecord>(ctx_, store_, volume, [&](UsageRecord& usage) -> Status {
    recorded.bytes += usage.bytes;
    recorded.inodes += usage.inodes;
    return {};
  }));
  if (recorded.bytes != used_.bytes || recorded.inodes != used_.inodes) {
    report("usage", "the volume holds " + std::to_string(used_.bytes) + " bytes in " +
                        std::to_string(used_.inodes) + " inodes; recorded are " +
                        std::to_string(recorded.bytes) + " and " + std::to_string(recorded.inodes));
  }
  return {};
}

Status Fsck::check_pins() {
  SKERRY_TRY(scan_table<ClientRecord>(ctx_, store_, whole_table(Table::kClient),
                                      [&](ClientRecord& client) -> Status {
                                        clients_.insert(client.id);
                                        return {};
                                      }));
  return scan_table<PinRecord>(
      ctx_, store_, whole_table(Table::kPin), [&](PinRecord& pin) -> Status {
        if (!clients_.contains(pin.client)) {
          report("pin", inode_text(pin.ino) + " is pinned by client " + std::to_string(pin.client) +
                            ", which has no session");
        }
        return {};
      });
}

/// A lock belongs to a client with a session and a file that exists, whose record of holders names
/// the client. That record may name clients that hold nothing, and nobody at all.
Status Fsck::check_locks() {
  std::vector<LockRecord> page;
  auto check_page = [&]() -> Status {
    ReadRequest request;
    for (const LockRecord& lock : page) {
      request.inodes.push_back(lock.ino);
      request.keys.push_back(locked_key(lock.ino));
    }
    SKERRY_ASSIGN(ReadResult read, store_.read(ctx_, request));
    for (size_t i = 0; i < page.size(); ++i) {
      const std::string text =
          "client " + std::to_string(page[i].client) + " holds locks of " + inode_text(page[i].ino);
      if (!clients_.contains(page[i].client)) report("lock", text + " and has no session");
      if (page[i].locks.empty()) report("lock", text + " without a range");
      if (!read.homes.at(i)) report("lock", text + ", which does not exist");
      const auto& record = read.records.at(i);
      const auto* locked = record ? std::get_if<LockedRecord>(&*record) : nullptr;
      if (!any_held(page[i].locks)) continue;
      if (locked == nullptr ||
          !std::binary_search(locked->clients.begin(), locked->clients.end(), page[i].client)) {
        report("lock", text + " and is not among its holders");
      }
    }
    page.clear();
    return {};
  };
  SKERRY_TRY(scan_table<LockRecord>(ctx_, store_, whole_table(Table::kLock),
                                    [&](LockRecord& lock) -> Status {
                                      page.push_back(std::move(lock));
                                      return page.size() < 256 ? Status() : check_page();
                                    }));
  SKERRY_TRY(check_page());
  std::vector<Ino> files;
  auto check_files = [&]() -> Status {
    ReadRequest request;
    request.inodes = files;
    SKERRY_ASSIGN(ReadResult read, store_.read(ctx_, request));
    for (size_t i = 0; i < files.size(); ++i) {
      if (!read.homes.at(i)) {
        report("lock", inode_text(files[i]) + " is listed as locked and does not exist");
      }
    }
    files.clear();
    return {};
  };
  SKERRY_TRY(scan_table<LockedRecord>(ctx_, store_, whole_table(Table::kLocked),
                                      [&](LockedRecord& locked) -> Status {
                                        files.push_back(locked.ino);
                                        return files.size() < 256 ? Status() : check_files();
                                      }));
  return check_files();
}

}  // namespace

Result<FsckResult> fsck(const OpContext& ctx, Meta& meta,
                        const std::function<void(Ino, uint64_t chunk, const Extent&)>& extent,
                        const FsckLimits& limits) {
  auto result = Fsck(ctx, meta, extent, limits).run();
  if (!result.ok()) return std::move(result).error().with_context("fsck");
  return result;
}

}  // namespace skerry::meta
