#include "data/block_store.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <random>
#include <string>
#include <thread>

#include "object/decorators/counting_store.h"
#include "object/decorators/fault_store.h"
#include "object/memory/memory_store.h"
#include "support/random_bytes.h"
#include "support/test_volume.h"

using namespace skerry;
using namespace skerry::data;
using meta::Extent;

namespace {

using Bytes = std::vector<std::byte>;

/// Calls a hook before each get and may change what was read.
class HookedFaults final : public ObjectFaults {
 public:
  std::function<Decision(const char*, std::string_view)> hook;
  Decision before(const char* op, std::string_view key) override {
    return hook ? hook(op, key) : Decision();
  }
};

struct BlockFixture {
  meta::TestVolume volume;
  std::unique_ptr<meta::TestClient> client = volume.open();
  OpContext& ctx = client->ctx;
  std::shared_ptr<MemoryObjectStore> bucket;
  HookedFaults faults;
  std::shared_ptr<FaultObjectStore> faulty = std::make_shared<FaultObjectStore>(bucket, faults);
  CountingObjectStore objects{faulty};
  std::unique_ptr<Executor> executor;
  std::unique_ptr<BlockStore> store;

  explicit BlockFixture(BlockStoreOptions options = {}, unsigned threads = 3, bool together = false)
      : bucket(std::make_shared<MemoryObjectStore>(client->clock, together)),
        executor(threads == 0 ? make_inline_executor() : make_thread_pool("block", threads)) {
    options.cache_writes = false;
    reopen(options);
  }
  void reopen(BlockStoreOptions options) {
    store = std::make_unique<BlockStore>(*client->meta, objects, *executor, options);
  }
  Extent put(const Bytes& bytes) {
    auto extent = store->store_block(ctx, {ByteView(bytes)});
    REQUIRE(extent.ok());
    return *extent;
  }
  Status read(const Extent& extent, uint64_t offset, Bytes& out) {
    std::vector<SliceRead> reads{{extent, offset, out}};
    return store->read(ctx, reads);
  }
  void check(const Extent& extent, const Bytes& bytes, uint64_t offset, uint64_t length) {
    Bytes out(length);
    Status status = read(extent, offset, out);
    INFO((status.ok() ? "" : status.error().message()));
    REQUIRE(status.ok());
    REQUIRE(std::equal(out.begin(), out.end(), bytes.begin() + static_cast<long>(offset)));
  }
  uint64_t gets() { return objects.counters().gets; }
  /// Replaces the stored bytes of an object.
  void tamper(meta::ObjectId id, const std::function<void(Bytes&)>& change) {
    std::string key = object_key(id);
    auto info = bucket->head(ctx, key);
    REQUIRE(info.ok());
    Bytes bytes(info->size_bytes);
    REQUIRE(bucket->get(ctx, key, 0, bytes).ok());
    change(bytes);
    REQUIRE(bucket->put(ctx, key, {ByteView(bytes)}).ok());
  }
  int64_t references(meta::ObjectId id) {
    auto record = volume.get(meta::object_key(id));
    return record ? std::get<meta::ObjectRecord>(*record).references : 1;
  }
};

}  // namespace

TEST_CASE("block store: what was stored is read", "[data][blocks]") {
  for (unsigned threads : {0u, 3u}) {
    BlockFixture f({}, threads);
    for (size_t size : {size_t{1}, size_t{8191}, size_t{8192}, size_t{8193}, size_t{4} << 20}) {
      Bytes bytes = random_bytes(size, size);
      Extent extent = f.put(bytes);
      CHECK(extent.length == size);
      CHECK(extent.slice_length == size);
      CHECK(extent.object_offset == 0);
      f.check(extent, bytes, 0, size);
      uint64_t gets = f.gets();
      f.check(extent, bytes, size / 2, size - size / 2);
      CHECK(f.gets() == gets);
      Bytes out(size);
      CHECK(f.store->read_cached(extent, 0, out));
      CHECK(out == bytes);
      CHECK(f.store->view_cached(extent, 0, size).data().size() == size);
      CHECK(f.store->verify(f.ctx, extent).ok());
      CHECK(f.gets() == gets + 1);
    }
    CHECK_FALSE(f.store->store_block(f.ctx, {}).ok());
    Bytes large((4 << 20) + 1);
    CHECK(f.store->store_block(f.ctx, {ByteView(large)}).error().code() == EINVAL);
  }
}

