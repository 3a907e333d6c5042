#include "data/block_cache.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <map>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "data/block_format.h"
#include "support/sanitizers.h"

using namespace skerry;
using namespace skerry::data;

namespace {

/// What any byte of any slice must be.
std::byte content(const SliceKey& key, uint64_t at) {
  return static_cast<std::byte>((key.object * 31 + key.offset * 7 + at + at / 251) & 0xff);
}

std::vector<std::byte> slice_bytes(const SliceKey& key, uint64_t begin, uint64_t size) {
  std::vector<std::byte> bytes(size);
  for (uint64_t i = 0; i < size; i++) bytes[i] = content(key, begin + i);
  return bytes;
}

bool right(const SliceKey& key, uint64_t begin, ByteView bytes) {
  for (uint64_t i = 0; i < bytes.size(); i++)
    if (bytes[i] != content(key, begin + i)) return false;
  return true;
}

void fill_whole(BlockCache& cache, const SliceKey& key, uint64_t length) {
  cache.fill(key, length, 0, slice_bytes(key, 0, length));
}

bool has(BlockCache& cache, const SliceKey& key, uint64_t length) {
  std::vector<std::byte> out(length);
  if (!cache.read(key, 0, out)) return false;
  REQUIRE(right(key, 0, out));
  return true;
}

}  // namespace

TEST_CASE("block cache: pages are there once filled, and only they", "[data][cache]") {
  BlockCache cache(64 << 20);
  SliceKey key{7, 100};
  for (uint64_t length : {uint64_t{100}, 5 * kPageBytes + 11, uint64_t{4} << 20}) {
    CAPTURE(length);
    key.object++;
    uint64_t pages = (length + kPageBytes - 1) / kPageBytes;
    uint64_t begin, end;
    CHECK(cache.missing(key, 0, pages, &begin, &end));
    CHECK((begin == 0 && end == pages));
    uint64_t middle = pages / 2;
    cache.fill(key, length, middle,
               slice_bytes(key, middle * kPageBytes, std::min(kPageBytes, length)));
    if (pages > 1) {
      CHECK(cache.missing(key, 0, pages, &begin, &end));
      CHECK((begin == 0 && end == middle));
      CHECK_FALSE(has(cache, key, length));
      CHECK_FALSE(cache.missing(key, middle, middle + 1, &begin, &end));
      CHECK(cache.missing(key, middle, pages, &begin, &end));
      CHECK((begin == middle + 1 && end == pages));
    }
    fill_whole(cache, key, length);
    CHECK(has(cache, key, length));
    CHECK_FALSE(cache.missing(key, 0, pages, &begin, &end));
    CHECK(cache.missing(key, 0, pages + 1, &begin, &end));
    std::byte beyond[2];
    CHECK_FALSE(cache.read(key, length - 1, beyond));
    CHECK_FALSE(cache.read(key, length + 1, MutableBytes(beyond).first(1)));
    CHECK_FALSE(cache.read({key.object, key.offset + 1}, 0, beyond));
  }
  CHECK(cache.used_bytes() <= cache.capacity_bytes());
}

TEST_CASE("block cache: parts of pages are not cached", "[data][cache]") {
  BlockCache cache(1 << 20);
  SliceKey key{1, 0};
  cache.fill(key, 3 * kPageBytes, 0, slice_bytes(key, 0, kPageBytes + 100));
  CHECK(has(cache, key, kPageBytes));
  CHECK_FALSE(has(cache, key, kPageBytes + 1));
  cache.fill(key, 3 * kPageBytes, 3, slice_bytes(key, 0, 10));  // past the end
  cache.fill(key, 3 * kPageBytes, UINT64_MAX / kPageBytes, slice_bytes(key, 0, 10));
  CHECK_FALSE(has(cache, key, 3 * kPageBytes));
}

TEST_CASE("block cache: random fills, reads and erasures agree with a map", "[data][cache]") {
  uint64_t seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const uint64_t capacity = 8 << 20;
  BlockCache cache(capacity);
  std::map<uint64_t, uint64_t> lengths;  // by object
  std::map<uint64_t, std::set<uint64_t>> filled;
  uint64_t hits = 0;
  for (int step = 0; step < 20000; step++) {
    uint64_t object = random() % 60 + 1;
    uint64_t& length = lengths
                           .try_emplace(object, random() % 3 == 0 ? random() % (3 << 20) + 1
                                                                  : random() % 60000 + 1)
                           .first->second;
    SliceKey key{object, object * 5};
    uint64_t pages = (length + kPageBytes - 1) / kPageBytes;
    uint64_t page = random() % pages;
    uint64_t count = std::min<uint64_t>(random() % 20 + 1, pages - page);
    uint64_t bytes = std::min((page + count) * kPageBytes, length) - page * kPageBytes;
    switch (random() % 8) {
      case 0:
      case 1:
        cache.fill(key, length, page, slice_bytes(key, page * kPageBytes, bytes));
        for (uint64_t p = page; p < page + count; p++) filled[object].insert(p);
        break;
      case 2:
        if (random() % 20 == 0) {
          random() % 2 == 0 ? cache.erase(key) : cache.erase_object(object);
          filled.erase(object);
          std::byte one[1];
          CHECK_FALSE(cache.read(key, 0, one));
        }
        break;
      case 3: {
        auto view = cache.view(key, page * kPageBytes + 1, bytes);
        REQUIRE(right(key, page * kPageBytes + 1, view.data()));
        if (!view.data().empty()) REQUIRE(filled[object].count(page) == 1);
        break;
      }
      default: {
        std::vector<std::byte> out(bytes);
        uint64_t begin, end;
        bool complete = !cache.missing(key, page, page + count, &begin, &end);
        REQUIRE(cache.read(key, page * kPageBytes, out) == complete);
        if (!complete) break;
        hits++;
        REQUIRE(right(key, page * kPageBytes, out));
        for (uint64_t p = page; p < page + count; p++) REQUIRE(filled[object].count(p) == 1);
      }
    }
    REQUIRE(cache.used_bytes() <= capacity);
  }
  CHECK(hits > 500);
  CHECK(cache.evictions() > 0);
}

