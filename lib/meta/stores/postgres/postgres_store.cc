#include "meta/stores/postgres/postgres_store.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <mutex>
#include <new>

#include "meta/stores/postgres/call_group.h"
#include "meta/stores/postgres/notifier.h"
#include "meta/stores/postgres/plain_commit.h"
#include "meta/stores/postgres/pool.h"
#include "meta/stores/postgres/program.h"
#include "meta/stores/postgres/read.h"
#include "meta/stores/postgres/schema.h"

namespace skerry::meta {

using postgres::Answer;
using postgres::Call;
using postgres::CallGroup;
using postgres::Connection;
using postgres::ConnInfo;
using postgres::Parameters;
using postgres::Pool;
using postgres::Program;
using postgres::ServerError;
using postgres::Statements;

namespace {

// A serialization failure or a deadlock: some tens of others may be in the way one after another.
constexpr unsigned kMaxAttempts = 200;
constexpr TimeNs kFirstPauseNs = 100'000, kLongestPauseNs = 20'000'000;
constexpr TimeNs kWithoutDeadlineNs = 60'000'000'000;  // that a read waits for the server
// Requests whose answers were lost and that nobody has settled yet: more than can be in flight.
constexpr size_t kMaxUnsettled = 4096;
constexpr uint64_t kTrimEvery = 1024;  // commits
constexpr uint32_t kDirStatShards = 8;
constexpr uint32_t kUsageParts = 16;  // twice the connections
constexpr char kUniqueViolation[] = "23505";

std::string text_of(const Answer& answer, size_t result) {
  const PGresult* r = answer.results.at(result).get();
  return PQntuples(r) == 1 ? PQgetvalue(r, 0, 0) : "";
}

enum class Found { kNothing, kOther, kVolume };

/// What is in the schema. `version` is the volume's.
Result<Found> look(const OpContext& ctx, Connection& connection, const ConnInfo& info,
                   int* version) {
  const std::string condition = "WHERE n.nspname=" + connection.literal(info.schema);
  // Our table is known by name and by the type of its one column.
  SKERRY_ASSIGN(
      Answer answer,
      connection.script(
          ctx, "SELECT count(*) FROM pg_catalog.pg_namespace n " + condition +
                   "; SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON "
                   "n.oid=c.relnamespace " +
                   condition +
                   "; SELECT count(*) FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON "
                   "c.oid=a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid=c.relnamespace " +
                   condition +
                   " AND c.relname='skerry_layout' AND a.attname='version' AND a.atttypid=23"));
  if (answer.error) return error_of(*answer.error, info.shown);
  if (text_of(answer, 0) == "0") return Found::kNothing;
  if (text_of(answer, 2) == "0") {
    return text_of(answer, 1) == "0" ? Found::kNothing : Found::kOther;
  }
  SKERRY_ASSIGN(
      answer, connection.script(
                  ctx, "SELECT version FROM " + postgres::quoted(info.schema) + ".skerry_layout"));
  if (answer.error) return error_of(*answer.error, info.shown);
  const std::string said = text_of(answer, 0);
  if (said.empty()) return Found::kOther;
  *version = std::atoi(said.c_str());
  return Found::kVolume;
}

Error not_ours(const ConnInfo& info) {
  return Error(EINVAL, info.shown + ": the schema \"" + info.schema +
                           "\" belongs to another program; name another with schema=");
}

Error exists(const ConnInfo& info) {
  return Error(EEXIST, info.shown + " already holds a Skerry volume");
}

OpContext patient(const PostgresOptions& options, Clock& clock) {
  OpContext ctx;
  ctx.clock = &clock;
  ctx.deadline_ns = clock.monotonic_ns() + options.connect_timeout_ns;
  return ctx;
}

Status create_schema(const OpContext& ctx, Connection& connection, const ConnInfo& info) {
  int version = 0;
  SKERRY_ASSIGN(Found found, look(ctx, connection, info, &version));
  if (found == Found::kVolume) return exists(info);
  if (found == Found::kOther) return not_ours(info);
  // One text of several statements is one transaction.
  SKERRY_ASSIGN(Answer answer, connection.script(ctx, "CREATE SCHEMA IF NOT EXISTS " +
                                                          postgres::quoted(info.schema) + ";\n" +
                                                          postgres::schema_sql(info.schema)));
  if (!answer.error) return {};
  const ServerError& error = *answer.error;
  if (error.sqlstate == "42P07" || error.sqlstate == "42723" ||
      error.sqlstate == kUniqueViolation) {
    return exists(info);  // another made it meanwhile
  }
  if (error.sqlstate == "42501") {
    return Error(EACCES, info.shown + ": " + error.message +
                             "; let the user create schemas in this database (GRANT CREATE ON "
                             "DATABASE), or own an empty one");
  }
  return error_of(error, info.shown);
}

Status migrate(const OpContext& ctx, Connection& connection, const ConnInfo& info, int from) {
  SKERRY_ASSIGN(Answer answer, connection.script(ctx, postgres::migration_sql(info.schema)));
  if (!answer.error) return {};
  const ServerError& error = *answer.error;
  if (error.sqlstate == "42501" || error.sqlstate == "25006") {  // not the owner; a standby
    return Error(EACCES, info.shown + " has layout " + std::to_string(from) + " and needs layout " +
                             std::to_string(postgres::kSchemaVersion) + ": " + error.message +
                             "; open it once as the user who owns its schema, on the primary");
  }
  return error_of(error, info.shown);
}

}  // namespace

struct PostgresStore::Engine {
  Engine(ConnInfo info, const Options& o, Clock& c)
      : statements(info.schema),
        plain_statements(info.schema),
        notifier(info, c, o.notify),
        pool(std::move(info), std::max(o.connections, 1u), o.connect_timeout_ns),
        commits(pool, statements.commit, at_once(o)),
        reads(pool, statements.commit, at_once(o)),
        options(o),
        clock(c) {}

