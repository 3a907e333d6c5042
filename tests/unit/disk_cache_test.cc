#include "data/disk_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <catch2/catch.hpp>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <mutex>
#include <random>
#include <string>
#include <system_error>
#include <thread>

#include "data/block_store.h"
#include "object/decorators/counting_store.h"
#include "object/memory/memory_store.h"
#include "support/random_bytes.h"
#include "support/sanitizers.h"
#include "support/test_volume.h"

using namespace skerry;
using namespace skerry::data;
using meta::Extent;
namespace fs = std::filesystem;

namespace {

using Bytes = std::vector<std::byte>;

struct TempFolder {
  TempFolder() {
    std::string name = (fs::temp_directory_path() / "skerry-disk-cache-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~TempFolder() {
    // Threads that hung in a test's disk may be about to end, and still make a file.
    for (std::error_code again(EBUSY, std::generic_category()); again;) fs::remove_all(path, again);
  }
  fs::path path;
};

/// Fails or hangs as it is told.
class Faults final : public CacheFolderFaults {
 public:
  std::atomic<int> calls{0};

  void fail(const std::string& call, int code) {
    std::lock_guard lock(mutex_);
    failing_ = call;
    code_ = code;
  }
  void hang(bool on) {
    std::lock_guard lock(mutex_);
    hanging_ = on;
    changed_.notify_all();
  }
  int before(const char* call) override {
    std::unique_lock lock(mutex_);
    calls++;
    changed_.wait(lock, [&] { return !hanging_; });
    return failing_ == "all" || failing_ == call ? code_ : 0;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string failing_;
  int code_ = 0;
  bool hanging_ = false;
};

/// A block store without a memory cache: what is read comes from the disk or the object store.
struct Fixture {
  TempFolder temp;
  fs::path folder = temp.path / "cache";
  std::shared_ptr<Faults> faults = std::make_shared<Faults>();
  meta::TestVolume volume;
  std::unique_ptr<meta::TestClient> client = volume.open();
  OpContext& ctx = client->ctx;
  std::shared_ptr<MemoryObjectStore> bucket =
      std::make_shared<MemoryObjectStore>(client->clock, false);
  CountingObjectStore objects{bucket};
  std::unique_ptr<Executor> executor = make_thread_pool("disk", 3);
  BlockStoreOptions options;
  std::unique_ptr<BlockStore> store;