TEST_CASE("block cache: memory stays within the capacity (LESSONS 13)", "[data][cache]") {
  for (uint64_t capacity : {uint64_t{0}, uint64_t{1} << 20, uint64_t{6} << 20}) {
    for (uint64_t length : {uint64_t{5000}, uint64_t{100} << 10, uint64_t{2} << 20}) {
      CAPTURE(capacity, length);
      BlockCache cache(capacity);
      SliceKey last;
      for (uint64_t i = 1; i <= (12u << 20) / length; i++) {
        last = {i, 0};
        fill_whole(cache, last, length);
        REQUIRE(cache.used_bytes() <= capacity);
      }
      CHECK(has(cache, last, length) == (length < capacity));
      if (length < capacity) CHECK(cache.used_bytes() > capacity / 3);
    }
  }
}

TEST_CASE("block cache: single pages of large slices cost pages", "[data][cache]") {
  BlockCache cache(16 << 20);
  for (uint64_t i = 1; i <= 500; i++)
    cache.fill({i, 0}, 4 << 20, 3, slice_bytes({i, 0}, 3 * kPageBytes, kPageBytes));
  std::byte out[100];
  for (uint64_t i = 1; i <= 500; i++) REQUIRE(cache.read({i, 0}, 3 * kPageBytes, out));
  CHECK(cache.evictions() == 0);
}

TEST_CASE("block cache: a hot set survives a scan of ten times the capacity", "[data][cache]") {
  const uint64_t capacity = 4 << 20;
  const uint64_t length = 32 << 10;
  BlockCache cache(capacity);
  const uint64_t hot = capacity / 2 / length;
  for (uint64_t i = 1; i <= hot; i++) fill_whole(cache, {i, 0}, length);
  for (int round = 0; round < 3; round++)
    for (uint64_t i = 1; i <= hot; i++) REQUIRE(has(cache, {i, 0}, length));
  for (uint64_t i = 0; i < 10 * capacity / length; i++) {
    SliceKey key{1000 + i, 0};
    fill_whole(cache, key, length);
    std::vector<std::byte> out(4 << 10);  // in steps, as readers do: that is one reference, not 8
    for (uint64_t at = 0; at < length; at += out.size()) cache.read(key, at, out);
  }
  uint64_t left = 0;
  for (uint64_t i = 1; i <= hot; i++) left += has(cache, {i, 0}, length);
  CHECK(left >= hot * 9 / 10);
}

TEST_CASE("block cache: what returns soon after its eviction stays", "[data][cache]") {
  const uint64_t length = 64 << 10;
  BlockCache cache(4 << 20);
  for (uint64_t i = 1; i <= 64; i++) fill_whole(cache, {i, 0}, length);
  REQUIRE_FALSE(has(cache, {1, 0}, length));
  fill_whole(cache, {1, 0}, length);
  for (uint64_t i = 1000; i <= 1200; i++) fill_whole(cache, {i, 0}, length);
  CHECK(has(cache, {1, 0}, length));
}

TEST_CASE("block cache: views outlive eviction, erasure and the cache", "[data][cache]") {
  const uint64_t capacity = 2 << 20;
  for (uint64_t length : {uint64_t{100} << 10, uint64_t{1} << 20}) {
    CAPTURE(length);
    auto cache = std::make_unique<BlockCache>(capacity);
    SliceKey evicted{1, 0}, erased{2, 0}, kept{3, 0};
    fill_whole(*cache, evicted, length);
    auto first = cache->view(evicted, 10, UINT64_MAX);
    REQUIRE(first.data().size() == length - 10);
    for (uint64_t i = 10; i < 100; i++) fill_whole(*cache, {i, 0}, 100 << 10);
    REQUIRE(right(evicted, 10, first.data()));
    cache->erase(evicted);

    fill_whole(*cache, erased, 100 << 10);
    auto second = cache->view(erased, 0, 5);
    cache->erase_object(erased.object);
    CHECK(cache->view(erased, 0, 5).data().empty());
    CHECK(cache->used_bytes() >= length);  // pinned bytes count

    fill_whole(*cache, kept, 100 << 10);
    CacheView third = cache->view(kept, 0, 1000);
    void* owner = third.release();
    CHECK(third.data().empty());
    third = std::move(second);
    cache.reset();
    CHECK(right(evicted, 10, first.data()));
    CHECK(right(erased, 0, third.data()));
    CacheView::unpin(owner);
    CacheView::unpin(nullptr);
  }
}

