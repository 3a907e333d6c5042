// What clients do to each other at the same time. Each case is a pain that a design can rule out.
#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <thread>
#include <utility>

#include "ops_fixture.h"

namespace skerry::meta {

using enum FileType;

namespace {

constexpr int kThreads = 8;

/// Runs `work(thread, meta)` on eight threads, half of them with another client.
template <typename Work>
void race(OpsFixture& f, TestClient& other, Work work) {
  std::atomic<int> waiting{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      waiting.fetch_add(1);
      while (waiting.load() < kThreads) std::this_thread::yield();
      work(t, t % 2 == 0 ? f.meta : *other.meta);
    });
  }
  for (auto& thread : threads) thread.join();
}

/// Counts commits that met a conflict, and lets something happen just before one.
class ObservedStore final : public Store {
 public:
  explicit ObservedStore(std::shared_ptr<MemoryDatabase> database) : store_(std::move(database)) {}
  std::atomic<int> conflicts{0};
  std::function<void()> before_next_commit;  // called once; may commit by another store

  std::string describe() const override { return store_.describe(); }
  StoreCapabilities capabilities() const override { return store_.capabilities(); }
  Result<ReadResult> read(const OpContext& ctx, const ReadRequest& request) override {
    return store_.read(ctx, request);
  }
  Result<CommitResult> commit(const OpContext& ctx, CommitRequest request) override {
    if (auto happening = std::exchange(before_next_commit, nullptr)) happening();
    auto result = store_.commit(ctx, std::move(request));
    if (result.ok() && !result->applied) ++conflicts;
    return result;
  }
  Status sync(const OpContext& ctx) override { return store_.sync(ctx); }
  uint64_t generation() noexcept override { return store_.generation(); }

 private:
  MemoryStore store_;
};

}  // namespace

TEST_CASE("exclusive create, mkdir and link have one winner each", "[meta][race]") {
  OpsFixture f;
  auto other = f.volume.open();
  const Ino file = f.file(kRootIno, "file");
  std::atomic<int> wins{0}, failures{0};
  race(f, *other, [&](int, Meta& meta) {
    for (int i = 0; i < 100; ++i) {
      const std::string name = "n" + std::to_string(i);
      int result;
      if (i % 3 == 0) {
        result = code(link(f.root, meta, file, kRootIno, name));
      } else {
        CreateArgs args;
        args.type = i % 3 == 1 ? kRegular : kDirectory;
        result = code(create(f.root, meta, kRootIno, name, args));
      }
      if (result == 0) ++wins;
      if (result != 0 && result != EEXIST) ++failures;
    }
  });
  CHECK(wins == 100);
  CHECK(failures == 0);
  f.require_consistent();
}

TEST_CASE("stale inode after delete and recreate", "[meta][race][pain-5]") {
  OpsFixture f;
  auto other = f.volume.open();
  const Ino first = f.file(kRootIno, "a");
  REQUIRE(lookup(other->ctx, *other->meta, kRootIno, "a")->ino == first);
  REQUIRE(code(unlink(f.root, f.meta, kRootIno, "a")) == 0);
  CHECK(code(lookup(other->ctx, *other->meta, kRootIno, "a")) == ENOENT);
  const Ino second = f.file(kRootIno, "a");
  CHECK(second != first);
  CHECK(lookup(other->ctx, *other->meta, kRootIno, "a")->ino == second);
  CHECK(get_attributes(other->ctx, *other->meta, first)->nlink == 0);
  std::atomic<int> wrong{0};
  race(f, *other, [&](int t, Meta& meta) {
    const std::string name = "x" + std::to_string(t / 4);
    Ino last = 0;
    for (int i = 0; i < 200; ++i) {
      if (t % 4 == 0) {
        auto made = create(f.root, meta, kRootIno, name, CreateArgs{});
        if (!made.ok()) ++wrong;
        // This client's own change is seen by it at once.
        auto found = lookup(f.root, meta, kRootIno, name);
        if (!found.ok() || found->ino != made->attr.ino) ++wrong;
        if (!unlink(f.root, meta, kRootIno, name).ok()) ++wrong;
        if (code(lookup(f.root, meta, kRootIno, name)) != ENOENT) ++wrong;
      } else {
        // Inode numbers only grow: an older one after a newer one would be a stale answer.
        auto found = lookup(f.root, meta, kRootIno, name);
        if (found.ok()) {
          if (found->ino < last) ++wrong;
          last = found->ino;
        }
      }
    }
  });
  CHECK(wrong == 0);
  f.require_consistent();
}

