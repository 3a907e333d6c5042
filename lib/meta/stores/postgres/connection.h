// One connection to a PostgreSQL server. Nothing here blocks longer than its OpContext allows,
// except for the look-up of a host's name, which is the system's.
#pragma once

#include <libpq-fe.h>

#include <memory>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/result.h"
#include "io/op_context.h"
#include "meta/stores/postgres/conninfo.h"
#include "meta/stores/postgres/wire.h"

namespace skerry::meta::postgres {

/// A statement that is prepared once a connection. Lives as long as every connection.
struct Statement {
  std::string name;
  std::string sql;
};

struct Call {
  const Statement* statement;
  Parameters parameters;
};

/// The first error with which the server answered.
struct ServerError {
  std::string sqlstate;
  std::string message;
  std::string detail;
  std::string constraint;
};

/// What the server said to several calls: as many results as calls, or an error.
struct Answer {
  std::vector<ResultPtr> results;
  std::optional<ServerError> error;
};

/// Used by one thread at a time.
class Connection {
 public:
  /// The URL's hosts are tried in their order; one that does not answer for a while comes last.
  ///
  /// Errors: EACCES (the server does not let this user in), ENOENT (no such database), ENOTSUP (an
  /// old server), EIO and ETIMEDOUT (retryable).
  static Result<std::unique_ptr<Connection>> open(const OpContext& ctx, const ConnInfo& info);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// Sends all calls at once and waits for the answers: one round trip. Calls that are no BEGIN are
  /// one transaction, whichever they are. After an error the connection is in no transaction.
  ///
  /// Errors: EIO (retryable) when the connection is lost; ctx's when it ends first. Both say
  /// maybe_applied if something was sent and may have been carried out.
  Result<Answer> run(const OpContext& ctx, const std::vector<const Call*>& calls);
  Result<Answer> run(const OpContext& ctx, const std::vector<Call>& calls);

  /// Several statements without parameters, as text; before the first run().
  Result<Answer> script(const OpContext& ctx, const std::string& sql);

  /// Payloads that came from channels which this session listens to, without waiting. Errors as
  /// run().
  Status take_notifications(std::vector<std::string>* payloads);
  /// To wait for what comes.
  int socket() const { return PQsocket(connection_); }

  /// `text` as a string of SQL, quotes included.
  std::string literal(const std::string& text) const;

  /// Can be used as far as is known: not lost, not in a transaction that somebody left.
  bool idle() const;
  /// Looks also whether the server has closed it meanwhile.
  bool usable();

 private:
  explicit Connection(const ConnInfo& info) : info_(info), shown_(info.shown) {}
  Status connect(const OpContext& ctx, std::vector<Host> hosts);
  Status start(const std::vector<Host>& hosts);
  size_t current(const std::vector<Host>& hosts) const;
  Error refused() const;
  Status prepare_session(const OpContext& ctx);
  Status wait(const OpContext& ctx, bool to_read, bool to_write);
  Status send(const std::vector<const Call*>& calls);
  Result<ResultPtr> next_result(const OpContext& ctx);
  Result<Answer> receive(const OpContext& ctx, size_t calls);
  Result<Answer> give_up(size_t calls, Error error);
  Error lost();
  bool peer_answers() const;
  bool cancel_statement(const OpContext& ctx);
  static void take_notice(void* self, const PGresult* notice);

  const ConnInfo info_;
  const std::string& shown_;  // for messages
  std::string server_;        // process, and since when the server runs: see cancel_statement()
  bool warned_ = false;       // by the server, since the last run()
  PGconn* connection_ = nullptr;
  bool pipeline_ = false;
  bool broken_ = false;
  bool cancelled_ = false;  // the server was asked to stop; its answers are waited for briefly
  std::unordered_set<const Statement*> prepared_;
  std::vector<const Statement*> preparing_;  // by position of what is sent; null: a call
};

/// The error of a caller to whom the server answered with `error`.
Error error_of(const ServerError& error, const std::string& shown);

}  // namespace skerry::meta::postgres
