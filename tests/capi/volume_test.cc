// Formatting, opening, options, errors.
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "support.h"

namespace fs = std::filesystem;

namespace {

bool says(const std::string& word) {
  return std::string(skerry_last_error()).find(word) != std::string::npos;
}

}  // namespace

TEST_CASE("format: makes a volume once", "[capi][volume]") {
  TempFolder folder;
  const std::string url = "sqlite://" + folder.path() + "/volume.db";
  OK(format_volume(url, {"block_size=1M", "inline=0"}));
  FAILS(format_volume(url), EEXIST);
  CHECK(says("volume.db"));
  Client client(url);
  std::string info(16384, '\0');
  OK(skerry_volume_info(client, nullptr, info.data(), info.size()));
  CHECK(info.find("\"block_bytes\": 1048576") != std::string::npos);
  CHECK(info.find("\"sessions\"") != std::string::npos);
  CHECK(info.find("file://" + folder.path() + "/volume.db.data") != std::string::npos);
  // Cut, with its NUL, where it does not fit.
  char small[8];
  CHECK(skerry_volume_info(client, nullptr, small, sizeof small) > 8);
  CHECK(std::strlen(small) == 7);
}

TEST_CASE("format: what cannot be is an error that changes nothing", "[capi][volume]") {
  TempFolder folder;
  const std::string url = "sqlite://" + folder.path() + "/volume.db";
  FAILS(format_volume("nonsense"), EINVAL);
  FAILS(format_volume("sqlite://relative.db"), EINVAL);
  FAILS(format_volume("ftp:///a"), ENOTSUP);
  FAILS(format_volume(url, {"block_size=1K"}), EINVAL);
  FAILS(format_volume(url, {"inline=1G"}), EINVAL);
  FAILS(format_volume(url, {"colour=red"}), EINVAL);
  CHECK(says("colour"));
  CHECK(says("block_size"));
  FAILS(format_volume(url, {"durable"}), EINVAL);
  FAILS(format_volume(url, {"storage=s4://bucket"}), ENOTSUP);
  CHECK(format_volume("sqlite://" + folder.path() + "/none/volume.db") < 0);
  FAILS(skerry_format(nullptr, nullptr), EINVAL);
  CHECK(fs::is_empty(folder.path()));
}

TEST_CASE("open: a wrong URL is an error, at once", "[capi][volume][guest]") {
  TempFolder folder;
  const auto begin = std::chrono::steady_clock::now();
  skerry_volume* volume = nullptr;
  FAILS(open_volume("sqlite://" + folder.path() + "/none.db", {}, &volume), ENOENT);
  CHECK(says("none.db"));
  CHECK(volume == nullptr);
  FAILS(open_volume("nonsense", {}, &volume), EINVAL);
  FAILS(open_volume("redis://host/1", {}, &volume), ENOTSUP);
  FAILS(open_volume("", {}, &volume), EINVAL);
  FAILS(open_volume("sqlite:///", {}, &volume), EINVAL);
  FAILS(skerry_volume_open(nullptr, nullptr, &volume), EINVAL);
  FAILS(skerry_volume_open("sqlite:///a", nullptr, nullptr), EINVAL);
  std::ofstream(folder.path() + "/text.db") << "this is not a database, but long enough for one";
  CHECK(open_volume("sqlite://" + folder.path() + "/text.db", {}, &volume) < 0);
  CHECK(open_volume("sqlite://" + folder.path(), {}, &volume) < 0);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(30));
}

TEST_CASE("open: a data folder that is not there is an error and is not made", "[capi][volume]") {
  if (std::getenv("SKERRY_TEST_S3") != nullptr) return;  // a bucket is no folder
  TestVolume test;
  test.client.write("/f", "x");
  OK(test.client.close());
  fs::rename(test.folder.path() + "/volume.db.data", test.folder.path() + "/elsewhere");
  skerry_volume* volume = nullptr;
  FAILS(open_volume(test.url, {}, &volume), EIO);
  CHECK(says("volume.db.data"));
  CHECK_FALSE(fs::exists(test.folder.path() + "/volume.db.data"));
}

