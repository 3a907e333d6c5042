// The SQLite store among crashes, forks, other processes and failing disks.

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <set>
#include <thread>

#include "conformance/store_fixture.h"
#include "support/sanitizers.h"

namespace skerry::meta {

namespace {

OpContext context() {
  OpContext ctx;
  ctx.clock = &system_clock();
  return ctx;
}

std::unique_ptr<Store> open_volume(const std::string& path, bool create = false,
                                   sqlite::VfsFaults* faults = nullptr) {
  SqliteOptions options;
  options.faults = faults;
  auto store = create ? SqliteStore::create(path, options, system_clock())
                      : SqliteStore::open(path, options, system_clock());
  if (!store.ok()) throw std::runtime_error(store.error().message());
  return std::move(store).value();
}

Result<CommitResult> add(Store& store, const std::string& name,
                         Durability durability = Durability::kVisible) {
  CommitRequest request;
  request.mutations = {AddNumber{name, 1}, Put{XattrRecord{1, name, std::string(300, 'x')}}};
  request.durability = durability;
  return store.commit(context(), request);
}

uint64_t number(Store& store, const std::string& name) {
  auto result = store.read(context(), {{volume_key(name)}, {}, {}, false});
  if (!result.ok()) throw std::runtime_error(result.error().message());
  return result->records[0] ? std::get<VolumeRecord>(*result->records[0]).number : 0;
}

/// Runs `body` in a forked child; its result is the exit status.
pid_t in_child(const std::function<int()>& body) {
  pid_t pid = fork();
  if (pid != 0) return pid;
  int status = 99;
  try {
    status = body();
  } catch (...) {
  }
  _exit(status);
}

int wait_for(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

std::string shell_query(const std::string& path, const char* sql) {
  // The ordinary VFS: its locks and ours must understand each other.
  sqlite3* db = nullptr;
  std::string text;
  if (sqlite3_open_v2(path.c_str(), &db, SQLITE_OPEN_READWRITE, "unix") == SQLITE_OK) {
    sqlite3_busy_timeout(db, 20'000);
    auto append = [](void* out, int, char** values, char**) {
      *static_cast<std::string*>(out) += values[0] != nullptr ? values[0] : "";
      return 0;
    };
    char* message = nullptr;
    if (sqlite3_exec(db, sql, append, &text, &message) != SQLITE_OK) text = message;
    sqlite3_free(message);
  }
  sqlite3_close(db);
  return text;
}

/// Fails one call, or every call of a kind.
class Faults final : public sqlite::VfsFaults {
 public:
  int before(sqlite::VfsOp op, sqlite::VfsFile) noexcept override {
    if (!armed) return SQLITE_OK;
    if (only && *only != op) return SQLITE_OK;
    const int n = ++calls;
    return n == nth || all ? code : SQLITE_OK;
  }
  std::atomic<bool> armed{false};
  std::atomic<int> calls{0};
  int nth = 0;
  bool all = false;
  int code = SQLITE_IOERR;
  std::optional<sqlite::VfsOp> only;
};

}  // namespace

TEST_CASE("sqlite: what is not a volume is refused in a sentence", "[meta][sqlite][fault]") {
  TestDirectory directory;
  const std::string path = directory.file("v.db");
  SqliteOptions options;
  auto open_error = [&] { return SqliteStore::open(path, options, system_clock()).error(); };
  auto create_error = [&] { return SqliteStore::create(path, options, system_clock()).error(); };
  CHECK(open_error().code() == ENOENT);
  CHECK(open_error().message().find("does not exist") != std::string::npos);
  std::ofstream(path) << std::string(5000, 't');
  CHECK(open_error().code() == EINVAL);
  CHECK(create_error().message().find("not an SQLite database") != std::string::npos);
  unlink(path.c_str());
  CHECK(shell_query(path, "SELECT 1").empty());
  {
    sqlite3* db = nullptr;
    REQUIRE(sqlite3_open(path.c_str(), &db) == SQLITE_OK);
    REQUIRE(sqlite3_exec(db, "CREATE TABLE t(a)", nullptr, nullptr, nullptr) == SQLITE_OK);
    sqlite3_close(db);
  }
  CHECK(open_error().message().find("not a Skerry volume") != std::string::npos);
  CHECK(create_error().message().find("another program") != std::string::npos);
  unlink(path.c_str());
  open_volume(path, true).reset();
  CHECK(create_error().code() == EEXIST);
  shell_query(path, "PRAGMA user_version=99");
  CHECK(open_error().code() == ENOTSUP);
  CHECK(open_error().message().find("upgrade") != std::string::npos);
  CHECK(SqliteStore::open(directory.file(""), options, system_clock()).error().code() != 0);
}

TEST_CASE("sqlite: two processes and an ordinary SQLite program on one database",
          "[meta][sqlite][fault]") {
  TestDirectory directory;
  const std::string path = directory.file("v.db");
  open_volume(path, true).reset();
  constexpr int kEach = 150;
  auto hammer = [&](const std::string& mine) {
    auto store = open_volume(path);
    std::atomic<int> failed{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < kEach; ++i) {
          auto result = add(*store, i % 2 ? "shared" : mine,
                            i % 50 == 0 ? Durability::kDurable : Durability::kVisible);
          if (!result.ok() || !result->applied) ++failed;
          if (t == 0) number(*store, "shared");
        }
      });
    }
    for (auto& thread : threads) thread.join();
    return failed == 0 ? 0 : 1;
  };
  const pid_t first = in_child([&] { return hammer("one"); });
  const pid_t second = in_child([&] { return hammer("two"); });
  for (int i = 0; i < 10; ++i) {
    const std::string answer = shell_query(
        path, "INSERT INTO xattr VALUES(9, randomblob(9), x''); SELECT count(*)>0 FROM xattr");
    CHECK(answer == "1");
  }
  CHECK(wait_for(first) == 0);
  CHECK(wait_for(second) == 0);
  auto store = open_volume(path);
  CHECK(number(*store, "shared") == 2 * kEach);
  CHECK(number(*store, "one") == kEach);
  CHECK(number(*store, "two") == kEach);
  CHECK(shell_query(path, "PRAGMA integrity_check") == "ok");
}

