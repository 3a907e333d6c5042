#include <algorithm>

#include "support/acl_text.h"
#include "support/test_volume.h"

namespace skerry::meta {

namespace {

struct FsckFixture {
  TestVolume volume;
  TestObjects objects;
  std::unique_ptr<TestClient> client = volume.open();
  Ino directory = volume.add_directory("d");
  std::vector<ObjectId> ids = volume.take_objects(4, objects);
  Ino file = volume.add_file("f", {ids[0], ids[1]}, directory);
  Ino inline_file = 0, link = 0, linked = 0;

  FsckFixture() {
    inline_file = volume.add_file("small", {});
    EntryRecord small = std::get<EntryRecord>(*volume.get(entry_key(kRootIno, "small")));
    small.attr.flags = kFlagInline;
    small.attr.length = 5;
    volume.commit({Put{small}, AddUsage{0, 0, 5, 0},
                   Put{InlineRecord{inline_file, crc32c(0, as_bytes("hello")), "hello"}}});

    link = volume.take(kVolumeNextIno);
    EntryRecord symlink{kRootIno, "s", false, 1,
                        TestVolume::attributes(link, FileType::kSymlink, 3)};
    volume.commit({Put{symlink}, Put{SymlinkRecord{link, "d/f"}}, AddUsage{0, 0, 0, 1},
                   AddDirStat{kRootIno, 0, 0, 0, 1}});

    linked = volume.take(kVolumeNextIno);
    Attributes attr = TestVolume::attributes(linked, FileType::kRegular, 0);
    attr.nlink = 2;
    volume.commit({Put{InodeRecord{attr}}, Put{EntryRecord{kRootIno, "l1", true, 1, attr}},
                   Put{EntryRecord{directory, "l2", true, 1, attr}},
                   Put{LinkRecord{linked, kRootIno, "l1"}},
                   Put{LinkRecord{linked, directory, "l2"}}, AddUsage{0, 0, 0, 1},
                   AddDirStat{kRootIno, 0, 0, 0, 1}, AddDirStat{directory, 0, 0, 0, 1}});

    volume.add_file("clone", {ids[0]});
    volume.commit({AddObjectReferences{ids[0], 1}, Put{XattrRecord{file, "user.a", "b"}},
                   Put{GarbageRecord{kCurrentEpoch, ids[2]}}});
    flag(file, kFlagXattrs);
    volume.add_file("gone", {ids[3]});
    volume.unlink("gone");
  }

  void flag(Ino ino, uint32_t set, uint32_t clear = 0) {
    Patch patch;
    patch.ino = ino;
    patch.set_flags = set;
    patch.clear_flags = clear;
    volume.commit({patch});
  }

  template <typename R>
  R get(Key key) {
    auto record = volume.get(std::move(key));
    REQUIRE(record.has_value());
    return std::get<R>(*record);
  }

