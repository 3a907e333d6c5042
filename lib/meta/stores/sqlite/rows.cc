#include "meta/stores/sqlite/rows.h"

#include <array>
#include <vector>

#include "meta/stores/plain_rows.h"

namespace skerry::meta::sqlite {

namespace {

#define SKERRY_ATTRIBUTES \
  "type,mode,uid,gid,nlink,flags,shards,rdev,length,atime,mtime,ctime,btime,version"

constexpr std::array<TableLayout, kTables> kLayouts = {{
    {"volume", nullptr, nullptr, nullptr, "name", "value,number,version", 4, true},
    {"entry", "parent", nullptr, nullptr, "name", "linked,ino," SKERRY_ATTRIBUTES, 18, true},
    {"inode", "ino", nullptr, nullptr, nullptr, SKERRY_ATTRIBUTES, 15, true},
    {"orphan", "ino", nullptr, nullptr, nullptr, SKERRY_ATTRIBUTES ",epoch", 16, true},
    {"link", "ino", "parent", nullptr, "name", "", 3, false},
    {"dirstat", "ino", "shard", nullptr, nullptr, "mtime,subdirs,entries", 5, false},
    {"extent", "ino", "chunk", "seq", nullptr, "extents", 4, false},
    {"object", "id", nullptr, nullptr, nullptr, "refs,version", 3, true},
    {"inline", "ino", nullptr, nullptr, nullptr, "crc,bytes", 3, false},
    {"symlink", "ino", nullptr, nullptr, nullptr, "target", 2, false},
    {"xattr", "ino", nullptr, nullptr, "name", "value", 3, false},
    {"client", "id", nullptr, nullptr, nullptr,
     "heartbeat,epoch_seen,first_object,host,pid,software", 7, false},
    {"pin", "client", "ino", nullptr, nullptr, "", 2, false},
    {"garbage", "epoch", "object", nullptr, nullptr, "", 2, false},
    {"usage", "scope", "client", nullptr, nullptr, "bytes,inodes", 4, false},
    {"lock", "client", "ino", nullptr, nullptr, "locks", 3, false},
    {"locked", "ino", nullptr, nullptr, nullptr, "version,clients", 3, true},
}};
#undef SKERRY_ATTRIBUTES

std::vector<std::string> key_columns(const TableLayout& t) {
  std::vector<std::string> columns;
  for (const char* column : {t.a, t.b, t.c, t.key_name}) {
    if (column != nullptr) columns.emplace_back(column);
  }
  return columns;
}

std::vector<std::string> all_columns(const TableLayout& t) {
  std::vector<std::string> columns = key_columns(t);
  std::string values = t.values;
  while (!values.empty()) {
    size_t comma = values.find(',');
    columns.push_back(values.substr(0, comma));
    values = comma == std::string::npos ? "" : values.substr(comma + 1);
  }
  return columns;
}

std::string joined(const std::vector<std::string>& parts, const char* separator) {
  std::string out;
  for (const std::string& part : parts) {
    if (!out.empty()) out += separator;
    out += part;
  }
  return out;
}

std::string parameter(size_t i) { return "?" + std::to_string(i); }

// "ino=?1 AND chunk=?2"
std::string key_condition(const TableLayout& t) {
  std::vector<std::string> terms = key_columns(t);
  for (size_t i = 0; i < terms.size(); ++i) terms[i] += "=" + parameter(i + 1);
  return joined(terms, " AND ");
}

// The version, and for entries the inode, in the parameters from `next` on.
std::string version_condition(const TableLayout& t, size_t next) {
  std::string out = " AND version=" + parameter(next);
  if (&t == &layout_of(Table::kEntry)) out += " AND ino=" + parameter(next + 1);
  return out;
}

std::string insert_sql(const TableLayout& t) {
  std::vector<std::string> columns = all_columns(t);
  std::vector<std::string> parameters;
  for (size_t i = 1; i <= columns.size(); ++i) parameters.push_back(parameter(i));
  return std::string("INSERT INTO ") + t.name + "(" + joined(columns, ",") + ") VALUES(" +
         joined(parameters, ",") + ")";
}

// "type=?3,mode=?4": every column that is not of the key.
std::string assignments(const TableLayout& t, bool from_excluded) {
  std::vector<std::string> columns = all_columns(t);
  const size_t keys = key_columns(t).size();
  std::vector<std::string> out;
  for (size_t i = keys; i < columns.size(); ++i) {
    out.push_back(columns[i] + "=" + (from_excluded ? "excluded." + columns[i] : parameter(i + 1)));
  }
  return joined(out, ",");
}

std::string upsert_sql(const TableLayout& t) {
  std::string sql = insert_sql(t) + " ON CONFLICT(" + joined(key_columns(t), ",") + ") DO ";
  return *t.values == '\0' ? sql + "NOTHING" : sql + "UPDATE SET " + assignments(t, true);
}

std::string delete_range_sql(const TableLayout& t, unsigned variant) {
  std::string sql = std::string("DELETE FROM ") + t.name + " WHERE " +
                    (t.a != nullptr ? std::string(t.a) + "=?1" : "1");
  if ((variant & 1) && t.b != nullptr) sql += std::string(" AND ") + t.b + "=?2";
  if ((variant & 2) && t.c != nullptr) sql += std::string(" AND ") + t.c + "<=?3";
  return sql;
}

std::string range_sql(const TableLayout& t, unsigned variant) {
  const unsigned prefix = variant / 4;
  const bool after = variant & 2;
  const bool bare = variant & 1;
  std::vector<std::string> terms;
  std::vector<std::string> rest, rest_parameters;
  auto field = [&](const char* column, unsigned position, int number) {
    if (column == nullptr) return;
    if (position < prefix) {
      terms.push_back(std::string(column) + "=" + parameter(position + 1));
    } else {
      rest.emplace_back(column);
      rest_parameters.push_back(parameter(number));
    }
  };
  field(t.a, 0, kAfterA);
  field(t.b, 1, kAfterB);
  field(t.c, 2, kAfterC);
  field(t.key_name, 3, kAfterName);
  if (after && !rest.empty()) {
    terms.push_back("(" + joined(rest, ",") + ")>(" + joined(rest_parameters, ",") + ")");
  }
  if (prefix == 0 && t.a != nullptr) {
    terms.push_back(std::string(t.a) + "<=" + parameter(kRangeMaxA));
  }
  std::string where = terms.empty() ? "" : " WHERE " + joined(terms, " AND ");
  return "SELECT " + (bare ? "parent,name,ino,type" : joined(all_columns(t), ",")) + " FROM " +
         t.name + where + " ORDER BY " + joined(key_columns(t), ",") + " LIMIT " +
         parameter(kRangeLimit);
}

}  // namespace

const TableLayout& layout_of(Table table) { return kLayouts[static_cast<size_t>(table)]; }

std::string statement_sql(Table table, Verb verb) {
  const TableLayout& t = layout_of(table);
  const std::string name = t.name;
  const size_t keys = key_columns(t).size();
  switch (verb) {
    case Verb::kSelect:
      return "SELECT " + joined(all_columns(t), ",") + " FROM " + name + " WHERE " +
             key_condition(t);
    case Verb::kExists:
      return "SELECT 1 FROM " + name + " WHERE " + key_condition(t);
    case Verb::kAny:
      return "SELECT 1 FROM " + name +
             (t.a != nullptr ? " WHERE " + std::string(t.a) + "=?1" : "") + " LIMIT 1";
    case Verb::kInsert:
      return insert_sql(t);
    case Verb::kUpsert:
      return upsert_sql(t);
    case Verb::kUpdateVersion:
      return "UPDATE " + name + " SET " + assignments(t, false) + " WHERE " + key_condition(t) +
             version_condition(t, static_cast<size_t>(t.columns) + 1);
    case Verb::kDelete:
      return "DELETE FROM " + name + " WHERE " + key_condition(t);
    case Verb::kDeleteVersion:
      return "DELETE FROM " + name + " WHERE " + key_condition(t) + version_condition(t, keys + 1);
    default:
      break;
  }
  const auto number = static_cast<unsigned>(verb);
  const auto first_range = static_cast<unsigned>(Verb::kRange);
  if (number < first_range) {
    return delete_range_sql(t, number - static_cast<unsigned>(Verb::kDeleteRange));
  }
  return range_sql(t, number - first_range);
}

int bind_key(sqlite3_stmt* s, const Key& key) {
  const TableLayout& t = layout_of(key.table);
  int i = 1;
  if (t.a != nullptr) bind_value(s, i++, key.a);
  if (t.b != nullptr) bind_value(s, i++, key.b);
  if (t.c != nullptr) bind_value(s, i++, key.c);
  if (t.key_name != nullptr) bind_value(s, i++, key.name);
  return i;
}

void bind_attributes(sqlite3_stmt* s, int i, const Attributes& attr) {
  bind_value(s, i, attr.ino);
  bind_value(s, i + 1, static_cast<uint32_t>(attr.type));
  bind_value(s, i + 2, attr.mode);
  bind_value(s, i + 3, attr.uid);
  bind_value(s, i + 4, attr.gid);
  bind_value(s, i + 5, attr.nlink);
  bind_value(s, i + 6, attr.flags);
  bind_value(s, i + 7, attr.shards);
  bind_value(s, i + 8, attr.rdev);
  bind_value(s, i + 9, attr.length);
  bind_value(s, i + 10, attr.atime_ns);
  bind_value(s, i + 11, attr.mtime_ns);
  bind_value(s, i + 12, attr.ctime_ns);
  bind_value(s, i + 13, attr.btime_ns);
  bind_value(s, i + 14, attr.version);
}

Attributes column_attributes(sqlite3_stmt* s, int i) {
  Attributes attr;
  auto u32 = [s](int column) { return static_cast<uint32_t>(sqlite3_column_int64(s, column)); };
  attr.ino = column_u64(s, i);
  attr.type = static_cast<FileType>(u32(i + 1));
  attr.mode = u32(i + 2);
  attr.uid = u32(i + 3);
  attr.gid = u32(i + 4);
  attr.nlink = u32(i + 5);
  attr.flags = u32(i + 6);
  attr.shards = u32(i + 7);
  attr.rdev = column_u64(s, i + 8);
  attr.length = column_u64(s, i + 9);
  attr.atime_ns = sqlite3_column_int64(s, i + 10);
  attr.mtime_ns = sqlite3_column_int64(s, i + 11);
  attr.ctime_ns = sqlite3_column_int64(s, i + 12);
  attr.btime_ns = sqlite3_column_int64(s, i + 13);
  attr.version = column_u64(s, i + 14);
  return attr;
}

std::string column_bytes(sqlite3_stmt* s, int column) {
  const void* data = sqlite3_column_blob(s, column);
  const int size = sqlite3_column_bytes(s, column);
  return data == nullptr ? std::string()
                         : std::string(static_cast<const char*>(data), static_cast<size_t>(size));
}

namespace {

struct BindRecord {
  sqlite3_stmt* s;
  std::string* encoded;

