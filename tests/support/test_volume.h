// A volume in memory with several clients, for tests of what clients do to each other. Records are
// built directly, so a test says exactly which state it is about.
#pragma once

#include <catch2/catch.hpp>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/crc32c.h"
#include "meta/session.h"
#include "meta/session_watch.h"
#include "meta/stores/memory/memory_store.h"
#include "support/fake_clock.h"

namespace skerry::meta {

/// Passes calls on, unless a hook says otherwise. A hook that returns an error replaces the call.
class HookedStore final : public Store {
 public:
  explicit HookedStore(std::shared_ptr<MemoryDatabase> database) : store_(std::move(database)) {}
  std::function<Status(const ReadRequest&)> on_read;
  std::function<Status(const CommitRequest&)> on_commit;

  std::string describe() const override { return "hooked memory:"; }
  StoreCapabilities capabilities() const override { return store_.capabilities(); }
  Result<ReadResult> read(const OpContext& ctx, const ReadRequest& request) override {
    if (auto hook = on_read) SKERRY_TRY(hook(request));  // a copy: a hook may replace itself
    return store_.read(ctx, request);
  }
  Result<CommitResult> commit(const OpContext& ctx, CommitRequest request) override {
    if (auto hook = on_commit) SKERRY_TRY(hook(request));
    return store_.commit(ctx, std::move(request));
  }
  Status sync(const OpContext& ctx) override { return store_.sync(ctx); }
  uint64_t generation() noexcept override { return store_.generation(); }

 private:
  MemoryStore store_;
};

/// One client. Its clock is its own: the volume must not care what it says.
struct TestClient {
  FakeClock clock;
  FakeRandom random;
  std::shared_ptr<HookedStore> store;
  std::unique_ptr<Meta> meta;
  OpContext ctx;

  TestClient(const std::shared_ptr<MemoryDatabase>& database, uint64_t seed) : random(seed) {
    store = std::make_shared<HookedStore>(database);
    ctx.clock = &clock;
  }
  ClientId id() const { return meta->client(); }
  void beat() { REQUIRE(heartbeat(ctx, *meta).ok()); }
};

/// The objects of the volume's object store, by id.
struct TestObjects {
  std::set<ObjectId> present;
  std::set<ObjectId> undeletable;
  int calls = 0;
  DeleteObjects remover() {
    return [this](const OpContext&, const std::vector<ObjectId>& ids) -> Status {
      ++calls;
      for (ObjectId id : ids) {
        if (undeletable.contains(id)) return Error(EIO, "no answer");
        present.erase(id);
      }
      return {};
    };
  }
};

class TestVolume {
 public:
  TestVolume() : database(std::make_shared<MemoryDatabase>(server)), admin(database) {
    ctx.clock = &server;
    format.uuid = "5b1c6cf8-2f0c-4f43-9a3e-1f6a2d0b7c11";
    format.storage = "memory:";
    REQUIRE(format_volume(ctx, admin, format, server).ok());
  }

  std::unique_ptr<TestClient> open() {
    auto client = std::make_unique<TestClient>(database, ++seed_);
    auto meta = Meta::open(client->ctx, client->store, format, {}, client->clock, client->random);
    REQUIRE(meta.ok());
    client->meta = std::move(meta).value();
    return client;
  }

  /// `by` has looked at the others' heartbeats for long enough to believe the server's clock.
  void watch(TestClient& by) {
    ReadRequest request;
    request.ranges.push_back({Table::kClient, 0});
    request.time = true;
    auto result = admin.read(ctx, request);
    REQUIRE(result.ok());
    const TimeNs now = by.clock.monotonic_ns();
    for (const Record& record : result->pages[0].records) {
      CHECK(by.meta->session_watch().judge(std::get<ClientRecord>(record), result->server_time_ns,
                                           format.session_expiry_ns, now,
                                           now) == SessionWatch::Verdict::kLive);
    }
    by.clock.advance_ns(SessionWatch::watch_ns(format.session_expiry_ns));
  }

  void commit(std::vector<Mutation> mutations) {
    CommitRequest request;
    request.mutations = std::move(mutations);
    auto result = admin.commit(ctx, std::move(request));
    REQUIRE(result.ok());
    REQUIRE(result->applied);
  }
  std::optional<Record> get(Key key) {
    ReadRequest request;
    request.keys.push_back(std::move(key));
    auto result = admin.read(ctx, request);
    REQUIRE(result.ok());
    return std::move(result->records[0]);
  }
  bool has(Key key) { return get(std::move(key)).has_value(); }
  size_t count(Table table) {
    ReadRequest request;
    Range range;
    range.table = table;
    range.prefix_fields = 0;
    range.limit = 1'000'000;
    request.ranges.push_back(range);
    auto result = admin.read(ctx, request);
    REQUIRE(result.ok());
    return result->pages[0].records.size();
  }
  uint64_t epoch() { return std::get<VolumeRecord>(*get(volume_key(kVolumeEpoch))).number; }
  void advance_epoch() { commit({AddNumber{kVolumeEpoch, 1}}); }