TEST_CASE("open: options are checked", "[capi][volume]") {
  TestVolume test;
  skerry_volume* volume = nullptr;
  for (const char* bad :
       {"cache_size=lots", "cache_size=-1", "io_threads=0", "timeout=0", "timeout=5x",
        "read_only=yes", "unknown=1", "=", "background=2", "cache_size=99999999999T",
        "consistency=loose", "consistency=", "lease=0", "lease=2000m", "notify=off"}) {
    INFO(bad);
    FAILS(open_volume(test.url, {bad}, &volume), EINVAL);
    CHECK(volume == nullptr);
  }
  Client other(test.url, {"cache_size=1M", "write_buffer=8M", "readahead=0", "io_threads=1",
                          "timeout=1500ms", "background=0", "metadata_cache=16", "durable=1",
                          "consistency=leased", "lease=200ms", "notify=0"});
  other.write("/f", "through small caches");
  CHECK(test.client.read("/f") == "through small caches");
}

TEST_CASE("open: read-only refuses every change", "[capi][volume]") {
  TestVolume test;
  test.client.write("/f", "data");
  OK(skerry_mkdir(test.client, nullptr, "/d", 0755));
  Client reader(test.url, {"read_only=1"});
  CHECK(reader.read("/f") == "data");
  skerry_file* file = nullptr;
  FAILS(skerry_open(reader, nullptr, "/f", O_RDWR, 0, &file), EROFS);
  FAILS(skerry_open(reader, nullptr, "/new", O_CREAT | O_RDONLY, 0644, &file), EROFS);
  FAILS(skerry_open(reader, nullptr, "/f", O_RDONLY | O_TRUNC, 0, &file), EROFS);
  FAILS(skerry_mkdir(reader, nullptr, "/new", 0755), EROFS);
  FAILS(skerry_mkdir(reader, nullptr, "/d", 0755), EEXIST);
  FAILS(skerry_unlink(reader, nullptr, "/f"), EROFS);
  FAILS(skerry_unlink(reader, nullptr, "/none"), ENOENT);
  FAILS(skerry_rmdir(reader, nullptr, "/d"), EROFS);
  FAILS(skerry_rename(reader, nullptr, "/f", "/g"), EROFS);
  FAILS(skerry_chmod(reader, nullptr, "/f", 0600), EROFS);
  FAILS(skerry_truncate(reader, nullptr, "/f", 0), EROFS);
  FAILS(skerry_write_file(reader, nullptr, "/f", "x", 1, 0644), EROFS);
  FAILS(skerry_access(reader, nullptr, "/f", 2), EROFS);
  FAILS(skerry_setxattr(reader, nullptr, "/f", "user.a", "1", 1, 0), EROFS);
  OK(skerry_open(reader, nullptr, "/f", O_CREAT | O_RDONLY, 0644, &file));
  OK(skerry_close(file, nullptr));
  OK(skerry_sync(reader, nullptr));
}

TEST_CASE("volume: what is written survives close and open", "[capi][volume]") {
  TestVolume test;
  const std::string bytes = pattern(5 << 20);
  test.client.write("/big", bytes);
  skerry_file* file = test.client.open("/left-open", O_CREAT | O_WRONLY);
  OK(skerry_pwrite(file, nullptr, "kept", 4, 0));
  OK(test.client.close());  // flushes what is open
  FAILS(skerry_pwrite(file, nullptr, "x", 1, 0), EBADF);
  OK(skerry_close(file, nullptr));  // frees the shell
  Client again(test.url);
  CHECK(again.read("/big") == bytes);
  CHECK(again.read("/left-open") == "kept");
}

