#include "meta/stores/sqlite/read.h"

#include <algorithm>

namespace skerry::meta::sqlite {

namespace {

/// Adds what the children changed to a directory's attributes.
int join_directory(Connection& connection, Attributes* attr) {
  if (!attr->is_dir()) return SQLITE_OK;
  sqlite3_stmt* s = nullptr;
  if (int rc = connection.statement(Fixed::kDirStats, &s)) return rc;
  Rows rows(s);
  bind_value(s, 1, attr->ino);
  int rc;
  while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
    const TimeNs mtime_ns = sqlite3_column_int64(s, 0);
    attr->mtime_ns = std::max(attr->mtime_ns, mtime_ns);
    attr->ctime_ns = std::max(attr->ctime_ns, mtime_ns);
    attr->nlink += static_cast<uint32_t>(sqlite3_column_int64(s, 1));
  }
  return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int join_entry(Connection& connection, EntryRecord* entry) {
  if (entry->linked) {
    sqlite3_stmt* s = nullptr;
    if (int rc = connection.statement(Table::kInode, Verb::kSelect, &s)) return rc;
    Rows rows(s);
    bind_value(s, 1, entry->attr.ino);
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW) {
      entry->attr = column_attributes(s, 0);
    } else if (rc != SQLITE_DONE) {
      return rc;
    }
  }
  return join_directory(connection, &entry->attr);
}

int join_record(Connection& connection, Record* record) {
  if (auto* entry = std::get_if<EntryRecord>(record)) return join_entry(connection, entry);
  if (auto* inode = std::get_if<InodeRecord>(record))
    return join_directory(connection, &inode->attr);
  if (auto* orphan = std::get_if<OrphanRecord>(record)) {
    return join_directory(connection, &orphan->attr);
  }
  return SQLITE_OK;
}

// Record fields are below 2^63; a bound above that is as good as the largest.
uint64_t clamped(uint64_t v) { return std::min<uint64_t>(v, INT64_MAX); }

int read_range(Connection& connection, const Range& range, bool join, RangePage* page) {
  const TableLayout& layout = layout_of(range.table);
  const unsigned prefix = std::min(range.prefix_fields, 2u);
  // A field that the table does not have is 0 in every key.
  if (prefix >= 1 && layout.a == nullptr && range.a != 0) return SQLITE_OK;
  if (prefix >= 2 && layout.b == nullptr && range.b != 0) return SQLITE_OK;
  const bool bare = range.table == Table::kEntry && !range.with_attributes;
  sqlite3_stmt* s = nullptr;
  const Verb verb = Verb::kRange + (4 * prefix + (range.after ? 2u : 0u) + (bare ? 1u : 0u));
  if (int rc = connection.statement(range.table, verb, &s)) return rc;
  Rows rows(s);
  const uint32_t limit = std::max<uint32_t>(range.limit, 1);
  if (prefix >= 1) bind_value(s, kRangeA, range.a);
  if (prefix >= 2) bind_value(s, kRangeB, range.b);
  if (range.after) {
    bind_value(s, kAfterA, clamped(range.after->a));
    bind_value(s, kAfterB, clamped(range.after->b));
    bind_value(s, kAfterC, clamped(range.after->c));
    bind_value(s, kAfterName, range.after->name);
  }
  if (prefix == 0) bind_value(s, kRangeMaxA, clamped(range.max_a.value_or(INT64_MAX)));
  bind_value(s, kRangeLimit, uint64_t{limit} + 1);
  int rc;
  while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
    if (page->records.size() == limit) {
      page->more = true;
      return SQLITE_OK;
    }
    if (bare) {
      page->records.emplace_back(column_bare_entry(s));
      continue;
    }
    Record& record = page->records.emplace_back();
    if (!column_record(s, range.table, &record)) return SQLITE_CORRUPT;
    if (join) {
      if (int joined = join_record(connection, &record)) return joined;
    }
  }
  return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int home_in(Connection& connection, Table table, Ino ino, std::optional<AttributeHome>* home) {
  sqlite3_stmt* s = nullptr;
  int rc = table == Table::kEntry ? connection.statement(Fixed::kHomeEntry, &s)
                                  : connection.statement(table, Verb::kSelect, &s);
  if (rc != SQLITE_OK) return rc;
  Rows rows(s);
  bind_value(s, 1, ino);
  rc = sqlite3_step(s);
  if (rc == SQLITE_DONE) return SQLITE_OK;
  if (rc != SQLITE_ROW) return rc;
  AttributeHome& found = home->emplace();
  found.table = table;
  if (table == Table::kEntry) {
    found.parent = column_u64(s, 0);
    found.name = column_bytes(s, 1);
    found.attr = column_attributes(s, 2);
  } else {
    found.attr = column_attributes(s, 0);
  }
  return SQLITE_OK;
}

int read_all(Connection& connection, const ReadRequest& request, ReadResult* result) {
  result->records.resize(request.keys.size());
  for (size_t i = 0; i < request.keys.size(); ++i) {
    if (int rc = read_record(connection, request.keys[i], request.join, &result->records[i])) {
      return rc;
    }
  }
  result->pages.resize(request.ranges.size());
  for (size_t i = 0; i < request.ranges.size(); ++i) {
    if (int rc = read_range(connection, request.ranges[i], request.join, &result->pages[i])) {
      return rc;
    }
  }
  result->homes.resize(request.inodes.size());
  for (size_t i = 0; i < request.inodes.size(); ++i) {
    std::optional<AttributeHome>& home = result->homes[i];
    if (int rc = find_home(connection, request.inodes[i], &home)) return rc;
    if (home && request.join) {
      if (int rc = join_directory(connection, &home->attr)) return rc;
    }
  }
  return SQLITE_OK;
}

int end_snapshot(Connection& connection, int rc) {
  int ended = connection.in_transaction() ? connection.execute(Fixed::kCommit) : SQLITE_OK;
  if (ended != SQLITE_OK && connection.in_transaction()) connection.execute(Fixed::kRollback);
  return rc != SQLITE_OK ? rc : ended;
}

int resolve_all(Connection& connection, Ino directory, const std::vector<std::string>& names,
                std::vector<EntryRecord>* entries) {
  std::optional<Record> record;
  for (const std::string& name : names) {
    record.reset();
    if (int rc = read_record(connection, entry_key(directory, name), true, &record)) return rc;
    if (!record) break;
    entries->push_back(std::get<EntryRecord>(std::move(*record)));
    if (!entries->back().attr.is_dir()) break;
    directory = entries->back().attr.ino;
  }
  return SQLITE_OK;
}

}  // namespace

