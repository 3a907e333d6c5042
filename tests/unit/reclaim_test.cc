#include "meta/ops.h"
#include "support/test_volume.h"

namespace skerry::meta {

namespace {

bool touches_garbage(const CommitRequest& request) {
  for (const Mutation& mutation : request.mutations) {
    const auto* remove = std::get_if<Delete>(&mutation);
    if (remove != nullptr && remove->key.table == Table::kGarbage) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("reclaim: a file without names goes, with everything that belongs to it",
          "[meta][reclaim]") {
  TestVolume volume;
  TestObjects objects;
  auto client = volume.open();
  const auto ids = volume.take_objects(3, objects);
  const Ino ino = volume.add_file("f", ids);
  volume.commit({Put{XattrRecord{ino, "user.a", "1"}}});
  volume.unlink("f");
  CHECK(get_attributes(client->ctx, *client->meta, ino).ok());
  const ReclaimResult done = reclaim_rounds({client.get()}, objects, 8);
  // Not from the cache.
  CHECK(get_attributes(client->ctx, *client->meta, ino).error().code() == ESTALE);
  CHECK(done.inodes == 1);
  CHECK(done.objects == 3);
  CHECK(done.pending_inodes == 0);
  CHECK(done.pending_objects == 0);
  CHECK(objects.present.empty());
  for (Table table : {Table::kOrphan, Table::kExtent, Table::kXattr, Table::kGarbage}) {
    CHECK(volume.count(table) == 0);
  }
  require_healthy(*client);
}

TEST_CASE("reclaim: a volume at rest keeps its epoch", "[meta][reclaim]") {
  TestVolume volume;
  TestObjects objects;
  auto client = volume.open();
  const uint64_t epoch = volume.epoch();
  reclaim_rounds({client.get()}, objects, 5);
  CHECK(volume.epoch() == epoch);
}

TEST_CASE("reclaim: a file unlinked by another client stays while open and goes after",
          "[meta][reclaim]") {
  TestVolume volume;
  TestObjects objects;
  auto reclaimer = volume.open();
  auto reader = volume.open();
  const auto ids = volume.take_objects(2, objects);
  const Ino ino = volume.add_file("f", ids);
  reader->meta->note_open(ino);
  volume.unlink("f");
  reclaim_rounds({reclaimer.get(), reader.get()}, objects, 10);
  CHECK(volume.has(orphan_key(ino)));
  CHECK(objects.present.size() == 2);
  CHECK(volume.count(Table::kExtent) == 2);
  reader->meta->note_closed(ino);
  const ReclaimResult done = reclaim_rounds({reclaimer.get(), reader.get()}, objects, 10);
  CHECK(done.inodes == 1);
  CHECK(objects.present.empty());
  require_healthy(*reclaimer);
}

TEST_CASE("reclaim: nothing goes while one live client has not published", "[meta][reclaim]") {
  TestVolume volume;
  TestObjects objects;
  auto reclaimer = volume.open();
  auto slow = volume.open();
  volume.add_file("f", volume.take_objects(1, objects));
  volume.unlink("f");
  const uint64_t epoch = volume.epoch();
  reclaim_rounds({reclaimer.get()}, objects, 10);
  CHECK(objects.present.size() == 1);
  CHECK(volume.count(Table::kOrphan) == 1);
  CHECK(volume.epoch() <= epoch + 1);
  volume.server.advance_ns(61 * kSecond);  // and once it counts as gone, all goes
  reclaimer->clock.advance_ns(61 * kSecond);
  const ReclaimResult done = reclaim_rounds({reclaimer.get()}, objects, 10);
  CHECK(done.stale_sessions == 1);
  CHECK(objects.present.empty());
}

TEST_CASE("reclaim: a guard held by a cold reader keeps what it lists", "[meta][reclaim]") {
  TestVolume volume;
  TestObjects objects;
  auto reclaimer = volume.open();
  auto reader = volume.open();
  reader->beat();
  volume.add_file("f", volume.take_objects(1, objects));
  {
    auto guard = reader->meta->enter_epoch();
    volume.unlink("f");
    reclaim_rounds({reclaimer.get(), reader.get()}, objects, 10);
    CHECK(objects.present.size() == 1);
  }
  reclaim_rounds({reclaimer.get(), reader.get()}, objects, 10);
  CHECK(objects.present.empty());
}

TEST_CASE("reclaim: a removal committed around an advance waits for two publications",
          "[meta][reclaim]") {
  // A reader opens between its heartbeat's look and its publication, the removal and an advance
  // come right behind: whatever the order, the open file's objects stay.
  for (int variant = 0; variant < 3; ++variant) {
    CAPTURE(variant);
    TestVolume volume;
    TestObjects objects;
    auto reclaimer = volume.open();
    auto reader = volume.open();
    const Ino ino = volume.add_file("f", volume.take_objects(1, objects));
    auto open_file = [&] {
      auto guard = reader->meta->enter_epoch();
      REQUIRE(volume.has(entry_key(kRootIno, "f")));
      reader->meta->note_open(ino);
    };
    reader->store->on_commit = [&, variant](const CommitRequest&) -> Status {
      reader->store->on_commit = nullptr;
      if (variant == 1) volume.advance_epoch();
      open_file();
      volume.unlink("f");
      if (variant == 2) volume.advance_epoch();
      return {};
    };
    reader->beat();
    reclaim_rounds({reclaimer.get(), reader.get()}, objects, 10);
    CHECK(volume.has(orphan_key(ino)));
    CHECK(objects.present.size() == 1);
    reader->meta->note_closed(ino);
    reclaim_rounds({reclaimer.get(), reader.get()}, objects, 10);
    CHECK(objects.present.empty());
  }
}

TEST_CASE("reclaim: objects of a clone stay until the last reference goes", "[meta][reclaim]") {
  TestVolume volume;
  TestObjects objects;
  auto client = volume.open();
  const auto ids = volume.take_objects(2, objects);
  volume.add_file("a", ids);
  volume.add_file("b", ids);
  volume.commit({AddObjectReferences{ids[0], 1}, AddObjectReferences{ids[1], 1}});
  require_healthy(*client);
  volume.unlink("a");
  reclaim_rounds({client.get()}, objects, 8);
  CHECK(objects.present.size() == 2);
  require_healthy(*client);
  volume.unlink("b");
  reclaim_rounds({client.get()}, objects, 8);
  CHECK(objects.present.empty());
  require_healthy(*client);
}

TEST_CASE("reclaim: an object another file dropped lately is not deleted at an orphan's old epoch",
          "[meta][reclaim]") {
  TestVolume volume;
  TestObjects objects;
  auto client = volume.open();
  const auto ids = volume.take_objects(1, objects);
  volume.add_file("old", ids);
  const Ino other = volume.add_file("other", ids);
  volume.commit({AddObjectReferences{ids[0], 1}});
  volume.unlink("old");
  client->beat();
  reclaim(*client, objects);
  client->beat();
  reclaim(*client, objects);
  client->beat();  // the orphan may go in the next step
  auto guard = client->meta->enter_epoch();
  volume.commit({Delete{extent_key(other, 0, 1)}, AddObjectReferences{ids[0], -1}});
  const ReclaimResult done = reclaim_rounds({client.get()}, objects, 8);
  CHECK(done.inodes == 1);
  CHECK(objects.present.size() == 1);
}

TEST_CASE("reclaim: two would-be reclaimers, one is elected, and the lease passes on",
          "[meta][reclaim]") {
  TestVolume volume;
  TestObjects objects;
  auto first = volume.open();
  auto second = volume.open();
  CHECK(reclaim(*first, objects).elected);
  CHECK_FALSE(reclaim(*second, objects).elected);
  CHECK(reclaim(*first, objects).elected);
  second->clock.jump_ns(3600 * kSecond);
  CHECK_FALSE(reclaim(*second, objects).elected);
  volume.server.advance_ns(31 * kSecond);
  CHECK(reclaim(*second, objects).elected);
  CHECK_FALSE(reclaim(*first, objects).elected);
  volume.server.jump_ns(-3600 * kSecond);  // the lease's end is absurdly far away now
  CHECK(reclaim(*first, objects).elected);
}

TEST_CASE("reclaim: one that lost its lease while it slept changes nothing more",
          "[meta][reclaim]") {
  TestVolume volume;
  TestObjects objects;
  auto first = volume.open();
  auto second = volume.open();
  volume.add_file("f", volume.take_objects(5, objects));
  volume.unlink("f");
  for (int i = 0; i < 2; ++i) {
    first->beat();
    second->beat();
    reclaim(*first, objects);
  }
  first->beat();
  second->beat();
  int commits = 0;
  first->store->on_commit = [&](const CommitRequest&) -> Status {
    if (++commits != 2) return {};
    volume.server.advance_ns(31 * kSecond);
    CHECK(reclaim(*second, objects).inodes == 1);
    return {};
  };
  const ReclaimResult lost = reclaim(*first, objects);
  CHECK_FALSE(lost.elected);
  CHECK(lost.inodes == 0);
  CHECK(commits == 2);
  first->store->on_commit = nullptr;
  reclaim_rounds({second.get(), first.get()}, objects, 8);
  CHECK(objects.present.empty());
  require_healthy(*second);
}

TEST_CASE("reclaim: a crash after objects were deleted and before their records is made good",
          "[meta][reclaim]") {
  TestVolume volume;
  TestObjects objects;
  auto client = volume.open();
  volume.add_file("f", volume.take_objects(4, objects));
  volume.unlink("f");
  client->store->on_commit = [&](const CommitRequest& request) -> Status {
    if (touches_garbage(request)) return Error(EIO, "crashed");
    return {};
  };
  bool crashed = false;
  for (int i = 0; i < 10 && !crashed; ++i) {
    client->beat();
    crashed = !reclaim_step(client->ctx, *client->meta, objects.remover()).ok();
  }
  REQUIRE(crashed);
  CHECK(objects.present.empty());
  CHECK(volume.count(Table::kGarbage) == 4);
  client->store->on_commit = nullptr;
  CHECK(reclaim_rounds({client.get()}, objects, 1).objects == 4);
  CHECK(volume.count(Table::kGarbage) == 0);
}

TEST_CASE("reclaim: one object that cannot be deleted costs only itself", "[meta][reclaim]") {
  TestVolume volume;
  TestObjects objects;
  auto client = volume.open();
  const auto ids = volume.take_objects(100, objects);
  volume.add_file("f", ids);
  volume.unlink("f");
  objects.undeletable = {ids[37]};
  ReclaimResult done = reclaim_rounds({client.get()}, objects, 8);
  CHECK(done.objects == 99);
  CHECK(done.failed_objects == 1);
  CHECK(done.pending_objects == 1);
  CHECK(objects.present == std::set<ObjectId>{ids[37]});
  objects.undeletable.clear();
  done = reclaim_rounds({client.get()}, objects, 1);
  CHECK(done.objects == 1);
  CHECK(objects.present.empty());
}

TEST_CASE("reclaim: an object store that is down is asked a bounded number of times",
          "[meta][reclaim]") {
  TestVolume volume;
  TestObjects objects;
  auto client = volume.open();
  const auto ids = volume.take_objects(3000, objects);
  volume.add_file("f", ids);
  volume.unlink("f");
  objects.undeletable.insert(ids.begin(), ids.end());
  reclaim_rounds({client.get()}, objects, 4);
  for (int i = 0; i < 4; ++i) {
    objects.calls = 0;
    reclaim_rounds({client.get()}, objects, 1);
    CHECK(objects.calls <= 100);
  }
  CHECK(volume.count(Table::kGarbage) == 3000);
}

TEST_CASE("reclaim: no error of a read is followed by a deletion (gc deleting after a failed scan)",
          "[meta][reclaim]") {
  // Fails the n-th read of the step that would delete, for every n.
  for (int failing = 0;; ++failing) {
    CAPTURE(failing);
    TestVolume volume;
    TestObjects objects;
    auto client = volume.open();
    auto other = volume.open();
    const Ino open = volume.add_file("open", volume.take_objects(1, objects));
    volume.commit({Put{GarbageRecord{volume.epoch(), volume.take_objects(1, objects)[0]}}});
    other->meta->note_open(open);
    volume.unlink("open");
    for (int i = 0; i < 2; ++i) {
      client->beat();
      other->beat();
      reclaim(*client, objects);
    }
    client->beat();
    other->beat();
    int reads = 0, deleted_at = -1;
    client->store->on_read = [&](const ReadRequest&) -> Status {
      if (reads++ == failing) return Error(EIO, "the scan broke");
      return {};
    };
    auto remover = [&](const OpContext&, const std::vector<ObjectId>&) -> Status {
      deleted_at = reads;
      return {};
    };
    auto result = reclaim_step(client->ctx, *client->meta, remover);
    CHECK(volume.has(orphan_key(open)));
    if (reads <= failing) {
      CHECK(result.ok());
      CHECK(deleted_at >= 0);
      CHECK(failing > 5);
      break;
    }
    CHECK_FALSE(result.ok());
    CHECK(deleted_at <= failing);  // only before the error, if at all
  }
}

TEST_CASE("reclaim: a huge file leaves in several commits and a crash in between loses nothing",
          "[meta][reclaim]") {
  TestVolume volume;
  TestObjects objects;
  auto client = volume.open();
  const auto ids = volume.take_objects(5000, objects);
  volume.add_file("huge", ids);
  volume.add_file("kept", volume.take_objects(1, objects));
  volume.unlink("huge");
  for (int i = 0; i < 2; ++i) {
    client->beat();
    reclaim(*client, objects);
  }
  client->beat();
  int commits = 0;
  client->store->on_commit = [&](const CommitRequest&) -> Status {
    if (++commits > 3) return Error(EIO, "crashed");
    return {};
  };
  CHECK_FALSE(reclaim_step(client->ctx, *client->meta, objects.remover()).ok());
  client->store->on_commit = nullptr;
  CHECK(volume.count(Table::kExtent) < 5001);
  CHECK(volume.count(Table::kOrphan) == 1);
  require_healthy(*client);
  const ReclaimResult done = reclaim_rounds({client.get()}, objects, 8);
  CHECK(done.inodes == 1);
  CHECK(done.objects == 5000);
  CHECK(objects.present.size() == 1);
  require_healthy(*client);
}

TEST_CASE("reclaim: a step is bounded and the next one goes on", "[meta][reclaim]") {
  TestVolume volume;
  TestObjects objects;
  auto client = volume.open();
  std::vector<Mutation> orphans;
  constexpr int kPinned = 10'500;
  for (Ino ino = 100; ino < 100 + kPinned; ++ino) {
    orphans.push_back(Put{OrphanRecord{TestVolume::attributes(ino, FileType::kRegular, 0), 0}});
    orphans.push_back(Put{PinRecord{client->id(), ino}});
    client->meta->note_open(ino);
  }
  constexpr Ino kLast = 1'000'000;
  orphans.push_back(Put{OrphanRecord{TestVolume::attributes(kLast, FileType::kRegular, 0), 0}});
  volume.commit(std::move(orphans));
  reclaim_rounds({client.get()}, objects, 8);
  CHECK_FALSE(volume.has(orphan_key(kLast)));
  CHECK(volume.count(Table::kOrphan) == kPinned);
}

TEST_CASE("reclaim: an orphan linked again or written meanwhile is left alone", "[meta][reclaim]") {
  TestVolume volume;
  TestObjects objects;
  auto client = volume.open();
  const Ino linked = volume.add_file("linked", volume.take_objects(1, objects));
  volume.add_file("plain", volume.take_objects(1, objects));
  volume.unlink("linked");
  volume.unlink("plain");
  for (int i = 0; i < 2; ++i) {
    client->beat();
    reclaim(*client, objects);
  }
  client->beat();
  int commits = 0;
  client->store->on_commit = [&](const CommitRequest&) -> Status {
    if (++commits != 2) return {};
    Attributes attr = std::get<OrphanRecord>(*volume.get(orphan_key(linked))).attr;
    attr.nlink = 1;
    attr.version += 1;
    volume.commit(
        {Delete{orphan_key(linked)}, Put{EntryRecord{kRootIno, "again", false, attr.version, attr}},
         AddDirStat{kRootIno, 0, 0, 0, 1}, AddUsage{0, 0, static_cast<int64_t>(attr.length), 1}});
    return {};
  };
  CHECK(reclaim(*client, objects).inodes == 1);
  client->store->on_commit = nullptr;
  reclaim_rounds({client.get()}, objects, 8);
  CHECK(objects.present.size() == 1);
  CHECK(volume.count(Table::kExtent) == 1);
  require_healthy(*client);
}

TEST_CASE("reclaim: extents compacted meanwhile do not lose references twice", "[meta][reclaim]") {
  TestVolume volume;
  TestObjects objects;
  auto client = volume.open();
  const auto ids = volume.take_objects(2, objects);
  const Ino ino = volume.add_file("f", ids);
  volume.add_file("clone", {ids[0]});
  volume.commit({AddObjectReferences{ids[0], 1}});
  volume.unlink("f");
  for (int i = 0; i < 2; ++i) {
    client->beat();
    reclaim(*client, objects);
  }
  client->beat();
  const auto merged = volume.take_objects(1, objects)[0];
  int commits = 0;
  client->store->on_commit = [&](const CommitRequest&) -> Status {
    if (++commits != 2) return {};
    volume.commit({Delete{extent_key(ino, 0, 1)}, Delete{extent_key(ino, 0, 2)},
                   Put{ExtentRecord{ino, 0, 2, {TestVolume::extent(merged, 0, 200)}}},
                   AddObjectReferences{ids[0], -1}, AddObjectReferences{ids[1], -1}});
    return {};
  };
  CHECK(reclaim(*client, objects).inodes == 0);
  client->store->on_commit = nullptr;
  reclaim_rounds({client.get()}, objects, 8);
  CHECK(objects.present == std::set<ObjectId>{ids[0]});
  require_healthy(*client);
}

TEST_CASE("reclaim: the deadline ends a step", "[meta][reclaim]") {
  TestVolume volume;
  TestObjects objects;
  auto client = volume.open();
  volume.add_file("f", volume.take_objects(10, objects));
  volume.unlink("f");
  reclaim_rounds({client.get()}, objects, 4);
  client->ctx.deadline_ns = client->clock.monotonic_ns() + kSecond;
  client->store->on_read = [&](const ReadRequest&) -> Status {
    client->clock.advance_ns(kSecond / 2);
    return {};
  };
  auto late = reclaim_step(client->ctx, *client->meta, objects.remover());
  REQUIRE_FALSE(late.ok());
  CHECK(late.error().code() == ETIMEDOUT);
}

TEST_CASE("reclaim: garbage that is referred to is not deleted", "[meta][reclaim]") {
  TestVolume volume;
  TestObjects objects;
  auto client = volume.open();
  const auto ids = volume.take_objects(1, objects);
  volume.add_file("a", ids);
  volume.add_file("b", ids);
  volume.commit({AddObjectReferences{ids[0], 1}, Put{GarbageRecord{volume.epoch(), ids[0]}}});
  const ReclaimResult done = reclaim_rounds({client.get()}, objects, 8);
  CHECK(done.objects == 0);
  CHECK(objects.present.size() == 1);
}

}  // namespace skerry::meta
