// What a read finds: ranges, joins, homes, paths.

#include <mutex>
#include <set>

#include "conformance/store_fixture.h"

namespace skerry::meta {

STORE_TEST("names are bytes in byte order", "") {
  StoreUser s(world);
  const std::vector<std::string> names = {std::string(1, '\0'),
                                          std::string("\0a", 2),
                                          "A",
                                          "B",
                                          "a",
                                          "a\xff",
                                          "a\xff\xff",
                                          "b",
                                          "\x80",
                                          "\xc3\x28",
                                          "\xe2\x82",
                                          "\xff",
                                          "\xff\x01",
                                          "\xff\xff"};
  Ino ino = 100;
  for (auto it = names.rbegin(); it != names.rend(); ++it)
    s.apply({Put{file_entry(5, *it, ino++)}});
  s.apply({Put{file_entry(4, "before", 1)}, Put{file_entry(6, "after", 2)}});
  CHECK(names_of(s.range({Table::kEntry, 1, 5})) == names);
  for (size_t i = 0; i < names.size(); ++i) {
    CHECK(s.at<EntryRecord>(entry_key(5, names[i])).name == names[i]);
    Range range{Table::kEntry, 1, 5};
    range.after = entry_key(0, names[i]);
    CHECK(names_of(s.range(range)) ==
          std::vector<std::string>(names.begin() + static_cast<long>(i) + 1, names.end()));
  }
}

STORE_TEST("pages: limit, after, more", "") {
  StoreUser s(world);
  for (int i = 0; i < 10; ++i) s.apply({Put{file_entry(5, std::string(1, 'a' + i), 100 + i)}});
  Range range{Table::kEntry, 1, 5};
  range.limit = 4;
  std::vector<std::string> seen;
  for (int page_number = 0; page_number < 3; ++page_number) {
    RangePage page = s.range(range);
    CHECK(page.more == (page_number < 2));
    for (const auto& name : names_of(page)) seen.push_back(name);
    range.after = entry_key(0, seen.back());
  }
  CHECK(seen.size() == 10);
  CHECK(s.range(range).records.empty());
  range.after.reset();
  range.limit = 10;
  CHECK_FALSE(s.range(range).more);
  CHECK(s.range(range).records.size() == 10);
}

STORE_TEST("ranges of every prefix", "") {
  StoreUser s(world);
  for (uint64_t ino : {10, 11}) {
    for (uint64_t chunk : {0, 1}) {
      for (uint64_t seq : {1, 2}) s.apply({Put{ExtentRecord{ino, chunk, seq, {}}}});
    }
  }
  auto count = [&](Range range) { return s.range(range).records.size(); };
  CHECK(count({Table::kExtent, 0}) == 8);
  CHECK(count({Table::kExtent, 1, 10}) == 4);
  CHECK(count({Table::kExtent, 2, 10, 1}) == 2);
  Range range{Table::kExtent, 0};
  range.after = extent_key(10, 1, 1);
  CHECK(count(range) == 5);
  range.prefix_fields = 1;
  range.a = 10;
  range.after = extent_key(77, 0, 2);  // field a is the prefix's
  CHECK(count(range) == 2);
  range.prefix_fields = 2;
  range.b = 1;
  range.after = extent_key(0, 0, 1);
  CHECK(count(range) == 1);
  range = {Table::kExtent, 0};
  range.max_a = 10;
  CHECK(count(range) == 4);
  range.max_a = 9;
  CHECK(count(range) == 0);
  range.max_a = UINT64_MAX;
  CHECK(count(range) == 8);
  s.apply({Put{GarbageRecord{1, 5}}, Put{GarbageRecord{2, 4}}, Put{GarbageRecord{3, 3}},
           Put{PinRecord{1, 9}}, Put{PinRecord{2, 8}}, Put{LinkRecord{9, 2, "x"}},
           Put{LinkRecord{9, 2, "y"}}, Put{LinkRecord{9, 3, "a"}}});
  range = {Table::kGarbage, 0};
  range.max_a = 2;
  CHECK(count(range) == 2);
  range.after = garbage_key(1, 5);
  CHECK(count(range) == 1);
  range = {Table::kLink, 2, 9, 2};
  CHECK(count(range) == 2);
  range.after = link_key(0, 0, "x");
  CHECK(count(range) == 1);
  CHECK(count({Table::kLink, 1, 9}) == 3);
  s.apply({AddNumber{"b", 1}, AddNumber{"a", 1}});
  range = {Table::kVolume, 0};
  CHECK(count(range) == 2);
  range.after = volume_key("a");
  CHECK(count(range) == 1);
}

STORE_TEST("entries without attributes", "") {
  StoreUser s(world);
  EntryRecord linked = file_entry(5, "l", 30, 4);
  linked.linked = true;
  s.apply({Put{directory_entry(5, "d", 20)}, Put{linked}, Put{DirStatRecord{20, 0, 99, 1, 1}}});
  Range range{Table::kEntry, 1, 5};
  range.with_attributes = false;
  RangePage page = s.range(range, true);
  REQUIRE(page.records.size() == 2);
  EntryRecord expected;
  expected.parent = 5;
  expected.name = "d";
  expected.attr.ino = 20;
  expected.attr.type = FileType::kDirectory;
  CHECK(std::get<EntryRecord>(page.records[0]) == expected);
  CHECK(std::get<EntryRecord>(page.records[1]).attr.ino == 30);
}

STORE_TEST("joined reads: links and directory counters", "") {
  StoreUser s(world);
  EntryRecord linked = file_entry(5, "l", 30, 4);
  linked.linked = true;
  InodeRecord inode{file_entry(0, "", 30, 9).attr};
  inode.attr.nlink = 2;
  s.apply({Put{directory_entry(1, "d", 5)}, Put{DirStatRecord{5, 0, 100, 2, 2}},
           Put{DirStatRecord{5, 1, 300, -1, 1}}, Put{linked}, Put{inode}});
  EntryRecord plain = s.at<EntryRecord>(entry_key(1, "d"));
  CHECK(plain == directory_entry(1, "d", 5));
  EntryRecord joined = s.at<EntryRecord>(entry_key(1, "d"), true);
  CHECK(joined.attr.nlink == 3);
  CHECK(joined.attr.mtime_ns == 300);
  CHECK(joined.attr.ctime_ns == 300);
  CHECK(joined.attr.atime_ns == 12);
  joined = s.at<EntryRecord>(entry_key(5, "l"), true);
  CHECK(joined.linked);
  CHECK(joined.version == 4);
  CHECK(joined.attr == inode.attr);
  RangePage page = s.range({Table::kEntry, 1, 5}, true);
  REQUIRE(page.records.size() == 1);
  CHECK(std::get<EntryRecord>(page.records[0]).attr == inode.attr);
  page = s.range({Table::kEntry, 1, 1}, true);
  CHECK(std::get<EntryRecord>(page.records[0]).attr.nlink == 3);
  CHECK(s.home(5, true)->attr.nlink == 3);
  CHECK(s.home(5, false)->attr.nlink == 2);
}

STORE_TEST("homes", "") {
  StoreUser s(world);
  EntryRecord linked = file_entry(5, "l", 30, 4);
  linked.linked = true;
  s.apply({Put{file_entry(5, "f", 20, 2)}, Put{linked},
           Put{InodeRecord{file_entry(0, "", 30, 9).attr}},
           Put{OrphanRecord{file_entry(0, "", 40, 7).attr, 0}}});
  ReadResult result = s.read({{}, {}, {20, 30, 40, 50}, false});
  REQUIRE(result.homes.size() == 4);
  CHECK(result.homes[0]->table == Table::kEntry);
  CHECK(result.homes[0]->parent == 5);
  CHECK(result.homes[0]->name == "f");
  CHECK(result.homes[0]->attr.version == 2);
  CHECK(result.homes[1]->table == Table::kInode);
  CHECK(result.homes[1]->name.empty());
  CHECK(result.homes[2]->table == Table::kOrphan);
  CHECK(result.homes[2]->attr.version == 7);
  CHECK_FALSE(result.homes[3].has_value());
}

STORE_TEST("resolve agrees with the default walk", "") {
  StoreUser s(world);
  EntryRecord linked = file_entry(12, "l", 30, 4);
  linked.linked = true;
  s.apply({Put{directory_entry(1, "a", 11)}, Put{directory_entry(11, "b", 12)},
           Put{file_entry(12, "f", 20)}, Put{linked}, Put{DirStatRecord{12, 0, 77, 3, 5}},
           Put{InodeRecord{file_entry(0, "", 30, 9).attr}}});
  const std::vector<std::vector<std::string>> paths = {{},
                                                       {"a"},
                                                       {"a", "b"},
                                                       {"a", "b", "f"},
                                                       {"a", "b", "l"},
                                                       {"a", "x", "f"},
                                                       {"x"},
                                                       {"a", "b", "f", "g"}};
  const std::vector<size_t> depths = {0, 1, 2, 3, 3, 1, 0, 3};
  for (size_t i = 0; i < paths.size(); ++i) {
    auto walked = s.store->Store::resolve(world.ctx, 1, paths[i]);
    auto resolved = s.store->resolve(world.ctx, 1, paths[i]);
    REQUIRE(walked.ok());
    REQUIRE(resolved.ok());
    // On the way a directory may be without what its children changed.
    for (size_t n = 0; n + 1 < paths[i].size() && n < walked->size(); ++n) {
      for (Attributes* attr : {&walked->at(n).attr, &resolved->at(n).attr}) {
        if (attr->is_dir()) attr->mtime_ns = attr->ctime_ns = attr->nlink = 0;
      }
    }
    CHECK(*walked == *resolved);
    CHECK(resolved->size() == depths[i]);
  }
}

STORE_TEST("resolve brings the attributes of where it starts", "") {
  StoreUser s(world);
  s.apply({Put{directory_entry(1, "a", 11)}, Put{file_entry(11, "f", 20)},
           Put{DirStatRecord{11, 0, 77, 3, 5}}});
  std::optional<AttributeHome> start;
  auto found = s.store->resolve(world.ctx, 11, {"f"}, &start);
  REQUIRE(found.ok());
  CHECK(found->size() == 1);
  REQUIRE(start.has_value());
  CHECK(start->table == Table::kEntry);
  CHECK(start->parent == 1);
  CHECK(start->name == "a");
  CHECK(start->attr == s.home(11, true)->attr);
  CHECK(start->attr.nlink == 5);
  start.reset();
  found = s.store->resolve(world.ctx, 99, {"f"}, &start);
  REQUIRE(found.ok());
  CHECK(found->empty());
  CHECK_FALSE(start.has_value());
}

namespace {

class Told final : public ChangeSink {
 public:
  void entry_changed(Ino parent, std::string_view name) override {
    note("entry " + std::to_string(parent) + " " + std::string(name));
  }
  void inode_changed(Ino ino) override { note("inode " + std::to_string(ino)); }
  void children_changed(Ino directory) override { note("children " + std::to_string(directory)); }
  void all_changed() override { note("all"); }
  bool has(const std::string& what) {
    std::lock_guard lock(mutex_);
    return said_.contains(what);
  }

