// What a commit may expect, and that a conflict leaves no trace.

#include "conformance/store_fixture.h"

namespace skerry::meta {

STORE_TEST("version of an entry: version and inode must match", "") {
  StoreUser s(world);
  s.apply({Put{file_entry(1, "a", 10, 5)}});
  const Key key = entry_key(1, "a");
  CHECK(s.commit({ExpectVersion{key, 5, 10}}, {}).applied);
  CHECK(s.commit({ExpectVersion{key, 4, 10}}, {}).failed_expectation == 0);
  CHECK(s.commit({ExpectVersion{key, 5, 11}}, {}).failed_expectation == 0);
  CHECK(s.commit({ExpectVersion{entry_key(1, "b"), 5, 10}}, {}).failed_expectation == 0);
}

STORE_TEST("version of an entry folded into put and delete", "") {
  StoreUser s(world);
  s.apply({Put{file_entry(1, "a", 10, 5)}});
  const Key key = entry_key(1, "a");
  auto wrong = s.commit({ExpectVersion{key, 4, 10}}, {Put{file_entry(1, "a", 10, 6)}});
  CHECK_FALSE(wrong.applied);
  CHECK(wrong.failed_expectation == 0);
  CHECK(wrong.failed_mutation == -1);
  CHECK(s.at<EntryRecord>(key).version == 5);
  wrong = s.commit({ExpectVersion{key, 5, 99}}, {Delete{key}});
  CHECK(wrong.failed_expectation == 0);
  CHECK(s.commit({ExpectVersion{key, 5, 10}}, {Put{file_entry(1, "a", 11, 6)}}).applied);
  CHECK(s.at<EntryRecord>(key).attr.ino == 11);
  CHECK(s.home(11).has_value());
  CHECK_FALSE(s.home(10).has_value());
  CHECK(s.commit({ExpectVersion{key, 6, 11}}, {Delete{key}}).applied);
  CHECK_FALSE(s.get(key).has_value());
}

STORE_TEST("version of volume, inode and orphan records", "") {
  StoreUser s(world);
  VolumeRecord volume{"setting", "x", 3, 7};
  InodeRecord inode;
  inode.attr = file_entry(1, "", 20, 8).attr;
  OrphanRecord orphan;
  orphan.attr = file_entry(1, "", 21, 9).attr;
  s.apply({Put{volume}, Put{inode}, Put{orphan}});
  const ExpectVersion good[] = {
      {volume_key("setting"), 7, 0}, {inode_key(20), 8, 20}, {orphan_key(21), 9, 21}};
  for (ExpectVersion expect : good) {
    CHECK(s.commit({expect}, {}).applied);
    expect.version += 1;
    CHECK(s.commit({expect}, {}).failed_expectation == 0);
  }
  inode.attr.version = 9;
  CHECK(s.commit({ExpectVersion{inode_key(20), 7, 20}}, {Put{inode}}).failed_expectation == 0);
  CHECK(s.commit({ExpectVersion{inode_key(20), 8, 20}}, {Put{inode}}).applied);
}

STORE_TEST("absent and exists", "") {
  StoreUser s(world);
  const Key key = entry_key(1, "a");
  CHECK(s.commit({ExpectAbsent{key}}, {Put{file_entry(1, "a", 10)}}).applied);
  auto conflict = s.commit({ExpectAbsent{key}}, {Put{file_entry(1, "a", 11)}});
  CHECK(conflict.failed_expectation == 0);
  CHECK(s.at<EntryRecord>(key).attr.ino == 10);
  CHECK(s.commit({ExpectExists{key}}, {}).applied);
  CHECK(s.commit({ExpectExists{entry_key(2, "a")}}, {}).failed_expectation == 0);
  CHECK(s.commit({ExpectAbsent{symlink_key(3)}}, {Put{SymlinkRecord{3, "t"}}}).applied);
  CHECK(s.commit({ExpectAbsent{symlink_key(3)}}, {Put{SymlinkRecord{3, "u"}}}).failed_expectation ==
        0);
  CHECK(s.at<SymlinkRecord>(symlink_key(3)).target == "t");
}

STORE_TEST("the first expectation that fails is named", "") {
  StoreUser s(world);
  s.apply({Put{file_entry(1, "a", 10)}, Put{file_entry(1, "b", 11)}});
  // The first could be checked by the statement of its mutation; the second cannot.
  auto result = s.commit({ExpectAbsent{entry_key(1, "a")}, ExpectExists{client_key(9)}},
                         {Put{file_entry(1, "a", 12)}});
  CHECK(result.failed_expectation == 0);
  result = s.commit({ExpectExists{client_key(9)}, ExpectAbsent{entry_key(1, "a")}},
                    {Put{file_entry(1, "a", 12)}});
  CHECK(result.failed_expectation == 0);
  result = s.commit({ExpectVersion{entry_key(1, "a"), 1, 10}, ExpectAbsent{entry_key(1, "b")}},
                    {Delete{entry_key(1, "a")}, Put{file_entry(1, "b", 10)}});
  CHECK(result.failed_expectation == 1);
  CHECK(s.at<EntryRecord>(entry_key(1, "a")).attr.ino == 10);
  CHECK(s.at<EntryRecord>(entry_key(1, "b")).attr.ino == 11);
}

STORE_TEST("expectations hold before any mutation", "") {
  StoreUser s(world);
  s.apply({Put{file_entry(1, "a", 10)}});
  const Key key = entry_key(1, "a");
  CHECK(s.commit({ExpectAbsent{key}}, {Delete{key}, Put{file_entry(1, "a", 11)}})
            .failed_expectation == 0);
  CHECK(s.commit({ExpectVersion{key, 1, 10}}, {Patch{10}, Put{file_entry(1, "a", 10, 9)}}).applied);
  CHECK(s.commit({ExpectVersion{key, 9, 10}}, {Delete{key}, Put{file_entry(1, "a", 12)}}).applied);
  CHECK(s.commit({ExpectVersion{key, 1, 12}, ExpectVersion{key, 2, 12}}, {Delete{key}})
            .failed_expectation == 1);
}

STORE_TEST("empty range", "") {
  StoreUser s(world);
  CHECK(s.commit({ExpectEmpty{Table::kEntry, 5}}, {}).applied);
  s.apply({Put{file_entry(4, "z", 10)}, Put{file_entry(6, "a", 11)}});
  CHECK(s.commit({ExpectEmpty{Table::kEntry, 5}}, {}).applied);
  s.apply({Put{file_entry(5, "", 12)}});
  CHECK(s.commit({ExpectEmpty{Table::kEntry, 5}}, {}).failed_expectation == 0);
  CHECK(s.commit({ExpectEmpty{Table::kPin, 5}}, {Put{PinRecord{5, 1}}}).applied);
  CHECK(s.commit({ExpectEmpty{Table::kPin, 5}}, {}).failed_expectation == 0);
}

STORE_TEST("attributes wherever they are", "") {
  StoreUser s(world);
  InodeRecord inode;
  inode.attr = file_entry(1, "", 20, 8).attr;
  OrphanRecord orphan;
  orphan.attr = file_entry(1, "", 21, 9).attr;
  EntryRecord linked = file_entry(1, "l", 20, 3);
  linked.linked = true;
  s.apply({Put{file_entry(1, "a", 10, 7)}, Put{linked}, Put{inode}, Put{orphan}});
  CHECK(s.commit({ExpectAttributes{10, 7}, ExpectAttributes{20, 8}, ExpectAttributes{21, 9},
                  ExpectAttributes{10, 0}, ExpectAttributes{20, 0}, ExpectAttributes{21, 0}},
                 {})
            .applied);
  CHECK(s.commit({ExpectAttributes{20, 3}}, {}).failed_expectation == 0);
  CHECK(s.commit({ExpectAttributes{10, 7}, ExpectAttributes{22, 0}}, {}).failed_expectation == 1);
}

STORE_TEST("extent prefix", "") {
  StoreUser s(world);
  for (uint64_t seq : {2, 5, 9}) s.apply({Put{ExtentRecord{10, 1, seq, {Extent{0, 4, seq}}}}});
  s.apply({Put{ExtentRecord{10, 2, 3, {}}}});
  CHECK(s.commit({ExpectExtentPrefix{10, 1, 5, 2}, ExpectExtentPrefix{10, 1, 100, 3},
                  ExpectExtentPrefix{10, 1, 1, 0}, ExpectExtentPrefix{10, 3, UINT64_MAX, 0}},
                 {})
            .applied);
  CHECK(s.commit({ExpectExtentPrefix{10, 1, 5, 3}}, {}).failed_expectation == 0);
  CHECK(s.commit({ExpectExtentPrefix{10, 1, 9, 2}}, {}).failed_expectation == 0);
}

STORE_TEST("a conflict leaves no trace", "") {
  StoreUser s(world);
  s.apply({Put{directory_entry(1, "d", 5)}, Put{DirStatRecord{5, 0, 1, 0, 0}},
           Put{file_entry(5, "x", 10)}});
  // The last mutation meets no directory.
  auto result = s.commit({ExpectAbsent{entry_key(5, "y")}},
                         {Put{file_entry(5, "y", 11)}, Patch{10}, Delete{entry_key(5, "x")},
                          AddDirStat{5, 0, 9, 1, 1}, AddUsage{0, 1, 5, 1}, AddNumber{"n", 4},
                          AddObjectReferences{7, -1}, AddDirStat{6, 0, 9, 1, 1}});
  CHECK_FALSE(result.applied);
  CHECK(result.failed_expectation == -1);
  CHECK(result.failed_mutation == 7);
  CHECK(result.outcomes.empty());
  CHECK_FALSE(s.get(entry_key(5, "y")).has_value());
  CHECK(s.at<EntryRecord>(entry_key(5, "x")) == file_entry(5, "x", 10));
  CHECK(s.at<DirStatRecord>(dirstat_key(5, 0)) == DirStatRecord{5, 0, 1, 0, 0});
  CHECK_FALSE(s.get(usage_key(0, 1)).has_value());
  CHECK_FALSE(s.get(volume_key("n")).has_value());
  CHECK(s.range({Table::kGarbage, 0}).records.empty());
  CHECK(s.home(10).has_value());
  CHECK_FALSE(s.home(11).has_value());
}

STORE_TEST("an inode has one entry that holds its attributes", "") {
  StoreUser s(world);
  s.apply({Put{file_entry(1, "a", 10)}});
  auto result = s.commit({ExpectAbsent{entry_key(1, "b")}}, {Put{file_entry(1, "b", 10)}});
  CHECK(result.failed_expectation == -1);
  CHECK(result.failed_mutation == 0);
  CHECK(s.commit({ExpectVersion{entry_key(1, "a"), 1, 10}, ExpectAbsent{entry_key(1, "b")}},
                 {Delete{entry_key(1, "a")}, Put{file_entry(1, "b", 10, 2)}})
            .applied);
  CHECK(s.home(10)->name == "b");
}

STORE_TEST("a repeated request is answered, not applied again", "") {
  if (!world.remembers_requests()) return;
  StoreUser s(world);
  s.apply({Put{file_entry(1, "a", 10)}});
  CommitRequest request;
  request.request = {1234, 5678};
  request.expectations = {ExpectVersion{entry_key(1, "a"), 1, 10}};
  request.mutations = {Patch{10}, AddNumber{"n", 3}};
  StoreUser other(world);
  for (int i = 0; i < 3; ++i) {
    StoreUser& user = i == 1 ? other : s;
    auto result = user.store->commit(world.ctx, request);
    REQUIRE(result.ok());
    CHECK(result->applied);
    REQUIRE(result->outcomes.size() == 2);
    CHECK(result->outcomes[0].version == 2);
    CHECK(result->outcomes[1].number == 0);
  }
  CHECK(s.at<VolumeRecord>(volume_key("n")).number == 3);
}

STORE_TEST("a removed session is refused", "") {
  StoreUser s(world);
  StoreUser other(world);
  CommitRequest request;
  request.session = 7;
  request.mutations = {AddNumber{"n", 1}};
  auto attempt = [&] {
    request.request = next_request();
    return s.store->commit(world.ctx, request);
  };
  CHECK(attempt().error().code() == ESTALE);
  s.apply({Put{ClientRecord{7}}});
  CHECK(attempt()->applied);
  CHECK(attempt()->applied);
  other.apply({Delete{client_key(7)}});
  CHECK(attempt().error().code() == ESTALE);
  other.apply({Put{ClientRecord{7}}});
  CHECK(attempt()->applied);
  s.apply({Delete{client_key(7)}});
  CHECK(attempt().error().code() == ESTALE);
  CHECK(s.at<VolumeRecord>(volume_key("n")).number == 3);
}

STORE_TEST("cancelled and late callers are told so", "") {
  StoreUser s(world);
  CancelToken token;
  token.cancel();
  OpContext ctx = world.ctx;
  ctx.cancel = &token;
  CHECK(s.store->read(ctx, {}).error().code() == ECANCELED);
  CHECK(s.store->commit(ctx, {}).error().code() == ECANCELED);
  ctx.cancel = nullptr;
  ctx.deadline_ns = 1;
  CHECK(s.store->read(ctx, {}).error().code() == ETIMEDOUT);
  CHECK(s.store->commit(ctx, {}).error().code() == ETIMEDOUT);
}

}  // namespace skerry::meta