  Fixture() {
    options.cache_bytes = 0;
    options.disk_cache.emplace();
    options.disk_cache->folder = {folder, volume.format.uuid, uint64_t{1} << 30, faults};
    // A test that does not hang the disk must not depend on how busy the machine is.
    options.disk_cache->patience = std::chrono::seconds(30);
    reopen();
  }
  ~Fixture() { faults->hang(false); }
  void reopen() {
    store.reset();
    store = std::make_unique<BlockStore>(*client->meta, objects, *executor, options);
  }
  Extent put(const Bytes& bytes) {
    auto extent = store->store_block(ctx, {ByteView(bytes)});
    REQUIRE(extent.ok());
    return *extent;
  }
  void check(const Extent& extent, const Bytes& bytes, uint64_t offset, uint64_t length) {
    Bytes out(length);
    std::vector<SliceRead> reads{{extent, offset, out}};
    Status status = store->read(ctx, reads);
    INFO((status.ok() ? "" : status.error().message()));
    REQUIRE(status.ok());
    REQUIRE(std::equal(out.begin(), out.end(), bytes.begin() + static_cast<long>(offset)));
  }
  void check(const Extent& extent, const Bytes& bytes) { check(extent, bytes, 0, bytes.size()); }
  uint64_t gets() { return objects.counters().gets; }
  DiskCacheCounters disk() { return store->counters().disk; }
  std::vector<fs::path> files() const {
    std::vector<fs::path> found;
    for (const auto& entry : fs::recursive_directory_iterator(folder))
      if (entry.is_regular_file() && entry.path().filename().string()[0] != '.')
        found.push_back(entry.path());
    return found;
  }
};

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void write_file(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

constexpr char kVolume[] = "5b1c6cf8-2f0c-4f43-9a3e-1f6a2d0b7c11";

/// A slice as it is stored, without a store.
struct Stored {
  explicit Stored(meta::ObjectId object, size_t size = 100)
      : bytes(random_bytes(size, object)), framed(frame_slice({ByteView(bytes)})) {
    extent.object = object;
    extent.slice_length = extent.length = size;
    extent.crc = framed.crc;
    for (ByteView piece : framed.pieces) flat.insert(flat.end(), piece.begin(), piece.end());
  }
  SegmentKey key() const { return segment_of(extent, 0); }
  Result<CacheFolder::Added> add_to(const CacheFolder& folder) const {
    return folder.add(key(), key().all_pages(), flat);
  }
  bool is_in(const CacheFolder& folder) const {
    Bytes out(flat.size());
    auto found = folder.read(key(), key().all_pages(), out.data());
    REQUIRE(found.ok());
    return *found == key().all_pages() && out == flat;
  }
  Bytes bytes;
  FramedSlice framed;
  Extent extent;
  Bytes flat;
};

uint64_t disk_usage(const fs::path& folder) {
  uint64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file() && entry.path().filename() != ".used")
      bytes += (entry.file_size() + 4095) / 4096 * 4096;
  return bytes;
}

}  // namespace

TEST_CASE("disk cache: what was written or read is read again without a request", "[data][disk]") {
  for (bool cache_writes : {true, false}) {
    Fixture f;
    f.options.cache_writes = cache_writes;
    f.reopen();
    for (size_t size : {size_t{1}, size_t{8191}, size_t{8192}, size_t{262'144}, size_t{262'145},
                        size_t{4} << 20}) {
      const Bytes bytes = random_bytes(size, size);
      const Extent extent = f.put(bytes);
      f.reopen();
      if (!cache_writes) {
        const uint64_t gets = f.gets();
        f.check(extent, bytes);
        CHECK(f.gets() > gets);
        CHECK(f.disk().misses > 0);
        f.reopen();
      }
      const uint64_t gets = f.gets();
      f.check(extent, bytes);
      f.check(extent, bytes, size / 2, size - size / 2);
      f.check(extent, bytes, 0, 1);
      CHECK(f.gets() == gets);
      CHECK(f.disk().misses == 0);
      CHECK(f.disk().hits > 0);
      CHECK(f.disk().read_bytes >= size);
    }
  }
}

TEST_CASE("disk cache: slices of one pack", "[data][disk]") {
  Fixture f;
  std::vector<Bytes> slices;
  for (uint64_t i = 0; i < 40; i++) slices.push_back(random_bytes(5'000 + i * 977, i));
  const std::vector<ByteView> views(slices.begin(), slices.end());
  auto extents = f.store->store_many(f.ctx, views);
  REQUIRE(extents.ok());
  f.reopen();
  const uint64_t gets = f.gets();
  for (size_t i = 0; i < slices.size(); i++) f.check((*extents)[i], slices[i]);
  CHECK(f.gets() == gets);
}

TEST_CASE("disk cache: pages read here and there are kept and added to", "[data][disk]") {
  Fixture f;
  f.options.cache_writes = false;
  f.reopen();
  const Bytes bytes = random_bytes((1 << 20) + 77, 1);
  const Extent extent = f.put(bytes);
  std::mt19937_64 random(7);
  for (int round = 0; round < 40; round++) {
    const uint64_t offset = random() % bytes.size();
    const uint64_t length = std::min<uint64_t>(1 + random() % 60'000, bytes.size() - offset);
    f.check(extent, bytes, offset, length);
    f.reopen();
    const uint64_t gets = f.gets();
    f.check(extent, bytes, offset, length);
    CHECK(f.gets() == gets);
  }
  const uint64_t fetched = f.store->counters().bytes_fetched;
  f.check(extent, bytes);
  CHECK(f.store->counters().bytes_fetched - fetched < bytes.size());
  f.reopen();
  const uint64_t gets = f.gets();
  f.check(extent, bytes);
  CHECK(f.gets() == gets);
}

TEST_CASE("disk cache: many threads read what is partly there", "[data][disk]") {
  Fixture f;
  f.options.cache_writes = false;
  f.options.cache_bytes = 64 << 20;
  f.reopen();
  const Bytes bytes = random_bytes(4 << 20, 1);
  const Extent extent = f.put(bytes);
  for (uint64_t at : {0u, 900'000u, 2'000'000u}) f.check(extent, bytes, at, 300'000);
  f.reopen();
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; t++) {
    threads.emplace_back([&] {
      Bytes out(bytes.size());
      std::vector<SliceRead> reads{{extent, 0, out}};
      if (!f.store->read(f.ctx, reads).ok() || out != bytes) wrong++;
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(wrong == 0);
  CHECK(f.store->counters().bytes_fetched < bytes.size());  // once, and only what was not there
}

TEST_CASE("disk cache: wrong bytes are never returned", "[data][disk]") {
  Fixture f;
  const Bytes bytes = random_bytes(100'000, 1);
  const Extent extent = f.put(bytes);
  f.reopen();
  REQUIRE(f.files().size() == 1);
  const fs::path file = f.files()[0];
  const std::string good = read_file(file);
  std::vector<std::string> damaged;
  auto flip = [&](size_t at) {
    damaged.push_back(good);
    damaged.back()[at] = static_cast<char>(damaged.back()[at] ^ 1);
  };
  // Each byte of the header, and of the pages: first, check, a middle one, last, its check.
  for (size_t at = 0; at < kSegmentHeaderBytes; at++) flip(at);
  for (size_t at : {size_t{0}, kPageBytes, 5 * kFramedPageBytes + 4000,
                    good.size() - kSegmentHeaderBytes - 5, good.size() - kSegmentHeaderBytes - 1})
    flip(kSegmentHeaderBytes + at);
  for (size_t size : {size_t{0}, size_t{64}, size_t{128}, good.size() / 2, good.size() - 1})
    damaged.push_back(good.substr(0, size));
  damaged.push_back(good + "x");
  damaged.emplace_back(good.size(), '\0');
  for (size_t i = 0; i < damaged.size(); i++) {
    INFO(i);
    write_file(file, damaged[i]);
    const uint64_t gets = f.gets();
    f.check(extent, bytes);
    CHECK(f.gets() > gets);
    CHECK(f.disk().bad == 1);
    f.reopen();
    CHECK(read_file(file) == good);  // fetched and kept anew
  }
}

TEST_CASE("disk cache: a file of another object, place or volume is not believed", "[data][disk]") {
  Fixture f;
  const Bytes one = random_bytes(300'000, 1), two = random_bytes(300'000, 2);
  const Extent first = f.put(one), second = f.put(two);
  f.reopen();
  const CacheFolder cache(f.options.disk_cache->folder);
  auto path = [&](const std::string& volume, const SegmentKey& key) {
    std::array<char, 4> name{};
    std::snprintf(name.data(), name.size(), "%02x", segment_folder(volume, key));
    return f.folder / name.data() / segment_name(volume, key);
  };
  const fs::path a = path(kVolume, segment_of(first, 0)), b = path(kVolume, segment_of(second, 0));
  const fs::path tail = path(kVolume, segment_of(first, 32));
  REQUIRE(fs::exists(a));
  REQUIRE(fs::exists(b));
  REQUIRE(fs::exists(tail));
  const std::string bytes_a = read_file(a), bytes_b = read_file(b);
  SECTION("two objects") {
    write_file(a, bytes_b);
    write_file(b, bytes_a);
    f.check(first, one);
    f.check(second, two);
    CHECK(f.disk().bad == 2);
  }
  SECTION("two places") {
    write_file(tail, bytes_a);
    f.check(first, one);
    CHECK(f.disk().bad == 1);
  }
  SECTION("two volumes") {
    const std::string other = "00000000-0000-4000-8000-000000000000";
    CacheFolderOptions options = f.options.disk_cache->folder;
    options.volume = other;
    const Bytes framed(kSegmentBytes);
    const SegmentKey key = segment_of(first, 0);
    REQUIRE(CacheFolder(options).add(key, key.all_pages(), framed).ok());
    CHECK(f.files().size() == 5);
    f.check(first, one);
    CHECK(f.disk().bad == 0);
    fs::rename(path(other, key), a);
    f.check(first, one);
    CHECK(f.disk().bad == 1);
  }
  SECTION("an object that has the name of one from before the metadata was restored") {
    Bytes stored(framed_size(two.size()));
    REQUIRE(f.bucket->get(f.ctx, object_key(second.object), 0, stored).ok());
    REQUIRE(f.bucket->put(f.ctx, object_key(first.object), {ByteView(stored)}).ok());
    Extent restored = second;
    restored.object = first.object;
    f.check(restored, two);
    CHECK(f.disk().bad > 0);
  }
}

TEST_CASE("disk cache: files and folders are their owner's alone", "[data][disk]") {
  const mode_t before = umask(0);
  Fixture f;
  f.put(random_bytes(300'000, 1));
  f.reopen();
  umask(before);
  size_t seen = 0;
  for (const auto& entry : fs::recursive_directory_iterator(f.folder)) {
    struct stat st {};
    REQUIRE(stat(entry.path().c_str(), &st) == 0);
    CHECK((st.st_mode & 0777) == (entry.is_directory() ? 0700 : 0600));
    seen++;
  }
  CHECK(seen >= 4);
}

TEST_CASE("disk cache: a folder that can not be one is named", "[data][disk]") {
  TempFolder temp;
  write_file(temp.path / "file", "x");
  CHECK(DiskCache::prepare({temp.path / "a" / "b" / "c", kVolume, 1 << 30, nullptr},
                           std::chrono::seconds(30))
            .ok());
  CHECK(fs::is_directory(temp.path / "a" / "b" / "c"));
  for (const std::string& path :
       {(temp.path / "file").string(), (temp.path / "file/x").string(), std::string("relative")}) {
    Status status = DiskCache::prepare({path, kVolume, 1 << 30, nullptr}, std::chrono::seconds(30));
    REQUIRE_FALSE(status.ok());
    CHECK(status.error().message().find(path) != std::string::npos);
  }
  auto faults = std::make_shared<Faults>();
  faults->hang(true);
  Status status = DiskCache::prepare({temp.path / "new", kVolume, 1 << 30, faults},
                                     std::chrono::milliseconds(1));
  CHECK(status.error().code() == ETIMEDOUT);
  CHECK(status.error().message().find("new") != std::string::npos);
  faults->hang(false);
  while (!fs::exists(temp.path / "new")) std::this_thread::yield();
}

TEST_CASE("disk cache: what was read longest ago goes first", "[data][disk]") {
  TempFolder temp;
  const CacheFolder cache({temp.path, kVolume, 256 * 40'960, nullptr});  // ten files a folder
  std::vector<Stored> slices;
  for (meta::ObjectId id = 1; slices.size() < 11; id++) {
    Stored slice(id);
    if (segment_folder(kVolume, slice.key()) == 7) slices.push_back(std::move(slice));
  }
  for (size_t i = 0; i < 10; i++) REQUIRE(slices[i].add_to(cache)->bytes == slices[i].flat.size());
  // All were read long ago; then some again.
  for (size_t i = 0; i < 10; i++) {
    const timespec times[2] = {{1'000'000, 0}, {static_cast<time_t>(1'000'000 + i), 0}};
    const fs::path path = temp.path / "07" / segment_name(kVolume, slices[i].key());
    REQUIRE(utimensat(AT_FDCWD, path.c_str(), times, 0) == 0);
  }
  for (size_t i : {0u, 2u}) CHECK(slices[i].is_in(cache));
  // What a writer left that was killed goes, too, and what is not the cache's stays.
  write_file(temp.path / "07" / ".new", std::string(100'000, 'x'));
  write_file(temp.path / "07" / "mine", "x");
  auto added = slices[10].add_to(cache);
  REQUIRE(added.ok());
  CHECK(added->evicted == 3);  // to seven eighths
  CHECK_FALSE(slices[1].is_in(cache));
  CHECK_FALSE(slices[3].is_in(cache));
  CHECK_FALSE(slices[4].is_in(cache));
  for (size_t i : {0u, 2u, 5u, 9u, 10u}) CHECK(slices[i].is_in(cache));
  CHECK_FALSE(fs::exists(temp.path / "07" / ".new"));
  CHECK(fs::exists(temp.path / "07" / "mine"));

  // The number of bytes is lost, or wrong: they are counted.
  write_file(temp.path / "07" / ".used", "damaged, and 16 by");
  for (const Stored& slice : slices) REQUIRE(slice.add_to(cache).ok());
  fs::remove(temp.path / "07" / "mine");
  CHECK(disk_usage(temp.path) <= 40'960);
  CHECK(slices[10].is_in(cache));
}

TEST_CASE("disk cache: several processes keep within the size", "[data][disk]") {
  TempFolder temp;
  constexpr uint64_t kSize = 8 << 20;
  std::vector<pid_t> children;
  for (int c = 0; c < 4; c++) {
    const pid_t child = fork();
    if (child == 0) {
      const CacheFolder cache({temp.path, kVolume, kSize, nullptr});
      int code = 0;
      for (meta::ObjectId id = 1; id <= 2'000; id++) {
        const auto object = id * 4 + static_cast<meta::ObjectId>(c);
        if (!Stored(object, 100 + id % 9'000).add_to(cache).ok()) code = 1;
      }
      _exit(code);
    }
    children.push_back(child);
  }
  for (pid_t child : children) {
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(status == 0);
  }
  CHECK(disk_usage(temp.path) <= kSize);
  CHECK(disk_usage(temp.path) > kSize / 2);
}

TEST_CASE("disk cache: a failing disk is no error to anyone, and is left alone", "[data][disk]") {
  for (const char* call : {"all", "open", "read", "write", "rename", "mkdir", "statvfs"}) {
    for (int code : {EIO, ENOSPC, EROFS, EACCES}) {
      INFO(call << " " << code);
      Fixture f;
      const Bytes bytes = random_bytes(1'500'000, 1);
      const Extent before = f.put(bytes);
      f.options.cache_writes = std::string(call) != "read";
      f.reopen();
      f.faults->fail(call, code);
      // The folders of these are not made yet.
      if (std::string(call) == "mkdir") fs::remove_all(f.folder);
      for (int i = 0; i < 6; i++) {
        f.check(before, bytes);
        const Bytes fresh = random_bytes(600'000, 100 + static_cast<uint64_t>(i));
        f.check(f.put(fresh), fresh);
      }
      f.options.disk_cache->try_after = std::chrono::milliseconds(1);
      f.reopen();
      f.faults->fail("none", 0);
      f.check(before, bytes);
      f.reopen();
      const uint64_t gets = f.gets();
      f.check(before, bytes);
      CHECK(f.gets() == gets);
    }
  }
}

TEST_CASE("disk cache: a disk that fails is used again when it works", "[data][disk]") {
  Fixture f;
  f.options.disk_cache->try_after = std::chrono::milliseconds(1);
  f.reopen();
  const Bytes bytes = random_bytes(100'000, 1);
  const Extent extent = f.put(bytes);
  f.reopen();
  f.faults->fail("all", EIO);
  while (f.disk().stopped == 0) f.check(extent, bytes);
  CHECK(f.disk().errors >= 3);
  f.faults->fail("none", 0);
  while (f.disk().hits == 0) f.check(extent, bytes);
}

TEST_CASE("disk cache: a disk that hangs costs a moment", "[data][disk]") {
  Fixture f;
  const Bytes bytes = random_bytes(1'000'000, 1);
  const Extent extent = f.put(bytes);
  f.options.disk_cache->patience = std::chrono::milliseconds(5);
  f.options.disk_cache->try_after = std::chrono::minutes(10);
  f.options.disk_cache->stop_within = std::chrono::milliseconds(5);
  f.reopen();
  f.faults->hang(true);
  while (f.disk().stopped == 0) f.check(extent, bytes);
  const int calls = f.faults->calls;
  for (int i = 0; i < 20; i++) f.check(extent, bytes);
  const Bytes fresh = random_bytes(1'000'000, 2);
  f.check(f.put(fresh), fresh);
  CHECK(f.faults->calls == calls);  // nobody touches it
  f.reopen();                       // closes although threads hang in it
  f.check(extent, bytes);
  f.faults->hang(false);
}

TEST_CASE("disk cache: a disk that hung is used again when it answers", "[data][disk]") {
  Fixture f;
  const Bytes bytes = random_bytes(100'000, 1);
  const Extent extent = f.put(bytes);
  f.options.disk_cache->patience = std::chrono::milliseconds(20);
  f.options.disk_cache->try_after = std::chrono::milliseconds(1);
  f.reopen();
  f.faults->hang(true);
  while (f.disk().stopped == 0) f.check(extent, bytes);
  f.faults->hang(false);
  while (f.disk().hits == 0) f.check(extent, bytes);
}

TEST_CASE("disk cache: the folder may be removed at any time", "[data][disk]") {
  Fixture f;
  const Bytes bytes = random_bytes(1'000'000, 1);
  const Extent extent = f.put(bytes);
  for (int i = 0; i < 3; i++) {
    f.reopen();
    f.check(extent, bytes);
    fs::remove_all(f.folder);
    const uint64_t gets = f.gets();
    f.check(extent, bytes);
    CHECK(f.gets() > gets);
    f.reopen();
    const uint64_t again = f.gets();
    f.check(extent, bytes);
    CHECK(f.gets() == again);
    CHECK(f.disk().errors == 0);
  }
}

#if !SKERRY_TEST_TSAN  // it cannot follow a process with threads through fork()
TEST_CASE("disk cache: a forked child has threads of its own", "[data][disk]") {
  TempFolder temp;
  DiskCacheOptions options;
  options.folder = {temp.path, kVolume, 1 << 30, nullptr};
  options.patience = std::chrono::seconds(30);
  DiskCache cache(options);
  const Stored one(1, 50'000), two(2, 50'000);
  auto look_up = [&](const Stored& slice) {
    bool found = false;
    cache.look_up({{slice.key(), slice.key().all_pages(), 0, 0, {}}},
                  [&](const DiskCache::Part& part) { found = part.framed == slice.flat; });
    return found;
  };
  cache.offer(one.extent, 0, one.framed.pieces);
  while (!look_up(one)) std::this_thread::yield();
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    cache.offer(two.extent, 0, two.framed.pieces);
    while (!look_up(two)) std::this_thread::yield();
    _exit(look_up(one) ? 0 : 1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(look_up(two));
}
#endif
