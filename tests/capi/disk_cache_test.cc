// cache_dir: what a user sees of the disk cache.
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <thread>

#include "support.h"

namespace fs = std::filesystem;

namespace {

constexpr size_t kSmallFiles = 60;

std::string small_name(size_t i) { return "/small" + std::to_string(i); }
std::string small_bytes(size_t i) { return pattern(5'000 + 300 * i, static_cast<unsigned>(i)); }

void write_files(Client& v) {
  v.write("/big", pattern(9'000'000));
  for (size_t i = 0; i < kSmallFiles; i++) v.write(small_name(i), small_bytes(i));
}

/// Whether all is as it was written.
bool reads_right(skerry_volume* v) {
  auto is = [&](const std::string& path, const std::string& bytes) {
    std::string back(bytes.size(), '\0');
    return skerry_read_file(v, nullptr, path.c_str(), back.data(), back.size()) ==
               static_cast<int64_t>(bytes.size()) &&
           back == bytes;
  };
  bool right = is("/big", pattern(9'000'000));
  for (size_t i = 0; i < kSmallFiles; i++) right = right && is(small_name(i), small_bytes(i));
  return right;
}

/// A process of its own reads all. 0: right, and nothing came from the object store. It waits for
/// the disk a moment only, so on a busy machine it may take several.
int read_elsewhere(const std::string& url, const Options& options) {
  return in_child([&] {
    skerry_volume* v = nullptr;
    if (open_volume(url, options, &v) != 0) return 1;
    if (!reads_right(v)) return 2;
    std::vector<skerry_counter> counters(100);
    counters.resize(static_cast<size_t>(skerry_counters(v, counters.data(), counters.size())));
    uint64_t gets = 0, hits = 0;
    for (const skerry_counter& counter : counters) {
      if (counter.name == std::string_view("object_gets")) gets = counter.value;
      if (counter.name == std::string_view("disk_cache_hits")) hits = counter.value;
    }
    if (skerry_volume_close(v) != 0) return 3;
    if (gets > 0) return 4;
    return hits > 0 ? 0 : 5;
  });
}
int read_elsewhere_in_time(const std::string& url, const Options& options) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  for (;;) {
    const int code = read_elsewhere(url, options);
    if (code != 4 || std::chrono::steady_clock::now() > end) return code;
  }
}

/// 8 MiB.
class SmallDisk {
 public:
  SmallDisk() {
    INFO("root is needed to mount it");
    REQUIRE(mount("tmpfs", folder_.path().c_str(), "tmpfs", 0, "size=8m") == 0);
  }
  ~SmallDisk() { umount2(folder_.path().c_str(), MNT_DETACH); }
  const std::string& path() const { return folder_.path(); }
  std::string ballast() const { return folder_.path() + "/ballast"; }
  void fill() const {
    std::ofstream file(ballast(), std::ios::binary);
    while (file << std::string(4096, 'x') << std::flush) {
    }
  }

 private:
  TempFolder folder_;
};

uint64_t problems(Client& v) {
  skerry_fsck_options options{sizeof options, 1};
  skerry_fsck_result result{};
  OK(skerry_fsck(v, nullptr, &options, &result, nullptr, nullptr, nullptr));
  return result.problems;
}

}  // namespace

TEST_CASE("disk cache: another process reads without the object store", "[capi][disk]") {
  TempFolder cache;
  const Options options = {"cache_dir=" + cache.path() + "/made/here", "background=0"};
  TestVolume test(options, {"inline=0"});
  write_files(test.client);
  OK(test.client.close());
  CHECK(read_elsewhere_in_time(test.url, options) == 0);
  // Also what was only read, and a memory cache that keeps nothing.
  fs::remove_all(cache.path() + "/made");
  Options small = options;
  small.emplace_back("cache_size=0");
  CHECK(read_elsewhere(test.url, small) == 4);
  CHECK(read_elsewhere_in_time(test.url, small) == 0);
}

TEST_CASE("disk cache: two volumes share a folder", "[capi][disk]") {
  TempFolder cache;
  const Options options = {"cache_dir=" + cache.path(), "background=0", "cache_size=0"};
  TestVolume one(options, {"inline=0"}), two(options, {"inline=0"});
  const std::string bytes_one = pattern(700'000, 1), bytes_two = pattern(700'000, 2);
  one.client.write("/f", bytes_one);
  two.client.write("/f", bytes_two);
  for (int i = 0; i < 3; i++) {
    CHECK(one.client.read("/f") == bytes_one);
    CHECK(two.client.read("/f") == bytes_two);
  }
  CHECK(one.client.counter("disk_cache_bad_files") == 0);
  CHECK(two.client.counter("disk_cache_bad_files") == 0);
}

TEST_CASE("disk cache: damaged files are read from the object store", "[capi][disk]") {
  TempFolder cache;
  const Options options = {"cache_dir=" + cache.path(), "background=0", "cache_size=0"};
  TestVolume test(options, {"inline=0"});
  write_files(test.client);
  OK(test.client.close());
  unsigned seed = 1;
  for (const auto& entry : fs::recursive_directory_iterator(cache.path())) {
    if (!entry.is_regular_file()) continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<long>(++seed * 7919 % entry.file_size()));
    file << "damaged";
  }
  Client reader(test.url, options);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  do {
    CHECK(reads_right(reader));
  } while (reader.counter("disk_cache_bad_files") == 0 && std::chrono::steady_clock::now() < end);
  CHECK(reader.counter("disk_cache_bad_files") > 0);
  CHECK(reader.counter("checksum_errors") == 0);  // those are the object store's
}