TEST_CASE("block store: written slices are cached if so wished", "[data][blocks]") {
  BlockFixture f;
  f.reopen({});
  Bytes bytes = random_bytes(100000, 1);
  Extent extent = f.put(bytes);
  f.check(extent, bytes, 5, 99995);
  CHECK(f.gets() == 0);
  CHECK(f.store->counters().cache_hits == 1);
}

TEST_CASE("block store: random reads fetch little more than they want", "[data][blocks]") {
  BlockFixture f;
  Bytes bytes = random_bytes(4 << 20, 1);
  Extent extent = f.put(bytes);
  std::mt19937_64 random(1);
  for (int i = 0; i < 60; i++) {
    f.store->cache().erase_object(extent.object);
    f.check(extent, bytes, random() % ((4 << 20) - (128 << 10)), 128 << 10);
  }
  auto counters = f.store->counters();
  CHECK(counters.bytes_wanted == 60 * (128 << 10));
  CHECK(counters.bytes_fetched <= counters.bytes_wanted * 11 / 10);
  CHECK(f.gets() == 60);
}

TEST_CASE("block store: most of a slice is fetched whole", "[data][blocks]") {
  BlockFixture f;
  Bytes bytes = random_bytes(1 << 20, 1);
  Extent extent = f.put(bytes);
  f.check(extent, bytes, 100, (1 << 20) * 3 / 4);
  f.check(extent, bytes, 0, 1 << 20);
  CHECK(f.gets() == 1);
}

TEST_CASE("block store: neighbouring ranges share a request", "[data][blocks]") {
  BlockFixture f;
  std::vector<Bytes> slices;
  std::vector<ByteView> views;
  for (int i = 0; i < 40; i++) slices.push_back(random_bytes(20000, i));
  for (auto& slice : slices) views.push_back(slice);
  auto extents = f.store->store_many(f.ctx, views);
  REQUIRE(extents.ok());
  CHECK(f.bucket->object_count() == 1);

  // All slices of a pack, in another order.
  std::vector<Bytes> out(40, Bytes(20000));
  std::vector<SliceRead> reads;
  for (size_t i = 0; i < 40; i++) reads.push_back({(*extents)[i * 7 % 40], 0, out[i * 7 % 40]});
  REQUIRE(f.store->read(f.ctx, reads).ok());
  CHECK(out == slices);
  CHECK(f.gets() == 1);
  for (size_t i = 0; i < 40; i++) f.check((*extents)[i], slices[i], 0, 20000);
  CHECK(f.gets() == 1);

  // Gaps: 3 slices (60 KB) are bridged, 5 are not.
  f.store->cache().erase_object(extents->front().object);
  reads = {{(*extents)[0], 0, out[0]}, {(*extents)[4], 0, out[4]}, {(*extents)[10], 0, out[10]}};
  REQUIRE(f.store->read(f.ctx, reads).ok());
  CHECK(f.gets() == 3);
  CHECK(out == slices);
}

TEST_CASE("block store: reads of one slice in one call may overlap", "[data][blocks]") {
  BlockFixture f;
  Bytes bytes = random_bytes(2 << 20, 1);
  Extent extent = f.put(bytes);
  Bytes a(100000), b(100000), c(1), d(300000), none;
  std::vector<SliceRead> reads{{extent, 50000, a},
                               {extent, 50000, b},
                               {extent, 1000000, c},
                               {extent, 0, d},
                               {extent, 77, none}};
  REQUIRE(f.store->read(f.ctx, reads).ok());
  CHECK(std::equal(a.begin(), a.end(), bytes.begin() + 50000));
  CHECK(a == b);
  CHECK(c[0] == bytes[1000000]);
  CHECK(std::equal(d.begin(), d.end(), bytes.begin()));
  CHECK(f.gets() == 2);
}

