// What clients of a store that cannot prove what is current are told, by consistency mode.
#include <fcntl.h>

#include <catch2/catch.hpp>

#include "meta/session.h"
#include "object/memory/memory_store.h"
#include "support/results.h"
#include "support/test_volume.h"
#include "vfs/batch.h"
#include "vfs/handle.h"
#include "vfs/namespace.h"

namespace skerry::vfs {

namespace {

using meta::Consistency;

constexpr TimeNs kLease = 1000 * kMillisecond;

/// A store in memory that does not know whether others have committed, with its calls counted. What
/// others change is told only when a test says so.
class FarStore final : public meta::Store {
 public:
  FarStore(std::shared_ptr<meta::MemoryDatabase> database, FakeClock& clock)
      : base_(std::move(database)), clock_(clock) {}

  std::string describe() const override { return "far memory:"; }
  meta::StoreCapabilities capabilities() const override { return {1, 1, true, false}; }
  Result<meta::ReadResult> read(const OpContext& ctx, const meta::ReadRequest& request) override {
    ++trips;
    auto result = base_.read(ctx, request);
    clock_.advance_ns(kTrip);
    if (after_read) std::exchange(after_read, {})();
    return result;
  }
  Result<meta::CommitResult> commit(const OpContext& ctx, meta::CommitRequest request) override {
    ++trips;
    clock_.advance_ns(kTrip);
    if (before_commit) before_commit();
    return base_.commit(ctx, std::move(request));
  }
  Status sync(const OpContext& ctx) override { return base_.sync(ctx); }
  uint64_t generation() noexcept override { return 7; }
  void tell_changes(meta::ChangeSink* sink) override { sink_ = sink; }
  Result<std::vector<meta::EntryRecord>> resolve(
      const OpContext& ctx, meta::Ino directory, const std::vector<std::string>& names,
      std::optional<meta::AttributeHome>* start) override {
    ++trips;
    auto result = base_.resolve(ctx, directory, names, start);
    clock_.advance_ns(kTrip);
    return result;
  }
  meta::ChangeSink* sink() { return sink_; }

  static constexpr TimeNs kTrip = 2 * kMillisecond;
  int trips = 0;
  std::function<void()> after_read;
  std::function<void()> before_commit;

 private:
  meta::MemoryStore base_;
  FakeClock& clock_;
  meta::ChangeSink* sink_ = nullptr;
};

/// One program with the volume open. All share a clock: they are told apart by what they know.
struct Program {
  FakeClock& clock;
  FakeRandom random;
  std::shared_ptr<FarStore> store;
  std::unique_ptr<Volume> volume;

  Program(meta::TestVolume& test, const std::shared_ptr<MemoryObjectStore>& objects, uint64_t seed,
          Consistency consistency)
      : clock(test.server),
        random(seed),
        store(std::make_shared<FarStore>(test.database, test.server)) {
    Volume::Parts parts;
    parts.store = store;
    parts.objects = objects;
    parts.format = test.format;
    parts.clock = &clock;
    parts.random = &random;
    VolumeOptions options;
    options.io_threads = 0;
    options.background = false;
    options.consistency = consistency;
    options.lease_ns = kLease;
    auto opened = Volume::open(context(), std::move(parts), options);
    REQUIRE(opened.ok());
    volume = std::move(opened).value();
  }
  OpContext context(uint32_t uid = 0) {
    clock.advance_ns(1000);
    OpContext ctx;
    ctx.clock = &clock;
    ctx.credentials.uid = ctx.credentials.gid = uid;
    ctx.began_ns = clock.monotonic_ns();
    ctx.deadline_ns = ctx.began_ns + 60'000 * kMillisecond;
    return ctx;
  }
  /// How many calls of the store `body` makes.
  template <typename Body>
  int trips(Body body) {
    const int before = store->trips;
    body();
    return store->trips - before;
  }
  int stat(const char* path) {
    return code(vfs::stat(context(), *volume, nullptr, path, Lookup{}));
  }
  uint64_t length(const char* path) {
    auto attr = vfs::stat(context(), *volume, nullptr, path, Lookup{});
    REQUIRE(attr.ok());
    return attr->length;
  }
  std::unique_ptr<Handle> open(const char* path, int flags = O_RDONLY) {
    auto handle = open_file(context(), *volume, nullptr, path, flags, 0666);
    REQUIRE(handle.ok());
    return std::move(handle).value();
  }
  int open_code(const char* path, int flags = O_RDONLY) {
    return code(open_file(context(), *volume, nullptr, path, flags, 0666));
  }
  void write(const char* path, std::string_view bytes) {
    auto handle = open(path, O_RDWR | O_CREAT | O_TRUNC);
    REQUIRE(handle->write(context(), 0, as_bytes(bytes)).ok());
    REQUIRE(handle->flush(context()).ok());
  }
  std::string read(Handle& file) {
    std::string bytes(1 << 16, '\0');
    auto got = file.read(context(), 0, {reinterpret_cast<std::byte*>(bytes.data()), bytes.size()});
    if (!got.ok()) return "errno " + std::to_string(got.error().code());
    bytes.resize(*got);
    return bytes;
  }
  std::string read(const char* path) {
    auto handle = open(path);
    return read(*handle);
  }
  int mkdir(const char* path) { return code(vfs::mkdir(context(), *volume, nullptr, path, 0755)); }
  int unlink(const char* path) { return code(vfs::unlink(context(), *volume, nullptr, path)); }
  int rename(const char* from, const char* to) {
    return code(vfs::rename(context(), *volume, nullptr, from, nullptr, to, 0));
  }
};

struct Pair {
  explicit Pair(Consistency consistency)
      : a(test, objects, 1, consistency), b(test, objects, 2, consistency) {}
  void pass(TimeNs time) { test.server.advance_ns(time); }