TEST_CASE("sqlite: a lock held by another process is waited for, then named",
          "[meta][sqlite][fault]") {
  TestDirectory directory;
  const std::string path = directory.file("v.db");
  SqliteOptions options;
  options.lock_timeout_ns = 100'000'000;
  auto store = SqliteStore::create(path, options, system_clock());
  REQUIRE(store.ok());
  sqlite3* db = nullptr;
  REQUIRE(sqlite3_open_v2(path.c_str(), &db, SQLITE_OPEN_READWRITE, "unix") == SQLITE_OK);
  REQUIRE(sqlite3_exec(db, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr) == SQLITE_OK);
  auto result = add(**store, "n");
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().code() == ETIMEDOUT);
  CHECK(result.error().message().find(path) != std::string::npos);
  CHECK(result.error().message().find("locked") == std::string::npos);
  CHECK(number(**store, "n") == 0);
  std::thread release([&] {
    system_clock().sleep_ns(20'000'000);
    sqlite3_exec(db, "ROLLBACK", nullptr, nullptr, nullptr);
  });
  CHECK(add(**store, "n").ok());
  release.join();
  sqlite3_close(db);
  CHECK(add(**store, "n").ok());
}

TEST_CASE("sqlite: acknowledged commits survive SIGKILL", "[meta][sqlite][fault]") {
  TestDirectory directory;
  const std::string path = directory.file("v.db");
  open_volume(path, true).reset();
  uint64_t acknowledged = 0;
  for (int round = 0; round < 12; ++round) {
    int pipe_ends[2];
    REQUIRE(pipe(pipe_ends) == 0);
    const pid_t child = in_child([&] {
      auto store = open_volume(path);
      for (;;) {
        if (!add(*store, "n", Durability::kDurable).ok()) return 1;
        if (write(pipe_ends[1], "x", 1) != 1) return 2;
      }
    });
    close(pipe_ends[1]);
    char byte;
    for (int i = 0; i < 5 + round * 3 && read(pipe_ends[0], &byte, 1) == 1; ++i) ++acknowledged;
    kill(child, SIGKILL);
    CHECK(wait_for(child) == -SIGKILL);
    while (read(pipe_ends[0], &byte, 1) == 1) ++acknowledged;
    close(pipe_ends[0]);
    auto store = open_volume(path);
    const uint64_t stored = number(*store, "n");
    CHECK(stored >= acknowledged);
    CHECK(stored <= acknowledged + 1);
    acknowledged = stored;
    REQUIRE(add(*store, "other").ok());
    CHECK(shell_query(path, "PRAGMA integrity_check") == "ok");
  }
}

