#include "meta/stores/postgres/plain_commit.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "meta/stores/postgres/layout.h"
#include "meta/stores/postgres/program.h"

namespace skerry::meta::postgres {

namespace {

constexpr char kUniqueViolation[] = "23505", kNotNullViolation[] = "23502";
constexpr char kDivisionByZero[] = "22012";

/// Tables of which a plain commit puts and removes rows.
bool is_plain(Table table) {
  switch (table) {
    case Table::kEntry:
    case Table::kInode:
    case Table::kOrphan:
    case Table::kLink:
    case Table::kDirStat:
    case Table::kInline:
    case Table::kSymlink:
    case Table::kXattr:
      return true;
    default:
      return false;
  }
}

/// "t.parent=$1 AND t.name=$2"; `next` is the number behind.
std::string key_condition(const TableLayout& t, int* next) {
  std::vector<std::string> terms;
  for (const Column& column : t.key) {
    terms.push_back(std::string("t.") + column.name + "=$" + std::to_string((*next)++));
  }
  return joined(terms, " AND ");
}

std::string locked_epoch(const std::string& otherwise = "0") {
  return "COALESCE((SELECT v.number FROM @.volume v WHERE v.name='epoch'::bytea FOR SHARE)," +
         otherwise + ")";
}

std::string insert_sql(Table table) {
  const TableLayout& t = layout_of(table);
  std::vector<std::string> values;
  int next = 1;
  for (const Column& column : t.columns()) {
    std::string value = "$" + std::to_string(next++);
    if (column.kind == Kind::kBool) value = "(" + value + "::bigint<>0)";
    if (column.kind == Kind::kSmall) value += "::bigint";
    if (table == Table::kOrphan && std::string_view(column.name) == "epoch") {
      // Its number is sent and not used, so that every insertion sends all columns.
      value = locked_epoch("0*" + value + "::bigint");
    }
    values.push_back(std::move(value));
  }
  return std::string("INSERT INTO @.") + t.name + "(" + column_list(t.columns(), "") + ") VALUES(" +
         joined(values, ",") + ")";
}

std::string put_sql(Table table) {
  const TableLayout& t = layout_of(table);
  std::vector<std::string> assignments;
  for (const Column& column : t.values) {
    assignments.push_back(std::string(column.name) + "=excluded." + column.name);
  }
  return insert_sql(table) + " ON CONFLICT(" + column_list(t.key, "") + ") DO " +
         (t.values.empty() ? "NOTHING" : "UPDATE SET " + joined(assignments, ","));
}

/// Of an entry the inode must be the same too.
std::string version_condition(Table table, int next) {
  std::string sql = "t.version=$" + std::to_string(next);
  if (table == Table::kEntry) sql += " AND t.ino=$" + std::to_string(next + 1);
  return sql;
}

PlainStatements::OfTable statements_of(Table table, const std::string& schema) {
  const TableLayout& t = layout_of(table);
  auto make = [&](const std::string& name, const std::string& sql) {
    return Statement{"skerry_" + name + "_" + t.name, in_schema(sql, schema)};
  };
  int next = 1;
  const std::string where = std::string("@.") + t.name + " t WHERE " + key_condition(t, &next);
  PlainStatements::OfTable made;
  made.insert = make("insert", insert_sql(table));
  made.put = make("put", put_sql(table));
  made.remove = make("remove", "DELETE FROM " + where);
  for (int mode = 0; mode < kLockModes; ++mode) {
    const std::string locked = std::string(" ") + kModes[mode] + "),0)";
    const std::string number = std::to_string(mode);
    made.exists[static_cast<size_t>(mode)] =
        make("exists" + number, "SELECT 1/COALESCE((SELECT 1 FROM " + where + locked);
    if (!t.versioned) continue;
    // What the lock has found and not what was there before decides, so it is no condition of the
    // look-up.
    made.at_version[static_cast<size_t>(mode)] =
        make("at_version" + number, "SELECT 1/COALESCE((SELECT (" + version_condition(table, next) +
                                        ")::integer FROM " + where + locked);
  }
  if (t.versioned) {
    made.remove_version = make("remove_version", "WITH gone AS (DELETE FROM " + where + " AND " +
                                                     version_condition(table, next) +
                                                     " RETURNING 1) SELECT 1/count(*) FROM gone");
  }
  return made;
}

/// What is NULL is refused. That the counters of a directory are there is looked up by a statement
/// that begins after one which would have changed them.
std::string request_sql(bool session, size_t directories) {
  int next = 3;
  auto parameter = [&next] { return "$" + std::to_string(next++); };
  std::string high = "$1", low = "$2";
  if (session) {
    high = "(SELECT $1::bigint FROM @.client c WHERE c.id=" + parameter() + " FOR KEY SHARE)";
  }
  std::vector<std::string> sources, terms;
  for (size_t i = 0; i < directories; ++i) {
    const std::string alias = "t" + std::to_string(i);
    sources.push_back("@.dirstat " + alias);
    terms.push_back(alias + ".ino=" + parameter());
    terms.push_back(alias + ".shard=" + parameter());
  }
  if (directories > 0) {
    low = "(SELECT $2::bigint FROM " + joined(sources, ",") + " WHERE " + joined(terms, " AND ") +
          ")";
  }
  return "INSERT INTO @.request(high,low,outcomes) VALUES(" + high + "," + low + ",'{}')";
}

/// Writes whole commits. What is locked comes in the order of every commit: the server does what
/// the last part asks for, and then in turn what nobody asks for.
class WholeSql {
 public:
  explicit WholeSql(std::string first) : sql_("WITH ") { sql_ += std::move(first); }