TEST_CASE("block store: reads agree with the bytes, whatever the cache holds", "[data][blocks]") {
  uint64_t seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const bool together = GENERATE(false, true);
  CAPTURE(together);
  for (uint64_t cache_bytes : {uint64_t{0}, uint64_t{200000}, uint64_t{8} << 20}) {
    BlockFixture f({cache_bytes}, 2, together);
    std::vector<Bytes> slices;
    std::vector<ByteView> views;
    for (int i = 0; i < 30; i++) slices.push_back(random_bytes(random() % 300000 + 1, i));
    for (auto& slice : slices) views.push_back(slice);
    auto extents = f.store->store_many(f.ctx, views);
    REQUIRE(extents.ok());
    for (int step = 0; step < 150; step++) {
      std::vector<Bytes> outs(random() % 6 + 1);
      std::vector<SliceRead> reads;
      std::vector<size_t> which;
      for (auto& out : outs) {
        size_t i = random() % 30;
        uint64_t offset = random() % slices[i].size();
        out.resize(random() % (slices[i].size() - offset) + 1);
        which.push_back(i);
        reads.push_back({(*extents)[i], offset, out});
      }
      REQUIRE(f.store->read(f.ctx, reads).ok());
      for (size_t r = 0; r < reads.size(); r++)
        REQUIRE(std::equal(outs[r].begin(), outs[r].end(),
                           slices[which[r]].begin() + static_cast<long>(reads[r].slice_offset)));
      REQUIRE(f.store->cache().used_bytes() <= cache_bytes);
    }
  }
}

TEST_CASE("block store: many threads that miss the same slice make one request", "[data][blocks]") {
  BlockFixture f;
  Bytes bytes = random_bytes(1 << 20, 1);
  Extent extent = f.put(bytes);
  std::atomic<int> started{0};
  f.faults.hook = [&](const char* op, std::string_view) {
    if (std::string_view(op) == "get")
      while (started < 8) std::this_thread::yield();
    return ObjectFaults::Decision();
  };
  std::vector<std::thread> threads;
  std::vector<Bytes> outs(8, Bytes(1 << 20));
  std::atomic<int> good{0};
  for (int t = 0; t < 8; t++)
    threads.emplace_back([&, t] {
      OpContext ctx = f.ctx;
      std::vector<SliceRead> reads{{extent, 0, outs[t]}};
      started++;
      good += f.store->read(ctx, reads).ok();
    });
  for (auto& thread : threads) thread.join();
  CHECK(good == 8);
  for (auto& out : outs) CHECK(out == bytes);
  CHECK(f.gets() == 1);
}

TEST_CASE("block store: a request that fails does not fail who waited for it", "[data][blocks]") {
  BlockFixture f;
  Bytes bytes = random_bytes(50000, 1);
  Extent extent = f.put(bytes);
  std::atomic<int> calls{0};
  std::atomic<bool> others_wait{false};
  f.faults.hook = [&](const char*, std::string_view) {
    ObjectFaults::Decision decision;
    if (calls++ == 0) {
      while (!others_wait) std::this_thread::yield();
      decision.kind = ObjectFaults::Decision::kFailBefore;
    }
    return decision;
  };
  Bytes out(50000);
  Status first;
  std::thread leader([&] { first = f.read(extent, 0, out); });
  while (calls == 0) std::this_thread::yield();
  std::vector<std::thread> threads;
  std::atomic<int> started{0}, good{0};
  for (int t = 0; t < 4; t++)
    threads.emplace_back([&] {
      Bytes mine(50000);
      started++;
      good += f.read(extent, 0, mine).ok() && mine == bytes;
    });
  while (started < 4) std::this_thread::yield();
  others_wait = true;
  leader.join();
  for (auto& thread : threads) thread.join();
  CHECK(first.error().code() == EIO);
  CHECK(good == 4);
}