TEST_CASE("sqlite: every failing call is an error, and then it works again",
          "[meta][sqlite][fault]") {
  const int code = GENERATE(SQLITE_FULL, SQLITE_IOERR_WRITE, SQLITE_CANTOPEN);
  CAPTURE(code);
  TestDirectory directory;
  Faults faults;
  faults.code = code;
  const std::string path = directory.file("v.db");
  SqliteOptions options;
  options.faults = &faults;
  options.checkpoint_pages = 8;  // checkpoints meet faults too
  options.write_cache_bytes = 64 << 10;
  auto created = SqliteStore::create(path, options, system_clock());
  REQUIRE(created.ok());
  auto store = std::move(created).value();
  uint64_t expected = 0;
  const std::set<int> errors = {ENOSPC, EIO, EMFILE};
  int failed = 0;
  for (int nth = 1; nth < 60; ++nth) {
    CAPTURE(nth);
    faults.calls = 0;
    faults.nth = nth;
    faults.armed = true;
    for (int i = 0; i < 4; ++i) {
      auto result = add(*store, "n", i == 3 ? Durability::kDurable : Durability::kVisible);
      if (result.ok()) {
        REQUIRE(result->applied);
        ++expected;
        continue;
      }
      ++failed;
      CHECK(errors.count(result.error().code()) == 1);
      CHECK(result.error().message().find(path) != std::string::npos);
      if (result.error().maybe_applied()) ++expected;
    }
    auto read = store->read(context(), {{volume_key("n")}, {}, {}, false});
    if (!read.ok()) CHECK(errors.count(read.error().code()) == 1);
    faults.armed = false;
    REQUIRE(number(*store, "n") == expected);
    auto after = add(*store, "n", Durability::kDurable);
    if (!after.ok()) FAIL(after.error().message());
    ++expected;
  }
  CHECK(failed > 10);
  store.reset();
  CHECK(shell_query(path, "PRAGMA integrity_check") == "ok");
  CHECK(number(*open_volume(path), "n") == expected);
}

TEST_CASE("sqlite: opening meets every failing call", "[meta][sqlite][fault]") {
  TestDirectory directory;
  const std::string path = directory.file("v.db");
  open_volume(path, true).reset();
  Faults faults;
  faults.code = SQLITE_CANTOPEN;
  faults.armed = true;
  SqliteOptions options;
  options.faults = &faults;
  options.lock_timeout_ns = 50'000'000;
  int failed = 0;
  for (int nth = 1; nth < 40; ++nth) {
    faults.calls = 0;
    faults.nth = nth;
    auto store = SqliteStore::open(path, options, system_clock());
    failed += !store.ok();
  }
  CHECK(failed > 3);
  faults.armed = false;
  CHECK(add(*open_volume(path), "n").ok());
}

TEST_CASE("sqlite: a full disk is reported until space returns", "[meta][sqlite][fault]") {
  TestDirectory directory;
  Faults faults;
  faults.code = SQLITE_FULL;
  faults.all = true;
  faults.only = sqlite::VfsOp::kWrite;
  auto store = open_volume(directory.file("v.db"), true, &faults);
  REQUIRE(add(*store, "n").ok());
  faults.armed = true;
  std::vector<std::thread> threads;
  std::atomic<int> full{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10; ++i) {
        auto result = add(*store, "n");
        if (!result.ok() && result.error().code() == ENOSPC) ++full;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(full == 40);
  CHECK(number(*store, "n") == 1);
  faults.armed = false;
  CHECK(add(*store, "n", Durability::kDurable).ok());
  CHECK(number(*store, "n") == 2);
}

TEST_CASE("sqlite: after a failed flush the next one makes up for it", "[meta][sqlite][fault]") {
  TestDirectory directory;
  Faults faults;
  faults.code = SQLITE_IOERR_FSYNC;
  faults.all = true;
  faults.only = sqlite::VfsOp::kSync;
  auto store = open_volume(directory.file("v.db"), true, &faults);
  faults.armed = true;
  auto result = add(*store, "n", Durability::kDurable);
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().code() == EIO);
  CHECK(result.error().maybe_applied());
  CHECK_FALSE(store->sync(context()).ok());
  CHECK(add(*store, "n").ok());
  faults.armed = false;
  faults.calls = 0;
  CHECK(store->sync(context()).ok());
  CHECK(number(*store, "n") == 2);
}

