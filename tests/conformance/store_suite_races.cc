// Many threads and clients at once.

#include <atomic>
#include <thread>

#include "conformance/store_fixture.h"

namespace skerry::meta {

namespace {

constexpr int kThreads = 8;

void in_threads(const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back(body, i);
  for (auto& thread : threads) thread.join();
}

}  // namespace

STORE_TEST("racing creators: one wins each name, counters are exact", "") {
  StoreUser a(world), b(world);
  a.apply({Put{DirStatRecord{5, 0, 0, 0, 0}}});
  constexpr int kNames = 60;
  std::atomic<int> winners{0}, failures{0};
  in_threads([&](int thread) {
    StoreUser& user = thread % 2 == 0 ? a : b;
    for (int i = 0; i < kNames; ++i) {
      const Ino ino = 1000 + static_cast<Ino>(i * kThreads + thread);
      const std::string name = "n" + std::to_string(i);
      auto result = user.commit({ExpectAbsent{entry_key(5, name)}},
                                {Put{file_entry(5, name, ino)}, AddDirStat{5, 0, i, 0, 1},
                                 AddUsage{0, 1, 10, 1}, AddNumber{"made", 1}},
                                i % 20 == 0 ? Durability::kDurable : Durability::kVisible);
      if (result.applied) {
        ++winners;
      } else if (result.failed_expectation != 0) {
        ++failures;
      }
    }
  });
  CHECK(winners == kNames);
  CHECK(failures == 0);
  CHECK(a.range({Table::kEntry, 1, 5}).records.size() == kNames);
  CHECK(a.at<DirStatRecord>(dirstat_key(5, 0)).entries == kNames);
  CHECK(b.at<UsageRecord>(usage_key(0, 1)).inodes == kNames);
  CHECK(b.at<VolumeRecord>(volume_key("made")).number == kNames);
}

STORE_TEST("create and rmdir exclude each other", "") {
  StoreUser a(world), b(world);
  for (Ino dir = 100; dir < 120; ++dir) {
    a.apply({Put{DirStatRecord{dir, 0, 0, 0, 0}}});
    std::atomic<int> created{0}, removed{0};
    in_threads([&](int thread) {
      StoreUser& user = thread % 2 == 0 ? a : b;
      if (thread < 2) {
        if (user.commit({ExpectEmpty{Table::kEntry, dir}, ExpectExists{dirstat_key(dir, 0)}},
                        {DeleteRange{Table::kDirStat, dir}})
                .applied) {
          ++removed;
        }
      } else {
        const std::string name = std::to_string(thread);
        if (user.commit({ExpectAbsent{entry_key(dir, name)}},
                        {Put{file_entry(dir, name, dir * 100 + static_cast<Ino>(thread))},
                         AddDirStat{dir, 0, 1, 0, 1}})
                .applied) {
          ++created;
        }
      }
    });
    CHECK(removed <= 1);
    CHECK((removed == 1) == (created == 0));
    CHECK(a.range({Table::kEntry, 1, dir}).records.size() == static_cast<size_t>(created));
  }
}

STORE_TEST("no write skew: of two commits that exclude each other one is applied", "") {
  StoreUser a(world), b(world);
  auto both = [&](std::vector<Expectation> first, std::vector<Mutation> first_does,
                  std::vector<Expectation> second, std::vector<Mutation> second_does) {
    std::atomic<int> ready{0};
    bool applied[2] = {};
    auto run = [&](int which) {
      ++ready;
      while (ready < 2) std::this_thread::yield();
      applied[which] =
          which == 0 ? a.commit(first, first_does).applied : b.commit(second, second_does).applied;
    };
    std::thread other(run, 1);
    run(0);
    other.join();
    return applied[0] + applied[1];
  };
  for (Ino i = 100; i < 130; ++i) {
    CAPTURE(i);
    const std::string x = "x" + std::to_string(i), y = "y" + std::to_string(i);
    // Each expects absent what the other puts.
    CHECK(both({ExpectAbsent{entry_key(1, x)}}, {Put{file_entry(1, y, i * 10)}},
               {ExpectAbsent{entry_key(1, y)}}, {Put{file_entry(1, x, i * 10 + 1)}}) == 1);
    // Each expects the version that the other changes.
    a.apply({Put{file_entry(2, x, i * 10 + 2)}, Put{file_entry(2, y, i * 10 + 3)}});
    CHECK(both({ExpectVersion{entry_key(2, x), 1, i * 10 + 2}}, {Patch{i * 10 + 3}},
               {ExpectAttributes{i * 10 + 3, 1}}, {Patch{i * 10 + 2}}) == 1);
    // Each expects there what the other removes.
    a.apply({Put{SymlinkRecord{i, "t"}}, Put{SymlinkRecord{i + 1000, "t"}}});
    CHECK(both({ExpectExists{symlink_key(i)}}, {Delete{symlink_key(i + 1000)}},
               {ExpectExists{symlink_key(i + 1000)}}, {Delete{symlink_key(i)}}) == 1);
    // Each expects empty what the other adds to.
    CHECK(both({ExpectEmpty{Table::kPin, i}}, {Put{PinRecord{i + 1000, 1}}},
               {ExpectEmpty{Table::kPin, i + 1000}}, {Put{PinRecord{i, 1}}}) == 1);
    // No extents, and data written in the other's way.
    a.apply({Put{file_entry(3, x, i * 10 + 4)}});
    WriteData write;
    write.ino = i * 10 + 4;
    write.length = 1;
    write.pieces = {Extent{0, 1, 5, 0, 1}};
    CHECK(both({ExpectEmpty{Table::kExtent, write.ino}, ExpectAbsent{inline_key(write.ino)}},
               {Put{InlineRecord{write.ino, 1, "i"}}}, {ExpectAbsent{inline_key(write.ino)}},
               {write}) == 1);
    const bool is_inline = a.get(inline_key(write.ino)).has_value();
    const bool has_extents = !a.range({Table::kExtent, 1, write.ino}).records.empty();
    CHECK(is_inline != has_extents);
  }
}

STORE_TEST("appends never overlap", "") {
  StoreUser a(world), b(world);
  a.apply({Put{file_entry(1, "log", 10)}});
  in_threads([&](int thread) {
    StoreUser& user = thread % 2 == 0 ? a : b;
    for (int i = 0; i < 20; ++i) {
      WriteData write;
      write.ino = 10;
      write.append = true;
      write.length = 7;
      write.pieces = {Extent{0, 7, static_cast<ObjectId>(1 + thread * 20 + i), 0, 7, 0, 0}};
      user.commit({}, {write});
    }
  });
  RangePage page = a.range({Table::kExtent, 2, 10, 0});
  REQUIRE(page.records.size() == kThreads * 20);
  for (size_t i = 0; i < page.records.size(); ++i) {
    CHECK(std::get<ExtentRecord>(page.records[i]).extents[0].chunk_offset == 7 * i);
  }
}

STORE_TEST("a read is one snapshot", "") {
  StoreUser a(world), b(world);
  a.apply({AddNumber{"x", 1}, AddNumber{"y", 1}});
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    while (!stop) b.commit({}, {AddNumber{"x", 1}, AddNumber{"y", 1}});
  });
  for (int i = 0; i < 300; ++i) {
    ReadResult result = a.read({{volume_key("x"), volume_key("y")}, {{Table::kVolume, 0}}, {}});
    const uint64_t x = std::get<VolumeRecord>(*result.records[0]).number;
    CHECK(std::get<VolumeRecord>(*result.records[1]).number == x);
    CHECK(std::get<VolumeRecord>(result.pages[0].records[0]).number == x);
  }
  stop = true;
  writer.join();
}

