#include <set>

#include "ops_fixture.h"

namespace skerry::meta {

using enum FileType;

namespace {

std::set<std::string> names(OpsFixture& f, Ino dir, uint32_t limit) {
  std::set<std::string> all;
  std::string after;
  for (bool more = true; more;) {
    auto page = list(f.root, f.meta, dir, after, limit, true);
    REQUIRE(code(page) == 0);
    REQUIRE(page->entries.size() <= limit);
    for (const auto& entry : page->entries) {
      REQUIRE(entry.name > after);
      REQUIRE(all.insert(entry.name).second);
      after = entry.name;
    }
    more = page->more;
  }
  return all;
}

}  // namespace

TEST_CASE("list: pages in byte order, attributes joined", "[meta][list]") {
  OpsFixture f;
  const Ino dir = f.mkdir(kRootIno, "d", 0711);
  for (int i = 0; i < 250; ++i) f.file(dir, "f" + std::to_string(i));
  f.mkdir(f.mkdir(dir, "sub"), "below");
  REQUIRE(code(link(f.root, f.meta, lookup(f.root, f.meta, dir, "f7")->ino, dir, "\xff")) == 0);
  for (uint32_t limit : {1u, 7u, 252u, 1000u}) CHECK(names(f, dir, limit).size() == 252);
  auto page = list(f.root, f.meta, dir, "f99", 10, true);
  REQUIRE(page->entries.size() == 2);
  CHECK(page->entries[0].attr.nlink == 3);
  CHECK(page->entries[1].attr.nlink == 2);
  CHECK_FALSE(page->more);
  auto bare = list(f.root, f.meta, dir, "f99", 1, false);
  CHECK(bare->entries[0].attr.type == kDirectory);
  CHECK(bare->more);
  CHECK(code(list(f.user(1, 1), f.meta, dir, "", 10, true)) == EACCES);
  CHECK(code(list(f.user(1, 1), f.meta, dir, "", 10, true, false)) == 0);
  CHECK(code(list(f.root, f.meta, page->entries[1].attr.ino, "", 10, true)) == ENOTDIR);
  // What was listed with attributes need not be asked for again.
  f.client->store->on_read = [](const ReadRequest&) -> Status { return Error(EIO); };
  CHECK(f.lookup_code(dir, "f7") == 0);
}

TEST_CASE("readdir: stable entries are listed once while others go", "[meta][list][pain-11]") {
  OpsFixture f;
  const Ino dir = f.mkdir(kRootIno, "d");
  for (int i = 0; i < 300; ++i) f.file(dir, (i % 3 == 0 ? "keep" : "gone") + std::to_string(i));
  std::multiset<std::string> seen;
  std::string after;
  int pages = 0;
  for (bool more = true; more; ++pages) {
    auto page = list(f.root, f.meta, dir, after, 13, true);
    REQUIRE(code(page) == 0);
    for (const auto& entry : page->entries) {
      if (entry.name.starts_with("keep")) seen.insert(entry.name);
      if (entry.name.starts_with("gone"))
        REQUIRE(code(unlink(f.root, f.meta, dir, entry.name)) == 0);
    }
    f.file(dir, "a" + std::to_string(pages));  // before everything that is still to come
    after = page->entries.back().name;
    more = page->more;
  }
  REQUIRE(seen.size() == 100);
  CHECK(std::set<std::string>(seen.begin(), seen.end()).size() == 100);
}

TEST_CASE("remove_tree: everything below, and nothing else", "[meta][remove_tree]") {
  OpsFixture f;
  f.file(kRootIno, "stays");
  const VolumeUsage start = f.used();
  const Ino top = f.mkdir(kRootIno, "top");
  Ino deep = top;
  for (int i = 0; i < 60; ++i) {
    deep = f.mkdir(deep, "deep");
    f.file(deep, "file");
  }
  for (int i = 0; i < 2500; ++i) f.write(f.file(top, "f" + std::to_string(i)), 0, 10);
  for (int i = 0; i < 300; ++i) f.file(f.mkdir(top, "d" + std::to_string(i)), "x");
  const Ino twice = f.file(top, "one");
  REQUIRE(code(link(f.root, f.meta, twice, top, "two")) == 0);
  REQUIRE(code(link(f.root, f.meta, twice, kRootIno, "outside")) == 0);
  f.make(f.root, top, "sym", kSymlink);
  int commits = 0;
  f.client->store->on_commit = [&](const CommitRequest&) { return ++commits, Status(); };
  uint64_t removed = 0;
  REQUIRE(code(remove_tree(f.root, f.meta, kRootIno, "top", [&](const RemoveProgress& progress) {
            removed = progress.entries;
            return true;
          })) == 0);
  CHECK(removed == 1 + 60 * 2 + 2500 + 600 + 2 + 1);
  CHECK(commits < 200);  // a deep chain takes a round for each level
  CHECK(f.lookup_code(kRootIno, "top") == ENOENT);
  CHECK(f.lookup_code(kRootIno, "stays") == 0);
  CHECK(f.stat(twice).nlink == 1);
  CHECK(f.used().inodes == start.inodes + 1);
  CHECK(f.used().bytes == start.bytes);
  CHECK(f.stat(kRootIno).nlink == 2);
  CHECK(code(remove_tree(f.root, f.meta, kRootIno, "top", {})) == ENOENT);
  CHECK(code(remove_tree(f.root, f.meta, kRootIno, "outside", {})) == 0);
  f.require_consistent();
}

TEST_CASE("remove_tree: stops when told, and where it may not", "[meta][remove_tree]") {
  OpsFixture f;
  const Ino top = f.mkdir(kRootIno, "top", 0777);
  for (int i = 0; i < 3000; ++i) f.file(top, "f" + std::to_string(i));
  CHECK(code(remove_tree(f.root, f.meta, kRootIno, "top",
                         [](const RemoveProgress&) { return false; })) == ECANCELED);
  CHECK(f.lookup_code(kRootIno, "top") == 0);
  f.require_consistent();
  const Ino world = f.mkdir(kRootIno, "world", 0777);
  const Ino locked = f.mkdir(world, "locked", 0755);
  f.mkdir(world, "empty", 0700);
  const OpContext user = f.user(1, 1);
  CHECK(code(remove_tree(user, f.meta, world, "empty", {})) == 0);
  f.file(locked, "x");
  CHECK(code(remove_tree(user, f.meta, world, "locked", {})) == EACCES);
  CHECK(f.lookup_code(locked, "x") == 0);
  CHECK(code(remove_tree(f.root, f.meta, kRootIno, "top", {})) == 0);
  f.require_consistent();
}

TEST_CASE("remove_tree: others remove and create meanwhile", "[meta][remove_tree][pain-12]") {
  OpsFixture f;
  auto other = f.volume.open();
  const Ino top = f.mkdir(kRootIno, "top");
  std::vector<Ino> dirs;
  for (int i = 0; i < 20; ++i) {
    dirs.push_back(f.mkdir(top, "d" + std::to_string(i)));
    for (int j = 0; j < 20; ++j) f.file(dirs.back(), "f" + std::to_string(j));
  }
  int round = 0;
  f.client->store->on_commit = [&](const CommitRequest&) -> Status {
    // Between the removal's read and its commit.
    if (round < 30) {
      const Ino dir = dirs[round % dirs.size()];
      (void)unlink(other->ctx, *other->meta, dir, "f" + std::to_string(round % 20));
      (void)create(other->ctx, *other->meta, dir, "new" + std::to_string(round), CreateArgs{});
      (void)rmdir(other->ctx, *other->meta, top, "d" + std::to_string(round % 20));
    }
    ++round;
    return {};
  };
  REQUIRE(code(remove_tree(f.root, f.meta, kRootIno, "top", {})) == 0);
  CHECK(f.lookup_code(kRootIno, "top") == ENOENT);
  f.require_consistent();
}

}  // namespace skerry::meta