TEST_CASE("block store: who waits for another's request keeps its own deadline", "[data][blocks]") {
  BlockFixture f;
  Bytes bytes = random_bytes(50000, 1);
  Extent extent = f.put(bytes);
  std::atomic<bool> in_flight{false}, release{false};
  f.faults.hook = [&](const char*, std::string_view) {
    in_flight = true;
    while (!release) std::this_thread::yield();
    return ObjectFaults::Decision();
  };
  Bytes out(50000);
  Status first;
  std::thread leader([&] { first = f.read(extent, 0, out); });
  while (!in_flight) std::this_thread::yield();
  CancelToken cancel;
  cancel.cancel();
  OpContext cancelled = f.ctx;
  cancelled.cancel = &cancel;
  OpContext late = f.ctx;
  late.deadline_ns = f.client->clock.monotonic_ns();
  Bytes mine(50000);
  std::vector<SliceRead> reads{{extent, 0, mine}};
  CHECK(f.store->read(cancelled, reads).error().code() == ECANCELED);
  CHECK(f.store->read(late, reads).error().code() == ETIMEDOUT);
  release = true;
  leader.join();
  CHECK(first.ok());
  CHECK(out == bytes);
}

TEST_CASE("block store: a bad transfer is read again", "[data][blocks]") {
  BlockFixture f;
  Bytes bytes = random_bytes(100000, 1);
  Extent extent = f.put(bytes);
  bool corrupted = false;
  f.faults.hook = [&](const char*, std::string_view) {
    ObjectFaults::Decision decision;
    if (!std::exchange(corrupted, true)) decision.kind = ObjectFaults::Decision::kCorruptRead;
    return decision;
  };
  f.check(extent, bytes, 0, 100000);
  CHECK(f.gets() == 2);
  CHECK(f.store->counters().checksum_errors == 1);
}

TEST_CASE("block store: damaged objects are errors, never data (SCENARIOS 7)", "[data][blocks]") {
  using Damage = std::function<void(Bytes&)>;
  Bytes bytes = random_bytes(100000, 1);
  Bytes other = random_bytes(100000, 2);
  FramedSlice framed = frame_slice({ByteView(other)});
  Bytes swapped;
  for (ByteView piece : framed.pieces) swapped.insert(swapped.end(), piece.begin(), piece.end());
  const std::vector<Damage> damages = {
      [](Bytes& b) { b[0] ^= std::byte{1}; },
      [](Bytes& b) { b[kPageBytes + 1] ^= std::byte{128}; },
      [](Bytes& b) { b.back() ^= std::byte{4}; },
      [](Bytes& b) { b.pop_back(); },
      [](Bytes& b) { b.resize(kFramedPageBytes); },
      [](Bytes& b) { b.clear(); },
      [](Bytes& b) { b.erase(b.begin()); },
      [](Bytes& b) { std::fill(b.begin(), b.end(), std::byte{0}); },
      [](Bytes& b) { std::rotate(b.begin(), b.begin() + kFramedPageBytes, b.end()); },
      [&](Bytes& b) { b = swapped; },
  };
  for (size_t i = 0; i < damages.size(); i++) {
    CAPTURE(i);
    BlockFixture f;
    Extent extent = f.put(bytes);
    f.tamper(extent.object, damages[i]);
    Bytes out(100000);
    Status status = f.read(extent, 0, out);
    REQUIRE_FALSE(status.ok());
    CHECK(status.error().code() == EIO);
    CHECK(status.error().message().find(object_key(extent.object)) != std::string::npos);
    CHECK(f.store->counters().checksum_errors == 2);
    CHECK(f.store->verify(f.ctx, extent).error().code() == EIO);
    CHECK_FALSE(f.store->read_cached(extent, 0, out));
  }
}

TEST_CASE("block store: damage of one slice of a pack spares the others", "[data][blocks]") {
  BlockFixture f;
  Bytes a = random_bytes(20000, 1), b = random_bytes(20000, 2);
  auto extents = f.store->store_many(f.ctx, {ByteView(a), ByteView(b)});
  REQUIRE(extents.ok());
  f.tamper(extents->front().object, [](Bytes& bytes) { bytes.pop_back(); });
  Bytes out_a(20000), out_b(20000);
  std::vector<SliceRead> reads{{(*extents)[0], 0, out_a}, {(*extents)[1], 0, out_b}};
  CHECK(f.store->read(f.ctx, reads).error().code() == EIO);
  CHECK(f.store->read_cached((*extents)[0], 0, out_a));
  CHECK(out_a == a);
}