TEST_CASE("block cache: with everything pinned nothing more is cached", "[data][cache]") {
  const uint64_t capacity = 4 << 20;
  const uint64_t length = 256 << 10;
  BlockCache cache(capacity);
  std::vector<CacheView> views;
  for (uint64_t i = 1; i <= 64; i++) {
    fill_whole(cache, {i, 0}, length);
    views.push_back(cache.view({i, 0}, 0, length));
    REQUIRE(cache.used_bytes() <= capacity);
  }
  views.clear();
  fill_whole(cache, {1000, 0}, length);
  CHECK(has(cache, {1000, 0}, length));
}

TEST_CASE("block cache: the slices of a pack are erased with it, others stay", "[data][cache]") {
  BlockCache cache(64 << 20);
  for (uint64_t offset = 0; offset < 500; offset++) fill_whole(cache, {5, offset * 999}, 999);
  for (uint64_t object = 6; object < 3000; object++) fill_whole(cache, {object, 0}, 10);
  cache.erase_object(5);
  for (uint64_t offset = 0; offset < 500; offset++) CHECK_FALSE(has(cache, {5, offset * 999}, 999));
  for (uint64_t object = 6; object < 3000; object++) REQUIRE(has(cache, {object, 0}, 10));
}

TEST_CASE("block cache: many threads read, fill, evict and pin", "[data][cache][stress]") {
  const uint64_t capacity = 3 << 20;
  BlockCache cache(capacity);
  std::atomic<bool> wrong{false};
  std::atomic<uint64_t> hits{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 8; t++) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      std::vector<std::byte> out;
      for (int step = 0; step < 1500; step++) {
        uint64_t object = random() % 24 + 1;
        uint64_t length = object % 3 == 0 ? (1 << 20) + object : object * 9000;
        SliceKey key{object, 0};
        uint64_t pages = (length + kPageBytes - 1) / kPageBytes;
        uint64_t page = random() % pages;
        uint64_t n = std::min((page + random() % 6 + 1) * kPageBytes, length) - page * kPageBytes;
        uint64_t at = page * kPageBytes;
        out.resize(n);
        uint64_t what = random() % 16;
        if (cache.read(key, at, out)) {
          hits++;
          if (!right(key, at, out)) wrong = true;
        } else {
          cache.fill(key, length, page, slice_bytes(key, at, n));
        }
        if (what == 0) cache.erase(key);
        if (what == 1) cache.erase_object(object);
        if (what == 2 && !right(key, at, cache.view(key, at, n).data())) wrong = true;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK_FALSE(wrong);
  CHECK(hits > 100);
  CHECK(cache.used_bytes() <= capacity);
}

TEST_CASE("block cache: threads come and go", "[data][cache]") {
  BlockCache cache(1 << 20);
  fill_whole(cache, {1, 0}, 1000);
  std::atomic<int> hits{0};
  for (int round = 0; round < 3; round++) {
    std::vector<std::thread> threads;
    for (int i = 0; i < 100; i++)
      threads.emplace_back([&] {
        std::byte out[10];
        hits += cache.read({1, 0}, 3, out);
      });
    for (auto& thread : threads) thread.join();
  }
  CHECK(hits == 300);
}

#if SKERRY_TEST_FORKS_WITH_THREADS
TEST_CASE("block cache: a forked child reads, fills and evicts", "[data][cache]") {
  const uint64_t length = 64 << 10;
  BlockCache cache(2 << 20);
  fill_whole(cache, {1, 0}, length);
  std::atomic<bool> stop{false};
  std::atomic<int> reading{0};
  std::vector<std::thread> readers;  // inside their sections when the fork comes
  for (int i = 0; i < 2; i++)
    readers.emplace_back([&] {
      std::vector<std::byte> out(length);
      ++reading;
      while (!stop) cache.read({1, 0}, 0, out);
    });
  while (reading < 2) std::this_thread::yield();  // ASan's malloc does not survive a fork
  for (int round = 0; round < 10; round++) {
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      alarm(30);
      std::vector<std::byte> out(length);
      bool good = cache.read({1, 0}, 0, out) && right({1, 0}, 0, out);
      for (uint64_t i = 2; i < 200; i++) cache.fill({i, 0}, length, 0, out);
      good = good && cache.evictions() > 100 && cache.used_bytes() <= cache.capacity_bytes();
      _exit(good ? 0 : 1);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
  }
  stop = true;
  for (auto& reader : readers) reader.join();
}
#endif