  FsckResult check(const FsckLimits& limits = {}) {
    auto result = fsck(client->ctx, *client->meta, {}, limits);
    REQUIRE(result.ok());
    return *result;
  }
  std::set<std::string> kinds(const FsckLimits& limits = {}) {
    std::set<std::string> found;
    for (const FsckProblem& problem : check(limits).problems) found.insert(problem.kind);
    return found;
  }
};

using Kinds = std::set<std::string>;

}  // namespace

TEST_CASE("fsck: a healthy volume is clean, in one pass or in many", "[meta][fsck]") {
  FsckFixture f;
  require_healthy(*f.client);
  for (size_t window : {1, 2, 3, 100}) {
    CAPTURE(window);
    FsckLimits limits;
    limits.inodes_per_pass = limits.objects_per_pass = window;
    const FsckResult result = f.check(limits);
    CHECK(result.problem_count == 0);
    CHECK(result.directories == 2);
    CHECK(result.files == 4);
    CHECK(result.symlinks == 1);
    CHECK(result.orphans == 1);
    CHECK(result.extents == 4);
  }
}

TEST_CASE("fsck: shows every live extent to the caller", "[meta][fsck]") {
  FsckFixture f;
  std::multiset<ObjectId> seen;
  auto result = fsck(f.client->ctx, *f.client->meta,
                     [&](Ino, uint64_t, const Extent& e) { seen.insert(e.object); });
  REQUIRE(result.ok());
  CHECK(seen == std::multiset<ObjectId>{f.ids[0], f.ids[0], f.ids[1], f.ids[3]});
}

TEST_CASE("fsck: finds each kind of damage", "[meta][fsck]") {
  FsckFixture f;
  Kinds expected;
  uint64_t surplus = 0;
  SECTION("an entry in a directory that does not exist") {
    f.volume.add_file("f2", {});
    EntryRecord entry = f.get<EntryRecord>(entry_key(kRootIno, "f2"));
    entry.parent = 77777;
    f.volume.commit(
        {Delete{entry_key(kRootIno, "f2")}, Put{entry}, AddDirStat{kRootIno, 0, 0, 0, -1}});
    expected = {"lost-entry"};
  }
  SECTION("a subtree that does not lead to the root") {
    EntryRecord entry = f.get<EntryRecord>(entry_key(kRootIno, "d"));
    entry.parent = f.directory;
    f.volume.commit({Delete{entry_key(kRootIno, "d")}, Put{entry},
                     AddDirStat{kRootIno, 0, 0, -1, -1}, AddDirStat{f.directory, 0, 0, 1, 1}});
    expected = {"unreachable"};
  }
  SECTION("no root") {
    f.volume.commit({Delete{entry_key(0, "")}});
    expected = {"root", "lost-entry", "dirstat", "unreachable", "usage"};
  }
  SECTION("an entry of an inode that does not exist") {
    f.volume.commit({Delete{inode_key(f.linked)}, Delete{link_key(f.linked, kRootIno, "l1")},
                     Delete{link_key(f.linked, f.directory, "l2")}, AddUsage{0, 0, 0, -1}});
    expected = {"dangling-entry"};
  }
  SECTION("counts of a directory") {
    f.volume.commit({AddDirStat{f.directory, 0, 0, 0, 1}});
    expected = {"dirstat"};
  }
  SECTION("no counts of a directory") {
    f.volume.commit({DeleteRange{Table::kDirStat, f.directory}});
    expected = {"dirstat"};
  }
  SECTION("counts of no directory") {
    f.volume.commit({Put{DirStatRecord{f.file, 0, 0, 0, 0}}});
    expected = {"dirstat"};
  }
  SECTION("a link count") {
    InodeRecord inode = f.get<InodeRecord>(inode_key(f.linked));
    inode.attr.nlink = 3;
    f.volume.commit({Put{inode}});
    expected = {"nlink"};
  }
  SECTION("a link count of a file with one name") {
    Patch patch;
    patch.ino = f.file;
    patch.add_nlink = 1;
    f.volume.commit({patch});
    expected = {"nlink"};
  }
  SECTION("a missing link record") {
    f.volume.commit({Delete{link_key(f.linked, kRootIno, "l1")}});
    expected = {"link"};
  }
  SECTION("a link record with another name") {
    f.volume.commit(
        {Delete{link_key(f.linked, kRootIno, "l1")}, Put{LinkRecord{f.linked, kRootIno, "l3"}}});
    expected = {"link"};
  }
  SECTION("a link record of no inode") {
    f.volume.commit({Put{LinkRecord{66666, kRootIno, "x"}}});
    expected = {"link"};
  }
  SECTION("an inode without names") {
    Attributes attr = TestVolume::attributes(f.volume.take(kVolumeNextIno), FileType::kRegular, 0);
    attr.nlink = 0;
    f.volume.commit({Put{InodeRecord{attr}}, AddUsage{0, 0, 0, 1}});
    expected = {"lost-inode"};
  }
  SECTION("two records of one inode") {
    Attributes attr = f.get<EntryRecord>(entry_key(f.directory, "f")).attr;
    attr.nlink = 0;
    f.volume.commit({Put{OrphanRecord{attr, 0}}});
    expected = {"duplicate-inode"};
  }
  SECTION("an inode number beyond the counter") {
    f.volume.commit({Put{VolumeRecord{kVolumeNextIno, {}, 3, 9}}});
    expected = {"counter"};
  }
  SECTION("a reference too many") {  // as a client leaves it that dies in a flush
    f.volume.commit({AddObjectReferences{f.ids[0], 1}});
    surplus = 1;
  }
  SECTION("a reference too few") {
    f.volume.commit({AddObjectReferences{f.ids[0], -1}});
    expected = {"references"};
  }
  SECTION("references to an object that no extent names") {
    f.volume.commit({Put{ObjectRecord{f.volume.take(kVolumeNextObject), 2}}});
    surplus = 1;
  }
  SECTION("garbage that is live") {
    f.volume.commit({Put{GarbageRecord{kCurrentEpoch, f.ids[1]}}});
    expected = {"garbage"};
  }
  SECTION("an inline flag without a record") {
    f.volume.commit({Delete{inline_key(f.inline_file)}});
    expected = {"inline"};
  }
  SECTION("an inline record without a flag") {
    Patch patch;
    patch.ino = f.inline_file;
    patch.clear_flags = kFlagInline;
    f.volume.commit({patch});
    expected = {"inline"};
  }
  SECTION("inline bytes that changed") {
    f.volume.commit({Put{InlineRecord{f.inline_file, crc32c(0, as_bytes("hello")), "hullo"}}});
    expected = {"inline"};
  }
  SECTION("an inline record of no inode") {
    f.volume.commit({Put{InlineRecord{66666, 0, ""}}});
    expected = {"inline"};
  }
  SECTION("an extent beyond its chunk") {
    f.volume.commit(
        {Put{ExtentRecord{f.file, 1, 2, {TestVolume::extent(0, kChunkSize - 10, 11)}}}});
    expected = {"extent"};
  }
  SECTION("an extent beyond its slice") {
    Extent extent = TestVolume::extent(f.volume.take(kVolumeNextObject), 0, 100);
    extent.slice_skip = 1;
    f.volume.commit({Put{ExtentRecord{f.file, 1, 2, {extent}}}});
    expected = {"extent"};
  }
  SECTION("an extent newer than its file") {
    f.volume.commit({Put{ExtentRecord{f.file, 1, 999, {TestVolume::extent(0, 0, 10)}}}});
    expected = {"extent"};
  }
  SECTION("extents of no inode") {
    f.volume.commit({Put{ExtentRecord{66666, 0, 1, {TestVolume::extent(0, 0, 10)}}}});
    expected = {"extent"};
  }
  SECTION("a symbolic link without a target") {
    f.volume.commit({Delete{symlink_key(f.link)}});
    expected = {"symlink"};
  }
  SECTION("a target of another length") {
    f.volume.commit({Put{SymlinkRecord{f.link, "elsewhere"}}});
    expected = {"symlink"};
  }
  SECTION("usage") {
    f.volume.commit({AddUsage{0, f.client->id(), 1, 0}});
    expected = {"usage"};
  }
  SECTION("attributes of no inode") {
    f.volume.commit({Put{XattrRecord{66666, "user.a", "b"}}});
    expected = {"xattr"};
  }
  SECTION("attributes that the flags do not tell") {
    f.flag(f.file, 0, kFlagXattrs);
    expected = {"xattr"};
  }
  SECTION("a capability that the flags do not tell") {
    f.volume.commit({Put{XattrRecord{f.file, kCapabilityXattr, "c"}}});
    expected = {"xattr"};
  }
  SECTION("a flag of a capability that is not there") {
    f.flag(f.file, kFlagCapability);
    expected = {"xattr"};
  }
  SECTION("a flag of an ACL that is not there") {
    f.flag(f.directory, kFlagDefaultAcl);
    expected = {"acl"};
  }
  SECTION("an ACL that the flags do not tell") {
    f.volume.commit(
        {Put{XattrRecord{f.file, "system.posix_acl_access", acl("u::r,g::r,m::r,o::r")}}});
    expected = {"acl"};
  }
  SECTION("a malformed ACL") {
    f.flag(f.file, kFlagAccessAcl);
    f.volume.commit({Put{XattrRecord{f.file, "system.posix_acl_access", "?"}}});
    expected = {"acl"};
  }
  SECTION("a pin of no session") {
    f.volume.commit({Put{PinRecord{55555, f.file}}});
    expected = {"pin"};
  }
  CHECK(f.kinds() == expected);
  CHECK(f.check().surplus_objects == surplus);
  FsckLimits narrow;
  narrow.inodes_per_pass = narrow.objects_per_pass = 1;
  CHECK(f.kinds(narrow) == expected);
  CHECK(f.check(narrow).surplus_objects == surplus);
}

TEST_CASE("fsck: keeps a bounded number of problems and counts all", "[meta][fsck]") {
  FsckFixture f;
  for (Ino ino = 1000; ino < 1050; ++ino) f.volume.commit({Put{XattrRecord{ino, "user.a", ""}}});
  FsckLimits limits;
  limits.max_problems = 7;
  const FsckResult result = f.check(limits);
  CHECK(result.problems.size() == 7);
  CHECK(result.problem_count == 50);
}

TEST_CASE("fsck: an error of the store is an error, not a finding", "[meta][fsck]") {
  FsckFixture f;
  for (int failing = 0;; ++failing) {
    int reads = 0;
    f.client->store->on_read = [&](const ReadRequest&) -> Status {
      if (reads++ == failing) return Error(EIO, "the scan broke");
      return {};
    };
    auto result = fsck(f.client->ctx, *f.client->meta, {});
    CHECK(result.ok() == (reads <= failing));
    if (result.ok()) break;
  }
}

}  // namespace skerry::meta