TEST_CASE("block store: of requests made together each has its own fate", "[data][blocks]") {
  BlockFixture f({}, 0, true);
  std::vector<Bytes> slices, outs(6, Bytes(50000));
  std::vector<Extent> extents;
  for (size_t i = 0; i < 6; i++) {
    slices.push_back(random_bytes(50000, i));
    extents.push_back(f.put(slices.back()));
  }
  std::vector<SliceRead> reads;
  for (size_t i = 0; i < 6; i++) reads.push_back({extents[i], 0, outs[i]});
  f.tamper(extents[1].object, [](Bytes& bytes) { bytes[9] ^= std::byte{1}; });
  f.tamper(extents[2].object, [](Bytes& bytes) { bytes.pop_back(); });
  REQUIRE(f.bucket->remove(f.ctx, object_key(extents[4].object)).ok());
  const Status status = f.store->read(f.ctx, reads);
  REQUIRE_FALSE(status.ok());
  CHECK(status.error().message().find(object_key(extents[1].object)) != std::string::npos);
  for (size_t i : {0, 3, 5}) {
    CHECK(outs[i] == slices[i]);
    CHECK(f.store->read_cached(extents[i], 0, outs[i]));
  }
  for (size_t i : {1, 2, 4}) CHECK_FALSE(f.store->read_cached(extents[i], 0, outs[i]));
  // Nobody waits for pages of a request that failed.
  CHECK(f.read(extents[4], 0, outs[4]).error().code() == ENOENT);

  int spoilt = 0;
  f.faults.hook = [&](const char*, std::string_view) {
    ObjectFaults::Decision decision;
    if (spoilt++ == 0) decision.kind = ObjectFaults::Decision::kCorruptRead;
    return decision;
  };
  f.reopen({});
  reads = {{extents[0], 0, outs[0]}, {extents[3], 0, outs[3]}, {extents[5], 0, outs[5]}};
  CHECK(f.store->read(f.ctx, reads).ok());
  for (size_t i : {0, 3, 5}) CHECK(outs[i] == slices[i]);
  CHECK(spoilt == 4);  // three, and the first again
}

TEST_CASE("block store: an absent object is ENOENT, a wrong extent EIO", "[data][blocks]") {
  BlockFixture f;
  Bytes bytes = random_bytes(100, 1);
  Extent extent = f.put(bytes);
  REQUIRE(f.store->remove_objects(f.ctx, {extent.object, 12345}).ok());
  Bytes out(100);
  CHECK(f.read(extent, 0, out).error().code() == ENOENT);
  CHECK(f.read(extent, 1, out).error().code() == EIO);
  extent.slice_length = INT64_MAX;
  CHECK(f.read(extent, 0, out).error().code() == EIO);
}

TEST_CASE("block store: removing says what could not be removed", "[data][blocks]") {
  BlockFixture f;
  f.reopen({});
  Extent extent = f.put(random_bytes(100, 1));
  f.faults.hook = [&](const char*, std::string_view) {
    ObjectFaults::Decision decision;
    decision.kind = ObjectFaults::Decision::kFailBefore;
    decision.error = EACCES;
    return decision;
  };
  CHECK(f.store->remove_objects(f.ctx, {extent.object}).error().code() == EACCES);
  f.faults.hook = nullptr;
  std::vector<meta::ObjectId> many{extent.object};
  for (meta::ObjectId id = 5000; id < 7500; id++) many.push_back(id);
  CHECK(f.store->remove_objects(f.ctx, many).ok());
  CHECK(f.bucket->object_count() == 0);
  Bytes out(100);
  CHECK_FALSE(f.store->read_cached(extent, 0, out));
}

TEST_CASE("block store: a prefetch brings pages into the cache", "[data][blocks]") {
  for (unsigned threads : {0u, 2u}) {
    BlockFixture f({}, threads);
    Bytes bytes = random_bytes(3 << 20, 1);
    Extent extent = f.put(bytes);
    auto guard = std::make_shared<meta::Meta::EpochGuard>(f.client->meta->enter_epoch());
    std::weak_ptr<meta::Meta::EpochGuard> held = guard;
    f.store->prefetch(f.ctx, extent, 0, 3 << 20, std::move(guard));
    Bytes out(3 << 20);
    while (!f.store->read_cached(extent, 0, out)) std::this_thread::yield();
    CHECK(out == bytes);
    f.store->prefetch(f.ctx, extent, 0, 3 << 20, nullptr);
    f.store.reset();  // waits
    CHECK(held.expired());
    CHECK(f.gets() == 1);
  }
}

