// What a commit does.

#include "conformance/store_fixture.h"
#include "meta/attribute_changes.h"

namespace skerry::meta {

STORE_TEST("every kind of record is stored whole", "") {
  StoreUser s(world);
  world.set_time(5555);
  EntryRecord entry = file_entry(1, std::string("a\0\xff", 3), 10, 3);
  entry.attr.type = FileType::kCharDevice;
  entry.attr.mode = 07777;
  entry.attr.uid = UINT32_MAX;
  entry.attr.gid = 7;
  entry.attr.nlink = 1;
  entry.attr.flags = kFlagInline;
  entry.attr.rdev = UINT64_MAX;
  entry.attr.length = kMaxFileSize;
  entry.attr.atime_ns = -1;
  entry.attr.mtime_ns = INT64_MIN;
  entry.attr.btime_ns = INT64_MAX;
  InodeRecord inode{entry.attr};
  inode.attr.ino = 11;
  OrphanRecord orphan{inode.attr, 0};
  orphan.attr.ino = 12;
  const std::vector<Extent> extents = {{1, 2, 3, 4, 5, 6, 7}, {kChunkSize - 1, 1, 0, 0, 0, 0, 0}};
  const std::vector<FileLock> locks = {
      {LockKind::kRecord, true, UINT64_MAX, 5, kLastLockByte, UINT64_MAX},
      {LockKind::kFlock, false, 0, 0, 0, 0}};
  const std::vector<Record> records = {VolumeRecord{"name", std::string("v\0w", 3), 9, 2},
                                       entry,
                                       inode,
                                       orphan,
                                       LinkRecord{11, 1, "l"},
                                       DirStatRecord{5, 1, -7, -2, 3},
                                       ExtentRecord{10, 2, 3, extents},
                                       ObjectRecord{77, 4},
                                       InlineRecord{10, 0xffffffff, std::string("\0\1", 2)},
                                       SymlinkRecord{13, "../t"},
                                       XattrRecord{10, "user.x", ""},
                                       ClientRecord{7, 5555, 3, 4, "host", 99, "0.1"},
                                       PinRecord{7, 12},
                                       GarbageRecord{2, 78},
                                       UsageRecord{1, 7, -5, 6},
                                       LockRecord{7, 10, locks},
                                       LockedRecord{10, 1ull << 62, {7, 1ull << 62}}};
  for (const Record& record : records) {
    s.apply({Put{record}});
    auto stored = s.get(key_of(record));
    CAPTURE(record.index());
    REQUIRE(stored.has_value());
    CHECK(*stored == record);
    s.apply({Put{record}});  // replaces
    CHECK(*s.get(key_of(record)) == record);
    s.apply({Delete{key_of(record)}});
    CHECK_FALSE(s.get(key_of(record)).has_value());
    s.apply({Delete{key_of(record)}});
  }
}

STORE_TEST("a linked entry holds inode and type alone", "") {
  StoreUser s(world);
  EntryRecord linked = file_entry(1, "l", 20, 3);
  linked.linked = true;
  s.apply({Put{linked}});
  EntryRecord stored = s.at<EntryRecord>(entry_key(1, "l"));
  CHECK(stored.linked);
  CHECK(stored.version == 3);
  CHECK(stored.attr.version == 3);
  CHECK(stored.attr.ino == 20);
  CHECK(stored.attr.mode == 0);
  CHECK_FALSE(s.home(20).has_value());
}

STORE_TEST("client, orphan and garbage get the server's time and epoch", "") {
  StoreUser s(world);
  world.set_time(123456);
  s.apply({Put{ClientRecord{7, 1}}});
  CHECK(s.at<ClientRecord>(client_key(7)).heartbeat_ns == 123456);
  ReadRequest asked;
  asked.time = true;
  CHECK(s.read(asked).server_time_ns == 123456);
  CHECK(s.read({}).server_time_ns == 0);
  OrphanRecord orphan;
  orphan.attr.ino = 12;
  orphan.epoch = 99;
  s.apply({Put{orphan}, Put{GarbageRecord{kCurrentEpoch, 5}}});
  CHECK(s.at<OrphanRecord>(orphan_key(12)).epoch == 0);
  CHECK(s.get(garbage_key(0, 5)).has_value());
  auto outcomes = s.apply({AddNumber{kVolumeEpoch, 4}, Put{orphan},
                           Put{GarbageRecord{kCurrentEpoch, 6}}, Put{GarbageRecord{2, 7}}});
  CHECK(outcomes[0].number == 0);
  CHECK(s.at<OrphanRecord>(orphan_key(12)).epoch == 4);
  CHECK(s.get(garbage_key(4, 6)).has_value());
  CHECK(s.get(garbage_key(2, 7)).has_value());
}

STORE_TEST("delete range by a, b and c", "") {
  StoreUser s(world);
  for (uint64_t chunk : {0, 1, 2}) {
    for (uint64_t seq : {1, 2, 3}) s.apply({Put{ExtentRecord{10, chunk, seq, {}}}});
  }
  s.apply({Put{ExtentRecord{11, 0, 1, {}}}, Put{XattrRecord{10, "a", ""}},
           Put{XattrRecord{11, "a", ""}}, Put{file_entry(4, "a", 20)},
           Put{file_entry(5, "a", 21)}});
  auto count = [&] { return s.range({Table::kExtent, 1, 10}).records.size(); };
  s.apply({DeleteRange{Table::kExtent, 10, 1, 2}});
  CHECK(count() == 7);
  s.apply({DeleteRange{Table::kExtent, 10, 1, std::nullopt}});
  CHECK(count() == 6);
  s.apply({DeleteRange{Table::kExtent, 10, std::nullopt, 1}});
  CHECK(count() == 4);
  s.apply({DeleteRange{Table::kExtent, 10}});
  CHECK(count() == 0);
  CHECK(s.range({Table::kExtent, 1, 11}).records.size() == 1);
  s.apply({DeleteRange{Table::kXattr, 10}, DeleteRange{Table::kEntry, 4}});
  CHECK_FALSE(s.get(xattr_key(10, "a")).has_value());
  CHECK(s.get(xattr_key(11, "a")).has_value());
  CHECK_FALSE(s.home(20).has_value());
  CHECK(s.home(21).has_value());
}

STORE_TEST("patch changes attributes wherever they are", "") {
  StoreUser s(world);
  InodeRecord inode{file_entry(1, "", 20, 8).attr};
  OrphanRecord orphan{file_entry(1, "", 21, 9).attr, 0};
  s.apply({Put{file_entry(1, "a", 10, 7)}, Put{inode}, Put{orphan}});
  Patch patch;
  patch.mode = 06755;
  patch.uid = 1;
  patch.gid = 2;
  patch.length = 100;
  patch.atime_ns = 1;
  patch.mtime_ns = 2;
  patch.ctime_ns = 3;
  patch.max_length = 50;
  patch.max_mtime_ns = 20;
  patch.max_ctime_ns = 1;
  patch.clear_mode = 06000;
  patch.set_flags = 4;
  patch.add_nlink = 2;
  for (Ino ino : {10, 20, 21}) {
    patch.ino = ino;
    const uint64_t version = s.home(ino)->attr.version;
    auto outcomes = s.apply({patch});
    CHECK(outcomes[0].version == version + 1);
    CHECK(outcomes[0].number == 0);
    const Attributes attr = s.home(ino)->attr;
    CHECK(attr.mode == 0755);
    CHECK(attr.uid == 1);
    CHECK(attr.gid == 2);
    CHECK(attr.length == 100);
    CHECK(attr.atime_ns == 1);
    CHECK(attr.mtime_ns == 20);
    CHECK(attr.ctime_ns == 3);
    CHECK(attr.flags == 4);
    CHECK(attr.nlink == 3);
    CHECK(attr.version == version + 1);
    Patch back;
    back.ino = ino;
    back.max_length = 200;
    back.clear_flags = 4;
    back.add_nlink = -1;
    CHECK(s.apply({back})[0].number == 100);
    CHECK(s.home(ino)->attr.length == 200);
    CHECK(s.home(ino)->attr.flags == 0);
    CHECK(s.home(ino)->attr.nlink == 2);
  }
  CHECK(s.at<EntryRecord>(entry_key(1, "a")).version == 9);
  CHECK(s.commit({}, {Patch{99}}).failed_mutation == 0);
}

STORE_TEST("patch: an access time leaves the version", "") {
  StoreUser s(world);
  s.apply({Put{file_entry(1, "a", 10, 8)}});
  s.apply({Put{OrphanRecord{file_entry(1, "b", 11, 4).attr}}});
  for (Ino ino : {10, 11}) {
    const Attributes before = s.home(ino)->attr;
    Patch patch;
    patch.ino = ino;
    patch.max_atime_ns = before.atime_ns + 100;
    patch.keep_version = true;
    CHECK(s.apply({patch})[0].version == before.version);
    patch.max_atime_ns -= 50;
    CHECK(s.apply({patch})[0].version == before.version);
    Attributes wanted = before;
    wanted.atime_ns += 100;
    CHECK(s.home(ino)->attr == wanted);
  }
}

STORE_TEST("capabilities: the xattr goes with its flag", "") {
  StoreUser s(world);
  EntryRecord entry = file_entry(1, "a", 10, 1);
  const XattrRecord capability{10, kCapabilityXattr, "c"}, other{10, "user.a", "1"};
  auto give = [&] {
    entry.version = entry.attr.version = s.home(10) ? s.home(10)->attr.version + 1 : 1;
    entry.attr.flags = kFlagXattrs | kFlagCapability;
    s.apply({Put{entry}, Put{capability}, Put{other}});
  };
  auto gone = [&] {
    CHECK(s.home(10)->attr.flags == kFlagXattrs);
    CHECK(s.at<XattrRecord>(xattr_key(10, "user.a")) == other);
    return s.commit({ExpectAbsent{xattr_key(10, kCapabilityXattr)}}, {}).applied;
  };
  WriteData write;
  write.ino = 10;
  write.length = 10;
  give();
  s.apply({write});
  CHECK(gone());
  s.apply({write});  // again, with nothing to lose
  Patch patch;
  patch.ino = 10;
  patch.clear_flags = kFlagCapability;
  give();
  s.apply({patch});
  CHECK(gone());
  // Without the flag nobody looks for the record, and a patch that leaves the flag leaves both.
  s.apply({Put{capability}});
  s.apply({patch});
  CHECK(s.at<XattrRecord>(xattr_key(10, kCapabilityXattr)) == capability);
  give();
  patch.clear_flags = 0;
  s.apply({patch});
  CHECK(s.home(10)->attr.flags == (kFlagXattrs | kFlagCapability));
  CHECK(s.at<XattrRecord>(xattr_key(10, kCapabilityXattr)) == capability);
}

STORE_TEST("clear_mode: set-group-ID goes with group execution, or by an outsider", "") {
  StoreUser s(world);
  EntryRecord entry = file_entry(1, "a", 10, 1);
  struct Case {
    uint32_t before, clear, after;
  };
  constexpr uint32_t kOutsider = 06000 | kClearForOutsider;
  for (auto [before, clear, after] :
       {Case{06755, 06000, 0755}, Case{06745, 06000, 02745}, Case{02676, 06000, 0676},
        Case{06755, kOutsider, 0755}, Case{06745, kOutsider, 0745}}) {
    entry.attr.mode = before;
    s.apply({Put{entry}});
    Patch patch;
    patch.ino = 10;
    patch.clear_mode = clear;
    s.apply({patch});
    CHECK(s.home(10)->attr.mode == after);
    s.apply({Put{entry}});
    WriteData write;
    write.ino = 10;
    write.length = 1;
    write.clear_mode = clear;
    s.apply({write});
    CHECK(s.home(10)->attr.mode == after);
  }
}

STORE_TEST("dirstat: sums and maxima, conflict without a record", "") {
  StoreUser s(world);
  CHECK(s.commit({}, {AddDirStat{5, 0, 1, 1, 1}}).failed_mutation == 0);
  s.apply({Put{DirStatRecord{5, 0, 100, 0, 0}}});
  s.apply({AddDirStat{5, 0, 50, 1, 2}, AddDirStat{5, 0, 150, -3, 1}});
  CHECK(s.at<DirStatRecord>(dirstat_key(5, 0)) == DirStatRecord{5, 0, 150, -2, 3});
  CHECK(s.commit({}, {AddDirStat{5, 1, 1, 1, 1}}).failed_mutation == 0);
}

STORE_TEST("write: extents, length, times, mode", "") {
  StoreUser s(world);
  EntryRecord entry = file_entry(1, "a", 10, 7);
  entry.attr.mode = 04755;
  s.apply({Put{entry}});
  WriteData write;
  write.ino = 10;
  write.offset = 1000;
  write.length = 10;
  write.pieces = {Extent{0, 10, 99, 5, 10, 0, 0xabc}};
  write.mtime_ns = 500;
  write.clear_mode = 06000;
  auto outcome = s.apply({write})[0];
  CHECK(outcome.number == 0);
  CHECK(outcome.version == 8);
  Attributes attr = s.home(10)->attr;
  CHECK(attr.length == 1010);
  CHECK(attr.mtime_ns == 500);
  CHECK(attr.ctime_ns == 500);
  CHECK(attr.mode == 0755);
  CHECK(s.at<ExtentRecord>(extent_key(10, 0, 8)).extents ==
        std::vector<Extent>{Extent{1000, 10, 99, 5, 10, 0, 0xabc}});
  write.offset = 0;
  write.mtime_ns = 400;
  CHECK(s.apply({write})[0].number == 1010);
  attr = s.home(10)->attr;
  CHECK(attr.length == 1010);
  CHECK(attr.mtime_ns == 500);
  write.offset = 5000;
  write.extend = false;
  s.apply({write});
  CHECK(s.home(10)->attr.length == 1010);
  write.ino = 11;
  CHECK(s.commit({}, {write}).failed_mutation == 0);
}

STORE_TEST("write: inline data is in the way unless replaced", "") {
  StoreUser s(world);
  EntryRecord entry = file_entry(1, "a", 10);
  entry.attr.flags = kFlagInline | 8;
  entry.attr.length = 3;
  s.apply({Put{entry}, Put{InlineRecord{10, 1, "abc"}}});
  WriteData write;
  write.ino = 10;
  write.length = 1;
  CHECK(s.commit({}, {write}).failed_mutation == 0);
  write.replace_inline = true;
  s.apply({write});
  CHECK(s.home(10)->attr.flags == 8);
  CHECK_FALSE(s.get(inline_key(10)).has_value());
  s.apply({write});
}

STORE_TEST("append lands at the length, cut at a chunk's end with one more reference", "") {
  StoreUser s(world);
  EntryRecord entry = file_entry(1, "a", 10);
  entry.attr.length = kChunkSize - 4;
  s.apply({Put{entry}});
  WriteData write;
  write.ino = 10;
  write.append = true;
  write.offset = 12345;  // does not count
  write.length = 12;
  write.pieces = {Extent{0, 2, 50, 0, 2, 0, 1}, Extent{2, 10, 51, 7, 20, 3, 2}};
  auto outcome = s.apply({write})[0];
  CHECK(outcome.number == kChunkSize - 4);
  CHECK(s.home(10)->attr.length == kChunkSize + 8);
  CHECK(s.at<ExtentRecord>(extent_key(10, 0, 2)).extents ==
        std::vector<Extent>{Extent{kChunkSize - 4, 2, 50, 0, 2, 0, 1},
                            Extent{kChunkSize - 2, 2, 51, 7, 20, 3, 2}});
  CHECK(s.at<ExtentRecord>(extent_key(10, 1, 2)).extents ==
        std::vector<Extent>{Extent{0, 8, 51, 7, 20, 5, 2}});
  CHECK(s.at<ObjectRecord>(object_key(51)).references == 2);
  CHECK_FALSE(s.get(object_key(50)).has_value());
  write.length = kMaxFileSize;
  CommitRequest request;
  request.mutations = {write};
  CHECK(s.store->commit(world.ctx, request).error().code() == EFBIG);
  CHECK(s.home(10)->attr.length == kChunkSize + 8);
}

STORE_TEST("object references: absent is one, none is garbage", "") {
  StoreUser s(world);
  s.apply({AddNumber{kVolumeEpoch, 3}});
  s.apply({AddObjectReferences{5, 2}});
  CHECK(s.at<ObjectRecord>(object_key(5)).references == 3);
  s.apply({AddObjectReferences{5, -2}});
  CHECK_FALSE(s.get(object_key(5)).has_value());
  CHECK(s.range({Table::kGarbage, 0}).records.empty());
  s.apply({AddObjectReferences{5, -1}});
  CHECK(s.get(garbage_key(3, 5)).has_value());
  s.apply({AddObjectReferences{6, 1}, AddObjectReferences{6, -5}});
  CHECK_FALSE(s.get(object_key(6)).has_value());
  CHECK(s.get(garbage_key(3, 6)).has_value());
}

STORE_TEST("move a file: to a free name, as it is", "") {
  StoreUser s(world);
  EntryRecord file = file_entry(1, "a", 10, 4);
  file.attr.length = 50;
  s.apply({Put{file}, Put{DirStatRecord{1, 0, 1, 0, 1}}, Put{DirStatRecord{2, 0, 1, 0, 0}}});
  const auto outcomes =
      s.apply({MoveFile{entry_key(1, "a"), entry_key(2, "b"), false, 99, 7, dirstat_key(2, 0)},
               AddDirStat{1, 0, 99, 0, -1}, AddDirStat{2, 0, 99, 0, 1}});
  EntryRecord moved = file;
  moved.parent = 2;
  moved.name = "b";
  moved.attr.ctime_ns = 99;
  moved.version = moved.attr.version = 5;
  CHECK_FALSE(s.get(entry_key(1, "a")).has_value());
  CHECK(s.at<EntryRecord>(entry_key(2, "b")) == moved);
  CHECK(outcomes[0].moved == moved.attr);
  CHECK(outcomes[0].number == 0);
  CHECK(s.at<DirStatRecord>(dirstat_key(1, 0)) == DirStatRecord{1, 0, 99, 0, 0});
  CHECK(s.at<DirStatRecord>(dirstat_key(2, 0)) == DirStatRecord{2, 0, 99, 0, 1});
  CHECK_FALSE(s.get(usage_key(0, 7)).has_value());
}

STORE_TEST("move a file: away, to the orphans of the epoch", "") {
  StoreUser s(world);
  EntryRecord file = file_entry(1, "a", 10, 4);
  file.attr.length = 50;
  file.attr.nlink = 1;
  s.apply({AddNumber{kVolumeEpoch, 3}, Put{file}, Put{DirStatRecord{1, 0, 1, 0, 1}}});
  const auto outcomes =
      s.apply({MoveFile{entry_key(1, "a"), {}, false, 99, 7, {}}, AddDirStat{1, 0, 99, 0, -1}});
  Attributes gone = file.attr;
  gone.ctime_ns = 99;
  gone.version = 5;
  gone.nlink = 0;
  CHECK_FALSE(s.get(entry_key(1, "a")).has_value());
  CHECK(s.at<OrphanRecord>(orphan_key(10)) == OrphanRecord{gone, 3});
  CHECK(outcomes[0].moved == gone);
  CHECK(s.at<UsageRecord>(usage_key(0, 7)) == UsageRecord{0, 7, -50, -1});
  CHECK(s.at<DirStatRecord>(dirstat_key(1, 0)).entries == 0);
}

STORE_TEST("move a file: over another, which becomes an orphan", "") {
  StoreUser s(world);
  EntryRecord other = file_entry(1, "b", 11, 8);
  other.attr.length = 20;
  s.apply({Put{file_entry(1, "a", 10, 4)}, Put{other}, Put{DirStatRecord{1, 0, 1, 0, 2}}});
  const MoveFile move{entry_key(1, "a"), entry_key(1, "b"), true, 99, 7, dirstat_key(1, 0)};
  const auto outcomes = s.apply({move, AddDirStat{1, 0, 99, 0, 0}});
  CHECK_FALSE(s.get(entry_key(1, "a")).has_value());
  CHECK(s.at<EntryRecord>(entry_key(1, "b")).attr.ino == 10);
  CHECK(s.at<OrphanRecord>(orphan_key(11)).attr.version == 9);
  CHECK(outcomes[0].moved->ino == 10);
  CHECK(outcomes[0].moved->version == 5);
  CHECK(outcomes[0].number == 11);
  CHECK(outcomes[0].version == 9);
  CHECK(s.at<UsageRecord>(usage_key(0, 7)) == UsageRecord{0, 7, -20, -1});
  CHECK(s.at<DirStatRecord>(dirstat_key(1, 0)) == DirStatRecord{1, 0, 99, 0, 1});
}

STORE_TEST("move a file: what is none, or is in the way, is a conflict", "") {
  StoreUser s(world);
  EntryRecord linked = file_entry(1, "linked", 12);
  linked.linked = true;
  EntryRecord immutable = file_entry(1, "immutable", 13);
  immutable.attr.flags = kFlagImmutable;
  s.apply({Put{file_entry(1, "a", 10)}, Put{directory_entry(1, "d", 11)}, Put{linked},
           Put{immutable}, Put{DirStatRecord{1, 0, 1, 0, 4}}});
  const AddDirStat count{1, 0, 99, 0, -1};
  const auto failed = [&](const char* from, const char* to, bool replace) {
    std::optional<Key> target;
    if (to != nullptr) target = entry_key(1, to);
    const CommitResult result =
        s.commit({}, {MoveFile{entry_key(1, from), target, replace, 99, 7, {}}, count});
    return result.applied ? -2 : result.failed_mutation;
  };
  for (const char* from : {"absent", "d", "linked", "immutable"}) {
    CAPTURE(from);
    CHECK(failed(from, nullptr, false) == 0);
    CHECK(failed(from, "free", true) == 0);
    if (std::string_view(from) == "absent") continue;
    CHECK(failed("a", from, true) == 0);
  }
  CHECK(failed("a", "a", true) == 0);
  s.apply({Put{file_entry(1, "b", 14)}});
  CHECK(failed("a", "b", false) == 0);
  // The directory is gone.
  s.apply({Delete{dirstat_key(1, 0)}});
  CHECK(failed("a", nullptr, false) == 1);
  CHECK(failed("a", "free", false) == 1);
  CHECK(s.at<EntryRecord>(entry_key(1, "a")) == file_entry(1, "a", 10));
  CHECK_FALSE(s.get(orphan_key(10)).has_value());
  CHECK_FALSE(s.get(usage_key(0, 7)).has_value());
}

STORE_TEST("move a file: the answer can be asked for again", "") {
  StoreUser s(world);
  if (!world.remembers_requests()) return;
  s.apply({Put{file_entry(1, "a", 10, 4)}, Put{DirStatRecord{1, 0, 1, 0, 1}}});
  CommitRequest request;
  request.request = next_request();
  request.mutations = {MoveFile{entry_key(1, "a"), {}, false, 99, 7, {}},
                       AddDirStat{1, 0, 99, 0, -1}};
  const CommitResult first = s.store->commit(world.ctx, request).value();
  REQUIRE(first.applied);
  StoreUser other(world);
  other.apply({Put{file_entry(1, "a", 11)}});
  const CommitResult second = s.store->commit(world.ctx, request).value();
  REQUIRE(second.applied);
  CHECK(second.outcomes[0].moved == first.outcomes[0].moved);
  CHECK(s.at<EntryRecord>(entry_key(1, "a")).attr.ino == 11);
}

STORE_TEST("usage and numbers", "") {
  StoreUser s(world);
  s.apply({AddUsage{0, 1, 100, 1}, AddUsage{0, 1, -30, 0}, AddUsage{0, 2, 5, 5}});
  CHECK(s.at<UsageRecord>(usage_key(0, 1)) == UsageRecord{0, 1, 70, 1});
  CHECK(s.at<UsageRecord>(usage_key(0, 2)) == UsageRecord{0, 2, 5, 5});
  auto outcomes = s.apply({AddNumber{"n", 5}, AddNumber{"n", 2}});
  CHECK(outcomes[0].number == 0);
  CHECK(outcomes[1].number == 5);
  CHECK(s.at<VolumeRecord>(volume_key("n")) == VolumeRecord{"n", "", 7, 2});
  s.apply({AddNumber{"n", UINT64_MAX}});
  CHECK(s.at<VolumeRecord>(volume_key("n")).number == 6);
}

STORE_TEST("durable commits and sync", "") {
  StoreUser s(world);
  CHECK(s.commit({}, {AddNumber{"n", 5}}, Durability::kDurable).applied);
  CHECK(s.commit({ExpectAbsent{volume_key("n")}}, {}, Durability::kDurable).failed_expectation ==
        0);
  CHECK(s.store->sync(world.ctx).ok());
  StoreUser other(world);
  CHECK(other.at<VolumeRecord>(volume_key("n")).number == 5);
}

}  // namespace skerry::meta