  std::string parameter() { return "$" + std::to_string(next_++); }
  std::string number() { return parameter() + "::bigint"; }
  void add(const std::string& text) { sql_ += text; }

  /// Counters of one more directory, if there is a row of what came before.
  void count() {
    const std::string ino = parameter(), shard = parameter(), mtime = parameter();
    const std::string subdirs = parameter(), entries = parameter();
    const std::string alias = "d" + std::to_string(directories_++);
    sql_ += "," + alias + " AS (UPDATE @.dirstat t SET mtime=greatest(t.mtime," + mtime +
            "),subdirs=t.subdirs+" + subdirs + ",entries=t.entries+" + entries +
            " WHERE t.ino=" + ino + " AND t.shard=" + shard + " AND EXISTS(SELECT 1 FROM " + last_ +
            ") RETURNING 1)";
    last_ = alias;
  }
  /// "SELECT ..." of a usage row, of `first`.
  void use(const std::string& values) {
    sql_ += ",u AS (INSERT INTO @.usage AS t(scope,client,bytes,inodes) SELECT " + values +
            " FROM m ON CONFLICT(scope,client) DO UPDATE SET bytes=t.bytes+excluded.bytes,"
            "inodes=t.inodes+excluded.inodes)";
  }
  /// The request's row; that a directory or the session is gone is an error.
  std::string end(bool session, const std::string& outcomes) {
    std::string high = number();
    const std::string low = "(SELECT " + number() + " FROM " + last_ + ")";
    if (session) {
      high = "(SELECT " + high + " FROM @.client c WHERE c.id=" + parameter() + " FOR KEY SHARE)";
    }
    return sql_ + " INSERT INTO @.request(high,low,outcomes) SELECT " + high + "," + low + "," +
           outcomes + " FROM m RETURNING outcomes";
  }