TEST_CASE("create never lands in a removed directory", "[meta][race][pain-6]") {
  OpsFixture f;
  auto other = f.volume.open();
  std::atomic<int> lost{0};
  race(f, *other, [&](int t, Meta& meta) {
    for (int i = 0; i < 150; ++i) {
      CreateArgs args;
      args.type = kDirectory;
      (void)create(f.root, meta, kRootIno, "d", args);
      auto dir = lookup(f.root, meta, kRootIno, "d");
      if (!dir.ok()) continue;
      if (t % 2 == 0) {
        (void)rmdir(f.root, meta, kRootIno, "d");
        continue;
      }
      const std::string name = "f" + std::to_string(t);
      auto made = create(f.root, meta, dir->ino, name, CreateArgs{});
      if (!made.ok()) continue;
      // As long as the file is there the directory is, too.
      if (code(parent_of(f.root, meta, dir->ino)) != 0) ++lost;
      if (code(unlink(f.root, meta, dir->ino, name)) != 0) ++lost;
    }
  });
  CHECK(lost == 0);
  f.require_consistent();
}

TEST_CASE("concurrent appends never overlap", "[meta][race][pain-7]") {
  OpsFixture f;
  auto other = f.volume.open();
  const Ino file = f.file(kRootIno, "log");
  std::mutex mutex;
  std::map<uint64_t, uint64_t> written;  // position -> length
  race(f, *other, [&](int t, Meta& meta) {
    for (int i = 0; i < 100; ++i) {
      DataWrite write;
      write.ino = file;
      write.append = true;
      write.length = static_cast<uint64_t>(t + i % 7 + 1);
      write.pieces = {TestVolume::extent(*meta.next_object(f.root), 0, write.length)};
      auto done = write_data(f.root, meta, {write}, Durability::kVisible);
      if (!done.ok() || !done->at(0).ok()) continue;
      std::lock_guard lock(mutex);
      written.emplace(done->at(0)->length_before, write.length);
    }
  });
  CHECK(written.size() == kThreads * 100);
  uint64_t end = 0;
  for (const auto& [position, length] : written) {
    REQUIRE(position == end);
    end += length;
  }
  CHECK(f.stat(file).length == end);
  f.require_consistent();
}

TEST_CASE("creating in one hot directory meets no conflict", "[meta][race][pain-9]") {
  OpsFixture f;
  const Ino dir = f.mkdir(kRootIno, "hot");
  std::vector<std::unique_ptr<TestClient>> clients;
  std::vector<std::shared_ptr<ObservedStore>> stores;
  std::vector<std::unique_ptr<Meta>> metas;
  for (int c = 0; c < 2; ++c) {
    clients.push_back(std::make_unique<TestClient>(f.volume.database, 50 + c));
    stores.push_back(std::make_shared<ObservedStore>(f.volume.database));
    auto meta =
        Meta::open(f.root, stores[c], f.volume.format, {}, clients[c]->clock, clients[c]->random);
    REQUIRE(code(meta) == 0);
    metas.push_back(std::move(meta).value());
  }
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        const std::string name = std::to_string(t) + "-" + std::to_string(i);
        auto made = create(f.root, *metas[t % 2], dir, name, CreateArgs{});
        if (!made.ok()) ++failures;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(failures == 0);
  CHECK(stores[0]->conflicts == 0);
  CHECK(stores[1]->conflicts == 0);
  f.require_consistent();
}

TEST_CASE("remove_tree: a directory takes the name of the file that was seen", "[meta][race]") {
  OpsFixture f;
  auto other = f.volume.open();
  f.file(kRootIno, "name");
  const Ino dir = f.mkdir(kRootIno, "dir");
  f.file(dir, "child");
  TestClient client(f.volume.database, 77);
  auto store = std::make_shared<ObservedStore>(f.volume.database);
  auto meta = Meta::open(f.root, store, f.volume.format, {}, client.clock, client.random);
  REQUIRE(code(meta) == 0);
  store->before_next_commit = [&] {
    REQUIRE(code(rename(f.root, *other->meta, kRootIno, "dir", kRootIno, "name",
                        kRenameExchange)) == 0);
  };
  CHECK(code(remove_tree(f.root, **meta, kRootIno, "name", {})) == 0);
  CHECK(code(lookup(f.root, f.meta, kRootIno, "name")) == ENOENT);
  CHECK(lookup(f.root, f.meta, kRootIno, "dir")->type == kRegular);
  f.require_consistent();
}

