// Two clients of one volume in PostgreSQL: what each is told of the other's changes, by consistency
// mode, and how soon; also where notifications are lost.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <iostream>
#include <map>
#include <thread>

#include "conformance/store_fixture.h"
#include "meta/stores/postgres/change_message.h"
#include "object/memory/memory_store.h"
#include "support/results.h"
#include "vfs/handle.h"
#include "vfs/namespace.h"

namespace skerry::vfs {

namespace {

using meta::Consistency;

constexpr TimeNs kNoTimeOut = 500 * kMillisecond;  // waiters for locks look again each second
constexpr TimeNs kForEver = 3600 * kSecond;        // a lease that no test waits for

/// One program with the volume open.
struct Program {
  std::unique_ptr<Volume> volume;

  struct Options {
    Consistency consistency = Consistency::kCloseToOpen;
    TimeNs lease_ns = kForEver;
    bool notify = true;
  };
  Program(const std::string& url, const meta::VolumeFormat& format,
          const std::shared_ptr<ObjectStore>& objects, const Options& options) {
    meta::PostgresOptions store_options;
    store_options.notify = options.notify;
    auto store = meta::PostgresStore::open(url, store_options, system_clock());
    REQUIRE(store.ok());
    Volume::Parts parts;
    parts.store = std::move(store).value();
    parts.objects = objects;
    parts.format = format;
    parts.clock = &system_clock();
    parts.random = &system_random();
    VolumeOptions volume_options;
    volume_options.io_threads = 2;
    volume_options.background = false;
    volume_options.consistency = options.consistency;
    volume_options.lease_ns = options.lease_ns;
    auto opened = Volume::open(context(), std::move(parts), volume_options);
    REQUIRE(opened.ok());
    volume = std::move(opened).value();
  }
  static OpContext context() {
    OpContext ctx;
    ctx.clock = &system_clock();
    ctx.began_ns = ctx.clock->monotonic_ns();
    ctx.deadline_ns = ctx.began_ns + 60 * kSecond;
    return ctx;
  }
  uint64_t reads() const { return volume->counted_store().counters().reads; }

  int stat(const std::string& path) {
    return code(vfs::stat(context(), *volume, nullptr, path, Lookup{}));
  }
  /// -1 where there is no such file.
  int64_t length(const std::string& path) {
    auto attr = vfs::stat(context(), *volume, nullptr, path, Lookup{});
    return attr.ok() ? static_cast<int64_t>(attr->length) : -1;
  }
  /// What an open finds there.
  std::string read(const std::string& path) {
    auto handle = open_file(context(), *volume, nullptr, path, O_RDONLY, 0);
    if (!handle.ok()) return "errno " + std::to_string(handle.error().code());
    return read(**handle);
  }
  static std::string read(Handle& file) {
    std::string bytes(64, '\0');
    auto got = file.read(context(), 0, {reinterpret_cast<std::byte*>(bytes.data()), bytes.size()});
    if (!got.ok()) return "errno " + std::to_string(got.error().code());
    bytes.resize(*got);
    return bytes;
  }
  void write(const std::string& path, const std::string& bytes) {
    auto handle = open_file(context(), *volume, nullptr, path, O_RDWR | O_CREAT | O_TRUNC, 0666);
    REQUIRE(code(handle) == 0);
    REQUIRE((*handle)->write(context(), 0, as_bytes(bytes)).ok());
    REQUIRE((*handle)->flush(context()).ok());
  }
  void mkdir(const std::string& path) {
    REQUIRE(vfs::mkdir(context(), *volume, nullptr, path, 0755).ok());
  }
  int unlink(const std::string& path) {
    return code(vfs::unlink(context(), *volume, nullptr, path));
  }
};

struct Volumes {
  Volumes() {
    auto created = meta::PostgresStore::create(postgres_url(schema), {}, system_clock());
    REQUIRE(created.ok());
    format.uuid = "5b1c6cf8-2f0c-4f43-9a3e-1f6a2d0b7c12";
    format.storage = "memory:";
    REQUIRE(format_volume(Program::context(), **created, format, system_clock()).ok());
  }
  ~Volumes() { postgres_run("DROP SCHEMA " + schema + " CASCADE"); }