 private:
  std::string sql_;
  std::string last_ = "m";
  int next_ = 1;
  size_t directories_ = 0;
};

std::string move_sql(bool to, bool session, size_t directories) {
  WholeSql sql("m AS (");
  const std::string from_parent = sql.parameter(), from_name = sql.parameter();
  const std::string at = "t.parent=" + from_parent + " AND t.name=" + from_name;
  const std::string ctime = sql.number();
  if (to) {
    const std::string parent = sql.parameter(), name = sql.parameter();
    sql.add("UPDATE @.entry t SET parent=" + parent + ",name=" + name + ",ctime=" + ctime +
            ",version=t.version+1 WHERE " + at + movable_condition() +
            " AND NOT EXISTS(SELECT 1 FROM @.entry o WHERE o.parent=" + parent +
            " AND o.name=" + name + ") RETURNING " + column_list(attribute_columns(), "t") + ")");
  } else {
    sql.add("DELETE FROM @.entry t WHERE " + at + movable_condition() + " RETURNING " +
            joined(orphan_values("t", ctime, true), ",") + ")");
  }
  for (size_t i = 0; i < directories; ++i) sql.count();
  if (!to) {
    sql.add(",o AS (INSERT INTO @.orphan(" + column_list(layout_of(Table::kOrphan).columns(), "") +
            ") SELECT m.*," + locked_epoch() + " FROM m)");
    sql.use("0," + sql.number() + ",-m.length,-1");
  }
  return sql.end(session, "ARRAY[" + column_list(attribute_columns(), "m") + ",0,0]");
}

std::string create_sql(bool session) {
  WholeSql sql("m AS (");
  std::vector<std::string> values;
  for (const Column& column : layout_of(Table::kEntry).columns()) {
    std::string value = column.kind == Kind::kBytes ? sql.parameter() : sql.number();
    values.push_back(column.kind == Kind::kBool ? "(" + value + "<>0)" : std::move(value));
  }
  sql.add("INSERT INTO @.entry(" + column_list(layout_of(Table::kEntry).columns(), "") +
          ") VALUES(" + joined(values, ",") + ") ON CONFLICT DO NOTHING RETURNING 1)");
  sql.count();
  const std::string scope = sql.number(), client = sql.number(), bytes = sql.number();
  sql.use(scope + "," + client + "," + bytes + "," + sql.number());
  return sql.end(session, "'{}'::bigint[]");
}

/// A record's columns, in their order.
Parameters column_parameters(const Record& record) {
  std::vector<int64_t> numbers;
  std::vector<std::string> bytes;
  append_columns(record, &numbers, &bytes);
  Parameters parameters;
  size_t number = 0, string = 0;
  for (const Column& column : layout_of(static_cast<Table>(record.index())).columns()) {
    if (column.kind == Kind::kBytes) {
      parameters.bytes(bytes[string++]);
    } else {
      parameters.number(numbers[number++]);
    }
  }
  return parameters;
}

void add_counts(const AddDirStat& add, Parameters* parameters) {
  parameters->number(add.ino).number(add.shard).number(add.mtime_ns).number(add.subdirs);
  parameters->number(add.entries);
}

void add_request_row(const CommitRequest& request, Parameters* parameters) {
  parameters->number(request.request[0]).number(request.request[1]);
  if (request.session != 0) parameters->number(request.session);
}

/// Compiles one commit.
class Planner {
 public:
  Planner(const PlainStatements& statements, const CommitRequest& request)
      : statements_(statements), request_(request) {}

  std::shared_ptr<const PlainCommit> plan() {
    for (const Mutation& m : request_.mutations) {
      if (!std::visit([this](const auto& x) { return note(x); }, m)) return nullptr;
    }
    for (const Key& counters : counted_) {
      if (first_.contains(counters)) return nullptr;  // their order would matter
    }
    for (const Expectation& e : request_.expectations) {
      if (!std::visit([this](const auto& x) { return check(x); }, e)) return nullptr;
    }
    // What is only looked at is locked before what is changed.
    for (auto& [place, call] : checks_) add(std::move(call));
    for (const Mutation& m : request_.mutations) {
      std::visit([this](const auto& x) { mutate(x); }, m);
    }
    std::stable_sort(others_.begin(), others_.end(),
                     [](const PlainCall& a, const PlainCall& b) { return a.place < b.place; });
    commit_.insert(commit_.end(), std::make_move_iterator(others_.begin()),
                   std::make_move_iterator(others_.end()));
    add_request();
    return std::make_shared<const PlainCommit>(std::move(commit_));
  }

 private:
  /// How a record is changed first.
  enum class First { kPut, kDelete };

  const PlainStatements::OfTable& of(Table table) const {
    return statements_.tables[static_cast<size_t>(table)];
  }

  bool note(const Put& m) {
    Key key = key_of(m.record);
    if (!is_plain(key.table)) return false;
    first_.try_emplace(std::move(key), First::kPut);
    return true;
  }
  bool note(const Delete& m) {
    if (!is_plain(m.key.table)) return false;
    first_.try_emplace(m.key, First::kDelete);
    return true;
  }
  bool note(const AddDirStat& m) {
    counted_.push_back(dirstat_key(m.ino, m.shard));
    return !m.replace_time && counted_.size() <= PlainStatements::kMostDirectories;
  }
  bool note(const AddUsage&) { return true; }
  template <typename Other>
  bool note(const Other&) {
    return false;
  }

  /// One expectation of a record.
  bool check(const Key& key, const Statement& statement, Parameters parameters) {
    const Place place = place_of(key);
    return checks_.try_emplace(place, PlainCall{{&statement, std::move(parameters)}, place}).second;
  }

