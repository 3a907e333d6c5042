// The PostgreSQL store among lost connections, wrong URLs, impatient callers and forks.

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "conformance/store_fixture.h"
#include "meta/stores/postgres/program.h"
#include "meta/stores/postgres/schema.h"

namespace skerry::meta {

namespace {

OpContext context() {
  OpContext ctx;
  ctx.clock = &system_clock();
  return ctx;
}

std::unique_ptr<Store> opened(const std::string& url, const PostgresOptions& options = {}) {
  auto store = PostgresStore::open(url, options, system_clock());
  if (!store.ok()) throw std::runtime_error(store.error().message());
  return std::move(store).value();
}

/// A volume, and a client of it behind a network that can fail.
struct World {
  World() {
    auto created = PostgresStore::create(postgres_url(schema), {}, system_clock());
    REQUIRE(created.ok());
    direct = std::move(created).value();
    behind = opened(proxy.url(schema));
  }
  ~World() {
    behind.reset();
    direct.reset();
    postgres_run("DROP SCHEMA " + schema + " CASCADE");
  }
  CommitRequest request(std::vector<Expectation> expectations, std::vector<Mutation> mutations) {
    CommitRequest made;
    made.request = next_request();
    made.expectations = std::move(expectations);
    made.mutations = std::move(mutations);
    return made;
  }
  uint64_t number(const std::string& name) {
    auto read = direct->read(context(), {{volume_key(name)}, {}, {}, false});
    REQUIRE(read.ok());
    if (!read->records[0]) return 0;
    return std::get<VolumeRecord>(*read->records[0]).number;
  }