TEST_CASE("volume: statvfs and counters", "[capi][volume]") {
  TestVolume test;
  struct skerry_statvfs before {};
  OK(skerry_statvfs(test.client, nullptr, &before));
  test.client.write("/f", pattern(100'000));
  struct skerry_statvfs after {};
  OK(skerry_statvfs(test.client, nullptr, &after));
  CHECK(after.used_bytes == before.used_bytes + 100'000);
  CHECK(after.used_inodes == before.used_inodes + 1);
  CHECK(after.name_max == 255);
  CHECK(after.block_bytes == 4u << 20);
  CHECK(test.client.counter("object_puts") >= 1);
  OK(skerry_unlink(test.client, nullptr, "/f"));
  OK(skerry_statvfs(test.client, nullptr, &after));
  CHECK(after.used_bytes == before.used_bytes);
  CHECK(after.used_inodes == before.used_inodes);
}

TEST_CASE("errors: null and malformed arguments are EINVAL", "[capi][errors]") {
  TestVolume test;
  struct skerry_stat st {};
  FAILS(skerry_stat(nullptr, nullptr, "/", &st), EINVAL);
  FAILS(skerry_stat(test.client, nullptr, nullptr, &st), EINVAL);
  FAILS(skerry_stat(test.client, nullptr, "/", nullptr), EINVAL);
  skerry_context context{};
  FAILS(skerry_stat(test.client, &context, "/", &st), EINVAL);
  CHECK(says("struct_size"));
  context = context_of(1, 1);
  context.group_count = 3;
  FAILS(skerry_stat(test.client, &context, "/", &st), EINVAL);
  FAILS(skerry_mkdir(test.client, nullptr, nullptr, 0), EINVAL);
  FAILS(skerry_rename(test.client, nullptr, "/a", nullptr), EINVAL);
  FAILS(skerry_symlink(test.client, nullptr, nullptr, "/a"), EINVAL);
  FAILS(skerry_pread(nullptr, nullptr, nullptr, 0, 0), EINVAL);
  FAILS(skerry_fsync(nullptr, nullptr), EINVAL);
  FAILS(skerry_open(test.client, nullptr, "/", O_RDONLY, 0, nullptr), EINVAL);
  FAILS(skerry_fstatat(test.client, nullptr, nullptr, "/", &st, 0x40000000), EINVAL);
  CHECK(skerry_close(nullptr, nullptr) == 0);
  CHECK(skerry_volume_close(nullptr) == 0);
  skerry_closedir(nullptr);
  skerry_queue_free(nullptr);
  skerry_view_release(nullptr);
  skerry_cancel_fire(nullptr);
  skerry_cancel_free(nullptr);
}

TEST_CASE("errors: the sentence is the thread's own", "[capi][errors]") {
  TestVolume test;
  struct skerry_stat st {};
  FAILS(skerry_stat(test.client, nullptr, "/here", &st), ENOENT);
  std::string elsewhere = "unset";
  std::thread([&] {
    elsewhere = skerry_last_error();
    skerry_stat(test.client, nullptr, "/there", &st);
  }).join();
  CHECK(elsewhere.empty());
  CHECK(says("/here"));
  CHECK(says("No such file"));
}

TEST_CASE("errors: a fired cancel flag stops the call", "[capi][errors]") {
  TestVolume test;
  skerry_cancel* cancel = skerry_cancel_create();
  skerry_cancel_fire(cancel);
  skerry_context context = context_of(0, 0);
  context.cancel = cancel;
  FAILS(skerry_mkdir(test.client, &context, "/d", 0755), ECANCELED);
  skerry_cancel_free(cancel);
}

TEST_CASE("log: lines go to the host's function alone", "[capi][errors]") {
  static std::atomic<int> lines{0};
  OK(skerry_set_log([](void*, int, const char*) { lines++; }, nullptr, 3));
  { TestVolume test; }
  OK(skerry_set_log(nullptr, nullptr, 3));
  const int seen = lines;
  { TestVolume test; }
  CHECK(lines == seen);
  FAILS(skerry_set_log(nullptr, nullptr, 9), EINVAL);
}

TEST_CASE("volumes: two in one process do not know of each other", "[capi][volume]") {
  TestVolume one;
  TestVolume two;
  one.client.write("/f", "one");
  two.client.write("/f", "two");
  CHECK(one.client.read("/f") == "one");
  CHECK(two.client.read("/f") == "two");
  skerry_file* dir = one.client.open("/", O_RDONLY | O_DIRECTORY);
  struct skerry_stat st {};
  FAILS(skerry_fstatat(two.client, nullptr, dir, "f", &st, 0), EXDEV);
  FAILS(skerry_linkat(two.client, nullptr, dir, "f", nullptr, "/g", 0), EXDEV);
  OK(skerry_close(dir, nullptr));
  OK(one.client.close());
  CHECK(two.client.read("/f") == "two");
}
