#include "meta/stores/postgres/connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <utility>

#include "meta/stores/postgres/refusal.h"

namespace skerry::meta::postgres {

namespace {

// A cancellation that nothing signals is looked for so often.
constexpr TimeNs kSliceNs = 20 * kMillisecond;
// How long the answer to a cancelled call is waited for before the connection is given up.
constexpr TimeNs kGraceNs = 1'000 * kMillisecond;
// One of several hosts that says nothing for so long is passed over.
constexpr TimeNs kSilentHostNs = 3'000 * kMillisecond;
constexpr int kOldestServer = 120000;

// Sent once a connection. All statements are look-ups by key, so plans are made once and never from
// statistics that say a table is small because it was when the volume was new. A fsync must be one
// though the database's default be otherwise. And a server notices within seconds that a client is
// gone that holds locks. Warnings are wanted: see Connection::run().
constexpr char kSession[] =
    "SELECT pg_catalog.pg_backend_pid()||' '||"
    "extract(epoch FROM pg_catalog.pg_postmaster_start_time()),"
    "set_config('plan_cache_mode','force_generic_plan',false),"
    "set_config('enable_seqscan','off',false),set_config('enable_bitmapscan','off',false),"
    "set_config('enable_hashjoin','off',false),set_config('enable_mergejoin','off',false),"
    "set_config('enable_sort','off',false),set_config('jit','off',false),"
    "set_config('default_transaction_isolation','read committed',false),"
    "set_config('client_min_messages','warning',false),"
    "set_config('idle_in_transaction_session_timeout','60000',false),"
    "(SELECT set_config('synchronous_commit','on',false) "
    "WHERE current_setting('synchronous_commit')='off'),"
    "(SELECT set_config('client_connection_check_interval','5000',false) "
    "WHERE current_setting('server_version_num')::integer >= 140000)";

std::string first_line(const char* text) {
  std::string line = text == nullptr ? "" : text;
  line.resize(std::min(line.find('\n'), line.size()));
  return line;
}

std::string field(const PGresult* result, int code) {
  const char* text = PQresultErrorField(result, code);
  return text == nullptr ? "" : text;
}

ServerError error_in(const PGresult* result) {
  return {field(result, PG_DIAG_SQLSTATE), field(result, PG_DIAG_MESSAGE_PRIMARY),
          field(result, PG_DIAG_MESSAGE_DETAIL), field(result, PG_DIAG_CONSTRAINT_NAME)};
}

/// The server ends the session: whether the transaction was committed before is not known.
bool ends_session(const std::string& sqlstate) {
  return sqlstate.starts_with("08") || sqlstate == "57P01" || sqlstate == "57P02" ||
         sqlstate == "57P03" || sqlstate == "57P05" || sqlstate == "25P03";
}

}  // namespace

Error error_of(const ServerError& error, const std::string& shown) {
  const std::string text = shown + ": " + error.message + " (SQLSTATE " + error.sqlstate + ")";
  const std::string& state = error.sqlstate;
  if (state == "53100") return Error(ENOSPC, text + "; free space on the database server");
  if (state == "53200") return Error(ENOMEM, text);
  if (state == "57014") return Error(ETIMEDOUT, text);  // the server's own statement_timeout
  if (state == "25006") {
    return Error(EROFS, text + "; the server is a standby, name the primary in the URL");
  }
  if (state == "42501") {
    return Error(EACCES, text + "; grant the user what it needs on the volume's schema");
  }
  if (state == "3F000" || state == "42P01" || state == "42883") {
    return Error(EIO, text + "; the volume's schema was dropped or changed by somebody");
  }
  Error plain(EIO, text);
  const bool passing = state.starts_with("40") || state.starts_with("53") || state == "55P03";
  return std::move(plain).set_retryable(passing);
}

Result<std::unique_ptr<Connection>> Connection::open(const OpContext& ctx, const ConnInfo& info) {
  std::unique_ptr<Connection> opened(new Connection(info));
  SKERRY_TRY(opened->connect(ctx, info.hosts));
  SKERRY_TRY(opened->prepare_session(ctx));
  return opened;
}

Connection::~Connection() {
  if (connection_ != nullptr) PQfinish(connection_);
}

/// Begins to connect. A server that vanishes without a word (its machine lost power, the network
/// drops everything) is given up after some seconds, unless the URL says otherwise.
Status Connection::start(const std::vector<Host>& hosts) {
  std::string host, address, port;
  for (size_t i = 0; i < hosts.size(); ++i) {
    const char* comma = i == 0 ? "" : ",";
    host += comma + hosts[i].host;
    address += comma + hosts[i].address;
    port += comma + hosts[i].port;
  }
  std::vector<const char*> keywords, values;
  auto set = [&](const char* keyword, const char* value) {
    keywords.push_back(keyword);
    values.push_back(value);
  };
  set("tcp_user_timeout", "10000");
  set("keepalives_idle", "10");
  set("keepalives_interval", "5");
  set("keepalives_count", "3");
  set("dbname", info_.uri.c_str());
  // In another order than in the URL, or one of them. Empty is not said, to libpq.
  auto said = [](const std::string& list) {
    return list.find_first_not_of(',') == std::string::npos ? "" : list.c_str();
  };
  set("host", said(host));
  set("hostaddr", said(address));
  set("port", said(port));
  set("fallback_application_name", "skerry");
  set(nullptr, nullptr);
  connection_ = PQconnectStartParams(keywords.data(), values.data(), 1);
  if (connection_ == nullptr) return Error(ENOMEM, shown_ + ": out of memory");
  // By default libpq prints what the server remarks.
  PQsetNoticeReceiver(connection_, &Connection::take_notice, this);
  if (PQstatus(connection_) == CONNECTION_BAD) return refused();
  return {};
}

Error Connection::refused() const {
  return refusal(shown_, PQerrorMessage(connection_), PQconnectionNeedsPassword(connection_) != 0);
}

/// Which of `hosts` is being tried.
size_t Connection::current(const std::vector<Host>& hosts) const {
  const std::string host = PQhost(connection_), port = PQport(connection_);
  for (size_t i = 0; i < hosts.size(); ++i) {
    const std::string& name = hosts[i].host.empty() ? hosts[i].address : hosts[i].host;
    if ((name == host || name.empty()) && (hosts[i].port == port || hosts[i].port.empty())) {
      return i;
    }
  }
  return 0;
}

Status Connection::connect(const OpContext& ctx, std::vector<Host> hosts) {
  SKERRY_TRY(ctx.check());
  SKERRY_TRY(start(hosts));
  // libpq itself bounds the time for a host only where it blocks.
  const TimeNs patience =
      info_.connect_timeout_s > 0 ? info_.connect_timeout_s * 1'000 * kMillisecond : kSilentHostNs;
  size_t passed_over = 0;
  size_t host = 0;
  TimeNs host_since = ctx.clock->monotonic_ns();
  for (PostgresPollingStatusType next = PGRES_POLLING_WRITING; next != PGRES_POLLING_OK;
       next = PQconnectPoll(connection_)) {
    if (next == PGRES_POLLING_FAILED) return refused();
    const TimeNs now = ctx.clock->monotonic_ns();
    if (const size_t at = current(hosts); at != host) {
      host = at;
      host_since = now;
    }
    OpContext step = ctx;
    const bool others = passed_over + 1 < hosts.size();
    if (others || info_.connect_timeout_s > 0) {
      step.deadline_ns = std::min(ctx.deadline_ns, host_since + patience);
    }
    Status waited = wait(step, next == PGRES_POLLING_READING, next == PGRES_POLLING_WRITING);
    if (waited.ok()) continue;
    if (others && ctx.check().ok()) {
      ++passed_over;
      std::rotate(hosts.begin(), hosts.begin() + static_cast<std::ptrdiff_t>(host) + 1,
                  hosts.end());
      PQfinish(std::exchange(connection_, nullptr));
      SKERRY_TRY(start(hosts));
      host = 0;
      host_since = ctx.clock->monotonic_ns();
      continue;
    }
    return Error(waited.error().code(), shown_ +
                                            ": no connection in time; check that the server "
                                            "can be reached from this machine")
        .set_retryable(waited.error().code() == ETIMEDOUT);
  }
  if (PQserverVersion(connection_) < kOldestServer) {
    return Error(ENOTSUP, shown_ + ": the server is older than PostgreSQL 12; upgrade it");
  }
  if (PQsetnonblocking(connection_, 1) != 0) return lost();
  return {};
}

Status Connection::prepare_session(const OpContext& ctx) {
  SKERRY_ASSIGN(Answer answer, script(ctx, kSession));
  if (answer.error) return error_of(*answer.error, shown_);
  server_ = PQgetvalue(answer.results.at(0).get(), 0, 0);
  return {};
}

void Connection::take_notice(void* self, const PGresult* notice) {
  const std::string severity = field(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
  if (severity == "WARNING") static_cast<Connection*>(self)->warned_ = true;
}

Status Connection::wait(const OpContext& ctx, bool to_read, bool to_write) {
  pollfd waiting{PQsocket(connection_), 0, 0};
  if (to_read) waiting.events |= POLLIN;
  if (to_write) waiting.events |= POLLOUT;
  for (;;) {
    SKERRY_TRY(ctx.check());
    TimeNs slice = ctx.cancel != nullptr ? kSliceNs : 50 * kSliceNs;
    if (ctx.deadline_ns != INT64_MAX) {
      slice = std::clamp(ctx.deadline_ns - ctx.clock->monotonic_ns(), kMillisecond, slice);
    }
    const int ready = poll(&waiting, 1, static_cast<int>(slice / kMillisecond));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return Error(EIO, shown_ + ": poll failed");
  }
}

Error Connection::lost() {
  broken_ = true;
  return Error(EIO, "the connection to " + shown_ +
                        " is lost: " + first_line(PQerrorMessage(connection_)))
      .set_retryable();
}

Status Connection::take_notifications(std::vector<std::string>* payloads) {
  if (PQconsumeInput(connection_) != 1) return lost();
  while (PGnotify* each = PQnotifies(connection_)) {
    payloads->emplace_back(each->extra);
    PQfreemem(each);
  }
  if (PQstatus(connection_) != CONNECTION_OK) return lost();
  return {};
}

std::string Connection::literal(const std::string& text) const {
  char* escaped = PQescapeLiteral(connection_, text.data(), text.size());
  std::string out = escaped == nullptr ? "''" : escaped;  // bytes that are no text name nothing
  PQfreemem(escaped);
  return out;
}

bool Connection::idle() const {
  return !broken_ && !cancelled_ && PQstatus(connection_) == CONNECTION_OK &&
         PQtransactionStatus(connection_) == PQTRANS_IDLE;
}

bool Connection::usable() {
  if (!idle()) return false;
  pollfd waiting{PQsocket(connection_), POLLIN, 0};
  if (poll(&waiting, 1, 0) == 0) return true;
  // A notice, or the end of the session.
  return PQconsumeInput(connection_) == 1 && PQstatus(connection_) == CONNECTION_OK &&
         poll(&waiting, 1, 0) == 0;
}

Status Connection::send(const std::vector<const Call*>& calls) {
  if (!pipeline_) {
    if (PQenterPipelineMode(connection_) != 1) return lost();
    pipeline_ = true;
  }
  preparing_.clear();
  std::vector<const char*> values;
  std::vector<int> lengths, formats;
  for (const Call* call : calls) {
    const Statement& statement = *call->statement;
    const Parameters& parameters = call->parameters;
    if (!prepared_.contains(&statement) &&
        std::find(preparing_.begin(), preparing_.end(), &statement) == preparing_.end()) {
      if (PQsendPrepare(connection_, statement.name.c_str(), statement.sql.c_str(), 0, nullptr) !=
          1) {
        return lost();
      }
      preparing_.push_back(&statement);
    }
    values.clear();
    lengths.clear();
    formats.assign(parameters.size(), 1);
    for (size_t i = 0; i < parameters.size(); ++i) {
      values.push_back(parameters.at(i).data());
      lengths.push_back(static_cast<int>(parameters.at(i).size()));
    }
    if (PQsendQueryPrepared(connection_, statement.name.c_str(),
                            static_cast<int>(parameters.size()), values.data(), lengths.data(),
                            formats.data(), 1) != 1) {
      return lost();
    }
    preparing_.push_back(nullptr);
  }
  if (PQpipelineSync(connection_) != 1) return lost();
  return {};
}

/// The next result, with all that was sent on its way; null between the results of two calls.
Result<ResultPtr> Connection::next_result(const OpContext& ctx) {
  for (;;) {
    const int unsent = PQflush(connection_);
    if (unsent < 0) return lost();
    if (PQisBusy(connection_) == 0) return ResultPtr(PQgetResult(connection_));
    SKERRY_TRY(wait(ctx, true, unsent == 1));
    if (PQconsumeInput(connection_) != 1) return lost();
  }
}

Result<Answer> Connection::receive(const OpContext& ctx, size_t calls) {
  Answer answer;
  answer.results.reserve(calls);
  size_t position = 0;
  for (;;) {
    SKERRY_ASSIGN(ResultPtr result, next_result(ctx));
    if (result == nullptr) {
      if (PQstatus(connection_) != CONNECTION_OK) return lost();
      continue;
    }
    switch (PQresultStatus(result.get())) {
      case PGRES_PIPELINE_SYNC:
        return answer;
      case PGRES_FATAL_ERROR:
        if (!answer.error) answer.error = error_in(result.get());
        // An answer without SQLSTATE is libpq's own: the connection is gone.
        if (answer.error->sqlstate.empty() || ends_session(answer.error->sqlstate)) {
          broken_ = true;
          return Error(EIO, "the connection to " + shown_ +
                                " is lost: " + first_line(PQresultErrorMessage(result.get())))
              .set_retryable();
        }
        break;
      case PGRES_PIPELINE_ABORTED:
        break;
      default:
        if (position < preparing_.size() && preparing_[position] != nullptr) {
          prepared_.insert(preparing_[position]);
        } else {
          answer.results.push_back(std::move(result));
        }
    }
    ++position;
  }
}

/// True unless what was sent has been waiting for a while: then the network is cut, and asking the
/// server to cancel would block for as long as it takes to find that out.
bool Connection::peer_answers() const {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (getsockopt(PQsocket(connection_), IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return true;
  return info.tcpi_unacked == 0 && info.tcpi_state == TCP_ESTABLISHED;
}

/// Asks the server, through another connection, to stop what it does for this one. PQcancel() would
/// block for as long as the network likes. True if the server has said that it will.
bool Connection::cancel_statement(const OpContext& ctx) {
  ConnInfo same = info_;
  same.hosts = {{PQhost(connection_), "", PQport(connection_)}};
  if (const char* address = PQhostaddr(connection_)) same.hosts[0].address = address;
  std::unique_ptr<Connection> other(new Connection(same));
  const size_t space = server_.find(' ');
  if (space == std::string::npos || !other->connect(ctx, same.hosts).ok()) return false;
  // The process is known by its number only to the server that was asked.
  Result<Answer> asked = other->script(
      ctx, "SELECT pg_catalog.pg_cancel_backend(" + server_.substr(0, space) +
               ") WHERE extract(epoch FROM pg_catalog.pg_postmaster_start_time())::text='" +
               server_.substr(space + 1) + "'");
  return asked.ok() && !asked->error && PQntuples(asked->results.at(0).get()) == 1;
}

/// The caller's time is over. The server is asked to stop, and its answer tells whether it did.
Result<Answer> Connection::give_up(size_t calls, Error error) {
  cancelled_ = true;
  OpContext grace;
  grace.clock = &system_clock();
  grace.deadline_ns = grace.clock->monotonic_ns() + kGraceNs;
  if (peer_answers() && cancel_statement(grace)) {
    Result<Answer> answer = receive(grace, calls);
    if (answer.ok() && answer->error && answer->error->sqlstate == "57014") {
      return error;  // it was stopped: nothing was applied
    }
    if (answer.ok() && !warned_) return answer;
  }
  broken_ = true;
  return std::move(error).set_maybe_applied();
}

Result<Answer> Connection::run(const OpContext& ctx, const std::vector<Call>& calls) {
  std::vector<const Call*> all;
  all.reserve(calls.size());
  for (const Call& call : calls) all.push_back(&call);
  return run(ctx, all);
}

/// A commit that waited for the server's standbys and was told to stop waiting succeeds with a
/// warning: it is on one machine only, and not what was promised.
Result<Answer> Connection::run(const OpContext& ctx, const std::vector<const Call*>& calls) {
  static const Statement kRollbackStatement{"skerry_rollback", "ROLLBACK"};
  static const Call kRollback{&kRollbackStatement, {}};
  SKERRY_TRY(ctx.check());
  warned_ = false;
  Status sent = send(calls);
  if (!sent.ok()) return std::move(sent).error().set_maybe_applied();
  Result<Answer> answer = receive(ctx, calls.size());
  if (!answer.ok()) {
    if (broken_) return std::move(answer).error().set_maybe_applied();
    return give_up(calls.size(), std::move(answer).error());
  }
  if (warned_ && !answer->error) {
    return Error(EIO, shown_ + ": the server did not wait until a standby has the commit")
        .set_retryable()
        .set_maybe_applied();
  }
  if (PQtransactionStatus(connection_) == PQTRANS_INERROR) {
    // Nothing depends on its answer: a connection that is still in a transaction is not used again.
    if (send({&kRollback}).ok()) (void)receive(ctx, 1).ok();
  }
  return answer;
}

Result<Answer> Connection::script(const OpContext& ctx, const std::string& sql) {
  if (PQsendQuery(connection_, sql.c_str()) != 1) return lost();
  Answer answer;
  for (;;) {
    Result<ResultPtr> result = next_result(ctx);
    if (!result.ok()) {
      broken_ = true;
      return std::move(result).error();
    }
    if (*result == nullptr) return answer;
    if (PQresultStatus(result->get()) == PGRES_FATAL_ERROR && !answer.error) {
      answer.error = error_in(result->get());
      if (answer.error->sqlstate.empty() || ends_session(answer.error->sqlstate)) return lost();
    }
    answer.results.push_back(std::move(*result));
  }
}

}  // namespace skerry::meta::postgres