TEST_CASE("sqlite: a commit that could not be flushed is not applied again when sent again",
          "[meta][sqlite][fault]") {
  TestDirectory directory;
  Faults faults;
  faults.code = SQLITE_IOERR_FSYNC;
  faults.all = true;
  faults.only = sqlite::VfsOp::kSync;
  auto store = open_volume(directory.file("v.db"), true, &faults);
  CommitRequest request;
  request.request = {1, 2};
  request.mutations = {AddNumber{"n", 1}};
  request.durability = Durability::kDurable;
  faults.armed = true;
  for (int i = 0; i < 3; ++i) {
    auto result = store->commit(context(), request);
    REQUIRE_FALSE(result.ok());
    CHECK(result.error().maybe_applied());
  }
  faults.armed = false;
  auto result = store->commit(context(), request);
  REQUIRE(result.ok());
  CHECK(result->applied);
  REQUIRE(result->outcomes.size() == 1);
  CHECK(result->outcomes[0].number == 0);  // of the one time that it was applied
  CHECK(number(*store, "n") == 1);
  request.request = {1, 3};
  CHECK(store->commit(context(), request).ok());
  CHECK(number(*store, "n") == 2);
}

#if SKERRY_TEST_FORKS_WITH_THREADS
TEST_CASE("sqlite: fork while threads commit", "[meta][sqlite][fault]") {
  TestDirectory directory;
  const std::string path = directory.file("v.db");
  auto store = open_volume(path, true);
  auto second = open_volume(path);
  std::atomic<bool> stop{false};
  std::atomic<int> failed{0};
  std::atomic<uint64_t> committed{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      Store& mine = t == 0 ? *second : *store;
      while (!stop) {
        if (add(mine, "parent").ok()) {
          ++committed;
        } else {
          ++failed;
        }
        number(mine, "parent");
      }
    });
  }
  constexpr int kChildren = 12;
  for (int i = 0; i < kChildren; ++i) {
    const pid_t child = in_child([&] {
      alarm(30);
      if (add(*store, "child").ok()) return 1;  // inherited: refused
      static_cast<SqliteStore&>(*store).abandon_after_fork();
      static_cast<void>(second.release());
      store = open_volume(path);
      for (int n = 0; n < 10; ++n) {
        if (!add(*store, "child").ok()) return 2;
      }
      store.reset();
      return 0;
    });
    CHECK(wait_for(child) == 0);
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  CHECK(failed == 0);
  CHECK(number(*store, "child") == 10 * kChildren);
  CHECK(number(*store, "parent") == committed);
  second.reset();
  store.reset();
  CHECK(shell_query(path, "PRAGMA integrity_check") == "ok");
}
#endif

TEST_CASE("sqlite: a store closing does not disturb another on the same file",
          "[meta][sqlite][fault]") {
  TestDirectory directory;
  const std::string path = directory.file("v.db");
  auto store = open_volume(path, true);
  for (int i = 0; i < 10; ++i) {
    open_volume(path).reset();
    CHECK(shell_query(path, "SELECT 1") == "1");
    REQUIRE(add(*store, "n").ok());
  }
  CHECK(access((path + "-wal").c_str(), F_OK) == 0);
  CHECK(number(*store, "n") == 10);
  store.reset();
  CHECK(access((path + "-wal").c_str(), F_OK) != 0);
}

}  // namespace skerry::meta