  meta::TestVolume test;
  std::shared_ptr<MemoryObjectStore> objects = std::make_shared<MemoryObjectStore>(test.server);
  Program a, b;
};

}  // namespace

TEST_CASE("consistency: round trips of what is known", "[vfs][consistency]") {
  const auto mode = GENERATE(Consistency::kStrict, Consistency::kCloseToOpen, Consistency::kLeased);
  const int open_costs = mode == Consistency::kLeased ? 0 : 1;
  const int stat_costs = mode == Consistency::kStrict ? 1 : 0;
  Pair p(mode);
  REQUIRE(p.b.mkdir("/d") == 0);
  REQUIRE(p.b.mkdir("/d/e") == 0);
  p.b.write("/d/e/f", "one");
  // At any depth.
  CHECK(p.a.trips([&] { CHECK(p.a.stat("/d/e/f") == 0); }) == 1);
  for (int i = 0; i < 3; ++i) {
    CHECK(p.a.trips([&] { CHECK(p.a.stat("/d/e/f") == 0); }) == stat_costs);
    CHECK(p.a.trips([&] { CHECK(p.a.stat("/d/e/none") == ENOENT); }) == (i == 0 ? 1 : stat_costs));
    std::unique_ptr<Handle> file;
    CHECK(p.a.trips([&] { file = p.a.open("/d/e/f"); }) == open_costs);
    // The first read brings the data; what is known of it is as current as the open after that.
    const int read_costs = mode == Consistency::kStrict ? 1 : 0;
    CHECK(p.a.trips([&] { CHECK(p.a.read(*file) == "one"); }) == (i == 0 ? 1 : read_costs));
    CHECK(p.a.trips([&] { CHECK(p.a.read(*file) == "one"); }) == read_costs);
  }
  // What it makes itself, where the parents are known.
  const int found = mode == Consistency::kStrict ? 1 : 0;
  REQUIRE(p.a.mkdir("/d/e/x0") == 0);  // takes a batch of inode numbers
  CHECK(p.a.trips([&] { CHECK(p.a.mkdir("/d/e/x") == 0); }) == 1 + found);
  CHECK(p.a.trips([&] { CHECK(p.a.rename("/d/e/x", "/d/e/y") == 0); }) == 2 + found);
  CHECK(p.a.trips([&] { CHECK(p.a.open_code("/d/e/n", O_CREAT | O_RDWR) == 0); }) <= 2);
  CHECK(p.a.trips([&] { CHECK(p.a.unlink("/d/e/n") == 0); }) == 1 + found);
  p.pass(kLease);
  CHECK(p.a.trips([&] { CHECK(p.a.stat("/d/e/f") == 0); }) == 1);
}

TEST_CASE("consistency: others' changes are seen by an open, and by all when the lease ends",
          "[vfs][consistency]") {
  const auto mode = GENERATE(Consistency::kStrict, Consistency::kCloseToOpen, Consistency::kLeased);
  Pair p(mode);
  p.b.write("/f", "one");
  REQUIRE(p.b.mkdir("/gone") == 0);
  CHECK(p.a.stat("/new") == ENOENT);
  CHECK(p.a.length("/f") == 3);
  CHECK(p.a.stat("/gone") == 0);
  auto before = p.a.open("/f");
  CHECK(p.a.read(*before) == "one");
  const TimeNs known = p.test.server.monotonic_ns();
  p.b.write("/f", "three");
  p.b.write("/new", "x");
  REQUIRE(code(vfs::rmdir(p.b.context(), *p.b.volume, nullptr, "/gone")) == 0);
  // Within the lease.
  const bool old = mode != Consistency::kStrict;
  CHECK(p.a.length("/f") == (old ? 3 : 5));
  CHECK(p.a.stat("/new") == (old ? ENOENT : 0));
  CHECK(p.a.stat("/gone") == (old ? 0 : ENOENT));
  CHECK(p.a.read(*before) == (old ? "one" : "three"));
  if (mode == Consistency::kLeased) {
    CHECK(p.a.open_code("/new") == ENOENT);
    CHECK(p.a.read("/f") == "one");
  } else {
    CHECK(p.a.open_code("/new") == 0);
    CHECK(p.a.read("/f") == "three");
    // And what the open told, the others do not take back.
    CHECK(p.a.length("/f") == 5);
    CHECK(p.a.stat("/new") == 0);
  }
  // However often it was asked for, the lease counts from when the store said it.
  while (p.test.server.monotonic_ns() < known + kLease) {
    (void)p.a.stat("/gone");
    (void)p.a.read(*before);
    p.pass(kLease / 10);
  }
  CHECK(p.a.length("/f") == 5);
  CHECK(p.a.stat("/new") == 0);
  CHECK(p.a.stat("/gone") == ENOENT);
  CHECK(p.a.read(*before) == "three");
  CHECK(p.a.open_code("/new") == 0);
}

TEST_CASE("consistency: a lease begins before the read that fills it", "[vfs][consistency]") {
  Pair p(Consistency::kLeased);
  // The answer to this read stays away for most of the lease, and is old when it comes.
  p.a.store->after_read = [&] {
    p.b.write("/f", "one");
    p.pass(kLease * 9 / 10);
  };
  CHECK(p.a.stat("/f") == ENOENT);
  CHECK(p.a.stat("/f") == ENOENT);
  p.pass(kLease / 10);
  CHECK(p.a.stat("/f") == 0);
}

TEST_CASE("consistency: own changes are seen at once", "[vfs][consistency]") {
  const auto mode = GENERATE(Consistency::kCloseToOpen, Consistency::kLeased);
  Pair p(mode);
  CHECK(p.a.stat("/d") == ENOENT);
  CHECK(p.a.mkdir("/d") == 0);
  CHECK(p.a.stat("/d") == 0);
  CHECK(p.a.stat("/d/f") == ENOENT);
  p.a.write("/d/f", "1");
  CHECK(p.a.length("/d/f") == 1);
  p.a.write("/d/f", "22");
  CHECK(p.a.length("/d/f") == 2);
  CHECK(p.a.read("/d/f") == "22");
  CHECK(p.a.rename("/d/f", "/d/g") == 0);
  CHECK(p.a.stat("/d/f") == ENOENT);
  CHECK(p.a.read("/d/g") == "22");
  CHECK(p.a.unlink("/d/g") == 0);
  CHECK(p.a.stat("/d/g") == ENOENT);
  CHECK(p.a.open_code("/d/g") == ENOENT);
}

TEST_CASE("consistency: calls that change something tell no errors of the past",
          "[vfs][consistency]") {
  const auto mode = GENERATE(Consistency::kCloseToOpen, Consistency::kLeased);
  Pair p(mode);
  Program& a = p.a;
  Program& b = p.b;
  REQUIRE(b.mkdir("/d") == 0);
  REQUIRE(b.mkdir("/full") == 0);
  b.write("/full/x", "x");
  b.write("/old", "old");
  // What a knows is soon wrong.
  for (const char* path : {"/new", "/dir/sub", "/d/f", "/g"}) CHECK(a.stat(path) == ENOENT);
  CHECK(a.stat("/d") == 0);
  CHECK(a.stat("/full/x") == 0);
  CHECK(a.stat("/old") == 0);
  b.write("/new", "new");
  REQUIRE(b.mkdir("/dir") == 0);
  REQUIRE(b.mkdir("/dir/sub") == 0);
  b.write("/d/f", "f");
  REQUIRE(b.unlink("/full/x") == 0);
  REQUIRE(b.unlink("/old") == 0);

  SECTION("removing what was absent") { CHECK(a.unlink("/new") == 0); }
  SECTION("below what was absent") { CHECK(a.mkdir("/dir/sub/x") == 0); }
  SECTION("renaming") {
    CHECK(a.rename("/new", "/newer") == 0);
    CHECK(b.open_code("/newer") == 0);
  }
  SECTION("making what is gone") { CHECK(a.open_code("/old", O_CREAT | O_EXCL | O_RDWR) == 0); }
  SECTION("opening what is gone, or making it") {
    a.write("/old", "again");
    p.pass(kLease);
    CHECK(b.read("/old") == "again");
  }
  SECTION("making what is there by now") {
    CHECK(a.mkdir("/new") == EEXIST);
    CHECK(a.open_code("/new", O_CREAT | O_EXCL | O_RDWR) == EEXIST);
    CHECK(a.open_code("/new", O_CREAT | O_RDWR) == 0);
  }
  SECTION("removing what is not empty, and what is") {
    CHECK(code(rmdir(a.context(), *a.volume, nullptr, "/d")) == ENOTEMPTY);
    CHECK(code(rmdir(a.context(), *a.volume, nullptr, "/full")) == 0);
  }
  SECTION("removing what is gone") { CHECK(a.unlink("/old") == ENOENT); }
  SECTION("cutting what is gone") {
    CHECK(code(truncate(a.context(), *a.volume, "/old", 0)) == ENOENT);
    CHECK(a.open_code("/old", O_RDWR | O_TRUNC) == ENOENT);
  }
  SECTION("linking what is gone") {
    CHECK(code(link(a.context(), *a.volume, nullptr, "/old", nullptr, "/h", Lookup{})) == ENOENT);
  }
  SECTION("in a directory that is gone") {
    REQUIRE(b.unlink("/d/f") == 0);
    REQUIRE(code(rmdir(b.context(), *b.volume, nullptr, "/d")) == 0);
    CHECK(a.mkdir("/d/x") == ENOENT);
    CHECK(a.open_code("/d/x", O_CREAT | O_RDWR) == ENOENT);
    REQUIRE(b.mkdir("/d") == 0);
    CHECK(a.mkdir("/d/x") == 0);
  }
  SECTION("with permissions that were given since") {
    meta::SetAttributes open_to_all;
    open_to_all.mode = 0777;
    auto attr = find(b.context(), *b.volume, nullptr, "/d", Lookup{});
    REQUIRE(set_attributes(b.context(), *b.volume, attr->ino, open_to_all).ok());
    CHECK(code(vfs::mkdir(a.context(5), *a.volume, nullptr, "/d/x", 0755)) == 0);
  }
}

TEST_CASE("consistency: what was decided on old records is decided anew", "[vfs][consistency]") {
  const auto mode = GENERATE(Consistency::kCloseToOpen, Consistency::kLeased);
  Pair p(mode);
  p.b.write("/f", "");
  auto file = p.a.open("/f", O_RDWR);
  CHECK(p.a.read(*file).empty());
  // For a it is empty still, in the metadata and in what is known of its data.
  p.b.write("/f", "longer");
  REQUIRE(file->write(p.a.context(), 0, as_bytes("ab")).ok());
  const int trips = p.a.trips([&] { REQUIRE(file->flush(p.a.context()).ok()); });
  CHECK(trips <= 5);
  p.pass(kLease);
  CHECK(p.b.read("/f") == "abnger");
  CHECK(p.a.read(*file) == "abnger");
  // The other way: data in objects, for a still in the metadata.
  const std::string large(6000, 'x');
  p.b.write("/f", large);
  REQUIRE(file->write(p.a.context(), 0, as_bytes("ab")).ok());
  CHECK(p.a.trips([&] { REQUIRE(file->flush(p.a.context()).ok()); }) <= 6);
  p.pass(kLease);
  CHECK(p.b.length("/f") == 6000);
}

TEST_CASE("consistency: zeros reach to the end as it is", "[vfs][consistency]") {
  Pair p(GENERATE(Consistency::kCloseToOpen, Consistency::kLeased));
  p.a.write("/f", std::string(6000, 'x'));
  auto file = p.a.open("/f", O_RDWR);
  CHECK(p.a.read(*file).size() == 6000);
  p.b.write("/f", std::string(9000, 'y'));
  REQUIRE(
      file->allocate(p.a.context(), FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 5000, 3500).ok());
  p.pass(kLease);
  CHECK(p.b.read("/f") == std::string(5000, 'y') + std::string(3500, '\0') + std::string(500, 'y'));
}

TEST_CASE("consistency: whole files are replaced whole", "[vfs][consistency]") {
  Pair p(Consistency::kLeased);
  p.a.write("/f", "");
  CHECK(p.a.length("/f") == 0);
  p.b.write("/f", std::string(6000, 'x'));
  const std::string replacement(5000, 'y');
  std::vector<WriteRequest> requests(1);
  requests[0].path = "/f";
  requests[0].data = as_bytes(replacement);
  requests[0].mode = 0644;
  write_many(p.a.context(), *p.a.volume, requests);
  CHECK(requests[0].result.ok());
  CHECK(p.b.length("/f") == 5000);
}

TEST_CASE("a file that is replaced each time it was found", "[vfs][consistency]") {
  int replaced = 0;
  Pair p(GENERATE(Consistency::kStrict, Consistency::kCloseToOpen, Consistency::kLeased));
  p.b.write("/f", "first");
  p.a.store->before_commit = [&] {
    if (++replaced > 60) return;
    p.b.write("/new", "another");
    REQUIRE(p.b.rename("/new", "/f") == 0);
  };
  const OpContext ctx = p.a.context();
  REQUIRE(vfs::link(ctx, *p.a.volume, nullptr, "/f", nullptr, "/linked", Lookup{}).ok());
  CHECK(replaced > 60);
  CHECK(p.b.length("/linked") == 7);
}

TEST_CASE("consistency: after taking a lock nothing older is told", "[vfs][consistency]") {
  const auto mode = GENERATE(Consistency::kCloseToOpen, Consistency::kLeased);
  Pair p(mode);
  p.b.write("/lock", "");
  p.b.write("/f", "one");
  auto lock_a = p.a.open("/lock", O_RDWR);
  auto lock_b = p.b.open("/lock", O_RDWR);
  auto file = p.a.open("/f");
  CHECK(p.a.read(*file) == "one");
  CHECK(p.a.stat("/new") == ENOENT);
  meta::FileLock exclusive;
  exclusive.kind = meta::LockKind::kFlock;
  exclusive.exclusive = true;
  exclusive.owner = lock_b->flock_owner();
  REQUIRE(lock_b->lock(p.b.context(), exclusive, false).ok());
  p.b.write("/f", "three");
  p.b.write("/new", "x");
  CHECK(p.a.read(*file) == "one");
  REQUIRE(lock_b->unlock(p.b.context(), exclusive).ok());
  exclusive.owner = lock_a->flock_owner();
  REQUIRE(lock_a->lock(p.a.context(), exclusive, false).ok());
  CHECK(p.a.read(*file) == "three");
  CHECK(p.a.length("/f") == 5);
  CHECK(p.a.stat("/new") == 0);
  REQUIRE(lock_a->unlock(p.a.context(), exclusive).ok());
}

TEST_CASE("consistency: what the store tells of is forgotten", "[vfs][consistency]") {
  const auto mode = GENERATE(Consistency::kCloseToOpen, Consistency::kLeased);
  Pair p(mode);
  p.b.write("/f", "one");
  p.b.write("/other", "one");
  auto file = p.a.open("/f");
  CHECK(p.a.read(*file) == "one");
  CHECK(p.a.stat("/new") == ENOENT);
  CHECK(p.a.stat("/other") == 0);
  p.b.write("/f", "three");
  p.b.write("/new", "x");
  p.b.write("/other", "three");
  meta::ChangeSink* told = p.a.store->sink();
  REQUIRE(told != nullptr);
  told->inode_changed(file->ino());
  told->entry_changed(meta::kRootIno, "new");
  told->children_changed(meta::kRootIno);
  p.pass(1000);
  CHECK(p.a.read(*file) == "three");
  CHECK(p.a.length("/f") == 5);
  CHECK(p.a.stat("/new") == 0);
  // The rest is as it was, and the way to it is known still.
  CHECK(p.a.trips([&] { CHECK(p.a.length("/other") == 3); }) == 0);
  told->all_changed();
  p.pass(1000);
  CHECK(p.a.length("/other") == 5);
}

TEST_CASE("consistency: a read that was overtaken by what the store tells is not kept",
          "[vfs][consistency]") {
  Pair p(Consistency::kLeased);
  p.a.store->after_read = [&] {
    p.b.write("/f", "one");
    p.a.store->sink()->entry_changed(meta::kRootIno, "f");
  };
  CHECK(p.a.stat("/f") == ENOENT);  // it was so when it was read
  CHECK(p.a.stat("/f") == 0);
}

TEST_CASE("consistency: a new epoch ends what is cached", "[vfs][consistency]") {
  Pair p(Consistency::kLeased);
  p.b.write("/f", "one");
  CHECK(p.a.stat("/f") == 0);
  CHECK(p.a.trips([&] { CHECK(p.a.stat("/f") == 0); }) == 0);
  p.test.advance_epoch();
  REQUIRE(meta::heartbeat(p.a.context(), p.a.volume->meta()).ok());
  p.pass(1000);
  CHECK(p.a.trips([&] { CHECK(p.a.stat("/f") == 0); }) == 1);
}

}  // namespace skerry::vfs