  template <typename... Values>
  int all(const Values&... values) const {
    int i = 1;
    (bind_value(s, i++, values), ...);
    return i;
  }
  int operator()(const VolumeRecord& r) const { return all(r.name, r.value, r.number, r.version); }
  int operator()(const EntryRecord& r) const {
    bind_attributes(s, all(r.parent, r.name, uint32_t{r.linked}), r.attr);
    bind_value(s, 3 + kAttributeColumnCount, r.version);
    return 4 + kAttributeColumnCount;
  }
  int operator()(const InodeRecord& r) const {
    bind_attributes(s, 1, r.attr);
    return 1 + kAttributeColumnCount;
  }
  int operator()(const OrphanRecord& r) const {
    bind_attributes(s, 1, r.attr);
    bind_value(s, 1 + kAttributeColumnCount, r.epoch);
    return 2 + kAttributeColumnCount;
  }
  int operator()(const LinkRecord& r) const { return all(r.ino, r.parent, r.name); }
  int operator()(const DirStatRecord& r) const {
    return all(r.ino, r.shard, r.mtime_ns, r.subdirs, r.entries);
  }
  int operator()(const ExtentRecord& r) const {
    *encoded = encode_extents(r.extents);
    return all(r.ino, r.chunk, r.seq, *encoded);
  }
  int operator()(const ObjectRecord& r) const { return all(r.id, r.references, r.version); }
  int operator()(const InlineRecord& r) const { return all(r.ino, r.crc, r.bytes); }
  int operator()(const SymlinkRecord& r) const { return all(r.ino, r.target); }
  int operator()(const XattrRecord& r) const { return all(r.ino, r.name, r.value); }
  int operator()(const ClientRecord& r) const {
    return all(r.id, r.heartbeat_ns, r.epoch_seen, r.first_object, r.host, r.pid, r.software);
  }
  int operator()(const PinRecord& r) const { return all(r.client, r.ino); }
  int operator()(const GarbageRecord& r) const { return all(r.epoch, r.object); }
  int operator()(const UsageRecord& r) const { return all(r.scope, r.client, r.bytes, r.inodes); }
  int operator()(const LockRecord& r) const {
    *encoded = encode_locks(r.locks);
    return all(r.client, r.ino, *encoded);
  }
  int operator()(const LockedRecord& r) const {
    *encoded = encode_clients(r.clients);
    return all(r.ino, r.version, *encoded);
  }
};

}  // namespace

int bind_record(sqlite3_stmt* s, const Record& record, std::string* encoded) {
  return std::visit(BindRecord{s, encoded}, record);
}

EntryRecord column_bare_entry(sqlite3_stmt* s) {
  EntryRecord entry;
  entry.parent = column_u64(s, 0);
  entry.name = column_bytes(s, 1);
  entry.attr.ino = column_u64(s, 2);
  entry.attr.type = static_cast<FileType>(column_u64(s, 3));
  return entry;
}

bool column_record(sqlite3_stmt* s, Table table, Record* out) {
  auto u = [s](int i) { return column_u64(s, i); };
  auto n = [s](int i) -> int64_t { return sqlite3_column_int64(s, i); };
  auto bytes = [s](int i) { return column_bytes(s, i); };
  switch (table) {
    case Table::kEntry: {
      EntryRecord r{u(0), bytes(1), u(2) != 0, 1, column_attributes(s, 3)};
      r.version = r.attr.version;
      *out = std::move(r);
      return true;
    }
    case Table::kInode:
      *out = InodeRecord{column_attributes(s, 0)};
      return true;
    case Table::kOrphan:
      *out = OrphanRecord{column_attributes(s, 0), u(kAttributeColumnCount)};
      return true;
    case Table::kExtent: {
      ExtentRecord r{u(0), u(1), u(2), {}};
      bool whole = decode_extents(bytes(3), &r.extents);
      *out = std::move(r);
      return whole;
    }
    case Table::kLock: {
      LockRecord r{u(0), u(1), {}};
      bool whole = decode_locks(bytes(2), &r.locks);
      *out = std::move(r);
      return whole;
    }
    case Table::kLocked: {
      LockedRecord r{u(0), u(1), {}};
      bool whole = decode_clients(bytes(2), &r.clients);
      *out = std::move(r);
      return whole;
    }
    default:
      return read_plain_row(table, u, n, bytes, out);
  }
}

}  // namespace skerry::meta::sqlite