  std::unique_ptr<Program> open(const Program::Options& options = {}) {
    return std::make_unique<Program>(postgres_url(schema), format, objects, options);
  }
  /// Connections that carry notifications of this volume.
  std::vector<std::string> sessions() {
    return postgres_run(
        "SELECT pid FROM pg_stat_activity WHERE application_name='skerry notifications' AND query "
        "LIKE '%" +
        schema + "%' OR query='SELECT 1' AND application_name='skerry notifications'");
  }

  const std::string schema = fresh_schema();
  meta::VolumeFormat format;
  std::shared_ptr<ObjectStore> objects = std::make_shared<MemoryObjectStore>(system_clock());
};

/// How long it takes until `holds`, at most half a minute.
TimeNs time_until(const std::function<bool()>& holds) {
  const TimeNs began = system_clock().monotonic_ns();
  while (!holds()) {
    if (system_clock().monotonic_ns() - began > 30 * kSecond) FAIL("waited for half a minute");
    usleep(500);
  }
  return system_clock().monotonic_ns() - began;
}

/// Both hear each other from here on.
void wait_until_heard(Program& from, Program& by) {
  by.stat("/");
  usleep(150'000);  // a client that is younger opens no connection only to listen
  int round = 0;
  // The first change that is told at all.
  for (;; ++round) {
    REQUIRE(round < 100);
    const std::string path = "/heard" + std::to_string(round);
    CHECK(by.stat(path) == ENOENT);
    from.write(path, "x");
    const TimeNs began = system_clock().monotonic_ns();
    while (system_clock().monotonic_ns() - began < 300 * kMillisecond) {
      if (by.stat(path) == 0) return;
      usleep(1000);
    }
  }
}

}  // namespace

TEST_CASE("postgres: changes are told within milliseconds", "[vfs][postgres][notify]") {
  Volumes volumes;
  // Without a lease that ends, only what is told is ever seen by stat.
  auto a = volumes.open({Consistency::kLeased});
  auto b = volumes.open({Consistency::kLeased});
  wait_until_heard(*b, *a);
  b->mkdir("/d");
  b->write("/d/f", "0");
  std::vector<TimeNs> delays;
  constexpr int kRounds = 40;
  auto file = open_file(Program::context(), *a->volume, nullptr, "/d/f", O_RDONLY, 0);
  REQUIRE(file.ok());
  for (int round = 1; round <= kRounds; ++round) {
    const std::string text(static_cast<size_t>(round), 'x');
    const std::string fresh = "/d/n" + std::to_string(round);
    CHECK(a->stat(fresh) == ENOENT);
    b->write("/d/f", text);
    b->write(fresh, "");
    delays.push_back(time_until([&] { return a->length("/d/f") == round; }));
    delays.push_back(time_until([&] { return a->stat(fresh) == 0; }));
    time_until([&] { return Program::read(**file) == text; });
    time_until([&] { return a->read("/d/f") == text; });
    REQUIRE(b->unlink(fresh) == 0);
    delays.push_back(time_until([&] { return a->stat(fresh) == ENOENT; }));
    usleep(static_cast<useconds_t>(round * 500));
  }
  std::sort(delays.begin(), delays.end());
  std::cout << "notifications: median " << delays[delays.size() / 2] / 1000 << " us, 95 % "
            << delays[delays.size() * 95 / 100] / 1000 << " us, longest " << delays.back() / 1000
            << " us" << std::endl;
  // What is typical is shown above. Here only that it is no time-out which does it.
  CHECK(delays[delays.size() / 2] < kNoTimeOut);
  // And what does not change is not asked for again.
  a->stat("/d/f");
  const uint64_t before = a->reads();
  for (int i = 0; i < 50; ++i) {
    CHECK(a->length("/d/f") == kRounds);
    CHECK(code(open_file(Program::context(), *a->volume, nullptr, "/d/f", O_RDONLY, 0)) == 0);
  }
  CHECK(a->reads() == before);
}

TEST_CASE("postgres: round trips of open and stat", "[vfs][postgres][notify]") {
  const auto mode = GENERATE(Consistency::kStrict, Consistency::kCloseToOpen, Consistency::kLeased);
  Volumes volumes;
  auto b = volumes.open();
  for (const char* path : {"/1", "/1/2", "/1/2/3", "/1/2/3/4"}) b->mkdir(path);
  b->write("/1/2/3/4/f", "data");
  auto a = volumes.open({mode});
  auto reads = [&](auto body) {
    const uint64_t before = a->reads();
    body();
    return a->reads() - before;
  };
  const std::string path = "/1/2/3/4/f";
  CHECK(reads([&] { CHECK(a->length(path) == 4); }) == 1);
  CHECK(a->read(path) == "data");
  // When hearing begins everything is asked anew, once.
  if (mode != Consistency::kStrict) wait_until_heard(*b, *a);
  usleep(100'000);
  a->stat(path);
  for (int i = 0; i < 5; ++i) {
    CHECK(reads([&] { CHECK(a->length(path) == 4); }) == (mode == Consistency::kStrict ? 1 : 0));
    CHECK(reads([&] {
            auto file = open_file(Program::context(), *a->volume, nullptr, path, O_RDONLY, 0);
            CHECK(code(file) == 0);
          }) == (mode == Consistency::kLeased ? 0 : 1));
  }
}

TEST_CASE("postgres: lost notifications leave the lease to hold", "[vfs][postgres][notify]") {
  Volumes volumes;
  constexpr TimeNs kLease = 500 * kMillisecond;
  // The writer tells nothing: as if it died between each commit and its notification.
  auto b = volumes.open({Consistency::kCloseToOpen, kLease, false});
  auto a = volumes.open({Consistency::kLeased, kLease, true});
  b->write("/f", "1");
  CHECK(a->length("/f") == 1);
  for (int round = 2; round < 6; ++round) {
    b->write("/f", std::string(static_cast<size_t>(round), 'x'));
    const TimeNs written = system_clock().monotonic_ns();
    TimeNs last_old = 0;
    for (;;) {
      const OpContext ctx = Program::context();
      auto attr = vfs::stat(ctx, *a->volume, nullptr, "/f", Lookup{});
      REQUIRE(attr.ok());
      if (attr->length == static_cast<uint64_t>(round)) break;
      last_old = ctx.began_ns;
      usleep(5'000);
    }
    // No call that began later than the lease after the write is told what was before.
    CHECK(last_old < written + kLease);
  }
}

TEST_CASE("postgres: a connection that is lost is made anew, and all is asked again",
          "[vfs][postgres][notify]") {
  Volumes volumes;
  auto a = volumes.open({Consistency::kLeased});
  auto b = volumes.open({Consistency::kLeased});
  wait_until_heard(*b, *a);
  b->write("/f", "1");
  time_until([&] { return a->length("/f") == 1; });
  for (int round = 2; round < 5; ++round) {
    // The listener goes, and the sender with what it had not sent: both use these sessions.
    time_until([&] { return !volumes.sessions().empty(); });
    for (const std::string& pid : volumes.sessions()) {
      postgres_run("SELECT pg_terminate_backend(" + pid + ")");
    }
    b->write("/f", std::string(static_cast<size_t>(round), 'x'));
    time_until([&] { return a->length("/f") == round; });
  }
  b->write("/g", "1");
  CHECK(a->read("/f") == "xxxx");
}

TEST_CASE("postgres: more changes than are worth listing", "[vfs][postgres][notify]") {
  Volumes volumes;
  auto a = volumes.open({Consistency::kLeased});
  auto b = volumes.open({Consistency::kLeased});
  wait_until_heard(*b, *a);
  b->mkdir("/d");
  b->write("/f", "1");
  time_until([&] { return a->length("/f") == 1; });
  // One commit with thousands of names.
  auto store = meta::PostgresStore::open(postgres_url(volumes.schema), {}, system_clock());
  REQUIRE(store.ok());
  meta::CommitRequest request;
  request.request = meta::next_request();
  for (int i = 0; i < 6000; ++i) {
    const std::string name = "name-" + std::to_string(i);
    request.mutations.push_back(
        meta::Put{meta::file_entry(50, name, 1'000'000 + static_cast<meta::Ino>(i))});
  }
  meta::EntryRecord changed = meta::file_entry(1, "absent", 999'999);
  CHECK(a->stat("/absent") == ENOENT);
  request.mutations.push_back(meta::Put{changed});
  REQUIRE((*store)->commit(Program::context(), request)->applied);
  time_until([&] { return a->stat("/absent") == 0; });
  store->reset();  // with what it has not sent
  CHECK(b->unlink("/f") == 0);
  time_until([&] { return a->stat("/f") == ENOENT; });
}

TEST_CASE("postgres: a client that goes at once still tells", "[vfs][postgres][notify]") {
  Volumes volumes;
  auto a = volumes.open({Consistency::kLeased});
  auto b = volumes.open({Consistency::kLeased});
  wait_until_heard(*b, *a);
  for (int i = 0; i < 5; ++i) {
    const std::string path = "/short" + std::to_string(i);
    CHECK(a->stat(path) == ENOENT);
    const size_t before = volumes.sessions().size();
    volumes.open()->write(path, "x");
    CHECK(volumes.sessions().size() <= before + 1);
    time_until([&] { return a->stat(path) == 0; });
  }
}

TEST_CASE("postgres: who waits for a lock is woken by its release", "[vfs][postgres][notify]") {
  Volumes volumes;
  auto a = volumes.open();
  auto b = volumes.open();
  wait_until_heard(*b, *a);
  b->write("/lock", "");
  auto open_lock = [](Program& program) {
    auto file = open_file(Program::context(), *program.volume, nullptr, "/lock", O_RDWR, 0);
    REQUIRE(file.ok());
    return std::move(file).value();
  };
  auto of_a = open_lock(*a);
  auto of_b = open_lock(*b);
  auto lock_of = [](const Handle& file) {
    meta::FileLock lock;
    lock.kind = meta::LockKind::kFlock;
    lock.exclusive = true;
    lock.owner = file.flock_owner();
    return lock;
  };
  std::vector<TimeNs> delays;
  for (int round = 0; round < 12; ++round) {
    REQUIRE(of_b->lock(Program::context(), lock_of(*of_b), true).ok());
    std::atomic<TimeNs> got{0};
    std::thread waiter([&] {
      Status taken = of_a->lock(Program::context(), lock_of(*of_a), true);
      got = system_clock().monotonic_ns();
      CHECK(taken.ok());
      // Acquiring it shows what its last holder did.
      CHECK(a->length("/state") == round + 1);
    });
    usleep(100'000);
    b->write("/state", std::string(static_cast<size_t>(round) + 1, 'x'));
    const TimeNs released = system_clock().monotonic_ns();
    REQUIRE(of_b->unlock(Program::context(), lock_of(*of_b)).ok());
    waiter.join();
    delays.push_back(got - released);
    REQUIRE(of_a->unlock(Program::context(), lock_of(*of_a)).ok());
  }
  std::sort(delays.begin(), delays.end());
  std::cout << "lock handed over: median " << delays[delays.size() / 2] / 1000 << " us, longest "
            << delays.back() / 1000 << " us" << std::endl;
  CHECK(delays[delays.size() / 2] < kNoTimeOut);
}

TEST_CASE("postgres: a forked child has notifications of its own", "[vfs][postgres][notify]") {
  Volumes volumes;
  auto a = volumes.open({Consistency::kLeased});
  auto b = volumes.open({Consistency::kLeased});
  wait_until_heard(*b, *a);
  CHECK(a->stat("/child") == ENOENT);
  const pid_t child = fork();
  if (child == 0) {
    // As the C ABI does: what was the parent's is left alone, and the volume is opened anew.
    auto own = meta::PostgresStore::open(postgres_url(volumes.schema), {}, system_clock());
    meta::CommitRequest request;
    request.request = {11, 12};
    request.mutations = {meta::Put{meta::file_entry(1, "child", 888'888)}};
    const bool done = own.ok() && (*own)->commit(Program::context(), request).ok();
    if (own.ok()) own->reset();
    _exit(done ? 0 : 1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  time_until([&] { return a->stat("/child") == 0; });
  b->write("/after", "x");
  CHECK(a->stat("/after") == 0);
}

TEST_CASE("postgres: histories of a writer and readers keep the mode's promise",
          "[vfs][postgres][notify]") {
  const auto mode = GENERATE(Consistency::kStrict, Consistency::kCloseToOpen, Consistency::kLeased);
  const bool notify = GENERATE(true, false);
  CAPTURE(static_cast<int>(mode), notify);
  constexpr TimeNs kLease = 150 * kMillisecond;
  constexpr int kFiles = 4;
  constexpr TimeNs kDuration = 1500 * kMillisecond;
  Volumes volumes;
  auto writer = volumes.open({mode, kLease, notify});
  std::vector<std::unique_ptr<Program>> readers;
  for (int i = 0; i < 2; ++i) readers.push_back(volumes.open({mode, kLease, notify}));
  writer->mkdir("/d");

  // A version is told by the file's length and its bytes: version v is v times the same letter.
  struct Interval {
    TimeNs begin, end;  // of the close that made it
  };
  std::mutex mutex;
  std::map<std::pair<int, int>, Interval> written;  // by file and version
  std::atomic<bool> stop{false};
  auto path_of = [](int file) { return "/d/f" + std::to_string(file); };
  for (int file = 0; file < kFiles; ++file) {
    const TimeNs begin = system_clock().monotonic_ns();
    writer->write(path_of(file), "v");
    written[{file, 1}] = {begin, system_clock().monotonic_ns()};
  }

  struct Seen {
    int file, version;
    bool opened;
    TimeNs begin, end;
  };
  std::vector<std::vector<Seen>> seen(readers.size());
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (size_t r = 0; r < readers.size(); ++r) {
    threads.emplace_back([&, r] {
      uint64_t dice = r + 1;
      while (!stop) {
        dice = dice * 6364136223846793005u + 1442695040888963407u;
        const int file = static_cast<int>(dice >> 33) % kFiles;
        const bool opens = (dice >> 40) % 2 == 0;
        const OpContext ctx = Program::context();
        int version = 0;
        if (opens) {
          auto handle = open_file(ctx, *readers[r]->volume, nullptr, path_of(file), O_RDONLY, 0);
          if (!handle.ok()) {
            ++wrong;
            continue;
          }
          const std::string bytes = Program::read(**handle);
          version = static_cast<int>(bytes.size());
          // A replaced file is seen cut as well: O_TRUNC is a commit of its own.
          if (bytes != std::string(bytes.size(), 'v')) ++wrong;
        } else {
          auto attr = vfs::stat(ctx, *readers[r]->volume, nullptr, path_of(file), Lookup{});
          if (!attr.ok()) {
            ++wrong;
            continue;
          }
          version = static_cast<int>(attr->length);
        }
        const TimeNs end = system_clock().monotonic_ns();
        seen[r].push_back({file, version, opens, ctx.began_ns, end});
        if ((dice >> 45) % 4 == 0) usleep(static_cast<useconds_t>((dice >> 50) % 3000));
      }
    });
  }
  const TimeNs until = system_clock().monotonic_ns() + kDuration;
  for (int version = 2; system_clock().monotonic_ns() < until; ++version) {
    for (int file = 0; file < kFiles; ++file) {
      // In place: no moment at which it is shorter.
      const TimeNs begin = system_clock().monotonic_ns();
      auto handle =
          open_file(Program::context(), *writer->volume, nullptr, path_of(file), O_WRONLY, 0);
      REQUIRE(handle.ok());
      const std::string bytes(static_cast<size_t>(version), 'v');
      REQUIRE((*handle)->write(Program::context(), 0, as_bytes(bytes)).ok());
      REQUIRE((*handle)->flush(Program::context()).ok());
      const TimeNs end = system_clock().monotonic_ns();
      std::lock_guard lock(mutex);
      written[{file, version}] = {begin, end};
    }
    usleep(8000);
    if (version == 60) break;  // what a reader reads at once
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);

  size_t old = 0, answers = 0;
  for (const auto& of_reader : seen) {
    for (const Seen& s : of_reader) {
      ++answers;
      auto made = written.find({s.file, s.version});
      REQUIRE(made != written.end());
      CHECK(made->second.begin < s.end);  // nothing from the future
      auto next = written.find({s.file, s.version + 1});
      if (next == written.end()) continue;
      // The next version was closed at `end`: from then on, less what the mode allows, it is seen.
      const bool current =
          mode == Consistency::kStrict || (mode == Consistency::kCloseToOpen && s.opened);
      if (next->second.end < s.begin) ++old;
      CHECK(s.begin <= next->second.end + (current ? 0 : kLease));
    }
  }
  std::cout << "mode " << static_cast<int>(mode) << (notify ? "" : ", nothing told") << ": " << old
            << " of " << answers << " answers were old" << std::endl;
  if (mode == Consistency::kStrict) CHECK(old == 0);
  CHECK(answers > 50);
}

}  // namespace skerry::vfs