int read_record(Connection& connection, const Key& key, bool join, std::optional<Record>* record) {
  sqlite3_stmt* s = nullptr;
  if (int rc = connection.statement(key.table, Verb::kSelect, &s)) return rc;
  Rows rows(s);  // while it stands on its row, what is joined comes from the same snapshot
  bind_key(s, key);
  int rc = sqlite3_step(s);
  if (rc == SQLITE_DONE) return SQLITE_OK;
  if (rc != SQLITE_ROW) return rc;
  Record& found = record->emplace();
  if (!column_record(s, key.table, &found)) return SQLITE_CORRUPT;
  return join ? join_record(connection, &found) : SQLITE_OK;
}

int find_home(Connection& connection, Ino ino, std::optional<AttributeHome>* home) {
  for (Table table : {Table::kEntry, Table::kInode, Table::kOrphan}) {
    if (int rc = home_in(connection, table, ino, home)) return rc;
    if (home->has_value()) break;
  }
  return SQLITE_OK;
}

int read_snapshot(Connection& connection, const ReadRequest& request, ReadResult* result) {
  // One key or range is one statement, and its snapshot lasts until it is reset.
  if (request.inodes.empty() && request.keys.size() + request.ranges.size() <= 1) {
    return read_all(connection, request, result);
  }
  if (int rc = connection.execute(Fixed::kBegin)) return rc;
  return end_snapshot(connection, read_all(connection, request, result));
}

int resolve_snapshot(Connection& connection, Ino directory, const std::vector<std::string>& names,
                     std::vector<EntryRecord>* entries) {
  entries->reserve(names.size());
  if (names.size() <= 1) return resolve_all(connection, directory, names, entries);
  if (int rc = connection.execute(Fixed::kBegin)) return rc;
  return end_snapshot(connection, resolve_all(connection, directory, names, entries));
}

}  // namespace skerry::meta::sqlite
