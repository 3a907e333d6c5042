#include "support/test_volume.h"

namespace skerry::meta {

namespace {

std::set<ObjectId> named(TestClient& client, ObjectId first = 0, ObjectId last = INT64_MAX) {
  std::set<ObjectId> ids;
  auto visit = [&](ObjectId id) { ids.insert(id); };
  REQUIRE(for_each_object(client.ctx, *client.meta, first, last, visit).ok());
  return ids;
}

ObjectId floor_of(TestClient& client) {
  auto floor = uncommitted_floor(client.ctx, *client.meta);
  REQUIRE(floor.ok());
  return *floor;
}

}  // namespace

TEST_CASE("gc: names objects of extents, of orphans and of garbage, and no others", "[meta][gc]") {
  TestVolume volume;
  TestObjects objects;
  auto client = volume.open();
  const auto ids = volume.take_objects(5, objects);
  const Ino ino = volume.add_file("live", {ids[0]});
  volume.add_file("orphan", {ids[1]});
  volume.unlink("orphan");
  volume.commit({Put{GarbageRecord{kCurrentEpoch, ids[2]}},
                 Put{ExtentRecord{ino, 3, 1, {TestVolume::extent(0, 0, 50)}}}});
  CHECK(named(*client) == std::set<ObjectId>{ids[0], ids[1], ids[2]});
  CHECK(named(*client, ids[1], ids[1]) == std::set<ObjectId>{ids[1]});
  CHECK(named(*client, ids[3], ids[4]).empty());
}

TEST_CASE("gc: any read that fails aborts the scan (gc deleting after a failed scan)",
          "[meta][gc]") {
  TestVolume volume;
  TestObjects objects;
  auto client = volume.open();
  volume.add_file("f", volume.take_objects(3000, objects));
  int failing = 0;
  for (;; ++failing) {
    int reads = 0;
    client->store->on_read = [&](const ReadRequest&) -> Status {
      if (reads++ == failing) return Error(EIO, "the scan broke");
      return {};
    };
    auto floor = uncommitted_floor(client->ctx, *client->meta);
    Status scan;
    if (floor.ok()) {
      scan = for_each_object(client->ctx, *client->meta, 0, *floor, [](ObjectId) {});
    }
    if (reads <= failing) {
      CHECK(floor.ok());
      CHECK(scan.ok());
      break;
    }
    CHECK((!floor.ok() || !scan.ok()));
  }
  CHECK(failing >= 7);  // two for the floor, three pages of extents, objects, garbage
}

TEST_CASE("gc: an object that is shared or turns to garbage behind the scan is still named",
          "[meta][gc]") {
  TestVolume volume;
  TestObjects objects;
  auto client = volume.open();
  const Ino early = volume.add_file("early", {});
  const auto fill = volume.take_objects(1500, objects);
  volume.add_file("fill", fill);
  const auto ids = volume.take_objects(2, objects);
  const Ino late = volume.add_file("late", ids);
  int reads = 0;
  client->store->on_read = [&](const ReadRequest&) -> Status {
    if (++reads != 2) return {};  // the first page is past `early`
    volume.commit({Put{ExtentRecord{early, 0, 1, {TestVolume::extent(ids[0], 0, 100)}}},
                   AddObjectReferences{ids[0], 1}, Delete{extent_key(late, 0, 2)},
                   AddObjectReferences{ids[1], -1}});
    return {};
  };
  const auto all = named(*client);
  CHECK(all.contains(ids[0]));
  CHECK(all.contains(ids[1]));
}

TEST_CASE("gc: the floor is the oldest session's first object", "[meta][gc]") {
  TestVolume volume;
  TestObjects objects;
  auto old = volume.open();
  const ObjectId start = floor_of(*old);
  volume.take_objects(100, objects);
  auto young = volume.open();
  CHECK(floor_of(*young) == start);
  volume.commit({Delete{client_key(old->id())}});
  CHECK(floor_of(*young) == start + 100);
}

TEST_CASE("gc: a client that registers while the floor is read uploads above it", "[meta][gc]") {
  TestVolume volume;
  TestObjects objects;
  auto client = volume.open();
  volume.commit({Delete{client_key(client->id())}});  // nobody bounds the floor
  std::unique_ptr<TestClient> other;
  int reads = 0;
  SECTION("before the first read") {
    client->store->on_read = [&](const ReadRequest&) -> Status {
      if (++reads == 1) other = volume.open();
      return {};
    };
  }
  SECTION("between the counter and the clients") {
    client->store->on_read = [&](const ReadRequest&) -> Status {
      if (++reads == 2) other = volume.open();
      return {};
    };
  }
  const ObjectId floor = floor_of(*client);
  REQUIRE(other != nullptr);
  auto id = other->meta->next_object(other->ctx);
  REQUIRE(id.ok());
  CHECK(*id >= floor);
}

namespace {

uint64_t repaired(TestClient& client) {
  auto mended = repair_references(client.ctx, *client.meta, floor_of(client));
  REQUIRE(mended.ok());
  return *mended;
}

}  // namespace

TEST_CASE("gc: references that no extent holds are taken back", "[meta][gc]") {
  TestVolume volume;
  TestObjects objects;
  const auto ids = volume.take_objects(6, objects);
  volume.add_file("packed", {ids[0], ids[0], ids[1]});
  volume.add_file("packed too", {ids[0]});
  volume.add_file("alone", {ids[2]});
  volume.commit({AddObjectReferences{ids[0], 4},    // three of them nobody's: 5, held 3
                 AddObjectReferences{ids[1], 1},    // 2, held 1
                 AddObjectReferences{ids[3], 2}});  // 3, held by none
  auto client = volume.open();
  auto other = volume.open();
  const auto above = volume.take_objects(1, objects);
  volume.commit({AddObjectReferences{above[0], 2}});  // of a client that is about to commit
  CHECK(repaired(*client) == 3);
  CHECK(std::get<ObjectRecord>(*volume.get(object_key(ids[0]))).references == 3);
  CHECK_FALSE(volume.has(object_key(ids[1])));
  CHECK_FALSE(volume.has(object_key(ids[3])));
  CHECK(volume.has(object_key(above[0])));
  CHECK(repaired(*other) == 0);
  reclaim_rounds({client.get(), other.get()}, objects, 6);
  CHECK_FALSE(objects.present.contains(ids[3]));
  for (size_t live : {0, 1, 2}) CHECK(objects.present.contains(ids[live]));
  volume.commit({Delete{object_key(above[0])}});
  require_healthy(*client);
}

TEST_CASE("gc: references that move while they are counted are left alone", "[meta][gc]") {
  TestVolume volume;
  TestObjects objects;
  const auto ids = volume.take_objects(2, objects);
  const Ino older = volume.add_file("older", {});
  volume.add_file("source", {ids[0]});
  volume.commit({AddObjectReferences{ids[0], 1}});  // one too many
  auto client = volume.open();
  bool once = true;
  auto clone = [&] {
    volume.commit({Put{ExtentRecord{older, 0, 1, {TestVolume::extent(ids[0], 0, 100)}}},
                   AddObjectReferences{ids[0], 1}});
  };
  SECTION("a clone to where the count has been") {
    client->store->on_commit = [&](const CommitRequest&) -> Status {
      if (std::exchange(once, false)) clone();
      return {};
    };
    CHECK(repaired(*client) == 0);
    CHECK(repaired(*client) == 1);
    CHECK(std::get<ObjectRecord>(*volume.get(object_key(ids[0]))).references == 2);
  }
  SECTION("a clone, and its source removed: the count is what it was") {
    client->store->on_commit = [&](const CommitRequest&) -> Status {
      if (!std::exchange(once, false)) return {};
      clone();
      const auto now = std::get<ObjectRecord>(*volume.get(object_key(ids[0])));
      volume.commit({AddObjectReferences{ids[0], -1}});
      const auto then = std::get<ObjectRecord>(*volume.get(object_key(ids[0])));
      CHECK(then.references + 1 == now.references);
      CHECK(then.version > now.version);
      return {};
    };
    CHECK(repaired(*client) == 0);
  }
  SECTION("another client repairs meanwhile") {
    auto other = volume.open();
    client->store->on_commit = [&](const CommitRequest&) -> Status {
      client->store->on_commit = nullptr;
      CHECK(repaired(*other) == 1);
      return {};
    };
    CHECK(repaired(*client) == 0);
    CHECK_FALSE(volume.has(object_key(ids[0])));  // one reference, not none
  }
}

TEST_CASE("gc: an error while references are counted takes none back", "[meta][gc]") {
  TestVolume volume;
  TestObjects objects;
  const auto ids = volume.take_objects(1, objects);
  volume.add_file("f", {ids[0]});
  volume.commit({AddObjectReferences{ids[0], 1}});
  auto client = volume.open();
  const ObjectId floor = floor_of(*client);
  for (int failing = 0;; ++failing) {
    int reads = 0;
    client->store->on_read = [&](const ReadRequest&) -> Status {
      if (reads++ == failing) return Error(EIO, "the scan broke");
      return {};
    };
    auto mended = repair_references(client->ctx, *client->meta, floor);
    if (mended.ok()) {
      CHECK(failing > 1);
      CHECK(*mended == 1);
      break;
    }
    CHECK(std::get<ObjectRecord>(*volume.get(object_key(ids[0]))).references == 2);
  }
  client->store->on_read = nullptr;
  require_healthy(*client);
}

}  // namespace skerry::meta
