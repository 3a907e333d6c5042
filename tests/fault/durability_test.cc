// What a power cut may take: nothing that was committed before fsync, close or a whole-file write
// returned.

#include <fcntl.h>

#include <catch2/catch.hpp>

#include "fault/workload.h"
#include "meta/stores/memory/memory_store.h"
#include "object/memory/memory_store.h"
#include "vfs/batch.h"

namespace skerry {
namespace {

/// Counts the commits that a power cut would take, as SQLite keeps them: in order, up to the last
/// flush.
class PowerStore final : public meta::Store {
 public:
  explicit PowerStore(std::shared_ptr<meta::MemoryDatabase> database) : store_(database) {}
  std::string describe() const override { return store_.describe(); }
  meta::StoreCapabilities capabilities() const override { return store_.capabilities(); }
  Result<meta::ReadResult> read(const OpContext& ctx, const meta::ReadRequest& request) override {
    return store_.read(ctx, request);
  }
  Result<meta::CommitResult> commit(const OpContext& ctx, meta::CommitRequest request) override {
    const bool durable = request.durability == meta::Durability::kDurable;
    auto result = store_.commit(ctx, std::move(request));
    if (result.ok() && result->applied) at_risk = durable ? 0 : at_risk + 1;
    return result;
  }
  Status sync(const OpContext& ctx) override {
    if (broken) return Error(EIO, "the disk cannot flush");
    at_risk = 0;
    return store_.sync(ctx);
  }
  uint64_t generation() noexcept override { return store_.generation(); }

  int at_risk = 0;
  bool broken = false;

 private:
  meta::MemoryStore store_;
};

struct Fixture {
  Fixture() {
    vfs::Volume::Parts parts;
    parts.clock = &clock;
    parts.random = &random;
    parts.store = store =
        std::make_shared<PowerStore>(std::make_shared<meta::MemoryDatabase>(clock));
    parts.objects = std::make_shared<MemoryObjectStore>(clock);
    parts.format.uuid = "5b1c6cf8-2f0c-4f43-9a3e-1f6a2d0b7c11";
    parts.format.storage = "memory:";
    REQUIRE(meta::format_volume(ctx, *store, parts.format, clock).ok());
    vfs::VolumeOptions options;
    options.io_threads = 0;
    options.background = false;
    auto opened = vfs::Volume::open(ctx, std::move(parts), options);
    REQUIRE(opened.ok());
    volume = std::move(opened).value();
  }
  std::unique_ptr<vfs::Handle> open(const char* path, int flags) {
    auto handle = vfs::open_file(ctx, *volume, nullptr, path, flags, 0644);
    REQUIRE(handle.ok());
    return std::move(handle).value();
  }

  FakeClock clock;
  FakeRandom random;
  const OpContext ctx = fault_context(clock);
  std::shared_ptr<PowerStore> store;
  std::unique_ptr<vfs::Volume> volume;
};

}  // namespace

TEST_CASE("durability: fsync and close leave nothing at risk", "[fault][durability]") {
  Fixture f;
  const size_t length = GENERATE(0, 100, 100'000);
  CAPTURE(length);
  const std::string bytes = pattern_bytes(length, 1);
  auto handle = f.open("/f", O_RDWR | O_CREAT);
  CHECK(f.store->at_risk > 0);
  REQUIRE(handle->write(f.ctx, 0, as_bytes(bytes)).ok());
  REQUIRE(handle->sync(f.ctx).ok());
  CHECK(f.store->at_risk == 0);
  REQUIRE(handle->truncate(f.ctx, length / 2).ok());
  REQUIRE(handle->sync(f.ctx).ok());
  CHECK(f.store->at_risk == 0);
  REQUIRE(handle->write(f.ctx, length, as_bytes("more")).ok());
  REQUIRE(handle->flush(f.ctx).ok());
  CHECK(f.store->at_risk == 0);
  REQUIRE(vfs::mkdir(f.ctx, *f.volume, nullptr, "/d", 0755).ok());
  REQUIRE(f.volume->sync(f.ctx).ok());
  CHECK(f.store->at_risk == 0);
}

TEST_CASE("durability: whole files written at once are durable, or failed", "[fault][durability]") {
  Fixture f;
  const size_t length = GENERATE(0, 100, 100'000);
  CAPTURE(length);
  const std::string bytes = pattern_bytes(length, 1);
  std::vector<vfs::WriteRequest> requests;
  for (const char* path : {"/a", "/b", "/none/c"}) {
    requests.push_back({path, as_bytes(bytes), 0644, {}});
  }
  vfs::write_many(f.ctx, *f.volume, requests);
  CHECK(requests[0].result.ok());
  CHECK(requests[1].result.ok());
  CHECK(requests[2].result.error().code() == ENOENT);
  CHECK(f.store->at_risk == 0);
  f.store->broken = true;
  vfs::write_many(f.ctx, *f.volume, requests);
  CHECK(requests[0].result.error().code() == EIO);
  CHECK(requests[1].result.error().code() == EIO);
  CHECK(requests[2].result.error().code() == ENOENT);
  f.store->broken = false;
}

}  // namespace skerry