  bool check(const ExpectVersion& e) {
    if (!is_plain(e.key.table) || !layout_of(e.key.table).versioned) return false;
    Parameters parameters = key_parameters(e.key);
    parameters.number(e.version);
    if (e.key.table == Table::kEntry) parameters.number(e.ino);
    auto first = first_.find(e.key);
    const auto& table = of(e.key.table);
    if (first != first_.end() && first->second == First::kDelete) {
      removed_.insert(e.key);
      return check(e.key, table.remove_version, std::move(parameters));
    }
    const LockMode mode = first == first_.end() ? LockMode::kShare : LockMode::kNoKeyUpdate;
    return check(e.key, table.at_version[static_cast<size_t>(mode)], std::move(parameters));
  }
  bool check(const ExpectExists& e) {
    if (!is_plain(e.key.table)) return false;
    auto first = first_.find(e.key);
    const LockMode mode = first == first_.end()             ? LockMode::kKeyShare
                          : first->second == First::kDelete ? LockMode::kUpdate
                                                            : LockMode::kNoKeyUpdate;
    return check(e.key, of(e.key.table).exists[static_cast<size_t>(mode)], key_parameters(e.key));
  }
  /// Inserting the entry finds it out.
  bool check(const ExpectAbsent& e) {
    auto first = first_.find(e.key);
    if (e.key.table != Table::kEntry || first == first_.end() || first->second != First::kPut) {
      return false;
    }
    return absent_.insert(e.key).second;
  }
  template <typename Other>
  bool check(const Other&) {
    return false;
  }

  void add(PlainCall call) {
    (call.place.rank <= Rank::kEntry ? commit_ : others_).push_back(std::move(call));
  }

  void mutate(const Put& m) {
    const auto table = static_cast<Table>(m.record.index());
    Parameters parameters = column_parameters(m.record);
    const Key key = key_of(m.record);
    const bool absent = absent_.erase(key) > 0;
    add({{absent ? &of(table).insert : &of(table).put, std::move(parameters)}, place_of(key)});
  }
  void mutate(const Delete& m) {
    if (removed_.erase(m.key) > 0) return;
    add({{&of(m.key.table).remove, key_parameters(m.key)}, place_of(m.key)});
  }
  void mutate(const AddDirStat& m) {
    add({{&statements_.count_children, Parameters()
                                           .number(m.ino)
                                           .number(m.shard)
                                           .number(m.mtime_ns)
                                           .number(m.subdirs)
                                           .number(m.entries)},
         place_of(dirstat_key(m.ino, m.shard))});
  }
  void mutate(const AddUsage& m) {
    add({{&statements_.use,
          Parameters().number(m.scope).number(m.client).number(m.bytes).number(m.inodes)},
         place_of(usage_key(m.scope, m.client))});
  }
  template <typename Other>
  void mutate(const Other&) {}

  void add_request() {
    Parameters parameters;
    parameters.number(request_.request[0]).number(request_.request[1]);
    if (request_.session != 0) parameters.number(request_.session);
    for (const Key& counters : counted_) parameters.number(counters.a).number(counters.b);
    commit_.push_back({{&statements_.request[request_.session != 0 ? 1 : 0][counted_.size()],
                        std::move(parameters)},
                       {}});
  }