  /// Neither reads nor commits take every connection.
  static unsigned at_once(const Options& o) { return std::max(o.connections * 3 / 4, 1u); }

  Result<CommitResult> commit(const OpContext& ctx, const CommitRequest& request);
  Result<Answer> send(const OpContext& ctx, const CommitRequest& request, const Program& program,
                      bool settle);
  Result<Answer> send_serializable(const OpContext& ctx, const CallGroup::Work& work);
  Result<Answer> send(const OpContext& ctx, CallGroup::Work work);
  bool is_serializable() const {
    return options.isolation == PostgresOptions::Isolation::kSerializable;
  }
  Result<Answer> read(const OpContext& ctx, const std::vector<Call>& calls);
  Result<Answer> run_read(const OpContext& ctx, const std::vector<Call>& calls);
  void pause(unsigned attempt);
  bool is_unsettled(const RequestId& id);
  void keep_unsettled(const RequestId& id);
  void forget_unsettled(const RequestId& id);
  void count_applied(const OpContext& ctx);
  void send_last(const std::vector<std::string>& payloads);

  const Statements statements;
  const postgres::PlainStatements plain_statements;
  postgres::Notifier notifier;
  Pool pool;
  CallGroup commits, reads;
  const Options options;
  Clock& clock;
  const pid_t process = getpid();
  std::atomic<uint64_t> applied{0};
  std::mutex mutex;
  std::deque<RequestId> unsettled;  // guarded by mutex
};

bool PostgresStore::Engine::is_unsettled(const RequestId& id) {
  std::lock_guard lock(mutex);
  return std::find(unsettled.begin(), unsettled.end(), id) != unsettled.end();
}

void PostgresStore::Engine::keep_unsettled(const RequestId& id) {
  if (id == RequestId{}) return;
  std::lock_guard lock(mutex);
  if (std::find(unsettled.begin(), unsettled.end(), id) != unsettled.end()) return;
  if (unsettled.size() >= kMaxUnsettled) unsettled.pop_front();
  unsettled.push_back(id);
}

void PostgresStore::Engine::forget_unsettled(const RequestId& id) {
  std::lock_guard lock(mutex);
  std::erase(unsettled, id);
}

void PostgresStore::Engine::pause(unsigned attempt) {
  const TimeNs longest = std::min<TimeNs>(kFirstPauseNs << std::min(attempt, 10u), kLongestPauseNs);
  const auto jitter = static_cast<TimeNs>(system_random().next() % static_cast<uint64_t>(longest));
  clock.sleep_ns(1 + jitter);
}

Result<Answer> PostgresStore::Engine::send(const OpContext& ctx, const CommitRequest& request,
                                           const Program& program, bool settle) {
  // Without mutations there is nothing that could be done twice.
  const RequestId id = request.mutations.empty() ? RequestId{} : request.request;
  Call call{settle ? &statements.settle : &statements.commit, Parameters()
                                                                  .number(id[0])
                                                                  .number(id[1])
                                                                  .number(request.session)
                                                                  .numbers(program.numbers)
                                                                  .byte_strings(program.bytes)};
  if (!settle) return send(ctx, {std::move(call), program.locks, {}, {}});
  if (is_serializable()) return send_serializable(ctx, {std::move(call), {}, {}, {}});
  SKERRY_ASSIGN(Pool::Lease connection, pool.borrow(ctx));
  return connection->run(ctx, {std::move(call)});
}

Result<Answer> PostgresStore::Engine::send(const OpContext& ctx, CallGroup::Work work) {
  if (is_serializable()) return send_serializable(ctx, work);
  return commits.run(ctx, std::move(work));
}

Result<Answer> PostgresStore::Engine::send_serializable(const OpContext& ctx,
                                                        const CallGroup::Work& work) {
  const Call begin{&statements.begin_serializable, {}}, end{&statements.end, {}};
  std::vector<const Call*> calls = work.calls();
  calls.insert(calls.begin(), &begin);
  calls.push_back(&end);
  SKERRY_ASSIGN(Pool::Lease connection, pool.borrow(ctx));
  SKERRY_ASSIGN(Answer answer, connection->run(ctx, calls));
  if (!answer.results.empty()) answer.results.erase(answer.results.begin());
  return answer;
}

Result<CommitResult> PostgresStore::Engine::commit(const OpContext& ctx,
                                                   const CommitRequest& request) {
  const bool known = request.request != RequestId{} && !request.mutations.empty();
  bool settle = known && is_unsettled(request.request);
  bool exact = settle;
  std::shared_ptr<const postgres::PlainCommit> plain;
  std::optional<postgres::WholeCommit> move;
  std::optional<Call> create;
  if (!settle) {
    move = postgres::move_commit(plain_statements, request);
    if (!move) plain = postgres::plain_commit(plain_statements, request);
    if (plain) create = postgres::create_commit(plain_statements, request);
  }
  for (unsigned attempt = 0;; ++attempt) {
    const Program program = plain || move ? Program() : postgres::compile(request, exact);
    Result<Answer> sent = move    ? send(ctx, {move->call, move->locks, {}, {}})
                          : plain ? send(ctx, {{}, {}, plain, create})
                                  : send(ctx, request, program, settle);
    if (!sent.ok()) {
      if (sent.error().maybe_applied() && known) keep_unsettled(request.request);
      return std::move(sent).error();
    }
    const Answer& answer = *sent;
    CommitResult result;
    if ((plain || move) && !answer.error) {
      // Plain statements that did not fail have been applied; so has a whole one that told.
      std::vector<int64_t> outcomes;
      const bool whole = move || (create && !answer.results.empty());
      const PGresult* r = whole ? answer.results.at(0).get() : nullptr;
      result.applied =
          !whole || (PQntuples(r) == 1 && postgres::column_numbers(r, 0, 0, &outcomes));
      if (result.applied && postgres::decode_outcomes(request, outcomes, &result.outcomes)) {
        count_applied(ctx);
        return result;
      }
      plain.reset();
      move.reset();
      exact = true;
      continue;
    }
    if ((plain || move) && postgres::is_refusal(*answer.error)) {
      plain.reset();
      move.reset();
      settle = answer.error->constraint == "request_pkey";
      exact = answer.error->sqlstate == kUniqueViolation;
      continue;
    }
    const bool folded = program.first_folded >= 0;
    if (answer.error) {
      const ServerError& error = *answer.error;
      const bool again = attempt + 1 < kMaxAttempts;
      if (error.sqlstate.starts_with("40") && again) {
        pause(attempt);
      } else if (error.sqlstate == kUniqueViolation && again) {
        // Its own request is there, or the key of an entry that another has put meanwhile.
        if (error.constraint == "request_pkey") settle = known;
        exact = true;
      } else if (error.sqlstate == postgres::kUnclearConflict ||
                 (error.sqlstate == postgres::kMutationConflict && folded)) {
        exact = true;
      } else if (error.sqlstate == postgres::kMutationConflict) {
        result.failed_mutation = std::atoi(error.detail.c_str());
        return result;
      } else if (error.sqlstate == postgres::kFileTooLarge) {
        return Error(EFBIG, "write would make the file larger than 2^57 bytes");
      } else {
        return error_of(error, pool.info().shown);
      }
      SKERRY_TRY(ctx.check());
      continue;
    }
    const PGresult* r = answer.results.at(0).get();
    const auto status = static_cast<int>(postgres::column_number(r, 0, 0));
    const auto failed = static_cast<int>(postgres::column_number(r, 0, 1));
    if (folded && (status == postgres::kMutationFailed ||
                   (status == postgres::kExpectationFailed && program.first_folded < failed))) {
      exact = true;  // an earlier one may fail as well
      continue;
    }
    if (settle) forget_unsettled(request.request);
    if (status == postgres::kSessionGone) {
      return Error(ESTALE, pool.info().shown +
                               ": this client's session was removed from the volume; open it "
                               "again");
    }
    if (status == postgres::kExpectationFailed) {
      result.failed_expectation = failed;
    } else if (status == postgres::kMutationFailed) {
      result.failed_mutation = failed;
    } else {
      std::vector<int64_t> outcomes;
      result.applied = postgres::column_numbers(r, 0, 2, &outcomes) &&
                       postgres::decode_outcomes(request, outcomes, &result.outcomes);
      if (!result.applied) {
        return Error(EIO, pool.info().shown + ": the request's recorded answer is of another");
      }
      if (known) count_applied(ctx);
    }
    return result;
  }
}

/// Now and then old answers go. What goes wrong here goes wrong for another commit again, which
/// says so.
void PostgresStore::Engine::count_applied(const OpContext& ctx) {
  if (applied.fetch_add(1) % kTrimEvery != kTrimEvery - 1) return;
  Result<Pool::Lease> connection = pool.borrow(ctx);
  if (connection.ok()) (void)(*connection)->run(ctx, {{&statements.trim, {}}}).ok();
}

/// Several calls are a snapshot in a transaction of its own.
Result<Answer> PostgresStore::Engine::run_read(const OpContext& ctx,
                                               const std::vector<Call>& calls) {
  if (calls.size() == 1) return reads.run(ctx, {calls.front(), {}, {}, {}});
  SKERRY_ASSIGN(Pool::Lease connection, pool.borrow(ctx));
  return connection->run(ctx, calls);
}

/// What the notifier had no time for, of a client that was there for some milliseconds.
void PostgresStore::Engine::send_last(const std::vector<std::string>& payloads) {
  static const postgres::Statement kNotify{
      "skerry_notify",
      "SELECT pg_catalog.set_config('synchronous_commit','off',true),pg_catalog.pg_notify($1,$2)"};
  constexpr TimeNs kLimitNs = 1'000'000'000;
  OpContext ctx;
  ctx.clock = &clock;
  ctx.deadline_ns = clock.monotonic_ns() + kLimitNs;
  std::vector<Call> calls;
  for (const std::string& payload : payloads) {
    calls.push_back({&kNotify, Parameters().bytes(notifier.channel()).bytes(payload)});
  }
  Result<Pool::Lease> connection = pool.borrow(ctx);
  if (connection.ok()) (void)(*connection)->run(ctx, calls).ok();
}

Result<Answer> PostgresStore::Engine::read(const OpContext& ctx, const std::vector<Call>& calls) {
  const TimeNs end = clock.monotonic_ns() + kWithoutDeadlineNs;
  std::string cause;
  for (unsigned attempt = 1;; ++attempt) {
    if (attempt > 1) pause(attempt);
    Result<Answer> answer = run_read(ctx, calls);
    if (answer.ok() && !answer->error) return answer;
    Error error =
        answer.ok() ? error_of(*answer->error, pool.info().shown) : std::move(answer).error();
    const Status wanted = ctx.check();
    if (!wanted.ok() && (error.retryable() || error.code() == wanted.error().code())) {
      return Error(wanted.error().code(), cause.empty() ? error.message() : cause);
    }
    if (!error.retryable() || clock.monotonic_ns() >= end) {
      return std::move(error).set_maybe_applied(false);
    }
    cause = error.message();
  }
}

PostgresStore::PostgresStore(std::unique_ptr<Engine> engine) : engine_(std::move(engine)) {}

PostgresStore::~PostgresStore() {
  // Closing an inherited connection would end the parent's session.
  if (!usable().ok()) {
    static_cast<void>(engine_.release());
    return;
  }
  const std::vector<std::string> unsent = engine_->notifier.stop();
  if (!unsent.empty()) engine_->send_last(unsent);
}

Status PostgresStore::usable() const {
  if (engine_->process == getpid()) return {};
  return Error(EIO, "this volume was opened before fork(); the child opens it anew");
}

std::string PostgresStore::without_secrets(const std::string& url) {
  if (!url.starts_with("postgres://") && !url.starts_with("postgresql://")) return url;
  Result<ConnInfo> info = postgres::parse_url(url);
  return info.ok() ? info->shown : url.substr(0, url.find("://") + 3) + "...";
}

Result<std::unique_ptr<Store>> PostgresStore::create(const std::string& url, const Options& options,
                                                     Clock& clock) {
  try {
    SKERRY_ASSIGN(ConnInfo info, postgres::parse_url(url));
    const OpContext ctx = patient(options, clock);
    SKERRY_ASSIGN(auto connection, Connection::open(ctx, info));
    SKERRY_TRY(create_schema(ctx, *connection, info));
    return std::unique_ptr<Store>(
        new PostgresStore(std::make_unique<Engine>(std::move(info), options, clock)));
  } catch (const std::bad_alloc&) {
    return Error(ENOMEM, "out of memory");
  }
}

Result<std::unique_ptr<Store>> PostgresStore::open(const std::string& url, const Options& options,
                                                   Clock& clock) {
  try {
    SKERRY_ASSIGN(ConnInfo info, postgres::parse_url(url));
    const OpContext ctx = patient(options, clock);
    SKERRY_ASSIGN(auto connection, Connection::open(ctx, info));
    int version = 0;
    SKERRY_ASSIGN(Found found, look(ctx, *connection, info, &version));
    if (found == Found::kNothing) {
      return Error(ENOENT, info.shown +
                               " holds no volume; create one with 'skerry format', or check the "
                               "metadata URL and its schema=");
    }
    if (found == Found::kOther) return not_ours(info);
    if (version > postgres::kSchemaVersion) {
      return Error(ENOTSUP, info.shown + " has layout " + std::to_string(version) +
                                ", newer than " + std::to_string(postgres::kSchemaVersion) +
                                " which this version of Skerry knows; upgrade Skerry to open it");
    }
    if (version < postgres::kSchemaVersion) SKERRY_TRY(migrate(ctx, *connection, info, version));
    return std::unique_ptr<Store>(
        new PostgresStore(std::make_unique<Engine>(std::move(info), options, clock)));
  } catch (const std::bad_alloc&) {
    return Error(ENOMEM, "out of memory");
  }
}

std::string PostgresStore::describe() const { return engine_->pool.info().shown; }

StoreCapabilities PostgresStore::capabilities() const {
  return {kDirStatShards, kUsageParts, true, false};
}

Result<ReadResult> PostgresStore::read(const OpContext& ctx, const ReadRequest& request) {
  SKERRY_TRY(usable());
  SKERRY_TRY(ctx.check());
  try {
    engine_->notifier.hear_if_old();
    const postgres::ReadPlan plan(engine_->statements, request);
    SKERRY_ASSIGN(Answer answer, engine_->read(ctx, plan.calls()));
    return plan.result(answer);
  } catch (const std::bad_alloc&) {
    return Error(ENOMEM, "out of memory");
  }
}

Result<std::vector<EntryRecord>> PostgresStore::resolve(const OpContext& ctx, Ino directory,
                                                        const std::vector<std::string>& names,
                                                        std::optional<AttributeHome>* start) {
  SKERRY_TRY(usable());
  SKERRY_TRY(ctx.check());
  if (names.empty()) return std::vector<EntryRecord>();
  try {
    engine_->notifier.hear_if_old();
    std::vector<Call> calls = {
        {&engine_->statements.resolve, Parameters().number(directory).byte_strings(names)}};
    if (start != nullptr) {
      calls.push_back({&engine_->statements.home[1], Parameters().number(directory)});
    }
    SKERRY_ASSIGN(Answer answer, engine_->read(ctx, calls));
    if (start != nullptr) *start = postgres::found_home(answer.results.at(1).get(), true);
    return postgres::resolved(answer.results.at(0).get());
  } catch (const std::bad_alloc&) {
    return Error(ENOMEM, "out of memory");
  }
}

Result<CommitResult> PostgresStore::commit(const OpContext& ctx, CommitRequest request) {
  SKERRY_TRY(usable());
  SKERRY_TRY(ctx.check());
  try {
    Result<CommitResult> result = engine_->commit(ctx, request);
    if (result.ok() && result->applied) {
      engine_->notifier.note(request, result->outcomes);
    } else if (!result.ok() && result.error().maybe_applied()) {
      engine_->notifier.note(request, {});
    }
    return result;
  } catch (const std::bad_alloc&) {
    return Error(ENOMEM, "out of memory");
  }
}

Status PostgresStore::sync(const OpContext& ctx) {
  SKERRY_TRY(usable());
  return ctx.check();  // every commit was durable when it returned
}

uint64_t PostgresStore::generation() noexcept { return engine_->notifier.heard(); }

void PostgresStore::tell_changes(ChangeSink* sink) {
  if (usable().ok()) engine_->notifier.tell(sink);
}

Status PostgresStore::wait_for_change(const OpContext& ctx, uint64_t seen, TimeNs timeout_ns) {
  SKERRY_TRY(usable());
  return engine_->notifier.wait(ctx, seen, timeout_ns);
}

}  // namespace skerry::meta