TEST_CASE("disk cache: the folder is removed while it is used", "[capi][disk]") {
  TempFolder cache;
  const Options options = {"cache_dir=" + cache.path() + "/c", "cache_size=1M"};
  TestVolume test(options, {"inline=0"});
  write_files(test.client);
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; t++) {
    threads.emplace_back([&] {
      do {
        if (!reads_right(test.client)) wrong++;
      } while (!stop);
    });
  }
  for (int i = 0; i < 10; i++) {
    std::error_code ignored;  // it is filled meanwhile
    fs::remove_all(cache.path() + "/c", ignored);
    const uint64_t filled = test.client.counter("disk_cache_filled_bytes");
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (test.client.counter("disk_cache_filled_bytes") == filled &&
           std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    CHECK(test.client.counter("disk_cache_filled_bytes") > filled);
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  CHECK(wrong == 0);
  CHECK(problems(test.client) == 0);
}

TEST_CASE("disk cache: a full disk is no error to anyone", "[capi][disk]") {
  SmallDisk disk;
  const Options options = {"cache_dir=" + disk.path() + "/cache", "cache_size=1M"};
  TestVolume test(options, {"inline=0"});
  write_files(test.client);  // more than there is room for
  CHECK(reads_right(test.client));
  disk.fill();
  for (int i = 0; i < 3; i++) {
    write_files(test.client);
    CHECK(reads_right(test.client));
  }
  CHECK(test.client.counter("disk_cache_dropped") > 0);
  Client other(test.url, options);
  CHECK(reads_right(other));
  CHECK(problems(other) == 0);
  // Once there is room it is used again.
  fs::remove(disk.ballast());
  const uint64_t filled = other.counter("disk_cache_filled_bytes");
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (other.counter("disk_cache_filled_bytes") == filled &&
         std::chrono::steady_clock::now() < end) {
    CHECK(reads_right(other));
  }
  CHECK(other.counter("disk_cache_filled_bytes") > filled);
  // Some of the disk stays free.
  const fs::space_info space = fs::space(disk.path());
  CHECK(space.available >= space.capacity / 10);
}

TEST_CASE("disk cache: a folder that can not be one is an error at opening", "[capi][disk]") {
  TempFolder folder;
  TestVolume test;
  std::ofstream(folder.path() + "/file") << "x";
  auto fails = [&](const std::string& option, int code, const std::string& named) {
    skerry_volume* volume = nullptr;
    INFO(option);
    FAILS(open_volume(test.url, {option}, &volume), code);
    CHECK(volume == nullptr);
    CHECK(std::string(skerry_last_error()).find(named) != std::string::npos);
  };
  fails("cache_dir=" + folder.path() + "/file", ENOTDIR, folder.path() + "/file");
  fails("cache_dir=" + folder.path() + "/file/below", ENOTDIR, folder.path() + "/file/below");
  fails("cache_dir=relative", EINVAL, "relative");
  fails("cache_dir_size=1M", EINVAL, "cache_dir_size");
  fails("cache_dir_size=much", EINVAL, "cache_dir_size");
  Client(test.url, {"cache_dir="}).write("/f", "x");
}

TEST_CASE("disk cache: its threads are named, deaf to signals, and gone after close",
          "[capi][disk]") {
  TempFolder cache;
  TestVolume test({"cache_dir=" + cache.path()}, {"inline=0"});
  auto count = [](const std::string& name) {
    const auto names = thread_names();
    return std::count(names.begin(), names.end(), name);
  };
  CHECK(count("skerry-cache") == 0);
  write_files(test.client);
  CHECK(count("skerry-cache") <= 2);
  CHECK(count("skerry-fill") == 1);
  for (const auto& task : fs::directory_iterator("/proc/self/task")) {
    std::ifstream in(task.path() / "status");
    std::string line, name, blocked;
    while (std::getline(in, line)) {
      if (line.rfind("Name:", 0) == 0) name = line.substr(6);
      if (line.rfind("SigBlk:", 0) == 0) blocked = line.substr(8);
    }
    if (name == "skerry-cache" || name == "skerry-fill") {
      CHECK(std::stoull(blocked, nullptr, 16) & (1 << (SIGUSR1 - 1)));
    }
  }
  OK(test.client.close());
  CHECK(count("skerry-cache") == 0);
  CHECK(count("skerry-fill") == 0);
}

#if !SKERRY_TEST_TSAN  // it cannot follow a process with threads through fork()
TEST_CASE("disk cache: forked children read and fill", "[capi][disk][fork]") {
  TempFolder cache;
  const Options options = {"cache_dir=" + cache.path(), "cache_size=0", "background=0"};
  TestVolume test(options, {"inline=0"});
  write_files(test.client);
  CHECK(reads_right(test.client));
  for (int i = 0; i < 5; i++) {
    CHECK(in_child([&] {
            if (!reads_right(test.client)) return 1;
            const std::string bytes = pattern(300'000, static_cast<unsigned>(i));
            if (skerry_write_file(test.client, nullptr, "/child", bytes.data(), bytes.size(),
                                  0644) != 0) {
              return 2;
            }
            return skerry_volume_close(test.client) == 0 ? 0 : 3;
          }) == 0);
    CHECK(test.client.read("/child") == pattern(300'000, static_cast<unsigned>(i)));
    CHECK(reads_right(test.client));
  }
  // The folder went bad since it was opened: not an error, not in a child either.
  fs::remove_all(cache.path());
  std::ofstream(cache.path()) << "a file";
  CHECK(in_child([&] { return reads_right(test.client) ? 0 : 1; }) == 0);
  CHECK(reads_right(test.client));
}
#endif
