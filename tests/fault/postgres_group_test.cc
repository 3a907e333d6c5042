// Commits and reads of many threads that share transactions on few connections.

#include <atomic>
#include <thread>

#include "conformance/store_fixture.h"
#include "meta/stores/postgres/program.h"

namespace skerry::meta {

namespace {

OpContext context() {
  OpContext ctx;
  ctx.clock = &system_clock();
  return ctx;
}

struct World {
  explicit World(unsigned connections) {
    PostgresOptions options;
    options.connections = connections;
    REQUIRE(PostgresStore::create(postgres_url(schema), {}, system_clock()).ok());
    auto opened = PostgresStore::open(postgres_url(schema), options, system_clock());
    REQUIRE(opened.ok());
    store = std::move(opened).value();
    REQUIRE(commit({}, {Put{DirStatRecord{kDir, 0, 0, 0, 0}}, Put{DirStatRecord{kDir, 1, 0, 0, 0}}})
                .ok());
  }
  ~World() {
    store.reset();
    postgres_run("DROP SCHEMA " + schema + " CASCADE");
  }
  Result<CommitResult> commit(std::vector<Expectation> expectations,
                              std::vector<Mutation> mutations) {
    CommitRequest request;
    request.request = next_request();
    request.expectations = std::move(expectations);
    request.mutations = std::move(mutations);
    // As Meta::commit(): the same request until its outcome is known.
    for (;;) {
      Result<CommitResult> result = store->commit(context(), request);
      if (result.ok() || (!result.error().maybe_applied() && !result.error().retryable())) {
        return result;
      }
      ++lost;
      usleep(20'000);
    }
  }
  uint64_t count(const std::string& table, const std::string& condition) {
    return std::stoull(
        postgres_run("SELECT count(*) FROM " + schema + "." + table + " WHERE " + condition)[0]);
  }

  static constexpr Ino kDir = 7;
  const std::string schema = fresh_schema();
  std::unique_ptr<Store> store;
  std::atomic<uint64_t> lost{0};
};

template <typename Body>
void in_threads(unsigned count, const Body& body) {
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < count; ++t) threads.emplace_back([&body, t] { body(t); });
  for (std::thread& thread : threads) thread.join();
}

std::vector<Mutation> creation(const std::string& name, Ino ino) {
  return {Put{file_entry(World::kDir, name, ino, 1)},
          AddDirStat{World::kDir, ino % 2, static_cast<TimeNs>(ino), 0, 1},
          AddUsage{0, 1 + ino % 3, 10, 1}};
}

}  // namespace

TEST_CASE("postgres: what goes together is applied as what goes alone", "[meta][postgres]") {
  const unsigned connections = GENERATE(1, 2, 8);
  constexpr unsigned kThreads = 24, kEach = 25, kContended = 10;
  World world(connections);
  std::atomic<uint64_t> made{0}, refused{0}, wrong{0};
  in_threads(kThreads, [&](unsigned t) {
    for (unsigned i = 0; i < kEach; ++i) {
      // Names of its own, names that all want, and directories that are not there.
      const Ino ino = 1000 + t * 1000 + 3 * i;
      const std::string own = std::to_string(t) + "-" + std::to_string(i);
      auto created = world.commit({ExpectAbsent{entry_key(World::kDir, own)}}, creation(own, ino));
      if (!created.ok() || !created->applied) ++wrong;
      const std::string wanted = "all-" + std::to_string(i % kContended);
      auto contended =
          world.commit({ExpectAbsent{entry_key(World::kDir, wanted)}}, creation(wanted, ino + 1));
      if (!contended.ok()) {
        ++wrong;
      } else if (contended->applied) {
        ++made;
      } else {
        ++refused;
        if (contended->failed_expectation != 0) ++wrong;
      }
      if (i % 5 == 0) {
        auto nowhere =
            world.commit({}, {Put{file_entry(99, own, ino + 2, 1)}, AddDirStat{99, 0, 1, 0, 1}});
        if (!nowhere.ok() || nowhere->applied || nowhere->failed_mutation != 1) ++wrong;
      }
      auto seen = world.store->read(context(), {{entry_key(World::kDir, own)}, {}, {}, false});
      if (!seen.ok() || !seen->records[0]) ++wrong;
    }
  });
  CHECK(wrong == 0);
  CHECK(made == kContended);
  CHECK(refused == uint64_t{kThreads} * kEach - kContended);
  const uint64_t entries = kThreads * kEach + kContended;
  CHECK(world.count("entry", "parent=7") == entries);
  CHECK(world.count("entry", "parent=99") == 0);
  const std::string of_schema = " FROM " + world.schema;
  CHECK(postgres_run("SELECT sum(entries)" + of_schema + ".dirstat")[0] == std::to_string(entries));
  CHECK(postgres_run("SELECT sum(inodes)" + of_schema + ".usage")[0] == std::to_string(entries));
  CHECK(postgres_run("SELECT sum(bytes)" + of_schema + ".usage")[0] ==
        std::to_string(10 * entries));
}

TEST_CASE("postgres: commits that go together are applied once each though connections are lost",
          "[meta][postgres]") {
  constexpr unsigned kThreads = 16, kEach = 20;
  World world(4);
  std::atomic<bool> stop{false};
  std::thread killer([&] {
    while (!stop) {
      postgres_run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%" +
                   world.schema + "%' AND pid<>pg_backend_pid() AND application_name='skerry'");
      usleep(15'000);
    }
  });
  std::atomic<uint64_t> wrong{0};
  in_threads(kThreads, [&](unsigned t) {
    for (unsigned i = 0; i < kEach; ++i) {
      auto added = world.commit({}, {AddNumber{"n", 1}, AddNumber{std::to_string(t), 1}});
      if (!added.ok() || !added->applied || added->outcomes.at(1).number != i) ++wrong;
      const std::string own = std::to_string(t) + "-" + std::to_string(i);
      auto created = world.commit({ExpectAbsent{entry_key(World::kDir, own)}},
                                  creation(own, 1000 + t * kEach + i));
      if (!created.ok() || !created->applied) ++wrong;
    }
  });
  stop = true;
  killer.join();
  CHECK(wrong == 0);
  CHECK(world.lost > 0);
  CHECK(postgres_run("SELECT number FROM " + world.schema + ".volume WHERE name='n'::bytea")[0] ==
        std::to_string(kThreads * kEach));
  CHECK(world.count("entry", "parent=7") == kThreads * kEach);
  CHECK(postgres_run("SELECT sum(entries) FROM " + world.schema + ".dirstat")[0] ==
        std::to_string(kThreads * kEach));
}

TEST_CASE("postgres: who waits to go together keeps its deadline", "[meta][postgres]") {
  World world(2);
  REQUIRE(world.commit({}, {AddNumber{"n", 1}}).ok());
  PostgresSession holder;
  holder.run("BEGIN; UPDATE " + world.schema + ".volume SET number=number WHERE name='n'::bytea");
  std::atomic<uint64_t> late{0}, applied{0};
  in_threads(12, [&](unsigned t) {
    OpContext ctx = context();
    const TimeNs began = ctx.clock->monotonic_ns();
    ctx.deadline_ns = began + 300'000'000 + TimeNs{t} * 20'000'000;
    CommitRequest request;
    request.request = next_request();
    request.mutations = {AddNumber{"n", 1}};
    auto done = world.store->commit(ctx, request);
    if (done.ok()) ++applied;
    if (ctx.clock->monotonic_ns() - began > 4'000'000'000) ++late;
  });
  CHECK(applied == 0);
  CHECK(late == 0);
  holder.run("ROLLBACK");
  auto after = world.commit({}, {AddNumber{"n", 1}});
  REQUIRE(after.ok());
  CHECK(after->outcomes.at(0).number == 1);  // none of them came through
}

}  // namespace skerry::meta
