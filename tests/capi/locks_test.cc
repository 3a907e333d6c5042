// File locks between clients, between owners of one client, and across fork() and a lost session.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "support.h"

namespace {

constexpr int kShared = SKERRY_LOCK_SH, kExclusive = SKERRY_LOCK_EX, kNow = SKERRY_LOCK_NB,
              kUnlock = SKERRY_LOCK_UN;

skerry_lock lock_of(uint32_t type, uint64_t start = 0, uint64_t length = 0, uint64_t owner = 0) {
  skerry_lock lock{};
  lock.struct_size = sizeof lock;
  lock.type = type;
  lock.start = start;
  lock.length = length;
  lock.owner = owner;
  return lock;
}

int set(skerry_file* file, const skerry_lock& lock, bool wait = false,
        const skerry_context* context = nullptr) {
  return skerry_setlk(file, context, &lock, wait ? 1 : 0);
}

/// Two clients that have one file open.
struct TwoClients {
  TestVolume test;
  Client other{test.url};
  skerry_file* a = nullptr;
  skerry_file* b = nullptr;
  TwoClients() {
    test.client.write("/f", "old");
    a = test.client.open("/f", O_RDWR);
    b = other.open("/f", O_RDWR);
  }
  ~TwoClients() {
    skerry_close(a, nullptr);
    skerry_close(b, nullptr);
    skerry_fsck_options options{sizeof options, 0};
    skerry_fsck_result result{};
    CHECK(skerry_fsck(test.client, nullptr, &options, &result, nullptr, nullptr, nullptr) == 0);
    CHECK(result.problems == 0);
  }
};

std::vector<std::string> watches() {
  std::vector<std::string> found;
  for (const auto& each : open_descriptors()) {
    if (each.find("inotify") != std::string::npos) found.push_back(each);
  }
  return found;
}

bool eventually(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

}  // namespace

TEST_CASE("locks: flock belongs to the open file", "[capi][lock]") {
  TwoClients t;
  skerry_file* again = t.test.client.open("/f", O_RDONLY);
  OK(skerry_flock(t.a, nullptr, kShared));
  OK(skerry_flock(again, nullptr, kShared));
  OK(skerry_flock(t.b, nullptr, kShared | kNow));
  FAILS(skerry_flock(t.b, nullptr, kExclusive | kNow), EAGAIN);
  // As flock(2) on Linux: the lock that could not be converted is gone.
  OK(skerry_flock(again, nullptr, kUnlock));
  OK(skerry_flock(t.a, nullptr, kExclusive | kNow));
  FAILS(skerry_flock(again, nullptr, kShared | kNow), EAGAIN);
  FAILS(skerry_flock(t.b, nullptr, kShared | kNow), EAGAIN);
  OK(skerry_close(again, nullptr));  // not the one that holds it
  FAILS(skerry_flock(t.b, nullptr, kShared | kNow), EAGAIN);
  OK(skerry_close(t.a, nullptr));
  t.a = nullptr;
  OK(skerry_flock(t.b, nullptr, kExclusive | kNow));
}

TEST_CASE("locks: ranges, owners and what getlk tells", "[capi][lock]") {
  TwoClients t;
  skerry_lock mine = lock_of(SKERRY_F_WRLCK, 10, 10, 5);
  mine.pid = 4711;
  OK(set(t.a, mine));
  OK(set(t.a, lock_of(SKERRY_F_RDLCK, 0, 10, 5)));
  OK(set(t.a, lock_of(SKERRY_F_RDLCK, 0, 5, 6)));  // another owner of the same client
  FAILS(set(t.a, lock_of(SKERRY_F_WRLCK, 9, 1, 6)), EAGAIN);
  FAILS(set(t.b, lock_of(SKERRY_F_WRLCK, 0, 1, 5)), EAGAIN);  // its owner 5 is another's
  OK(set(t.b, lock_of(SKERRY_F_RDLCK, 0, 10)));
  OK(set(t.b, lock_of(SKERRY_F_WRLCK, 20, 0)));
  skerry_lock asked = lock_of(SKERRY_F_RDLCK, 0, 0, 1);
  OK(skerry_getlk(t.b, nullptr, &asked));
  CHECK(asked.type == SKERRY_F_WRLCK);
  CHECK(asked.start == 10);
  CHECK(asked.length == 10);
  CHECK(asked.pid == 4711);
  CHECK(asked.owner == 5);
  asked = lock_of(SKERRY_F_RDLCK, 30, 1);
  OK(skerry_getlk(t.a, nullptr, &asked));
  CHECK(asked.type == SKERRY_F_WRLCK);
  CHECK(asked.start == 20);
  CHECK(asked.length == 0);
  asked = lock_of(SKERRY_F_RDLCK, 30, 1);
  OK(skerry_getlk(t.b, nullptr, &asked));
  CHECK(asked.type == SKERRY_F_UNLCK);
  // Split, upgrade, unlock.
  OK(set(t.b, lock_of(SKERRY_F_UNLCK, 40, 10)));
  OK(set(t.a, lock_of(SKERRY_F_WRLCK, 40, 10, 5)));
  FAILS(set(t.a, lock_of(SKERRY_F_WRLCK, 40, 11, 5)), EAGAIN);
  OK(skerry_release_owner(t.a, nullptr, 5));
  OK(set(t.b, lock_of(SKERRY_F_WRLCK, 5, 0)));
  FAILS(set(t.b, lock_of(SKERRY_F_WRLCK, 4, 1)), EAGAIN);  // owner 6
}

TEST_CASE("locks: closing any file of the inode gives up the default owner's", "[capi][lock]") {
  TwoClients t;
  skerry_file* again = t.test.client.open("/f", O_RDONLY);
  OK(set(t.a, lock_of(SKERRY_F_WRLCK, 0, 5)));
  OK(set(t.a, lock_of(SKERRY_F_WRLCK, 10, 5, 7)));
  OK(skerry_close(again, nullptr));
  OK(set(t.b, lock_of(SKERRY_F_WRLCK, 0, 5)));
  FAILS(set(t.b, lock_of(SKERRY_F_WRLCK, 10, 5)), EAGAIN);
  OK(skerry_close(t.a, nullptr));
  t.a = nullptr;
  OK(set(t.b, lock_of(SKERRY_F_WRLCK, 10, 5)));
}

TEST_CASE("locks: arguments that are refused", "[capi][lock]") {
  TwoClients t;
  FAILS(skerry_flock(t.a, nullptr, 0), EINVAL);
  FAILS(skerry_flock(t.a, nullptr, kShared | kExclusive), EINVAL);
  FAILS(skerry_setlk(t.a, nullptr, nullptr, 0), EINVAL);
  FAILS(set(t.a, lock_of(3)), EINVAL);
  FAILS(set(t.a, lock_of(SKERRY_F_RDLCK, uint64_t{1} << 63, 1)), EINVAL);
  FAILS(set(t.a, lock_of(SKERRY_F_RDLCK, INT64_MAX, 2)), EOVERFLOW);
  OK(set(t.a, lock_of(SKERRY_F_RDLCK, INT64_MAX, 1)));
  skerry_lock none = lock_of(SKERRY_F_RDLCK);
  none.struct_size = 4;
  FAILS(skerry_getlk(t.a, nullptr, &none), EINVAL);
  none = lock_of(SKERRY_F_UNLCK);
  FAILS(skerry_getlk(t.a, nullptr, &none), EINVAL);
  skerry_file* reader = t.test.client.open("/f", O_RDONLY);
  FAILS(set(reader, lock_of(SKERRY_F_WRLCK)), EBADF);
  OK(skerry_flock(reader, nullptr, kExclusive | kNow));
  skerry_file* path = t.test.client.open("/f", O_PATH);
  FAILS(skerry_flock(path, nullptr, kShared), EBADF);
  skerry_file* folder = t.test.client.open("/", O_RDONLY | O_DIRECTORY);
  FAILS(skerry_flock(folder, nullptr, kShared), EINVAL);
  for (skerry_file* each : {reader, path, folder}) OK(skerry_close(each, nullptr));
}

TEST_CASE("locks: what was written is seen by who gets the lock next", "[capi][lock]") {
  TwoClients t;
  OK(skerry_flock(t.a, nullptr, kExclusive));
  OK(skerry_pwrite(t.a, nullptr, "new and longer", 14, 0));
  CHECK(read_all(t.b) == "old");
  OK(skerry_flock(t.a, nullptr, kUnlock));
  OK(skerry_flock(t.b, nullptr, kExclusive | kNow));
  CHECK(read_all(t.b) == "new and longer");
  OK(set(t.a, lock_of(SKERRY_F_WRLCK, 0, 1)));
  OK(skerry_pwrite(t.a, nullptr, "N", 1, 0));
  OK(skerry_close(t.a, nullptr));
  t.a = nullptr;
  OK(set(t.b, lock_of(SKERRY_F_WRLCK, 0, 1)));
  CHECK(read_all(t.b) == "New and longer");
}

TEST_CASE("locks: waiting ends with the lock, the time or the flag", "[capi][lock]") {
  TwoClients t;
  const bool same_client = GENERATE(false, true);
  CAPTURE(same_client);
  skerry_file* waiter = same_client ? t.a : t.b;
  const skerry_lock wanted = lock_of(SKERRY_F_WRLCK, 0, 1, 2);
  OK(set(t.a, lock_of(SKERRY_F_WRLCK, 0, 1, 1)));
  skerry_context context = context_of(0, 0);
  context.timeout_ms = 30;
  FAILS(set(waiter, wanted, true, &context), ETIMEDOUT);
  context.timeout_ms = 0;
  context.cancel = skerry_cancel_create();
  std::atomic<int> answer{1};
  std::thread cancelled([&] { answer = set(waiter, wanted, true, &context); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(answer == 1);
  skerry_cancel_fire(context.cancel);
  cancelled.join();
  CHECK(answer == -ECANCELED);
  skerry_cancel_free(context.cancel);
  answer = 1;
  std::thread granted([&] { answer = set(waiter, wanted, true); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(answer == 1);
  OK(set(t.a, lock_of(SKERRY_F_UNLCK, 0, 1, 1)));
  granted.join();
  CHECK(answer == 0);
  OK(set(waiter, lock_of(SKERRY_F_UNLCK, 0, 1, 2)));
}

TEST_CASE("locks: handing over between clients does not wait for a clock", "[capi][lock]") {
  TwoClients t;
  constexpr int kRounds = 200;  // a waiter that only looked once a second would take minutes
  std::atomic<int> failures{0};
  int shared_count = 0;
  auto work = [&](skerry_file* file) {
    for (int i = 0; i < kRounds; i++) {
      if (skerry_flock(file, nullptr, kExclusive) != 0) failures++;
      shared_count++;
      if (skerry_flock(file, nullptr, kUnlock) != 0) failures++;
    }
  };
  const auto begin = std::chrono::steady_clock::now();
  std::thread one([&] { work(t.a); });
  std::thread two([&] { work(t.b); });
  one.join();
  two.join();
  CHECK(failures == 0);
  CHECK(shared_count == 2 * kRounds);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(60));
}

TEST_CASE("locks: many owners of many clients count under one lock", "[capi][lock]") {
  TwoClients t;
  constexpr int kRounds = 25;
  std::atomic<int> failures{0};
  OK(skerry_pwrite(t.a, nullptr, "00000000", 8, 0));
  OK(skerry_fsync(t.a, nullptr));
  std::vector<std::thread> threads;
  for (uint64_t n = 1; n <= 6; n++) {
    threads.emplace_back([&, n] {
      skerry_file* file = n % 2 == 0 ? t.a : t.b;
      for (int i = 0; i < kRounds; i++) {
        if (set(file, lock_of(SKERRY_F_WRLCK, 0, 8, n), true) != 0) failures++;
        char text[16] = {};
        if (skerry_pread(file, nullptr, text, 8, 0) != 8) failures++;
        snprintf(text, sizeof text, "%08d", atoi(text) + 1);
        if (skerry_pwrite(file, nullptr, text, 8, 0) != 8) failures++;
        if (set(file, lock_of(SKERRY_F_UNLCK, 0, 8, n)) != 0) failures++;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(failures == 0);
  CHECK(read_all(t.a).substr(0, 8) == "00000150");
}

TEST_CASE("locks: owners of a client that wait for each other", "[capi][lock]") {
  TwoClients t;
  OK(set(t.a, lock_of(SKERRY_F_WRLCK, 0, 1, 1)));
  OK(set(t.a, lock_of(SKERRY_F_WRLCK, 1, 1, 2)));
  // Whoever comes second is told, gives up what it has, and so lets the other go on.
  std::atomic<int> refused{0}, granted{0};
  auto work = [&](uint64_t owner, uint64_t own, uint64_t wanted) {
    const int answer = set(t.a, lock_of(SKERRY_F_WRLCK, wanted, 1, owner), true);
    if (answer == 0) granted++;
    if (answer == -EDEADLK) refused++;
    if (set(t.a, lock_of(SKERRY_F_UNLCK, own, 1, owner)) != 0) refused = 100;
  };
  std::thread one([&] { work(1, 0, 1); });
  std::thread two([&] { work(2, 1, 0); });
  one.join();
  two.join();
  CHECK(refused == 1);
  CHECK(granted == 1);
}

TEST_CASE("locks: owners of clients that wait for each other", "[capi][lock]") {
  TwoClients t;
  // 1 waits for 2, its neighbour, who waits for 3 of the other client, who waits for 1.
  struct Member {
    skerry_file* file;
    uint64_t owner, own, wanted;
  };
  const Member members[] = {{t.a, 1, 0, 1}, {t.a, 2, 1, 2}, {t.b, 3, 2, 0}};
  for (const Member& m : members) OK(set(m.file, lock_of(SKERRY_F_WRLCK, m.own, 1, m.owner)));
  std::atomic<int> refused{0}, granted{0}, failed{0};
  std::vector<std::thread> threads;
  for (const Member& m : members) {
    threads.emplace_back([&] {
      const int answer = set(m.file, lock_of(SKERRY_F_WRLCK, m.wanted, 1, m.owner), true);
      if (answer == 0) granted++;
      if (answer == -EDEADLK) refused++;
      if (set(m.file, lock_of(SKERRY_F_UNLCK, 0, 0, m.owner)) != 0) failed++;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(refused >= 1);
  CHECK(refused + granted == 3);
  CHECK(failed == 0);
  OK(set(t.b, lock_of(SKERRY_F_WRLCK, 0, 0, 9)));
}

TEST_CASE("locks: a file that is closed late takes nothing from who has come by another since",
          "[capi][lock]") {
  // As a kernel tells of it: the owner's close at once, the end of the open file when it has time.
  TwoClients t;
  skerry_file* again = t.test.client.open("/f", O_RDWR);
  OK(set(t.a, lock_of(SKERRY_F_WRLCK, 0, 1, 5)));
  SECTION("a process that has opened the file anew") {
    OK(skerry_release_owner(t.a, nullptr, 5));
    OK(set(again, lock_of(SKERRY_F_WRLCK, 0, 1, 5)));
  }
  SECTION("another open file with the number of the first") {
    OK(set(again, lock_of(SKERRY_F_WRLCK, 0, 1, 5)));
  }
  OK(skerry_close(t.a, nullptr));
  t.a = nullptr;
  FAILS(set(t.b, lock_of(SKERRY_F_WRLCK, 0, 1)), EAGAIN);
  OK(skerry_close(again, nullptr));
  OK(set(t.b, lock_of(SKERRY_F_WRLCK, 0, 1)));
}

TEST_CASE("locks: a closed volume has none", "[capi][lock]") {
  TwoClients t;
  {
    Client third(t.test.url);
    skerry_file* c = third.open("/f", O_RDWR);
    OK(skerry_flock(c, nullptr, kExclusive));
    FAILS(skerry_flock(t.a, nullptr, kShared | kNow), EAGAIN);
    OK(third.close());
    OK(skerry_close(c, nullptr));
  }
  OK(skerry_flock(t.a, nullptr, kExclusive | kNow));
}

#if !SKERRY_TEST_TSAN  // it cannot follow a process with threads through fork()

TEST_CASE("locks: a forked child has none of its parent's", "[capi][lock][fork]") {
  TwoClients t;
  OK(skerry_flock(t.a, nullptr, kExclusive));
  OK(set(t.a, lock_of(SKERRY_F_WRLCK, 0, 1)));
  CHECK(in_child([&] {
          if (skerry_flock(t.a, nullptr, kShared | kNow) != -EAGAIN) return 1;
          skerry_lock asked = lock_of(SKERRY_F_WRLCK, 0, 1);
          if (skerry_getlk(t.a, nullptr, &asked) != 0 || asked.type != SKERRY_F_WRLCK) return 2;
          if (set(t.a, lock_of(SKERRY_F_WRLCK, 5, 1)) != 0) return 3;
          if (skerry_flock(t.a, nullptr, kUnlock) != 0) return 4;  // of nothing
          if (skerry_close(t.a, nullptr) != 0) return 5;
          return skerry_volume_close(t.test.client) == 0 ? 0 : 6;
        }) == 0);
  FAILS(skerry_flock(t.b, nullptr, kShared | kNow), EAGAIN);
  FAILS(set(t.b, lock_of(SKERRY_F_WRLCK, 0, 1)), EAGAIN);
  OK(set(t.b, lock_of(SKERRY_F_WRLCK, 5, 1)));
}

TEST_CASE("locks: a waiter's descriptor is its own, and for as long as it waits",
          "[capi][lock][fork]") {
  if (std::getenv("SKERRY_TEST_POSTGRES") != nullptr) return;  // it watches no file
  TwoClients t;
  CHECK(watches().empty());
  OK(skerry_flock(t.a, nullptr, kExclusive));
  std::atomic<int> answer{1};
  std::thread waiter([&] { answer = skerry_flock(t.b, nullptr, kExclusive); });
  CHECK(eventually([] { return watches().size() == 1; }));
  CHECK(in_child([] { return watches().empty() ? 0 : 1; }) == 0);
  OK(skerry_flock(t.a, nullptr, kUnlock));
  waiter.join();
  CHECK(answer == 0);
  CHECK(watches().empty());
}

TEST_CASE("locks: a process that dies loses them, one that is stopped can not write on",
          "[capi][lock][fork]") {
  TestVolume test({}, {"session_expiry=5s"});
  test.client.write("/f", "old");
  int ready[2], go[2];
  REQUIRE(pipe(ready) == 0);
  REQUIRE(pipe(go) == 0);
  const bool dies = GENERATE(true, false);
  CAPTURE(dies);
  const pid_t child = fork();
  if (child == 0) {
    alarm(120);
    skerry_volume* volume = nullptr;
    if (open_volume(test.url, {}, &volume) != 0) _exit(1);
    skerry_file* file = nullptr;
    if (skerry_open(volume, nullptr, "/f", O_RDWR, 0, &file) != 0) _exit(2);
    if (skerry_flock(file, nullptr, kShared) != 0) _exit(3);
    if (skerry_pwrite(file, nullptr, "late", 4, 0) != 4) _exit(4);
    char byte = 'r';
    if (write(ready[1], &byte, 1) != 1 || read(go[0], &byte, 1) != 1) _exit(5);
    if (skerry_pwrite(file, nullptr, "later", 5, 0) != -EIO) _exit(6);
    if (skerry_fsync(file, nullptr) != -EIO) _exit(7);
    if (skerry_ftruncate(file, nullptr, 0) != -EIO) _exit(8);
    if (skerry_pread(file, nullptr, &byte, 1, 0) != -EIO) _exit(9);
    if (skerry_close(file, nullptr) != -EIO) _exit(10);
    // Opened again it is as it was left, and can be locked when it is free.
    if (!eventually([&] {
          return skerry_open(volume, nullptr, "/f", O_RDWR, 0, &file) == 0 &&
                 (skerry_flock(file, nullptr, kShared | kNow) == 0 ||
                  (skerry_close(file, nullptr), false));
        })) {
      _exit(11);
    }
    char text[4] = {};
    if (skerry_pread(file, nullptr, text, 3, 0) != 3 || std::string(text) != "new") _exit(12);
    if (skerry_close(file, nullptr) != 0) _exit(13);
    _exit(skerry_volume_close(volume) == 0 ? 0 : 14);
  }
  char byte = 0;
  REQUIRE(read(ready[0], &byte, 1) == 1);
  REQUIRE(kill(child, dies ? SIGKILL : SIGSTOP) == 0);
  skerry_file* file = test.client.open("/f", O_RDWR);
  FAILS(skerry_flock(file, nullptr, kExclusive | kNow), EAGAIN);
  skerry_context patient = context_of(0, 0);
  patient.timeout_ms = 60'000;
  OK(skerry_flock(file, &patient, kExclusive));
  CHECK(read_all(file) == "old");
  OK(skerry_pwrite(file, nullptr, "new", 3, 0));
  OK(skerry_close(file, nullptr));
  int status = 0;
  if (!dies) {
    REQUIRE(kill(child, SIGCONT) == 0);
    REQUIRE(write(go[1], "g", 1) == 1);
  }
  waitpid(child, &status, 0);
  if (!dies) CHECK(WEXITSTATUS(status) == 0);
  CHECK(test.client.read("/f") == "new");
  for (int fd : {ready[0], ready[1], go[0], go[1]}) close(fd);
}

#endif