TEST_CASE("block store: prefetches of absent objects harm nobody", "[data][blocks]") {
  BlockFixture f;
  Extent extent = f.put(random_bytes(1000, 1));
  REQUIRE(f.store->remove_objects(f.ctx, {extent.object}).ok());
  for (int i = 0; i < 200; i++) f.store->prefetch(f.ctx, extent, 0, 1000, nullptr);
}

TEST_CASE("block store: a batch fills packs and counts their references", "[data][blocks]") {
  for (unsigned threads : {0u, 3u}) {
    BlockStoreOptions options;
    options.block_bytes = 1 << 20;
    BlockFixture f(options, threads);
    std::vector<Bytes> slices;
    std::vector<ByteView> views;
    for (int i = 0; i < 100; i++)
      slices.push_back(random_bytes(i % 10 == 0 ? 600'000 : 100'000, i));
    for (auto& slice : slices) views.push_back(slice);
    auto extents = f.store->store_many(f.ctx, views);
    REQUIRE(extents.ok());
    CHECK(f.bucket->object_count() == 10 + 9);
    std::map<meta::ObjectId, int64_t> users;
    for (const Extent& extent : *extents) users[extent.object]++;
    for (auto [object, count] : users) CHECK(f.references(object) == count);
    for (size_t i = 0; i < 100; i++) f.check((*extents)[i], slices[i], 0, slices[i].size());
    CHECK(f.store->counters().packed_slices == 90);
    CHECK(f.store->counters().slices_stored == 100);
  }
  BlockFixture f;
  CHECK(f.store->store_many(f.ctx, {})->empty());
}

TEST_CASE("block store: threads that store at one time share objects", "[data][blocks]") {
  BlockFixture f;
  std::atomic<int> arrived{0};
  f.faults.hook = [&](const char* op, std::string_view) {
    if (std::string_view(op) == "put")
      while (arrived < 16) std::this_thread::yield();
    return ObjectFaults::Decision();
  };
  std::vector<std::thread> threads;
  std::vector<std::vector<Extent>> extents(16);
  auto slice = [](int t, int i) { return random_bytes(5000 + t * 100 + i, t * 1000 + i); };
  std::atomic<bool> failed{false};
  for (int t = 0; t < 16; t++)
    threads.emplace_back([&, t] {
      arrived++;
      for (int i = 0; i < 10; i++) {
        Bytes bytes = slice(t, i);
        auto extent = f.store->store_packed(f.ctx, bytes);
        if (!extent.ok()) {
          failed = true;
          return;
        }
        extents[t].push_back(*extent);
      }
    });
  for (auto& thread : threads) thread.join();
  REQUIRE_FALSE(failed);
  CHECK(f.bucket->object_count() < 160);
  std::map<meta::ObjectId, int64_t> users;
  for (int t = 0; t < 16; t++) {
    for (int i = 0; i < 10; i++) {
      Bytes bytes = slice(t, i);
      users[extents[t][i].object]++;
      f.check(extents[t][i], bytes, 0, bytes.size());
    }
  }
  for (auto [object, count] : users) CHECK(f.references(object) == count);
}

TEST_CASE("block store: a failed pack fails all its callers", "[data][blocks]") {
  BlockFixture f;
  std::atomic<int> puts{0}, waiting{0};
  f.faults.hook = [&](const char* op, std::string_view) {
    ObjectFaults::Decision decision;
    if (std::string_view(op) != "put") return decision;
    if (puts++ == 0) {
      while (waiting < 5) std::this_thread::yield();
      return decision;
    }
    decision.kind = ObjectFaults::Decision::kFailBefore;
    decision.error = ENOSPC;
    return decision;
  };
  Bytes bytes(1000);
  Status first;
  std::thread leader([&] {
    auto extent = f.store->store_packed(f.ctx, bytes);
    if (!extent.ok()) first = std::move(extent).error();
  });
  while (puts == 0) std::this_thread::yield();
  std::atomic<int> no_space{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 5; t++)
    threads.emplace_back([&] {
      waiting++;
      auto extent = f.store->store_packed(f.ctx, bytes);
      no_space += !extent.ok() && extent.error().code() == ENOSPC;
    });
  leader.join();
  for (auto& thread : threads) thread.join();
  CHECK(first.ok());
  CHECK(no_space == 5);
}

