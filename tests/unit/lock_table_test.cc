// Locks of open files where stores fail and sessions end: what is written under a lock comes before
// its release, or not at all.
#include <fcntl.h>

#include "object/decorators/fault_store.h"
#include "object/memory/memory_store.h"
#include "support/test_volume.h"
#include "vfs/handle.h"

namespace skerry::vfs {

namespace {

/// Fails everything while `down`.
class Outage final : public ObjectFaults {
 public:
  Decision before(const char*, std::string_view) override {
    Decision decision;
    if (down) decision = {Decision::kFailBefore, EIO, false};
    return decision;
  }
  bool down = false;
};

/// One program with the volume open.
struct Program {
  FakeClock clock;
  FakeRandom random;
  Outage outage;
  std::shared_ptr<meta::HookedStore> store;
  std::unique_ptr<Volume> volume;

  Program(meta::TestVolume& test, const std::shared_ptr<MemoryObjectStore>& objects, uint64_t seed)
      : random(seed), store(std::make_shared<meta::HookedStore>(test.database)) {
    Volume::Parts parts;
    parts.store = store;
    parts.objects = std::make_shared<FaultObjectStore>(objects, outage);
    parts.format = test.format;
    parts.clock = &clock;
    parts.random = &random;
    VolumeOptions options;
    options.io_threads = 0;
    options.background = false;
    auto opened = Volume::open(context(), std::move(parts), options);
    REQUIRE(opened.ok());
    volume = std::move(opened).value();
  }
  OpContext context() {
    OpContext ctx;
    ctx.clock = &clock;
    ctx.deadline_ns = clock.monotonic_ns() + 60'000'000'000;
    return ctx;
  }
  std::unique_ptr<Handle> open(const char* path, int flags = O_RDWR) {
    auto handle = open_file(context(), *volume, nullptr, path, flags, 0666);
    REQUIRE(handle.ok());
    return std::move(handle).value();
  }
  int write(Handle& file, std::string_view bytes, uint64_t offset = 0) {
    return code(file.write(context(), offset, as_bytes(bytes)));
  }
  std::string read(Handle& file) {
    std::string bytes(1'000'000, '\0');
    auto got = file.read(context(), 0, {reinterpret_cast<std::byte*>(bytes.data()), bytes.size()});
    if (!got.ok()) return "errno " + std::to_string(got.error().code());
    bytes.resize(*got);
    return bytes;
  }
  static meta::FileLock flock_of(const Handle& file, bool exclusive = true) {
    meta::FileLock lock;
    lock.kind = meta::LockKind::kFlock;
    lock.owner = file.flock_owner();
    lock.exclusive = exclusive;
    return lock;
  }
  int lock(Handle& file) { return code(file.lock(context(), flock_of(file), false)); }
  int unlock(Handle& file) { return code(file.unlock(context(), flock_of(file))); }
  template <typename R>
  static int code(const R& result) {
    return result.ok() ? 0 : result.error().code();
  }
  meta::ClientId session() { return volume->meta().client(); }
};

struct Programs {
  meta::TestVolume test;
  std::shared_ptr<MemoryObjectStore> objects = std::make_shared<MemoryObjectStore>(test.server);
  Program a{test, objects, 1}, b{test, objects, 2};
  // Longer than what the metadata holds, so that writing it takes an object.
  const std::string bytes = std::string(10'000, 'x');

  /// As a reclaimer does when the session has expired.
  void remove_session(Program& program) {
    std::vector<meta::Mutation> mutations;
    meta::add_session_removal(program.session(), &mutations);
    test.commit(std::move(mutations));
  }
};

}  // namespace

TEST_CASE("lock table: an unlock that cannot store what was written fails and keeps the lock",
          "[vfs][lock]") {
  Programs p;
  auto file = p.a.open("/f", O_RDWR | O_CREAT);
  auto other = p.b.open("/f");
  REQUIRE(p.a.lock(*file) == 0);
  REQUIRE(p.a.write(*file, p.bytes) == 0);
  p.a.outage.down = true;
  CHECK(p.a.unlock(*file) == EIO);
  CHECK(p.b.lock(*other) == EAGAIN);
  p.a.outage.down = false;
  CHECK(p.a.unlock(*file) == 0);
  CHECK(p.b.lock(*other) == 0);
  CHECK(p.b.read(*other) == p.bytes);
}

TEST_CASE("lock table: a closed file's lock is not had before what was written under it",
          "[vfs][lock]") {
  Programs p;
  auto file = p.a.open("/f", O_RDWR | O_CREAT);
  auto other = p.b.open("/f");
  REQUIRE(p.a.lock(*file) == 0);
  REQUIRE(p.a.write(*file, p.bytes) == 0);
  p.a.outage.down = true;
  CHECK(Program::code(file->flush(p.a.context())) == EIO);
  file.reset();
  p.a.volume->locks().settle(p.a.context());
  CHECK(p.b.lock(*other) == EAGAIN);
  // The same program is another's owner by now, and waits like others.
  auto again = p.a.open("/f");
  CHECK(p.a.lock(*again) == EIO);
  p.a.outage.down = false;
  p.a.volume->locks().settle(p.a.context());
  CHECK(p.b.lock(*other) == 0);
  CHECK(p.b.read(*other) == p.bytes);
  CHECK(p.a.lock(*again) == EAGAIN);
}

TEST_CASE("lock table: a lock whose commit was not answered is given back", "[vfs][lock]") {
  Programs p;
  auto file = p.a.open("/f", O_RDWR | O_CREAT);
  auto other = p.b.open("/f");
  meta::MemoryStore direct(p.test.database);
  const bool arrives = GENERATE(true, false);
  CAPTURE(arrives);
  p.a.store->on_commit = [&](const meta::CommitRequest& request) -> Status {
    if (arrives) {
      OpContext ctx = p.a.context();
      auto applied = direct.commit(ctx, request);
      REQUIRE(applied.ok());
    }
    return Error(EIO, "lost").set_maybe_applied();
  };
  CHECK(p.a.lock(*file) == EIO);
  CHECK(p.b.lock(*other) == (arrives ? EAGAIN : 0));
  p.a.store->on_commit = nullptr;
  p.a.volume->locks().settle(p.a.context());
  CHECK(p.b.lock(*other) == 0);
  CHECK(p.a.lock(*file) == EAGAIN);
}

TEST_CASE("lock table: an unlock that was not answered is done again", "[vfs][lock]") {
  Programs p;
  auto file = p.a.open("/f", O_RDWR | O_CREAT);
  auto other = p.b.open("/f");
  REQUIRE(p.a.lock(*file) == 0);
  p.a.store->on_commit = [&](const meta::CommitRequest&) -> Status {
    return Error(EIO, "lost").set_maybe_applied();
  };
  CHECK(p.a.unlock(*file) == 0);
  CHECK(p.b.lock(*other) == EAGAIN);
  p.a.store->on_commit = nullptr;
  p.a.volume->locks().settle(p.a.context());
  CHECK(p.b.lock(*other) == 0);
}

TEST_CASE("lock table: what was written under a lost lock is never committed", "[vfs][lock]") {
  Programs p;
  const bool small = GENERATE(true, false);
  CAPTURE(small);
  const std::string bytes = small ? "small" : p.bytes;
  auto file = p.a.open("/f", O_RDWR | O_CREAT);
  auto reader = p.a.open("/f", O_RDONLY);
  auto elsewhere = p.a.open("/g", O_RDWR | O_CREAT);
  auto other = p.b.open("/f");
  REQUIRE(p.a.lock(*file) == 0);
  REQUIRE(p.a.write(*file, bytes) == 0);
  p.remove_session(p.a);
  REQUIRE(p.b.lock(*other) == 0);

  SECTION("the holder's next call tells it") {}
  SECTION("the session was renewed before") {
    REQUIRE(p.a.volume->renew_session(p.a.context()).ok());
  }
  SECTION("the background flush comes first") {
    p.a.clock.advance_ns(10'000'000'000);
    p.a.volume->files().background_step(p.a.context());
  }
  SECTION("a flush comes between the new session and the end of the old locks") {
    REQUIRE(meta::reopen_session(p.a.context(), p.a.volume->meta()).ok());
    CHECK_FALSE(p.a.volume->files().flush_all(p.a.context(), meta::Durability::kVisible).ok());
  }
  CHECK(p.a.write(*file, "more") == EIO);
  CHECK(Program::code(file->truncate(p.a.context(), 1)) == EIO);
  CHECK(Program::code(file->allocate(p.a.context(), 0, 0, 100)) == EIO);
  CHECK(Program::code(file->sync(p.a.context())) == EIO);
  CHECK(p.a.read(*reader) == "errno 5");
  if (p.a.session() != 0 && !p.test.has(meta::client_key(p.a.session()))) {
    REQUIRE(p.a.volume->renew_session(p.a.context()).ok());
  }
  p.a.volume->locks().settle(p.a.context());
  CHECK(p.a.lock(*file) == EIO);
  CHECK(p.a.read(*reader) == "errno 5");
  CHECK(p.b.read(*other).empty());

  // Other files go on, and so does this one when it is opened again.
  CHECK(p.a.write(*elsewhere, bytes) == 0);
  CHECK(Program::code(elsewhere->flush(p.a.context())) == 0);
  auto again = p.a.open("/f");
  CHECK(p.a.read(*again).empty());
  CHECK(p.a.lock(*again) == EAGAIN);
  CHECK(p.b.unlock(*other) == 0);
  CHECK(p.a.lock(*again) == 0);
  CHECK(p.a.write(*again, bytes) == 0);
  CHECK(p.a.unlock(*again) == 0);
  CHECK(p.b.read(*other) == bytes);
  CHECK(p.a.write(*file, "late") == EIO);
  CHECK(p.a.unlock(*file) == 0);
  file.reset();
  CHECK(p.b.read(*other) == bytes);
}

TEST_CASE("lock table: a session lost without locks is as before", "[vfs][lock]") {
  Programs p;
  auto file = p.a.open("/f", O_RDWR | O_CREAT);
  REQUIRE(p.a.lock(*file) == 0);
  REQUIRE(p.a.unlock(*file) == 0);
  REQUIRE(p.a.write(*file, "small") == 0);
  p.remove_session(p.a);
  REQUIRE(p.a.volume->renew_session(p.a.context()).ok());
  CHECK(Program::code(file->flush(p.a.context())) == 0);
  CHECK(p.b.read(*p.b.open("/f")) == "small");
}

}  // namespace skerry::vfs
