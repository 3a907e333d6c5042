// Pains of the reference system that are ruled out here, by their numbers in the list of lessons.
// Those that are rows of the table of sharp scenarios are in scenarios_test.cc.
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "support.h"

namespace fs = std::filesystem;

TEST_CASE("lesson 4: lost data is an error, never zeros", "[capi][lessons]") {
  TestVolume test({"cache_size=0", "readahead=0"}, {"inline=0"});
  test.client.write("/f", pattern(9 << 20));
  for (const auto& path : objects(test)) fs::resize_file(path, 0);
  std::string bytes(9 << 20, '?');
  FAILS(skerry_read_file(test.client, nullptr, "/f", bytes.data(), bytes.size()), EIO);
  skerry_file* file = test.client.open("/f", O_RDONLY);
  for (uint64_t at : {0, 5 << 20}) {
    FAILS(skerry_pread(file, nullptr, bytes.data(), 4096, at), EIO);
  }
  OK(skerry_close(file, nullptr));
}

TEST_CASE("lesson 5: a file made anew under an old name is the new one everywhere",
          "[capi][lessons]") {
  TestVolume test;
  Client b(test.url);
  uint64_t last = 0;
  for (int i = 0; i < 40; i++) {
    Client& maker = i % 2 == 0 ? test.client : b;
    Client& other = i % 2 == 0 ? b : test.client;
    maker.write("/f", "contents " + std::to_string(i));
    CHECK(other.read("/f") == "contents " + std::to_string(i));
    CHECK(other.stat("/f").ino == maker.stat("/f").ino);
    CHECK(other.stat("/f").ino != last);
    last = other.stat("/f").ino;
    OK(skerry_unlink(other, nullptr, "/f"));
    struct skerry_stat st {};
    FAILS(skerry_stat(maker, nullptr, "/f", &st), ENOENT);
  }
}

TEST_CASE("lesson 6: nothing is created in a directory that was removed", "[capi][lessons]") {
  TestVolume test;
  Client b(test.url);
  for (int i = 0; i < 20; i++) {
    OK(skerry_mkdir(test.client, nullptr, "/d", 0755));
    skerry_file* dir = test.client.open("/d", O_RDONLY | O_DIRECTORY);
    CHECK(b.list("/d").empty());
    OK(skerry_rmdir(b, nullptr, "/d"));
    skerry_file* file = nullptr;
    FAILS(skerry_openat(test.client, nullptr, dir, "f", O_RDWR | O_CREAT, 0644, &file), ENOENT);
    FAILS(skerry_mkdirat(test.client, nullptr, dir, "g", 0755), ENOENT);
    FAILS(skerry_open(test.client, nullptr, "/d/f", O_RDWR | O_CREAT, 0644, &file), ENOENT);
    OK(skerry_close(dir, nullptr));
  }
}

TEST_CASE("lesson 9: creating in one hot directory from several processes meets no conflict",
          "[capi][lessons]") {
  TestVolume test;
  constexpr int kFiles = 150;
  OK(skerry_mkdir(test.client, nullptr, "/hot", 0755));
  OK(test.client.close());
  std::vector<pid_t> children;
  for (int p = 0; p < 3; p++) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(60);
      skerry_volume* volume = nullptr;
      if (open_volume(test.url, {"background=0"}, &volume) != 0) _exit(1);
      for (int i = 0; i < kFiles; i++) {
        const std::string path = "/hot/" + std::to_string(p) + "-" + std::to_string(i);
        if (skerry_mknod(volume, nullptr, path.c_str(), S_IFREG | 0644, 0) != 0) _exit(2);
      }
      std::vector<skerry_counter> counters(100);
      const int count = skerry_counters(volume, counters.data(), counters.size());
      for (int i = 0; i < count; i++) {
        if (std::string_view(counters[i].name) == "metadata_conflicts" && counters[i].value > 0) {
          _exit(3);
        }
      }
      _exit(skerry_volume_close(volume) == 0 ? 0 : 4);
    }
    children.push_back(child);
  }
  expect_all_fine(children);
  Client check(test.url);
  CHECK(check.list("/hot").size() == 3 * kFiles);
}

TEST_CASE("lesson 13: memory for reading and writing stays within what was given",
          "[capi][lessons]") {
  TestVolume test({"cache_size=2M", "write_buffer=4M"}, {"inline=0"});
  Client& v = test.client;
  const std::string block = pattern(1 << 20);
  skerry_file* file = v.open("/f", O_RDWR | O_CREAT);
  for (uint64_t i = 0; i < 24; i++) {
    OK(skerry_pwrite(file, nullptr, block.data(), block.size(), i << 20));
    CHECK(v.counter("write_buffered_bytes_now") <= 4 << 20);
  }
  OK(skerry_close(file, nullptr));
  CHECK(v.read("/f").size() == 24 << 20);
  CHECK(v.counter("cache_used_bytes_now") <= 2 << 20);
}

TEST_CASE("lesson 18: small reads without a cache fetch little more than they want",
          "[capi][lessons]") {
  TestVolume test({"cache_size=0", "readahead=0"}, {"inline=0"});
  test.client.write("/f", pattern(16 << 20));
  skerry_file* file = test.client.open("/f", O_RDONLY);
  const uint64_t before = test.client.counter("object_get_bytes");
  std::string bytes(4096, '\0');
  constexpr uint64_t kReads = 200;
  for (uint64_t i = 0; i < kReads; i++) {
    OK(skerry_pread(file, nullptr, bytes.data(), bytes.size(), i * 7919 * 4096 % (16 << 20)));
  }
  // Pages of 8 KiB are checked as a whole.
  CHECK(test.client.counter("object_get_bytes") - before <= kReads * 3 * 8192);
  OK(skerry_close(file, nullptr));
}

TEST_CASE("lesson 20: many small files cost few objects and commits", "[capi][lessons]") {
  TestVolume test;
  Client& v = test.client;
  constexpr size_t kFiles = 400;
  std::vector<std::string> paths;
  const std::string bytes = pattern(20'000);
  std::vector<skerry_write_request> requests;
  for (size_t i = 0; i < kFiles; i++) paths.push_back("/f" + std::to_string(i));
  for (const auto& path : paths) {
    requests.push_back({path.c_str(), bytes.data(), bytes.size(), 0644, 0});
  }
  const uint64_t puts = v.counter("object_puts");
  CHECK(skerry_write_batch(v, nullptr, requests.data(), requests.size()) == kFiles);
  CHECK(v.counter("object_puts") - puts <= 4);  // 8 MB in blocks of 4 MiB
  CHECK(v.read("/f399") == bytes);
}
