// What only a store over a directory can do wrong: crashes, leftovers, full disks, bad keys.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "conformance/object_store_fixture.h"
#include "object/local/local_store.h"

using namespace skerry;
using namespace skerry::testing;
namespace fs = std::filesystem;

namespace {

constexpr int kNotPermitted = 77;

std::unique_ptr<ObjectStore> open_store(const std::string& root,
                                        LocalObjectStore::Options options = {}) {
  auto store = LocalObjectStore::open(root, system_clock(), options);
  if (!store.ok()) throw std::runtime_error(store.error().message());
  return std::move(store).value();
}

Status put(ObjectStore& store, const std::string& key, std::string_view data,
           bool if_absent = false) {
  PutOptions options;
  options.if_absent = if_absent;
  return store.put(plain_context(), key, {as_bytes(data)}, options);
}

size_t files_below(const std::string& directory) {
  size_t n = 0;
  for (const auto& entry : fs::recursive_directory_iterator(directory))
    if (entry.is_regular_file()) n++;
  return n;
}

std::vector<std::string> keys_in(ObjectStore& store) {
  std::vector<std::string> keys;
  auto page = store.list(plain_context(), "", "", 100000);
  REQUIRE(page.ok());
  for (const auto& object : page->objects) keys.push_back(object.key);
  return keys;
}

void make_old(const std::string& path, int hours) {
  timespec times[2] = {};
  times[0].tv_sec = times[1].tv_sec = time(nullptr) - hours * 3600;
  REQUIRE(::utimensat(AT_FDCWD, path.c_str(), times, 0) == 0);
}

void write_file(const std::string& path, const std::string& data) {
  std::ofstream(path) << data;
  REQUIRE(fs::exists(path));
}

/// Runs `body` in a forked child and returns its exit status; -1 where a signal ended it.
template <typename Body>
int in_child(Body body) {
  pid_t child = ::fork();
  if (child == 0) {
    ::alarm(30);
    ::_exit(body());
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/// A put that hits the limit fails, leaves nothing, and the store goes on working. 0: as expected.
int check_full(const std::string& root, int expected_errno) {
  auto store = open_store(root);
  if (!put(*store, "small", "kept").ok()) return 1;
  std::string big(4 << 20, 'x');
  Status full = put(*store, "dir/big", big);
  if (full.ok()) return 2;
  if (full.error().code() != expected_errno) return 3;
  if (full.error().message().find("dir/big") == std::string::npos) return 4;
  if (store->head(plain_context(), "dir/big").ok()) return 5;
  if (files_below(root + "/.tmp") != 0) return 6;
  if (!put(*store, "small 2", "fits").ok()) return 7;
  if (read_object(*store, "small").value() != "kept") return 8;
  return 0;
}

}  // namespace

TEST_CASE("local object store: keys that a directory cannot hold are EINVAL with a sentence",
          "[object][local]") {
  TempDirectory directory;
  auto store = open_store(directory.path() + "/root");
  write_file(directory.path() + "/outside", "secret");
  std::vector<std::string> bad = {"",
                                  "/a",
                                  "a/",
                                  "a//b",
                                  ".",
                                  "a/..",
                                  "../outside",
                                  "a/../../outside",
                                  "a/./b",
                                  std::string("a\0b", 3),
                                  std::string(256, 'x'),
                                  ".tmp/x",
                                  ".uploads/x",
                                  ".tmp"};
  std::string long_key = "k";
  while (long_key.size() <= 1024) long_key += "/" + std::string(100, 'k');
  bad.push_back(long_key);
  OpContext ctx = plain_context();
  for (const auto& key : bad) {
    INFO("key " << key);
    Status status = put(*store, key, "x");
    REQUIRE_FALSE(status.ok());
    CHECK(status.error().code() == EINVAL);
    CHECK(status.error().message().size() > 20);
    CHECK(store->get(ctx, key, 0, {}).error().code() == EINVAL);
    CHECK(store->head(ctx, key).error().code() == EINVAL);
    CHECK(store->remove(ctx, key).error().code() == EINVAL);
    CHECK(store->start_upload(ctx, key).error().code() == EINVAL);
    CHECK(store->remove_batch(ctx, {key}).value()[0].error == EINVAL);
  }
  CHECK(keys_in(*store).empty());
  CHECK(put(*store, "..." + std::string(252, 'x') + "/.tmp/.uploads/...", "x").ok());
}

TEST_CASE("local object store: a key below another, or above, is EINVAL", "[object][local]") {
  TempDirectory directory;
  auto store = open_store(directory.path());
  REQUIRE(put(*store, "a/b", "x").ok());
  for (bool if_absent : {false, true}) {
    for (std::string key : {"a", "a/b/c", "a/b/c/d"}) {
      INFO(key << " " << if_absent);
      Status status = put(*store, key, "y", if_absent);
      REQUIRE_FALSE(status.ok());
      CHECK((status.error().code() == EINVAL || (if_absent && status.error().code() == EEXIST)));
    }
  }
  CHECK(keys_in(*store) == std::vector<std::string>{"a/b"});
}

TEST_CASE("local object store: open names the path and the cause", "[object][local]") {
  TempDirectory directory;
  write_file(directory.path() + "/file", "x");
  for (const std::string& root : {directory.path() + "/file", directory.path() + "/file/below"}) {
    auto store = LocalObjectStore::open(root, system_clock());
    REQUIRE_FALSE(store.ok());
    CHECK(store.error().code() != 0);
    CHECK(store.error().message().find(root) != std::string::npos);
    CHECK(store.error().message().find("Not a directory") != std::string::npos);
  }
  CHECK(LocalObjectStore::open("", system_clock()).error().code() == EINVAL);
  auto store = open_store(directory.path() + "/made/on/the/way//");
  CHECK(store->describe() ==
        "file://" + fs::canonical(directory.path()).string() + "/made/on/the/way");
}

TEST_CASE("local object store: two instances share one root", "[object][local]") {
  TempDirectory directory;
  auto one = open_store(directory.path());
  auto two = open_store(directory.path());
  REQUIRE(put(*one, "x/k", "first").ok());
  CHECK(read_object(*two, "x/k").value() == "first");
  CHECK(put(*two, "x/k", "second", true).error().code() == EEXIST);
  REQUIRE(put(*one, "x/k", "third!").ok());
  CHECK(read_object(*two, "x/k").value() == "third!");
  REQUIRE(one->remove(plain_context(), "x/k").ok());
  CHECK(read_object(*two, "x/k").error().code() == ENOENT);
  std::byte byte;
  CHECK(two->get(plain_context(), "x/k", 0, {&byte, 1}).error().code() == ENOENT);
  auto upload = one->start_upload(plain_context(), "y");
  REQUIRE(upload.ok());
  auto part = two->put_part(plain_context(), "y", *upload, 1, as_bytes("shared"));
  REQUIRE(part.ok());
  CHECK(one->complete_upload(plain_context(), "y", *upload, {*part}).ok());
  CHECK(read_object(*two, "y").value() == "shared");
}

TEST_CASE("local object store: a directory removed by hand is made again", "[object][local]") {
  TempDirectory directory;
  auto store = open_store(directory.path());
  REQUIRE(put(*store, "a/b/c", "x").ok());
  fs::remove_all(directory.path() + "/a");
  fs::remove_all(directory.path() + "/.tmp");
  CHECK(put(*store, "a/b/c", "y").ok());
  CHECK(read_object(*store, "a/b/c").value() == "y");
}

TEST_CASE("local object store: leftovers are not listed, and go when they are old",
          "[object][local]") {
  TempDirectory directory;
  std::string upload;
  {
    auto store = open_store(directory.path());
    REQUIRE(put(*store, "k", "x").ok());
    upload = store->start_upload(plain_context(), "k2").value();
    REQUIRE(store->put_part(plain_context(), "k2", upload, 1, as_bytes("part")).ok());
  }
  write_file(directory.path() + "/.tmp/old", "half an obj");
  write_file(directory.path() + "/.tmp/young", "half an obj");
  make_old(directory.path() + "/.tmp/old", 2);
  auto store = open_store(directory.path());
  CHECK(keys_in(*store) == std::vector<std::string>{"k"});
  CHECK_FALSE(fs::exists(directory.path() + "/.tmp/old"));
  CHECK(fs::exists(directory.path() + "/.tmp/young"));
  CHECK(fs::exists(directory.path() + "/.uploads/" + upload));

  make_old(directory.path() + "/.uploads/" + upload, 24 * 8);
  store = open_store(directory.path());
  CHECK_FALSE(fs::exists(directory.path() + "/.uploads/" + upload));
}

TEST_CASE("local object store: nothing but objects stays behind", "[object][local]") {
  TempDirectory directory;
  auto store = open_store(directory.path());
  OpContext ctx = plain_context();
  REQUIRE(put(*store, "a", "x", true).ok());
  REQUIRE_FALSE(put(*store, "a", "y", true).ok());
  auto upload = store->start_upload(ctx, "b").value();
  auto part = store->put_part(ctx, "b", upload, 1, as_bytes("z")).value();
  REQUIRE_FALSE(store->complete_upload(ctx, "b", upload, {{1, "wrong"}}).ok());
  REQUIRE(store->complete_upload(ctx, "b", upload, {part}).ok());
  CHECK(files_below(directory.path()) == 2);
  CHECK(fs::is_empty(directory.path() + "/.uploads"));
}

TEST_CASE("local object store: whoever is killed leaves only whole objects", "[object][local]") {
  uint64_t seed = std::random_device()();
  INFO("seed " << seed);
  std::mt19937_64 rng(seed);
  TempDirectory directory;
  for (int round = 0; round < 8; round++) {
    int ready[2];
    REQUIRE(::pipe(ready) == 0);
    pid_t child = ::fork();
    if (child == 0) {
      ::alarm(30);
      auto store = open_store(directory.path());
      for (int i = 0;; i++) {
        std::string key =
            "r" + std::to_string(round) + "/" + std::to_string(i % 7) + "/" + std::to_string(i);
        if (!put(*store, key, std::string(200000, static_cast<char>('a' + i % 26)), i % 2 == 0)
                 .ok())
          ::_exit(1);
        if (i == 0 && ::write(ready[1], "x", 1) != 1) ::_exit(1);
      }
    }
    ::close(ready[1]);
    char c;
    REQUIRE(::read(ready[0], &c, 1) == 1);
    std::this_thread::sleep_for(std::chrono::microseconds(rng() % 15000));  // a random point
    ::kill(child, SIGKILL);
    ::close(ready[0]);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFSIGNALED(status));
  }
  auto store = open_store(directory.path());
  auto keys = keys_in(*store);
  CHECK(keys.size() >= 8);
  for (const auto& key : keys) {
    INFO(key);
    auto data = read_object(*store, key);
    REQUIRE(data.ok());
    REQUIRE(data->size() == 200000);
    REQUIRE(data->find_first_not_of(data->front()) == std::string::npos);
  }
}

TEST_CASE("local object store: a file size limit fails the put, not the store", "[object][local]") {
  TempDirectory directory;
  CHECK(in_child([&] {
          ::signal(SIGXFSZ, SIG_IGN);
          rlimit limit{1 << 20, 1 << 20};
          if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 9;
          return check_full(directory.path(), EFBIG);
        }) == 0);
}

TEST_CASE("local object store: a full disk is ENOSPC and leaves nothing", "[object][local]") {
  TempDirectory directory;
  int result = in_child([&] {
    // A mount of the child's own, gone with it; without privilege in a user namespace of its own.
    if (::unshare(CLONE_NEWNS) != 0) {
      std::string uid_map = "0 " + std::to_string(::geteuid()) + " 1";
      std::string gid_map = "0 " + std::to_string(::getegid()) + " 1";
      if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return kNotPermitted;
      bool mapped = (std::ofstream("/proc/self/setgroups") << "deny" << std::flush) &&
                    (std::ofstream("/proc/self/uid_map") << uid_map << std::flush) &&
                    (std::ofstream("/proc/self/gid_map") << gid_map << std::flush);
      if (!mapped) return kNotPermitted;
    }
    ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
    if (::mount("tmpfs", directory.path().c_str(), "tmpfs", 0, "size=1m") != 0)
      return kNotPermitted;
    return check_full(directory.path(), ENOSPC);
  });
  INFO("the child ended with " << result);
  if (result == kNotPermitted) WARN("no private tmpfs here: only the file size limit was tried");
  CHECK((result == 0 || result == kNotPermitted));
}

TEST_CASE("local object store: a forked child opens its own", "[object][local]") {
  TempDirectory directory;
  auto store = open_store(directory.path());
  REQUIRE(put(*store, "k", "parent").ok());
  REQUIRE(read_object(*store, "k").ok());
  CHECK(in_child([&] {
          auto own = open_store(directory.path());
          if (read_object(*own, "k").value() != "parent") return 1;
          return put(*own, "child", "x").ok() ? 0 : 2;
        }) == 0);
  CHECK(read_object(*store, "child").value() == "x");
}
