#include "meta/metadata_cache.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <thread>

#include "support/test_volume.h"

namespace skerry::meta {

namespace {

CachedAttributes attributes(Ino ino, uint64_t version, FileType type = FileType::kRegular) {
  CachedAttributes cached;
  cached.attr.ino = ino;
  cached.attr.type = type;
  cached.attr.version = version;
  cached.attr.length = version * 10;
  return cached;
}

struct CacheFixture {
  FakeClock clock;
  FakeRandom random;
  std::shared_ptr<MemoryDatabase> database = std::make_shared<MemoryDatabase>(clock);
  MemoryStore store{database}, other{database};
  OpContext ctx;
  MetadataCache cache{1024, random};
  CachedEntry entry;
  CachedAttributes found;

  CacheFixture() { ctx.clock = &clock; }
  Freshness now() { return {store.generation(), 0}; }
  MetadataCache::Ticket ticket() { return cache.ticket(store.generation()); }
};

}  // namespace

TEST_CASE("metadata cache: what was inserted is found until another client commits",
          "[meta][cache]") {
  CacheFixture f;
  const auto ticket = f.ticket();
  f.cache.insert_entry(ticket, 1, "name", {7, true, 5});
  f.cache.insert_entry(ticket, 1, "absent", {});
  f.cache.insert_attributes(ticket, attributes(7, 3));
  REQUIRE(f.cache.find_entry(1, "name", f.now(), &f.entry));
  CHECK(f.entry.ino == 7);
  CHECK(f.entry.linked);
  CHECK(f.entry.version == 5);
  REQUIRE(f.cache.find_entry(1, "absent", f.now(), &f.entry));
  CHECK(f.entry.ino == 0);
  CHECK_FALSE(f.cache.find_entry(2, "name", f.now(), &f.entry));
  CHECK_FALSE(f.cache.find_entry(1, "name2", f.now(), &f.entry));
  REQUIRE(f.cache.find_attributes(7, f.now(), true, &f.found));
  CHECK(f.found.attr == attributes(7, 3).attr);
  CommitRequest request;
  request.mutations.push_back(AddNumber{"x", 1});
  REQUIRE(f.other.commit(f.ctx, request).ok());
  CHECK_FALSE(f.cache.find_entry(1, "name", f.now(), &f.entry));
  CHECK_FALSE(f.cache.find_attributes(7, f.now(), true, &f.found));
}

TEST_CASE("metadata cache: a read overtaken by an own commit is not kept", "[meta][cache]") {
  CacheFixture f;
  const auto reader = f.ticket();  // reads the older record now
  const auto writer = f.ticket();
  f.cache.publish_entry(writer, 1, "a", {8, false, 1});
  f.cache.publish_attributes(writer, attributes(8, 2));
  f.cache.insert_entry(reader, 1, "a", {});
  f.cache.insert_attributes(reader, attributes(8, 1));
  REQUIRE(f.cache.find_entry(1, "a", f.now(), &f.entry));
  CHECK(f.entry.ino == 8);
  REQUIRE(f.cache.find_attributes(8, f.now(), true, &f.found));
  CHECK(f.found.attr.version == 2);
  // Two commits, told in the wrong order: neither is trusted.
  const auto first = f.ticket(), second = f.ticket();
  f.cache.publish_attributes(second, attributes(8, 4));
  f.cache.publish_attributes(first, attributes(8, 3));
  CHECK_FALSE(f.cache.find_attributes(8, f.now(), true, &f.found));
  f.cache.insert_attributes(reader, attributes(8, 1));
  CHECK_FALSE(f.cache.find_attributes(8, f.now(), true, &f.found));
}

TEST_CASE("metadata cache: a touched directory serves walks but not stat", "[meta][cache]") {
  CacheFixture f;
  const auto before = f.ticket();
  f.cache.insert_attributes(before, attributes(9, 1, FileType::kDirectory));
  f.cache.touch_directory(9);
  CHECK(f.cache.find_attributes(9, f.now(), false, &f.found));
  CHECK_FALSE(f.cache.find_attributes(9, f.now(), true, &f.found));
  f.cache.insert_attributes(before, attributes(9, 1, FileType::kDirectory));
  CHECK_FALSE(f.cache.find_attributes(9, f.now(), true, &f.found));
  f.cache.insert_attributes(f.ticket(), attributes(9, 1, FileType::kDirectory));
  CHECK(f.cache.find_attributes(9, f.now(), true, &f.found));
}

TEST_CASE("metadata cache: a write updates what it followed on", "[meta][cache]") {
  CacheFixture f;
  f.cache.insert_attributes(f.ticket(), attributes(9, 1));
  f.cache.update_attributes(9, 2, [](Attributes* a) { a->length = 99; });
  REQUIRE(f.cache.find_attributes(9, f.now(), true, &f.found));
  CHECK(f.found.attr.length == 99);
  CHECK(f.found.attr.version == 2);
  f.cache.update_attributes(9, 4, [](Attributes* a) { a->length = 100; });
  CHECK_FALSE(f.cache.find_attributes(9, f.now(), true, &f.found));
}

TEST_CASE("metadata cache: bounded, and keeps what is used", "[meta][cache]") {
  CacheFixture f;
  const auto ticket = f.ticket();
  for (Ino ino = 2; ino < 20000; ++ino) {
    f.cache.insert_attributes(ticket, attributes(ino, 1));
    f.cache.find_attributes(2, f.now(), true, &f.found);
    f.cache.find_attributes(3, f.now(), true, &f.found);
  }
  size_t kept = 0;
  for (Ino ino = 2; ino < 20000; ++ino)
    kept += f.cache.find_attributes(ino, f.now(), true, &f.found);
  CHECK(kept <= 1024);
  CHECK(kept > 900);
  CHECK(f.cache.find_attributes(2, f.now(), true, &f.found));
  CHECK(f.cache.find_attributes(3, f.now(), true, &f.found));
  f.cache.clear();
  CHECK_FALSE(f.cache.find_attributes(2, f.now(), true, &f.found));
}

TEST_CASE("metadata cache: readers never see a half-written slot", "[meta][cache]") {
  CacheFixture f;
  std::atomic<bool> stop{false};
  std::atomic<int> torn{0};
  std::thread writer([&] {
    for (uint64_t i = 1; i < 20000; ++i) {
      const Ino ino = 2 + i % 8;
      f.cache.publish_attributes(f.ticket(), attributes(ino, i));
      f.cache.publish_entry(f.ticket(), 1, "name", {i, (i & 1) != 0, i});
    }
    stop = true;
  });
  std::thread reader([&] {
    CachedAttributes found;
    CachedEntry entry;
    while (!stop) {
      for (Ino ino = 2; ino < 10; ++ino) {
        if (!f.cache.find_attributes(ino, f.now(), true, &found)) continue;
        if (found.attr.ino != ino || found.attr.length != found.attr.version * 10) ++torn;
      }
      if (f.cache.find_entry(1, "name", f.now(), &entry)) {
        if (entry.ino != entry.version || entry.linked != ((entry.ino & 1) != 0)) ++torn;
      }
    }
  });
  writer.join();
  reader.join();
  CHECK(torn == 0);
}

}  // namespace skerry::meta
