#include "meta/stores/sqlite/sqlite_store.h"

#include <algorithm>
#include <new>

#include "meta/stores/sqlite/commit_queue.h"
#include "meta/stores/sqlite/fork_gate.h"
#include "meta/stores/sqlite/read.h"
#include "meta/stores/sqlite/read_pool.h"
#include "meta/stores/sqlite/schema.h"
#include "meta/stores/sqlite/wal_events.h"
#include "meta/stores/sqlite/wal_watch.h"

namespace skerry::meta {

using sqlite::Connection;
using sqlite::error_of;
using sqlite::ForkGate;
using sqlite::is_busy;

struct SqliteStore::Engine {
  std::string path;
  Clock& clock;
  // Before the connections, which refer to it.
  sqlite::WalWatch watch;
  std::unique_ptr<sqlite::ReadPool> readers;
  std::unique_ptr<sqlite::CommitQueue> writer;

  Engine(std::string p, Clock& c) : path(std::move(p)), clock(c) {}
};

namespace {

/// Calls `attempt` until it does not answer that another process is in the way.
template <typename Attempt>
int wait_while_busy(Clock& clock, TimeNs timeout_ns, Attempt attempt) {
  const TimeNs give_up_ns = clock.monotonic_ns() + timeout_ns;
  for (;;) {
    int rc;
    {
      ForkGate gate;
      rc = attempt();
    }
    if (!is_busy(rc) || clock.monotonic_ns() >= give_up_ns) return rc;
    clock.sleep_ns(500'000);
  }
}

Result<std::unique_ptr<Connection>> open_connection(const Connection::Settings& settings) {
  ForkGate gate;
  return Connection::open(settings);
}

void close_connection(std::unique_ptr<Connection> connection) {
  ForkGate gate;
  connection.reset();
}

struct Identity {
  int64_t application = 0;
  int64_t version = 0;
  int64_t tables = 0;
};

int read_identity(Connection& connection, Identity* identity) {
  int rc = connection.query_number("PRAGMA application_id", &identity->application);
  if (rc == SQLITE_OK) rc = connection.query_number("PRAGMA user_version", &identity->version);
  if (rc == SQLITE_OK) {
    rc = connection.query_number("SELECT count(*) FROM sqlite_schema", &identity->tables);
  }
  return rc;
}

Status check_identity(const Identity& identity, const std::string& path) {
  if (identity.application != sqlite::kApplicationId) {
    return Error(EINVAL, "database " + path +
                             " is not a Skerry volume; name another file, or create a volume at a "
                             "path where nothing is");
  }
  if (identity.version > sqlite::kSchemaVersion) {
    return Error(ENOTSUP, "database " + path + " has layout " + std::to_string(identity.version) +
                              ", newer than " + std::to_string(sqlite::kSchemaVersion) +
                              " which this version of Skerry knows; upgrade Skerry to open it");
  }
  return {};
}

/// Refuses what is not a volume of ours; else makes sure that it is in WAL mode, WAL index mapped.
Status check_volume(Connection& connection, const SqliteOptions& options, Clock& clock) {
  Identity identity;
  int rc = wait_while_busy(clock, options.lock_timeout_ns,
                           [&] { return read_identity(connection, &identity); });
  if (rc == SQLITE_OK) {
    SKERRY_TRY(check_identity(identity, connection.path()));
    rc = wait_while_busy(clock, options.lock_timeout_ns, [&] {
      const int mode = connection.execute("PRAGMA journal_mode=WAL");
      return mode != SQLITE_OK ? mode : read_identity(connection, &identity);
    });
  }
  if (rc == SQLITE_OK) return {};
  ForkGate gate;
  return connection.error(rc);
}

/// Lays the tables out, unless another process did meanwhile (EEXIST).
Status lay_out(Connection& connection, Clock& clock, TimeNs timeout_ns) {
  bool taken = false;
  int rc = wait_while_busy(clock, timeout_ns, [&] {
    int step = connection.execute("PRAGMA journal_mode=WAL");
    if (step == SQLITE_OK) step = connection.execute(sqlite::Fixed::kBeginImmediate);
    if (step != SQLITE_OK) return step;
    Identity identity;
    step = read_identity(connection, &identity);
    taken = step == SQLITE_OK && identity.application == sqlite::kApplicationId;
    if (step == SQLITE_OK && !taken) step = connection.execute(sqlite::kSchemaSql);
    if (step == SQLITE_OK && !taken) step = connection.execute(sqlite::Fixed::kCommit);
    if (connection.in_transaction()) connection.execute(sqlite::Fixed::kRollback);
    return step;
  });
  if (rc != SQLITE_OK) {
    ForkGate gate;
    return connection.error(rc);
  }
  if (taken) {
    return Error(EEXIST, "database " + connection.path() + " already holds a Skerry volume");
  }
  return {};
}

Connection::Settings settings_for(const std::string& path, const SqliteOptions& options) {
  Connection::Settings settings;
  settings.path = path;
  settings.hooks.faults = options.faults;
  settings.cache_bytes = options.write_cache_bytes;
  settings.checkpoint_pages = options.checkpoint_pages;
  return settings;
}

Status create_database(Connection& connection, const SqliteOptions& options, Clock& clock) {
  Identity identity;
  int rc = wait_while_busy(clock, options.lock_timeout_ns,
                           [&] { return read_identity(connection, &identity); });
  if (rc != SQLITE_OK) {
    ForkGate gate;
    return connection.error(rc);
  }
  if (identity.application == sqlite::kApplicationId) {
    return Error(EEXIST, "database " + connection.path() + " already holds a Skerry volume");
  }
  if (identity.application != 0 || identity.version != 0 || identity.tables != 0) {
    return Error(EINVAL, "database " + connection.path() +
                             " belongs to another program; create the volume at a path where "
                             "nothing is");
  }
  SKERRY_TRY(lay_out(connection, clock, options.lock_timeout_ns));
  ForkGate gate;
  sqlite3_file* wal = sqlite::wal_file(connection.db());
  rc = wal == nullptr ? SQLITE_OK : sqlite::sync_file(wal);
  if (rc != SQLITE_OK) return connection.error(rc);
  return {};
}

}  // namespace

SqliteStore::SqliteStore(std::unique_ptr<Engine> engine)
    : engine_(std::move(engine)), forks_(sqlite::fork_count()) {}

SqliteStore::~SqliteStore() {
  if (engine_ == nullptr) return;
  if (forks_ != sqlite::fork_count()) {
    abandon_after_fork();
    return;
  }
  ForkGate gate;
  engine_.reset();
}

void SqliteStore::abandon_after_fork() noexcept {
  static_cast<void>(
      engine_.release());  // its mutexes may be held by threads that do not exist here
}

Result<std::unique_ptr<Store>> SqliteStore::create(const std::string& path, const Options& options,
                                                   Clock& clock) {
  try {
    Connection::Settings settings = settings_for(path, options);
    settings.create = true;
    SKERRY_ASSIGN(auto connection, open_connection(settings));
    Status created = create_database(*connection, options, clock);
    Result<std::unique_ptr<Store>> opened =
        created.ok() ? open(path, options, clock)
                     : Result<std::unique_ptr<Store>>(std::move(created).error());
    close_connection(std::move(connection));
    return opened;
  } catch (const std::bad_alloc&) {
    return Error(ENOMEM, "database " + path + ": out of memory");
  }
}

Result<std::unique_ptr<Store>> SqliteStore::open(const std::string& path, const Options& options,
                                                 Clock& clock) {
  try {
    auto engine = std::make_unique<Engine>(path, clock);
    Connection::Settings settings = settings_for(path, options);
    settings.hooks.observer = &engine->watch;
    SKERRY_ASSIGN(auto connection, open_connection(settings));
    Status status = check_volume(*connection, options, clock);
    if (!status.ok()) {
      close_connection(std::move(connection));
      return std::move(status).error();
    }
    engine->watch.attach(sqlite::mapped_wal_index(connection->db()));
    sqlite::CommitQueue::Options queue;
    queue.record_requests = options.record_requests;
    queue.lock_timeout_ns = options.lock_timeout_ns;
    engine->writer =
        std::make_unique<sqlite::CommitQueue>(std::move(connection), clock, engine->watch, queue);
    settings.cache_bytes = options.read_cache_bytes;
    settings.checkpoint_pages = 0;
    engine->readers = std::make_unique<sqlite::ReadPool>(settings, options.read_connections);
    return std::unique_ptr<Store>(new SqliteStore(std::move(engine)));
  } catch (const std::bad_alloc&) {
    return Error(ENOMEM, "database " + path + ": out of memory");
  }
}

std::string SqliteStore::describe() const {
  return engine_ == nullptr ? "sqlite:" : "sqlite://" + engine_->path;
}

Status SqliteStore::usable() const {
  if (engine_ != nullptr && forks_ == sqlite::fork_count()) return {};
  return Error(EIO, "this volume was opened before fork(); the child opens it anew");
}

template <typename Body>
Status SqliteStore::with_reader(const OpContext& ctx, Body body) {
  SKERRY_TRY(usable());
  try {
    for (unsigned attempt = 0;; ++attempt) {
      SKERRY_TRY(ctx.check());
      SKERRY_ASSIGN(sqlite::ReadPool::Lease reader, engine_->readers->acquire(ctx));
      ForkGate gate;
      const int rc = body(*reader);
      if (rc == SQLITE_OK) return {};
      // Readers meet a lock only while another process recovers the WAL after a crash, or closes
      // the database as the last one.
      if (!is_busy(rc) || attempt > 10'000) return reader->error(rc);
      gate.leave();
      engine_->clock.sleep_ns(std::min<TimeNs>(TimeNs{50'000} * (attempt + 1), 5'000'000));
    }
  } catch (const std::bad_alloc&) {
    return Error(ENOMEM, "out of memory");
  }
}

Result<ReadResult> SqliteStore::read(const OpContext& ctx, const ReadRequest& request) {
  ReadResult result;
  SKERRY_TRY(with_reader(ctx, [&](Connection& connection) {
    result = ReadResult{};
    return sqlite::read_snapshot(connection, request, &result);
  }));
  if (request.time) result.server_time_ns = engine_->clock.now_ns();
  return result;
}

Result<std::vector<EntryRecord>> SqliteStore::resolve(const OpContext& ctx, Ino directory,
                                                      const std::vector<std::string>& names,
                                                      std::optional<AttributeHome>* start) {
  // For far stores: here it costs more than it saves.
  if (start != nullptr) return Store::resolve(ctx, directory, names, start);
  std::vector<EntryRecord> entries;
  SKERRY_TRY(with_reader(ctx, [&](Connection& connection) {
    entries.clear();
    return sqlite::resolve_snapshot(connection, directory, names, &entries);
  }));
  return entries;
}

Result<CommitResult> SqliteStore::commit(const OpContext& ctx, CommitRequest request) {
  SKERRY_TRY(usable());
  SKERRY_TRY(ctx.check());
  try {
    return engine_->writer->commit(ctx, request);
  } catch (const std::bad_alloc&) {
    return Error(ENOMEM, "out of memory");
  }
}

Status SqliteStore::sync(const OpContext& ctx) {
  SKERRY_TRY(usable());
  SKERRY_TRY(ctx.check());
  return engine_->writer->sync(ctx);
}

// The WAL is written before the commit can be seen (see WalWatch), and flushed in between where the
// commit is durable. So an event is followed by a few short looks; whatever comes later than that
// is seen with the next event, or at the end of the slice.
Status SqliteStore::wait_for_change(const OpContext& ctx, uint64_t seen, TimeNs timeout_ns) {
  SKERRY_TRY(usable());
  sqlite::WalEvents events(engine_->path);
  if (!events.works()) return Store::wait_for_change(ctx, seen, timeout_ns);
  constexpr TimeNs kFirstLookNs = 20'000, kLastLookNs = 4'000'000, kMillisecond = 1'000'000;
  const TimeNs end = ctx.clock->monotonic_ns() + timeout_ns;
  while (generation() == seen) {
    SKERRY_TRY(ctx.check());
    const TimeNs left = std::min(end - ctx.clock->monotonic_ns(), kWaitSliceNs);
    if (left <= 0) return {};
    events.wait(static_cast<int>((left + kMillisecond - 1) / kMillisecond));
    for (TimeNs look = kFirstLookNs; generation() == seen && look <= kLastLookNs; look *= 2) {
      engine_->clock.sleep_ns(look);
    }
  }
  return {};
}

uint64_t SqliteStore::generation() noexcept {
  return engine_ == nullptr ? 0 : engine_->watch.generation();
}

}  // namespace skerry::meta