TEST_CASE("block store: a leader's deadline is not that of its followers", "[data][blocks]") {
  BlockFixture f;
  CancelToken cancel;
  std::atomic<int> puts{0}, waiting{0};
  f.faults.hook = [&](const char* op, std::string_view) {
    ObjectFaults::Decision decision;
    if (std::string_view(op) != "put") return decision;
    int put = puts++;
    if (put == 0)
      while (waiting < 6) std::this_thread::yield();
    if (put == 1) {  // the first of the six leads it
      cancel.cancel();
      decision.kind = ObjectFaults::Decision::kFailBefore;
      decision.error = ECANCELED;
    }
    return decision;
  };
  Bytes bytes(1000);
  std::thread leader([&] { (void)f.store->store_packed(f.ctx, bytes).ok(); });
  while (puts == 0) std::this_thread::yield();
  std::atomic<int> cancelled{0}, good{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; t++)
    threads.emplace_back([&] {
      OpContext ctx = f.ctx;
      ctx.cancel = waiting++ == 0 ? &cancel : nullptr;
      auto extent = f.store->store_packed(ctx, bytes);
      extent.ok() ? good++ : cancelled++;
    });
  leader.join();
  for (auto& thread : threads) thread.join();
  CHECK(good + cancelled == 6);
  CHECK(cancelled >= 1);
}

TEST_CASE("block store: a failure of any one call is an error or harmless", "[data][blocks]") {
  using Kind = ObjectFaults::Decision::Kind;
  for (Kind kind : {Kind::kFailBefore, Kind::kFailAfter, Kind::kCorruptRead}) {
    for (uint64_t n = 0;; n++) {
      CAPTURE(kind, n);
      REQUIRE(n < 100);
      BlockStoreOptions options;
      options.block_bytes = 1 << 20;
      BlockFixture f(options, 0);
      ObjectFaults::Decision decision;
      decision.kind = kind;
      FailNthCall fail(n, decision);
      f.faults.hook = [&](const char* op, std::string_view key) { return fail.before(op, key); };
      std::vector<Bytes> slices;
      std::vector<ByteView> views;
      for (int i = 0; i < 8; i++) slices.push_back(random_bytes(400'000, i));
      for (auto& slice : slices) views.push_back(slice);
      auto extents = f.store->store_many(f.ctx, views);
      if (extents.ok()) {
        std::vector<Bytes> outs(8, Bytes(400'000));
        std::vector<SliceRead> reads;
        for (size_t i = 0; i < 8; i++) reads.push_back({(*extents)[i], 0, outs[i]});
        Status status = f.store->read(f.ctx, reads);
        if (status.ok()) CHECK(outs == slices);
        for (size_t i = 0; i < 8; i++) {  // one failure, so by now all is well
          if (!status.ok()) f.check((*extents)[i], slices[i], 0, 400'000);
        }
        std::vector<meta::ObjectId> ids;
        for (auto& extent : *extents) ids.push_back(extent.object);
        if (!f.store->remove_objects(f.ctx, ids).ok())
          REQUIRE(f.store->remove_objects(f.ctx, ids).ok());
        CHECK(f.bucket->object_count() == 0);
      }
      if (!fail.fired()) break;
    }
  }
}

TEST_CASE("block store: when the references cannot be counted nobody gets an extent",
          "[data][blocks]") {
  BlockFixture f;
  f.put(Bytes(10));  // takes a batch of ids
  f.client->store->on_commit = [](const meta::CommitRequest&) -> Status {
    return Error(ENOSPC, "no room");
  };
  Bytes a(100), b(200);
  CHECK(f.store->store_many(f.ctx, {ByteView(a), ByteView(b)}).error().code() == ENOSPC);
  CHECK(f.store->store_many(f.ctx, {ByteView(a)}).ok());
}