TEST_CASE("renames of directories never detach a subtree", "[meta][race]") {
  OpsFixture f;
  auto other = f.volume.open();
  const std::vector<std::string> names = {"a", "b", "c", "d"};
  std::vector<Ino> dirs;
  for (const auto& name : names) dirs.push_back(f.mkdir(kRootIno, name));
  std::atomic<int> unexpected{0}, moved{0};
  race(f, *other, [&](int t, Meta& meta) {
    for (int i = 0; i < 150; ++i) {
      const size_t what = static_cast<size_t>(t + i) % 4,
                   where = static_cast<size_t>(t + i * 3 + 1) % 5;
      auto from = parent_of(f.root, meta, dirs[what]);
      if (!from.ok()) {
        ++unexpected;
        continue;
      }
      const Ino to = where == 4 ? kRootIno : dirs[where];
      const unsigned flags = i % 11 == 0 ? kRenameExchange : 0;
      const std::string& target = flags != 0 ? names[(what + 1) % 4] : names[what];
      const int result = code(rename(f.root, meta, *from, names[what], to, target, flags));
      if (result == 0) ++moved;
      if (result != 0 && result != EINVAL && result != ENOENT && result != ENOTEMPTY) ++unexpected;
    }
  });
  CHECK(unexpected == 0);
  CHECK(moved > 0);
  f.require_consistent();  // finds what does not lead to the root
}

TEST_CASE("one namespace of all operations stays consistent", "[meta][race]") {
  OpsFixture f;
  auto other = f.volume.open();
  std::vector<Ino> dirs = {kRootIno, f.mkdir(kRootIno, "d0"), f.mkdir(kRootIno, "d1")};
  std::atomic<int> unexpected{0};
  race(f, *other, [&](int t, Meta& meta) {
    FakeRandom random(static_cast<uint64_t>(t) + 1);
    for (int i = 0; i < 300; ++i) {
      const Ino dir = dirs[random.next() % 3], to = dirs[random.next() % 3];
      const std::string a(1, static_cast<char>('p' + random.next() % 4));
      const std::string b(1, static_cast<char>('p' + random.next() % 4));
      auto found = lookup(f.root, meta, dir, a);
      int result = 0;
      switch (random.next() % 8) {
        case 0:
        case 1:
          result = code(create(f.root, meta, dir, a, CreateArgs{}));
          break;
        case 2:
          result = code(unlink(f.root, meta, dir, a));
          break;
        case 3:
          result = code(rename(f.root, meta, dir, a, to, b, 0));
          break;
        case 4:
          result = code(rename(f.root, meta, dir, a, to, b, kRenameExchange));
          break;
        case 5:
          if (found.ok()) result = code(link(f.root, meta, found->ino, to, b));
          break;
        case 6:
          if (found.ok()) {
            DataWrite write;
            write.ino = found->ino;
            write.append = true;
            write.length = 10;
            write.pieces = {TestVolume::extent(*meta.next_object(f.root), 0, write.length)};
            result = code(write_data(f.root, meta, {write}, Durability::kVisible)->at(0));
          }
          break;
        default:
          if (found.ok()) result = code(truncate(f.root, meta, found->ino, random.next() % 50, 0));
          break;
      }
      for (int allowed : {0, ENOENT, EEXIST, ESTALE}) {
        if (result == allowed) result = 0;
      }
      if (result != 0) ++unexpected;
      auto seen = lookup(f.root, meta, dir, a);
      if (!seen.ok() && seen.error().code() != ENOENT) ++unexpected;
    }
  });
  CHECK(unexpected == 0);
  f.require_consistent();
  // Both caches agree with the store.
  for (Meta* meta : {&f.meta, other->meta.get()}) {
    for (Ino dir : dirs) CHECK(*get_attributes(f.root, *meta, dir) == f.stat_fresh(dir));
  }
}

}  // namespace skerry::meta