 private:
  void note(std::string what) {
    std::lock_guard lock(mutex_);
    said_.insert(std::move(what));
  }
  std::mutex mutex_;
  std::set<std::string> said_;
};

}  // namespace

STORE_TEST("a store that proves nothing tells what others changed", "") {
  if (world.knows_generation()) return;
  StoreUser a(world), b(world);
  CHECK_FALSE(a.store->capabilities().exact_generation);
  Told told;
  a.store->tell_changes(&told);
  // It hears from when it first waits.
  auto wait_for = [&](const std::string& what) {
    for (int i = 0; i < 1000 && !told.has(what); ++i) {
      REQUIRE(a.store->wait_for_change(world.ctx, a.store->generation(), 10'000'000).ok());
    }
    CHECK(told.has(what));
  };
  wait_for("all");
  b.apply({Put{DirStatRecord{1, 0, 0, 0, 0}}});
  b.apply({Put{directory_entry(1, "a", 11)}, AddDirStat{1, 0, 1, 1, 1, false}});
  wait_for("entry 1 a");
  wait_for("children 1");
  b.apply({Patch{11}});
  wait_for("inode 11");
  const EntryRecord entry = b.at<EntryRecord>(entry_key(1, "a"));
  CHECK(b.commit({ExpectVersion{entry_key(1, "a"), entry.version, 11}}, {Delete{entry_key(1, "a")}})
            .applied);
  const uint64_t before = a.store->generation();
  a.apply({Put{file_entry(1, "own", 12)}});
  b.apply({Put{file_entry(1, "last", 13)}});
  wait_for("entry 1 last");
  CHECK(a.store->generation() != before);
  CHECK_FALSE(told.has("entry 1 own"));
  a.store->tell_changes(nullptr);
}

STORE_TEST("generation: others' commits and no others", "") {
  if (!world.knows_generation()) return;
  StoreUser a(world), b(world);
  a.apply({AddNumber{"n", 1}});
  uint64_t of_a = a.store->generation();
  uint64_t of_b = b.store->generation();
  for (int i = 0; i < 20; ++i) {
    CHECK(a.store->generation() == of_a);
    a.apply({AddNumber{"n", 1}});
    CHECK(a.store->generation() == of_a);
    CHECK(a.commit({ExpectAbsent{volume_key("n")}}, {AddNumber{"n", 1}}).applied == false);
    CHECK(a.commit({}, {AddNumber{"n", 1}, AddDirStat{1, 1, 1, 1, 1}}).applied == false);
    CHECK(a.store->generation() == of_a);
    const uint64_t now = b.store->generation();
    CHECK(now != of_b);
    CHECK(b.store->generation() == now);
    of_b = now;
  }
  b.apply({AddNumber{"n", 1}});
  CHECK(a.store->generation() != of_a);
  CHECK(b.store->generation() == of_b);
}

}  // namespace skerry::meta