  const PlainStatements& statements_;
  const CommitRequest& request_;
  std::map<Key, First> first_;
  std::map<Place, PlainCall> checks_;
  std::set<Key> absent_;           // as their insertion will prove
  std::set<Key> removed_;          // by their checks
  std::vector<Key> counted_;       // counters of directories
  PlainCommit commit_;             // first the calls of entries alone
  std::vector<PlainCall> others_;  // the calls behind them
};

}  // namespace

PlainStatements::PlainStatements(const std::string& schema) {
  for (size_t i = 0; i < kTables; ++i) {
    const auto table = static_cast<Table>(i);
    if (is_plain(table)) tables[i] = statements_of(table, schema);
  }
  count_children = {"skerry_count_children",
                    in_schema("UPDATE @.dirstat t SET mtime=greatest(t.mtime,$3),"
                              "subdirs=t.subdirs+$4,entries=t.entries+$5 WHERE t.ino=$1 AND "
                              "t.shard=$2",
                              schema)};
  use = {"skerry_use",
         in_schema("INSERT INTO @.usage AS t(scope,client,bytes,inodes) VALUES($1,$2,$3,$4) ON "
                   "CONFLICT(scope,client) DO UPDATE SET bytes=t.bytes+excluded.bytes,"
                   "inodes=t.inodes+excluded.inodes",
                   schema)};
  for (size_t session = 0; session < 2; ++session) {
    create[session] = {"skerry_create" + std::to_string(session),
                       in_schema(create_sql(session != 0), schema)};
  }
  for (size_t to = 0; to < 2; ++to) {
    for (size_t session = 0; session < 2; ++session) {
      for (size_t count = 1; count <= kMostDirectories; ++count) {
        move[to][session][count - 1] = {
            "skerry_move" + std::to_string(to) + std::to_string(session) + std::to_string(count),
            in_schema(move_sql(to != 0, session != 0, count), schema)};
      }
    }
  }
  for (size_t session = 0; session < 2; ++session) {
    for (size_t count = 0; count <= kMostDirectories; ++count) {
      request[session][count] = {"skerry_request" + std::to_string(session) + std::to_string(count),
                                 in_schema(request_sql(session != 0, count), schema)};
    }
  }
}

std::shared_ptr<const PlainCommit> plain_commit(const PlainStatements& statements,
                                                const CommitRequest& request) {
  if (request.request == RequestId{} || request.mutations.empty()) return nullptr;
  return Planner(statements, request).plan();
}

std::optional<WholeCommit> move_commit(const PlainStatements& statements,
                                       const CommitRequest& request) {
  const size_t count = request.mutations.size() - 1;
  if (request.request == RequestId{} || !request.expectations.empty() ||
      request.mutations.empty() || count < 1 || count > PlainStatements::kMostDirectories) {
    return std::nullopt;
  }
  const auto* move = std::get_if<MoveFile>(&request.mutations.front());
  if (move == nullptr) return std::nullopt;
  Parameters parameters;
  LockSet locks;
  parameters.number(move->from.a).bytes(move->from.name).number(move->ctime_ns);
  locks.emplace(place_of(move->from), LockMode::kUpdate);
  if (move->to) {
    parameters.number(move->to->a).bytes(move->to->name);
    locks.emplace(place_of(*move->to), LockMode::kUpdate);
  }
  Key last;
  for (size_t i = 1; i <= count; ++i) {
    const auto* add = std::get_if<AddDirStat>(&request.mutations[i]);
    if (add == nullptr || add->replace_time) return std::nullopt;
    const Key counters = dirstat_key(add->ino, add->shard);
    if (i > 1 && !(last < counters)) return std::nullopt;  // the order of locks
    last = counters;
    locks.emplace(place_of(counters), LockMode::kNoKeyUpdate);
    add_counts(*add, &parameters);
  }
  if (!move->to) {
    parameters.number(move->usage_client);
    locks.emplace(place_of(usage_key(0, move->usage_client)), LockMode::kNoKeyUpdate);
  }
  add_request_row(request, &parameters);
  const size_t to = move->to ? 1 : 0, session = request.session != 0 ? 1 : 0;
  return WholeCommit{{&statements.move[to][session][count - 1], std::move(parameters)},
                     std::move(locks)};
}

std::optional<Call> create_commit(const PlainStatements& statements, const CommitRequest& request) {
  if (request.request == RequestId{} || request.expectations.size() != 1 ||
      request.mutations.size() != 3) {
    return std::nullopt;
  }
  const auto* absent = std::get_if<ExpectAbsent>(&request.expectations[0]);
  const auto* put = std::get_if<Put>(&request.mutations[0]);
  const auto* add = std::get_if<AddDirStat>(&request.mutations[1]);
  const auto* use = std::get_if<AddUsage>(&request.mutations[2]);
  if (absent == nullptr || put == nullptr || add == nullptr || use == nullptr ||
      add->replace_time || !std::holds_alternative<EntryRecord>(put->record) ||
      absent->key != key_of(put->record)) {
    return std::nullopt;
  }
  Parameters parameters = column_parameters(put->record);
  add_counts(*add, &parameters);
  parameters.number(use->scope).number(use->client).number(use->bytes).number(use->inodes);
  add_request_row(request, &parameters);
  return Call{&statements.create[request.session != 0 ? 1 : 0], std::move(parameters)};
}

bool is_refusal(const ServerError& error) {
  return error.sqlstate == kUniqueViolation || error.sqlstate == kNotNullViolation ||
         error.sqlstate == kDivisionByZero;
}

std::vector<const Call*> merged(const std::vector<const PlainCommit*>& commits) {
  std::vector<const PlainCommit*> order = commits;
  std::stable_sort(order.begin(), order.end(), [](const PlainCommit* a, const PlainCommit* b) {
    return a->front().place < b->front().place;
  });
  std::vector<const PlainCall*> others;
  std::vector<const Call*> calls;
  for (const PlainCommit* commit : order) {
    for (auto call = commit->begin(); call + 1 != commit->end(); ++call) {
      if (call->place.rank <= Rank::kEntry) {
        calls.push_back(&call->call);
      } else {
        others.push_back(&*call);
      }
    }
  }
  std::stable_sort(others.begin(), others.end(),
                   [](const PlainCall* a, const PlainCall* b) { return a->place < b->place; });
  for (const PlainCall* call : others) calls.push_back(&call->call);
  for (const PlainCommit* commit : order) calls.push_back(&commit->back().call);
  return calls;
}

}  // namespace skerry::meta::postgres