  static Attributes attributes(Ino ino, FileType type, uint64_t length) {
    Attributes attr;
    attr.ino = ino;
    attr.type = type;
    attr.mode = 0644;
    attr.length = length;
    attr.nlink = type == FileType::kDirectory ? 2 : 1;
    return attr;
  }
  static Extent extent(ObjectId object, uint64_t offset, uint64_t length) {
    Extent e;
    e.chunk_offset = offset;
    e.length = length;
    e.object = object;
    e.slice_length = length;
    return e;
  }
  Ino take(const char* counter) {
    CommitRequest request;
    request.mutations.push_back(AddNumber{counter, 1});
    auto result = admin.commit(ctx, std::move(request));
    REQUIRE(result.ok());
    return result->outcomes.at(0).number;
  }

  /// A regular file in the root with one extent of 100 bytes in each of `objects`.
  Ino add_file(const std::string& name, const std::vector<ObjectId>& objects,
               Ino parent = kRootIno) {
    const Ino ino = take(kVolumeNextIno);
    EntryRecord entry{parent, name, false, 1, attributes(ino, FileType::kRegular, 0)};
    entry.attr.length = objects.size() * 100;
    entry.version = entry.attr.version = objects.size() + 1;
    std::vector<Mutation> mutations = {Put{entry}, AddDirStat{parent, 0, 0, 0, 1},
                                       AddUsage{0, 0, static_cast<int64_t>(entry.attr.length), 1}};
    for (size_t i = 0; i < objects.size(); ++i) {
      mutations.push_back(Put{ExtentRecord{ino, 0, i + 1, {extent(objects[i], i * 100, 100)}}});
    }
    commit(std::move(mutations));
    return ino;
  }
  Ino add_directory(const std::string& name, Ino parent = kRootIno) {
    const Ino ino = take(kVolumeNextIno);
    EntryRecord entry{parent, name, false, 1, attributes(ino, FileType::kDirectory, 0)};
    entry.attr.shards = 1;
    commit({Put{entry}, Put{DirStatRecord{ino, 0, 0, 0, 0}}, AddDirStat{parent, 0, 0, 1, 1},
            AddUsage{0, 0, 0, 1}});
    return ino;
  }
  /// As unlink does: the attributes move to an orphan at the current epoch.
  void unlink(const std::string& name, Ino parent = kRootIno) {
    EntryRecord entry = std::get<EntryRecord>(*get(entry_key(parent, name)));
    entry.attr.nlink = 0;
    commit({Delete{entry_key(parent, name)}, Put{OrphanRecord{entry.attr, 0}},
            AddDirStat{parent, 0, 0, 0, -1},
            AddUsage{0, 0, -static_cast<int64_t>(entry.attr.length), -1}});
  }
  std::vector<ObjectId> take_objects(size_t count, TestObjects& objects) {
    std::vector<ObjectId> ids;
    for (size_t i = 0; i < count; ++i) {
      ids.push_back(take(kVolumeNextObject));
      objects.present.insert(ids.back());
    }
    return ids;
  }

  FakeClock server;
  std::shared_ptr<MemoryDatabase> database;
  MemoryStore admin;
  OpContext ctx;
  VolumeFormat format;

 private:
  uint64_t seed_ = 0;
};

inline ReclaimResult reclaim(TestClient& client, TestObjects& objects) {
  auto result = reclaim_step(client.ctx, *client.meta, objects.remover());
  REQUIRE(result.ok());
  return *result;
}

/// Heartbeats of all and a step of the first, `rounds` times; the results added up.
inline ReclaimResult reclaim_rounds(const std::vector<TestClient*>& clients, TestObjects& objects,
                                    int rounds) {
  ReclaimResult sum;
  for (int i = 0; i < rounds; ++i) {
    for (TestClient* client : clients) client->beat();
    ReclaimResult step = reclaim(*clients.front(), objects);
    sum.inodes += step.inodes;
    sum.objects += step.objects;
    sum.stale_sessions += step.stale_sessions;
    sum.pending_inodes = step.pending_inodes;
    sum.pending_objects = step.pending_objects;
    sum.failed_objects = step.failed_objects;
    sum.elected = step.elected;
  }
  return sum;
}

inline void require_healthy(TestClient& client) {
  auto result = fsck(client.ctx, *client.meta, {});
  REQUIRE(result.ok());
  for (const auto& problem : result->problems)
    UNSCOPED_INFO(problem.kind << ": " << problem.detail);
  REQUIRE(result->problem_count == 0);
  REQUIRE(result->surplus_objects == 0);
}

}  // namespace skerry::meta