STORE_TEST("generation is bumped before another's commit returns", "") {
  if (!world.knows_generation()) return;
  StoreUser a(world), b(world);
  a.apply({AddNumber{"x", 1}});
  std::atomic<bool> stop{false};
  // Commits of its own must not hide those of the other.
  std::thread own([&] {
    while (!stop) a.commit({}, {AddNumber{"mine", 1}});
  });
  for (int i = 0; i < 200; ++i) {
    const uint64_t before = a.store->generation();
    b.commit({}, {AddNumber{"x", 1}});
    CHECK(a.store->generation() != before);
  }
  stop = true;
  own.join();
  const uint64_t settled = a.store->generation();
  a.commit({}, {AddNumber{"mine", 1}});
  CHECK(a.store->generation() == settled);
}

STORE_TEST("own commits of many threads leave the generation alone", "") {
  if (!world.knows_generation()) return;
  StoreUser a(world);
  a.apply({AddNumber{"x", 1}});
  const uint64_t before = a.store->generation();
  std::atomic<int> changes{0};
  in_threads([&](int thread) {
    for (int i = 0; i < 50; ++i) {
      if (thread % 2 == 0) a.commit({}, {AddNumber{"x", 1}});
      if (a.store->generation() != before) ++changes;
    }
  });
  CHECK(changes == 0);
}

STORE_TEST("a commit of another client ends the wait for one", "") {
  StoreUser a(world), b(world);
  const uint64_t seen = a.store->generation();
  Status waited;
  std::thread waiter([&] {
    // Far more than the test may take: only a change ends it.
    while (waited.ok() && a.store->generation() == seen) {
      waited = a.store->wait_for_change(world.ctx, seen, 600'000'000'000);
    }
  });
  b.apply({Put{SymlinkRecord{1, "x"}}});
  waiter.join();
  CHECK(waited.ok());
  CHECK(a.store->generation() != seen);
  // What has changed already is not waited for.
  CHECK(a.store->wait_for_change(world.ctx, seen, 60'000'000'000).ok());
}

STORE_TEST("the wait for a commit ends with its time, its deadline and its flag", "") {
  if (!world.knows_generation()) return;
  StoreUser a(world);
  const uint64_t seen = a.store->generation();
  CHECK(a.store->wait_for_change(world.ctx, seen, 1'000'000).ok());
  OpContext ctx = world.ctx;
  ctx.deadline_ns = world.clock.monotonic_ns() + 5'000'000;
  Status late = a.store->wait_for_change(ctx, seen, 60'000'000'000);
  REQUIRE_FALSE(late.ok());
  CHECK(late.error().code() == ETIMEDOUT);
  ctx = world.ctx;
  CancelToken token;
  ctx.cancel = &token;
  std::thread canceller([&] { token.cancel(); });
  Status cancelled = a.store->wait_for_change(ctx, seen, 60'000'000'000);
  canceller.join();
  REQUIRE_FALSE(cancelled.ok());
  CHECK(cancelled.error().code() == ECANCELED);
  CHECK(a.store->generation() == seen);
}

}  // namespace skerry::meta