  const std::string schema = fresh_schema();
  PostgresProxy proxy;
  std::unique_ptr<Store> direct, behind;
};

/// `holds` is not asked again once it was true.
void wait_until(const std::function<bool()>& holds) {
  for (int i = 0; i < 3000; ++i) {
    if (holds()) return;
    usleep(10'000);
  }
  FAIL("waited for half a minute");
}

/// Sessions of the schema's clients that wait for somebody's lock.
std::string waiting(const std::string& schema) {
  return " FROM pg_stat_activity WHERE wait_event_type='Lock' AND query LIKE '%" + schema + "%'";
}

/// The message of an error that `url` meets, which must have `code`.
std::string refused(const std::string& url, int code) {
  auto store = PostgresStore::open(url, {}, system_clock());
  REQUIRE_FALSE(store.ok());
  CHECK(store.error().code() == code);
  return store.error().message();
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("postgres: an answer lost after the commit is found by the same request",
          "[meta][postgres]") {
  World world;
  CommitRequest request = world.request(
      {ExpectAbsent{entry_key(1, "a")}},
      {Put{file_entry(1, "a", 10, 4)}, AddNumber{"n", 5}, Patch{10}, AddUsage{0, 1, 1, 1}});
  REQUIRE(world.behind->read(context(), {}).ok());  // connected
  world.proxy.set(PostgresProxy::Mode::kLoseAnswers);
  auto lost = world.behind->commit(context(), request);
  REQUIRE_FALSE(lost.ok());
  CHECK(lost.error().code() == EIO);
  CHECK(lost.error().maybe_applied());
  wait_until([&] { return world.number("n") == 5; });
  world.proxy.set(PostgresProxy::Mode::kPass);
  for (int i = 0; i < 2; ++i) {
    auto found = world.behind->commit(context(), request);
    REQUIRE(found.ok());
    CHECK(found->applied);
    REQUIRE(found->outcomes.size() == 4);
    CHECK(found->outcomes[1].number == 0);
    CHECK(found->outcomes[2].version == 5);
  }
  CHECK(world.number("n") == 5);
}

TEST_CASE("postgres: a request that never arrived is applied when it is sent again",
          "[meta][postgres]") {
  World world;
  REQUIRE(world.behind->read(context(), {}).ok());
  CommitRequest request = world.request({}, {AddNumber{"n", 5}});
  world.proxy.set(PostgresProxy::Mode::kLoseRequests);
  auto lost = world.behind->commit(context(), request);
  REQUIRE_FALSE(lost.ok());
  CHECK(lost.error().maybe_applied());
  CHECK(world.number("n") == 0);
  world.proxy.set(PostgresProxy::Mode::kPass);
  for (int i = 0; i < 2; ++i) CHECK(world.behind->commit(context(), request)->applied);
  CHECK(world.number("n") == 5);
}

TEST_CASE("postgres: what was told to be a conflict is not applied when it arrives late",
          "[meta][postgres]") {
  World world;
  REQUIRE(world.behind->read(context(), {}).ok());
  CommitRequest request =
      world.request({ExpectAbsent{entry_key(1, "a")}}, {Put{file_entry(1, "a", 10)}});
  CommitRequest gone = world.request({}, {AddDirStat{5, 0, 1, 0, 1}});
  for (const CommitRequest& each : {request, gone}) {
    REQUIRE(world.behind->read(context(), {}).ok());  // connected again
    world.proxy.set(PostgresProxy::Mode::kLoseRequests);
    auto lost = world.behind->commit(context(), each);
    REQUIRE_FALSE(lost.ok());
    CHECK(lost.error().maybe_applied());
    world.proxy.set(PostgresProxy::Mode::kPass);
  }
  // Meanwhile the name is taken, so the request, sent again, is refused.
  CHECK(world.direct->commit(context(), world.request({}, {Put{file_entry(1, "a", 11)}}))->applied);
  CHECK(world.behind->commit(context(), request)->failed_expectation == 0);
  CHECK(world.behind->commit(context(), gone)->failed_mutation == 0);
  // It is free again, and only now the server sees what was sent first.
  CHECK(world.direct
            ->commit(context(), world.request({}, {Delete{entry_key(1, "a")},
                                                   Put{DirStatRecord{5, 0, 0, 0, 0}}}))
            ->applied);
  for (const CommitRequest& each : {request, gone}) {
    const postgres::Program program = postgres::compile(each, false);
    std::string numbers, bytes;
    for (int64_t n : program.numbers) numbers += (numbers.empty() ? "" : ",") + std::to_string(n);
    for (const std::string& b : program.bytes) bytes += (bytes.empty() ? "'" : ",'") + b + "'";
    const std::string id = std::to_string(each.request[0]) + "," + std::to_string(each.request[1]);
    CHECK(postgres_run("DO $$ BEGIN PERFORM " + world.schema + ".commit_1(" + id + ",0,'{" +
                       numbers + "}',ARRAY[" + bytes +
                       "]::bytea[]); RAISE 'applied'; EXCEPTION WHEN unique_violation THEN NULL; "
                       "END $$")
              .empty());
  }
  CHECK(world.direct->read(context(), {{entry_key(1, "a")}, {}, {}})->records[0] == std::nullopt);
}

TEST_CASE("postgres: a session ended by the administrator before the commit", "[meta][postgres]") {
  World world;
  CommitRequest request = world.request({}, {AddNumber{"n", 5}});
  REQUIRE(world.direct->commit(context(), request)->applied);
  request.request = next_request();
  PostgresSession blocker;
  blocker.run("BEGIN; SELECT 1 FROM " + world.schema + ".volume FOR UPDATE");
  std::thread killer([&] {
    wait_until([&] {
      return !postgres_run("SELECT pg_terminate_backend(pid)" + waiting(world.schema)).empty();
    });
  });
  auto lost = world.direct->commit(context(), request);
  killer.join();
  REQUIRE_FALSE(lost.ok());
  CHECK(lost.error().code() == EIO);
  CHECK(lost.error().maybe_applied());
  blocker.run("ROLLBACK");
  CHECK(world.number("n") == 5);
  CHECK(world.direct->commit(context(), request)->applied);
  CHECK(world.direct->commit(context(), request)->outcomes[0].number == 5);
  CHECK(world.number("n") == 10);
}

TEST_CASE("postgres: the same request while its first attempt is still waiting",
          "[meta][postgres]") {
  World world;
  CommitRequest request = world.request({}, {AddNumber{"n", 5}});
  REQUIRE(world.direct->commit(context(), world.request({}, {AddNumber{"n", 1}}))->applied);
  PostgresSession blocker;
  blocker.run("BEGIN; SELECT 1 FROM " + world.schema + ".volume FOR UPDATE");
  std::vector<std::thread> attempts;
  std::atomic<int> applied{0};
  for (int i = 0; i < 3; ++i) {
    attempts.emplace_back([&] {
      auto result = world.direct->commit(context(), request);
      if (result.ok() && result->applied && result->outcomes[0].number == 1) ++applied;
    });
  }
  wait_until([&] { return postgres_run("SELECT pid" + waiting(world.schema)).size() == 3; });
  blocker.run("ROLLBACK");
  for (std::thread& attempt : attempts) attempt.join();
  CHECK(applied == 3);
  CHECK(world.number("n") == 6);
}

TEST_CASE("postgres: a caller's deadline and its cancellation end the wait for a lock",
          "[meta][postgres]") {
  World world;
  REQUIRE(world.direct->commit(context(), world.request({}, {AddNumber{"n", 1}}))->applied);
  PostgresSession blocker;
  blocker.run("BEGIN; SELECT 1 FROM " + world.schema + ".volume FOR UPDATE");
  OpContext late = context();
  late.deadline_ns = late.clock->monotonic_ns() + 100'000'000;
  auto result = world.direct->commit(late, world.request({}, {AddNumber{"n", 1}}));
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().code() == ETIMEDOUT);
  CHECK_FALSE(result.error().maybe_applied());  // the server said that it has stopped
  CancelToken token;
  OpContext cancelled = context();
  cancelled.cancel = &token;
  std::thread canceller([&] {
    wait_until([&] { return !postgres_run("SELECT pid" + waiting(world.schema)).empty(); });
    token.cancel();
  });
  result = world.direct->commit(cancelled, world.request({}, {AddNumber{"n", 1}}));
  canceller.join();
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().code() == ECANCELED);
  blocker.run("ROLLBACK");
  CHECK(world.number("n") == 1);
}

TEST_CASE("postgres: connections that the server has closed are replaced", "[meta][postgres]") {
  World world;
  for (int i = 0; i < 3; ++i) {
    REQUIRE(world.direct->commit(context(), world.request({}, {AddNumber{"n", 1}}))->applied);
    postgres_run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%" +
                 world.schema + "%' AND pid<>pg_backend_pid()");
    wait_until([&] {
      return postgres_run("SELECT pid FROM pg_stat_activity WHERE query LIKE '%" + world.schema +
                          "%' AND pid<>pg_backend_pid()")
          .empty();
    });
    CHECK(world.number("n") == static_cast<uint64_t>(i) + 1);
  }
}

TEST_CASE("postgres: more callers than connections", "[meta][postgres]") {
  World world;
  PostgresOptions options;
  options.connections = 2;
  auto store = opened(postgres_url(world.schema), options);
  std::atomic<int> applied{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 16; ++i) {
    callers.emplace_back([&] {
      for (int n = 0; n < 10; ++n) {
        auto result = store->commit(context(), world.request({}, {AddNumber{"n", 1}}));
        if (result.ok() && result->applied) ++applied;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(applied == 160);
  CHECK(world.number("n") == 160);
}

TEST_CASE("postgres: old requests are removed, and no others", "[meta][postgres]") {
  World world;
  const std::string table = world.schema + ".request";
  postgres_run("INSERT INTO " + table +
               "(high,low,created,outcomes) SELECT 0,i,now() - interval '" +
               "11 minutes','{}' FROM generate_series(1,3000) i");
  constexpr int kCommits = 1100;
  for (int i = 0; i < kCommits; ++i) {
    REQUIRE(world.direct->commit(context(), world.request({}, {AddUsage{0, 1, 0, 1}}))->applied);
  }
  CHECK(postgres_run("SELECT count(*) FROM " + table)[0] == std::to_string(kCommits));
}

TEST_CASE("postgres: a forked child leaves the parent's connections alone", "[meta][postgres]") {
  World world;
  REQUIRE(world.direct->commit(context(), world.request({}, {AddNumber{"n", 1}}))->applied);
  const auto before = postgres_run("SELECT pid FROM pg_stat_activity WHERE query LIKE '%" +
                                   world.schema + "%.commit%' AND pid<>pg_backend_pid()");
  const pid_t child = fork();
  if (child == 0) {
    bool refused = !world.direct->read(context(), {}).ok() &&
                   world.direct->commit(context(), {}).error().code() == EIO;
    world.direct.reset();
    auto anew = PostgresStore::open(postgres_url(world.schema), {}, system_clock());
    CommitRequest request;
    request.request = {1, 2};
    request.mutations = {AddNumber{"n", 1}};
    const bool works = anew.ok() && (*anew)->commit(context(), request).ok();
    _exit(refused && works ? 0 : 1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  REQUIRE(world.direct->commit(context(), world.request({}, {AddNumber{"n", 1}}))->applied);
  CHECK(world.number("n") == 3);
  const auto after =
      postgres_run("SELECT pid FROM pg_stat_activity WHERE pid IN (" + before.at(0) + ")");
  CHECK(after.size() == 1);  // the same session
}

TEST_CASE("postgres: what cannot be opened is refused with a sentence", "[meta][postgres]") {
  const std::string schema = fresh_schema();
  CHECK(has(refused(postgres_url(schema), ENOENT), "skerry format"));
  CHECK(has(refused(postgres_url(schema, "postgres", "no_such"), ENOENT), "createdb"));
  CHECK(has(refused("postgres://postgres@/postgres?host=/nowhere", EIO), "check host"));
  CHECK(has(refused("postgres://nobody_here:secret@/postgres?nonsense=1", EINVAL), "write"));
  CHECK(has(refused(postgres_url("public"), EINVAL), "schema="));
  CHECK(has(refused(postgres_url("pg_mine"), EINVAL), "schema="));
  CHECK(has(refused(postgres_url("a%2"), EINVAL), "%XX"));
  std::string said = refused(postgres_url(schema, "locked_out"), EACCES);
  CHECK(has(said, "give a password"));
  said = refused(postgres_url(schema, "locked_out:wr0ng"), EACCES);
  CHECK(has(said, "check the user and the password"));
  CHECK_FALSE(has(said, "wr0ng"));
  CHECK(has(refused(postgres_url(schema, "locked_out:let%20me%20in"), ENOENT), "skerry format"));

  // Somebody else's schema, and one that is empty.
  postgres_run("CREATE SCHEMA " + schema + "; CREATE TABLE " + schema + ".theirs(x integer)");
  CHECK(has(refused(postgres_url(schema), EINVAL), "another program"));
  auto created = PostgresStore::create(postgres_url(schema), {}, system_clock());
  REQUIRE_FALSE(created.ok());
  CHECK(created.error().code() == EINVAL);
  CHECK(postgres_run("SELECT count(*) FROM pg_tables WHERE schemaname='" + schema + "'")[0] == "1");
  postgres_run("DROP TABLE " + schema + ".theirs");
  created = PostgresStore::create(postgres_url(schema), {}, system_clock());
  REQUIRE(created.ok());
  CHECK((*created)->describe() == "postgres://" + postgres_folder() + "/postgres?schema=" + schema);
  created = PostgresStore::create(postgres_url(schema), {}, system_clock());
  REQUIRE_FALSE(created.ok());
  CHECK(created.error().code() == EEXIST);

  // A user who may not look, and a newer layout.
  CHECK(has(refused(postgres_url(schema, "guest"), EACCES), "grant"));
  postgres_run("UPDATE " + schema + ".skerry_layout SET version=version+1");
  CHECK(has(refused(postgres_url(schema), ENOTSUP), "upgrade Skerry"));
  postgres_run("DROP SCHEMA " + schema + " CASCADE");
  created = PostgresStore::create(postgres_url(schema, "guest"), {}, system_clock());
  REQUIRE_FALSE(created.ok());
  CHECK(created.error().code() == EACCES);
  CHECK(has(created.error().message(), "GRANT CREATE"));
}

TEST_CASE("postgres: a file that comes after the locks and is gone again is not moved",
          "[meta][postgres]") {
  World w;
  const auto apply = [&](std::vector<Mutation> mutations) {
    auto result = w.direct->commit(context(), w.request({}, std::move(mutations)));
    REQUIRE(result.ok());
    REQUIRE(result->applied);
  };
  const auto wait_for_a_waiter = [] {
    const char* waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type='Lock' AND query LIKE "
        "'%commit_1%'";
    while (postgres_run(waiting)[0] != "1") std::this_thread::yield();
  };
  std::optional<Key> target;
  SECTION("to another name") { target = entry_key(1, "b"); }
  SECTION("away") {}
  apply({Put{DirStatRecord{1, 0, 1, 0, 0}}, Put{UsageRecord{0, 7, 0, 0}}});

  // The file is looked for first, for its lock; then the move waits for this one.
  PostgresSession blocker, other;
  blocker.run("BEGIN; SELECT 1 FROM " + w.schema + ".usage WHERE client=7 FOR UPDATE");
  std::optional<Result<CommitResult>> moved;
  std::thread mover([&] {
    moved = w.behind->commit(context(),
                             w.request({}, {MoveFile{entry_key(1, "a"), target, false, 99, 7, {}},
                                            AddDirStat{1, 0, 99, 0, 0}}));
  });
  wait_for_a_waiter();
  apply({Put{file_entry(1, "a", 10)}});
  other.run("BEGIN; DELETE FROM " + w.schema + ".entry WHERE name='a'");
  blocker.run("COMMIT");
  wait_for_a_waiter();  // for the file's row
  other.run("COMMIT");
  mover.join();
  REQUIRE(moved->ok());
  CHECK_FALSE((*moved)->applied);
  CHECK((*moved)->failed_mutation == 0);
  CHECK(postgres_run("SELECT mtime FROM " + w.schema + ".dirstat WHERE ino=1")[0] == "1");
  CHECK(postgres_run("SELECT count(*) FROM " + w.schema + ".entry")[0] == "0");
}

TEST_CASE("postgres: a volume of an earlier layout is brought up to date", "[meta][postgres]") {
  const std::string schema = "old_layout";
  postgres_run("DROP SCHEMA IF EXISTS " + schema + " CASCADE");
  REQUIRE(PostgresStore::create(postgres_url(schema), {}, system_clock()).ok());
  // Layout 1 had the same tables, and a commit_1 that did not know all of today's steps.
  postgres_run(
      "DO $$ DECLARE f regprocedure; BEGIN FOR f IN SELECT p.oid::regprocedure FROM pg_proc "
      "p JOIN pg_namespace n ON n.oid=p.pronamespace WHERE n.nspname='" +
      schema +
      "' AND p.proname IN ('commit_1','settle_1') LOOP EXECUTE 'DROP FUNCTION ' || f || "
      "' CASCADE'; END LOOP; END $$");
  postgres_run("UPDATE " + schema + ".skerry_layout SET version=1");
  postgres_run("GRANT USAGE ON SCHEMA " + schema + " TO guest");
  postgres_run("GRANT SELECT ON ALL TABLES IN SCHEMA " + schema + " TO guest");
  CHECK(has(refused(postgres_url(schema, "guest"), EACCES), "layout 1"));

  std::vector<std::thread> openers;
  std::atomic<int> failed{0};
  for (int i = 0; i < 4; ++i) {
    openers.emplace_back([&] {
      auto store = PostgresStore::open(postgres_url(schema), {}, system_clock());
      if (!store.ok()) failed++;
    });
  }
  for (std::thread& opener : openers) opener.join();
  CHECK(failed == 0);
  CHECK(postgres_run("SELECT version FROM " + schema + ".skerry_layout")[0] ==
        std::to_string(postgres::kSchemaVersion));
  CHECK(postgres_run("SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid=p.pronamespace "
                     "WHERE n.nspname='" +
                     schema + "' AND p.proname IN ('commit_1','settle_1')")[0] == "2");
  postgres_run("DROP SCHEMA " + schema + " CASCADE");
}

TEST_CASE("postgres: secrets are not shown", "[meta][postgres]") {
  for (const std::string url :
       {"postgres://me:s3cret@db.example:5433/files?schema=v1&sslmode=require",
        "postgresql://me@db.example/files?password=s3cret", "postgres://me:s3cret@[broken/files"}) {
    const std::string shown = PostgresStore::without_secrets(url);
    CHECK_FALSE(has(shown, "s3cret"));
    CHECK(has(shown, "postgres"));
  }
  CHECK(PostgresStore::without_secrets("sqlite:///a/b") == "sqlite:///a/b");
}

TEST_CASE("postgres: names are bytes in a database of any encoding", "[meta][postgres]") {
  const std::string schema = fresh_schema() + "\xc3\xa9";  // an identifier in UTF-8
  const std::string url = postgres_url(schema, "postgres", "latin1") + "&client_encoding=UTF8";
  auto store = PostgresStore::create(url, {}, system_clock());
  REQUIRE(store.ok());
  const std::string name("\xff\xc3\x28\0x", 5);
  CommitRequest request;
  request.request = next_request();
  request.mutations = {Put{file_entry(1, name, 10)}};
  REQUIRE((*store)->commit(context(), request)->applied);
  auto again = opened(url);
  auto entries = again->resolve(context(), 1, {name});
  REQUIRE(entries.ok());
  REQUIRE(entries->size() == 1);
  CHECK(entries->at(0).name == name);
}

}  // namespace skerry::meta
