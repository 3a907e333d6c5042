#include "meta/stores/postgres/read.h"

#include <algorithm>

namespace skerry::meta::postgres {

namespace {

const int kAttributeColumns = static_cast<int>(attribute_columns().size());
const int kEntryColumns = kAttributeColumns + 3;  // parent, name, linked

bool holds_attributes(Table table) {
  return table == Table::kEntry || table == Table::kInode || table == Table::kOrphan;
}

/// Columns behind those of `t`, a row of `table`: of a linked entry its inode's attributes, and of
/// a directory (which only the inode of a linked entry knows) what its children changed. Each is an
/// array or NULL. They are no joins, which the server would prepare for every file, though it has
/// nothing to join.
/// `when`: where what the children changed is wanted; empty: always.
std::string joined_columns(Table table, const std::string& when = "") {
  std::string columns, directory = "t.type=2";
  if (table == Table::kEntry) {
    columns = ",CASE WHEN t.linked THEN (SELECT ARRAY[" + column_list(attribute_columns(), "i") +
              "] FROM @.inode i WHERE i.ino=t.ino) END";
    directory += " OR t.linked";
  }
  if (!when.empty()) directory = "(" + directory + ") AND " + when;
  return columns + ",CASE WHEN " + directory +
         " THEN (SELECT ARRAY[max(s.mtime),sum(s.subdirs)::bigint] FROM @.dirstat s WHERE "
         "s.ino=t.ino HAVING count(*)>0) END";
}

/// "SELECT ... FROM `source` t", `source` having the columns of `table`.
std::string select_from(Table table, const std::string& source, bool join) {
  std::string sql = "SELECT " + column_list(layout_of(table).columns(), "t");
  if (join && holds_attributes(table)) sql += joined_columns(table);
  return sql + " FROM " + source + " t";
}

std::string parameter(int number) { return "$" + std::to_string(number); }

std::string by_key_sql(Table table, bool join) {
  std::vector<std::string> terms;
  int next = 1;
  for (const Column& column : layout_of(table).key) {
    terms.push_back(std::string("t.") + column.name + "=" + parameter(next++));
  }
  return select_from(table, std::string("@.") + layout_of(table).name, join) + " WHERE " +
         joined(terms, " AND ");
}

/// Parameters: the key fields of the prefix; with `after` the others; without a prefix the largest
/// first field, if there is one that is a number; the limit.
std::string range_sql(Table table, unsigned variant, bool join) {
  const TableLayout& t = layout_of(table);
  const unsigned prefix = variant / 4;
  const bool after = variant & 2;
  const bool bare = variant & 1;
  std::vector<std::string> terms, rest, rest_parameters, order;
  int next = 1;
  for (unsigned i = 0; i < t.key.size(); ++i) {
    const std::string column = std::string("t.") + t.key[i].name;
    order.push_back(column);
    if (i < prefix && t.key[i].kind == Kind::kNumber) {
      terms.push_back(column + "=" + parameter(next++));
    } else {
      rest.push_back(column);
    }
  }
  if (after && !rest.empty()) {
    for (size_t i = 0; i < rest.size(); ++i) rest_parameters.push_back(parameter(next++));
    terms.push_back("(" + joined(rest, ",") + ")>(" + joined(rest_parameters, ",") + ")");
  }
  if (prefix == 0 && t.field(0) != nullptr) {
    terms.push_back(std::string("t.") + t.field(0) + "<=" + parameter(next++));
  }
  const std::string tail = (terms.empty() ? "" : " WHERE " + joined(terms, " AND ")) +
                           " ORDER BY " + joined(order, ",") + " LIMIT " + parameter(next);
  const std::string name = std::string("@.") + t.name;
  if (bare) return "SELECT t.parent,t.name,t.ino,t.type FROM " + name + " t" + tail;
  return select_from(table, name, join) + tail;
}

std::string home_sql(bool join) {
  const std::string attributes = column_list(attribute_columns(), "t");
  auto from = [&](int home, const char* place, const char* table, const char* condition) {
    return "SELECT " + std::to_string(home) + " AS home," + place + "," + attributes + " FROM @." +
           table + " t WHERE t.ino=$1" + condition;
  };
  constexpr char kNowhere[] = "0::bigint AS parent,''::bytea AS name";
  const std::string homes = from(1, "t.parent,t.name", "entry", " AND NOT t.linked") +
                            " UNION ALL " + from(2, kNowhere, "inode", "") + " UNION ALL " +
                            from(3, kNowhere, "orphan", "") + " ORDER BY 1 LIMIT 1";
  return "SELECT t.home,t.parent,t.name," + attributes +
         (join ? joined_columns(Table::kInode) : "") + " FROM (" + homes + ") t";
}

std::string resolve_sql() {
  return "WITH RECURSIVE w AS (SELECT 1 AS depth,e.* FROM @.entry e WHERE e.parent=$1 AND "
         "e.name=($2::bytea[])[1] UNION ALL SELECT w.depth+1,e.* FROM w JOIN @.entry e ON "
         "e.parent=w.ino AND e.name=($2::bytea[])[w.depth+1] WHERE w.type=2) SELECT " +
         column_list(layout_of(Table::kEntry).columns(), "t") +
         joined_columns(Table::kEntry, "t.depth=pg_catalog.cardinality($2::bytea[])") +
         " FROM w t ORDER BY t.depth";
}

void join_directory(const PGresult* r, int row, int column, Attributes* attr) {
  std::vector<int64_t> numbers;
  if (PQgetisnull(r, row, column) != 0 || !column_numbers(r, row, column, &numbers)) return;
  if (!attr->is_dir() || numbers.size() != 2) return;
  attr->mtime_ns = std::max(attr->mtime_ns, numbers[0]);
  attr->ctime_ns = std::max(attr->ctime_ns, numbers[0]);
  attr->nlink += static_cast<uint32_t>(numbers[1]);
}

/// The record of select_from(..., join).
bool joined_record(const PGresult* r, int row, Table table, bool join, Record* record) {
  if (!column_record(r, row, table, record)) return false;
  if (!join) return true;
  if (auto* entry = std::get_if<EntryRecord>(record)) {
    std::vector<int64_t> inode;
    if (entry->linked && PQgetisnull(r, row, kEntryColumns) == 0) {
      if (!column_numbers(r, row, kEntryColumns, &inode)) return false;
      if (!attributes_of(inode, &entry->attr)) return false;
    }
    join_directory(r, row, kEntryColumns + 1, &entry->attr);
  } else if (auto* inode = std::get_if<InodeRecord>(record)) {
    join_directory(r, row, kAttributeColumns, &inode->attr);
  } else if (auto* orphan = std::get_if<OrphanRecord>(record)) {
    join_directory(r, row, kAttributeColumns + 1, &orphan->attr);
  }
  return true;
}

Error malformed(Table table) {
  return Error(EIO, std::string("a row of table ") + layout_of(table).name +
                        " is malformed; restore the metadata from a backup");
}

}  // namespace

Statements::Statements(const std::string& schema) {
  int count = 0;
  auto make = [&](const std::string& sql) {
    return Statement{"skerry_" + std::to_string(count++), in_schema(sql, schema)};
  };
  for (size_t i = 0; i < kTables; ++i) {
    const auto table = static_cast<Table>(i);
    for (unsigned join = 0; join < 2; ++join) {
      tables[i].by_key[join] = make(by_key_sql(table, join != 0));
      for (unsigned variant = 0; variant < 12; ++variant) {
        if ((variant & 1) != 0 && table != Table::kEntry) continue;
        tables[i].ranges[join][variant] = make(range_sql(table, variant, join != 0));
      }
    }
  }
  home = {make(home_sql(false)), make(home_sql(true))};
  resolve = make(resolve_sql());
  now = make("SELECT @.now_ns()");
  begin_snapshot = make("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
  begin_serializable = make("BEGIN ISOLATION LEVEL SERIALIZABLE");
  end = make("COMMIT");
  commit = make("SELECT r_status,r_failed,r_outcomes FROM @.commit_1($1,$2,$3,$4,$5)");
  settle = make("SELECT r_status,r_failed,r_outcomes FROM @.settle_1($1,$2,$3,$4,$5)");
  // Who may ask again: a call within its deadline, and a client that is not dead yet with what it
  // has written.
  trim = make(
      "DELETE FROM @.request r USING (SELECT high,low FROM @.request WHERE created < "
      "least(pg_catalog.statement_timestamp() - interval '10 minutes', (SELECT "
      "pg_catalog.to_timestamp("
      "min(c.heartbeat) / 1000000000) - interval '1 minute' FROM @.client c)) ORDER BY created "
      "LIMIT 8192 FOR UPDATE SKIP LOCKED) old WHERE r.high=old.high AND r.low=old.low");
}

ReadPlan::ReadPlan(const Statements& statements, const ReadRequest& request)
    : statements_(statements), request_(request) {
  const size_t count = request.keys.size() + request.ranges.size() + request.inodes.size();
  // One statement is one snapshot; the time need not be of it.
  const bool several = count > 1;
  if (several) calls_.push_back({&statements.begin_snapshot, {}});
  // A question of nothing still finds out whether the server answers.
  if (request.time || count == 0) calls_.push_back({&statements.now, {}});
  for (const Key& key : request.keys) add_key(key);
  for (const Range& range : request.ranges) add_range(range);
  for (Ino ino : request.inodes) {
    calls_.push_back({&statements.home[request.join ? 1 : 0], Parameters().number(ino)});
  }
  if (several) calls_.push_back({&statements.end, {}});
}

void ReadPlan::add_key(const Key& key) {
  const auto& of_table = statements_.tables[static_cast<size_t>(key.table)];
  calls_.push_back({&of_table.by_key[request_.join ? 1 : 0], key_parameters(key)});
}

void ReadPlan::add_range(const Range& range) {
  const TableLayout& t = layout_of(range.table);
  const unsigned prefix = std::min(range.prefix_fields, 2u);
  // A field that the table does not have is 0 in every key.
  if ((prefix >= 1 && t.field(0) == nullptr && range.a != 0) ||
      (prefix >= 2 && t.field(1) == nullptr && range.b != 0)) {
    ranges_.push_back(-1);
    return;
  }
  const bool bare = range.table == Table::kEntry && !range.with_attributes;
  Parameters parameters;
  const uint64_t prefix_values[] = {range.a, range.b};
  const Key none;
  const Key& after = range.after ? *range.after : none;
  const uint64_t after_values[] = {after.a, after.b, after.c};
  Parameters rest;
  for (unsigned i = 0; i < t.key.size(); ++i) {
    if (t.key[i].kind == Kind::kBytes) {
      rest.bytes(after.name);
    } else if (i < prefix) {
      parameters.number(prefix_values[i]);
    } else {
      rest.number(clamped(after_values[i]));
    }
  }
  if (range.after) parameters.append(rest);
  if (prefix == 0 && t.field(0) != nullptr) {
    parameters.number(clamped(range.max_a.value_or(INT64_MAX)));
  }
  parameters.number(int64_t{std::max<uint32_t>(range.limit, 1)} + 1);
  ranges_.push_back(static_cast<int>(calls_.size()));
  const unsigned variant = 4 * prefix + (range.after ? 2u : 0u) + (bare ? 1u : 0u);
  const auto& of_table = statements_.tables[static_cast<size_t>(range.table)];
  calls_.push_back({&of_table.ranges[request_.join ? 1 : 0][variant], std::move(parameters)});
}

Result<ReadResult> ReadPlan::result(const Answer& answer) const {
  ReadResult result;
  size_t next = calls_.front().statement == &statements_.begin_snapshot ? 1 : 0;
  if (request_.time) result.server_time_ns = column_number(answer.results[next].get(), 0, 0);
  if (calls_[next].statement == &statements_.now) ++next;
  for (const Key& key : request_.keys) {
    const PGresult* r = answer.results[next++].get();
    std::optional<Record>& record = result.records.emplace_back();
    if (PQntuples(r) == 0) continue;
    if (!joined_record(r, 0, key.table, request_.join, &record.emplace())) {
      return malformed(key.table);
    }
  }
  for (size_t i = 0; i < request_.ranges.size(); ++i) {
    const Range& range = request_.ranges[i];
    RangePage& page = result.pages.emplace_back();
    if (ranges_[i] < 0) continue;
    const PGresult* r = answer.results[next++].get();
    const int limit = static_cast<int>(std::max<uint32_t>(range.limit, 1));
    page.more = PQntuples(r) > limit;
    const int rows = std::min(PQntuples(r), limit);
    page.records.reserve(static_cast<size_t>(rows));
    for (int row = 0; row < rows; ++row) {
      Record& record = page.records.emplace_back();
      if (range.table == Table::kEntry && !range.with_attributes) {
        auto& entry = record.emplace<EntryRecord>();
        entry.parent = column_u64(r, row, 0);
        entry.name = column_bytes(r, row, 1);
        entry.attr.ino = column_u64(r, row, 2);
        entry.attr.type = static_cast<FileType>(column_u64(r, row, 3));
      } else if (!joined_record(r, row, range.table, request_.join, &record)) {
        return malformed(range.table);
      }
    }
  }
  for (size_t i = 0; i < request_.inodes.size(); ++i) {
    const PGresult* r = answer.results[next++].get();
    result.homes.push_back(found_home(r, request_.join));
  }
  return result;
}

std::optional<AttributeHome> found_home(const PGresult* r, bool join) {
  std::optional<AttributeHome> home;
  if (PQntuples(r) == 0) return home;
  home.emplace();
  const Table tables[] = {Table::kEntry, Table::kInode, Table::kOrphan};
  home->table = tables[std::clamp<int64_t>(column_number(r, 0, 0), 1, 3) - 1];
  home->parent = column_u64(r, 0, 1);
  home->name = column_bytes(r, 0, 2);
  home->attr = column_attributes(r, 0, 3);
  if (join) join_directory(r, 0, 3 + kAttributeColumns, &home->attr);
  return home;
}

Result<std::vector<EntryRecord>> resolved(const PGresult* r) {
  std::vector<EntryRecord> entries;
  for (int row = 0; row < PQntuples(r); ++row) {
    Record record;
    if (!joined_record(r, row, Table::kEntry, true, &record)) return malformed(Table::kEntry);
    entries.push_back(std::get<EntryRecord>(std::move(record)));
  }
  return entries;
}

}  // namespace skerry::meta::postgres
