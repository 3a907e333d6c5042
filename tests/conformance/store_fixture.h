// Every kind of metadata store, behind one door, for the suite that all of them pass.
#pragma once

#include <catch2/catch.hpp>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "meta/store.h"
#include "meta/stores/memory/memory_store.h"
#include "meta/stores/postgres/postgres_store.h"
#include "meta/stores/sqlite/sqlite_store.h"
#include "support/postgres_server.h"

namespace skerry::meta {

enum class StoreKind { kMemory, kSqlite, kSqliteRecording, kPostgres, kPostgresSerializable };

inline const char* name_of(StoreKind kind) {
  switch (kind) {
    case StoreKind::kMemory:
      return "memory";
    case StoreKind::kSqlite:
      return "sqlite";
    case StoreKind::kSqliteRecording:
      return "sqlite with record_requests";
    case StoreKind::kPostgres:
      return "postgres";
    default:
      return "postgres, serializable";
  }
}

/// A directory of its own for one test, removed with it.
class TestDirectory {
 public:
  TestDirectory() : TestDirectory(std::filesystem::temp_directory_path()) {}
  explicit TestDirectory(const std::filesystem::path& parent) {
    std::string name = (parent / "skerry-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~TestDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

/// In memory where that is possible, for tests in which no power is cut.
inline std::filesystem::path fast_folder() {
  std::error_code none;
  const std::filesystem::path memory = "/dev/shm";
  return std::filesystem::is_directory(memory, none) ? memory
                                                     : std::filesystem::temp_directory_path();
}

/// The real clock, with a wall clock that a test can set.
class ShiftedClock final : public Clock {
 public:
  TimeNs now_ns() override { return fixed_ns != 0 ? fixed_ns.load() : system_clock().now_ns(); }
  TimeNs monotonic_ns() override { return system_clock().monotonic_ns(); }
  void sleep_ns(TimeNs duration) override { system_clock().sleep_ns(duration); }
  std::atomic<TimeNs> fixed_ns{0};
};

/// One database; each open() is a client of it.
class StoreWorld {
 public:
  explicit StoreWorld(StoreKind kind) : kind_(kind) {
    ctx.clock = &clock;
    if (kind_ == StoreKind::kMemory) {
      database_ = std::make_shared<MemoryDatabase>(clock);
      return;
    }
    if (is_postgres()) {
      create_in_postgres();
      return;
    }
    options_.record_requests = kind_ == StoreKind::kSqliteRecording;
    auto created = SqliteStore::create(directory_.file("volume.db"), options_, clock);
    if (!created.ok()) FAIL(created.error().message());
  }

  ~StoreWorld() {
    if (!schema_.empty()) postgres_run("DROP SCHEMA " + schema_ + " CASCADE");
  }

  std::unique_ptr<Store> open() {
    if (kind_ == StoreKind::kMemory) return std::make_unique<MemoryStore>(database_);
    if (is_postgres()) {
      auto opened = PostgresStore::open(postgres_url(schema_), postgres_options_, clock);
      if (!opened.ok()) FAIL(opened.error().message());
      return std::move(opened).value();
    }
    auto opened = SqliteStore::open(directory_.file("volume.db"), options_, clock);
    if (!opened.ok()) FAIL(opened.error().message());
    return std::move(opened).value();
  }
  bool remembers_requests() const { return kind_ != StoreKind::kSqlite; }
  /// Its generation() stands still while nobody else commits.
  bool knows_generation() const { return !is_postgres(); }

  /// Stops the store's clock and the clients' at `now`.
  void set_time(TimeNs now) {
    clock.fixed_ns = now;
    if (!is_postgres()) return;
    postgres_run("CREATE OR REPLACE FUNCTION " + schema_ +
                 ".now_ns() RETURNS bigint LANGUAGE sql VOLATILE AS $$ SELECT " +
                 std::to_string(now) + "::bigint $$");
  }

  ShiftedClock clock;
  OpContext ctx;

 private:
  bool is_postgres() const {
    return kind_ == StoreKind::kPostgres || kind_ == StoreKind::kPostgresSerializable;
  }
  void create_in_postgres() {
    if (kind_ == StoreKind::kPostgresSerializable) {
      postgres_options_.isolation = PostgresOptions::Isolation::kSerializable;
    }
    schema_ = fresh_schema();
    auto created = PostgresStore::create(postgres_url(schema_), postgres_options_, clock);
    if (!created.ok()) FAIL(created.error().message());
  }

  StoreKind kind_;
  std::string schema_;
  PostgresOptions postgres_options_;
  TestDirectory directory_;
  SqliteOptions options_;
  std::shared_ptr<MemoryDatabase> database_;
};

inline RequestId next_request() {
  static std::atomic<uint64_t> next{1};
  return {next.fetch_add(1), 77};
}

/// A store under test with short forms of its calls. Errors fail the test.
class StoreUser {
 public:
  StoreUser(StoreWorld& world, std::unique_ptr<Store> store)
      : world_(world), store(std::move(store)) {}
  explicit StoreUser(StoreWorld& world) : StoreUser(world, world.open()) {}

  CommitResult commit(std::vector<Expectation> expectations, std::vector<Mutation> mutations,
                      Durability durability = Durability::kVisible) {
    CommitRequest request;
    request.request = next_request();
    request.expectations = std::move(expectations);
    request.mutations = std::move(mutations);
    request.durability = durability;
    auto result = store->commit(world_.ctx, std::move(request));
    if (!result.ok()) throw std::runtime_error(result.error().message());
    return std::move(result).value();
  }
  std::vector<MutationOutcome> apply(std::vector<Mutation> mutations) {
    CommitResult result = commit({}, std::move(mutations));
    REQUIRE(result.applied);
    return result.outcomes;
  }
  ReadResult read(const ReadRequest& request) {
    auto result = store->read(world_.ctx, request);
    if (!result.ok()) throw std::runtime_error(result.error().message());
    return std::move(result).value();
  }
  std::optional<Record> get(const Key& key, bool join = false) {
    return read({{key}, {}, {}, join}).records.at(0);
  }
  template <typename T>
  T at(const Key& key, bool join = false) {
    auto record = get(key, join);
    REQUIRE(record.has_value());
    return std::get<T>(*record);
  }
  RangePage range(const Range& range, bool join = false) {
    return read({{}, {range}, {}, join}).pages.at(0);
  }
  std::optional<AttributeHome> home(Ino ino, bool join = false) {
    return read({{}, {}, {ino}, join}).homes.at(0);
  }

 private:
  StoreWorld& world_;

 public:
  std::unique_ptr<Store> store;
};

inline EntryRecord file_entry(Ino parent, std::string name, Ino ino, uint64_t version = 1) {
  EntryRecord entry;
  entry.parent = parent;
  entry.name = std::move(name);
  entry.attr.ino = ino;
  entry.attr.mode = 0644;
  entry.attr.mtime_ns = 10;
  entry.attr.ctime_ns = 11;
  entry.attr.atime_ns = 12;
  entry.attr.btime_ns = 13;
  entry.version = entry.attr.version = version;
  return entry;
}
inline EntryRecord directory_entry(Ino parent, std::string name, Ino ino) {
  EntryRecord entry = file_entry(parent, std::move(name), ino);
  entry.attr.type = FileType::kDirectory;
  entry.attr.nlink = 2;
  entry.attr.shards = 1;
  return entry;
}

/// Names of a page's entries.
inline std::vector<std::string> names_of(const RangePage& page) {
  std::vector<std::string> names;
  for (const Record& record : page.records) names.push_back(std::get<EntryRecord>(record).name);
  return names;
}

#define STORE_TEST(name, tags)                                                        \
  static void SKERRY_CONCAT(store_test_, __LINE__)(StoreWorld & world);               \
  TEST_CASE("store: " name, tags "[meta][store]") {                                   \
    const auto kind =                                                                 \
        GENERATE(StoreKind::kMemory, StoreKind::kSqlite, StoreKind::kSqliteRecording, \
                 StoreKind::kPostgres, StoreKind::kPostgresSerializable);             \
    CAPTURE(name_of(kind));                                                           \
    StoreWorld world(kind);                                                           \
    SKERRY_CONCAT(store_test_, __LINE__)(world);                                      \
  }                                                                                   \
  static void SKERRY_CONCAT(store_test_, __LINE__)(StoreWorld & world)

}  // namespace skerry::meta
