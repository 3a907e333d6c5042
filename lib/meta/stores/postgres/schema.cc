#include "meta/stores/postgres/schema.h"

#include "meta/stores/postgres/layout.h"

namespace skerry::meta::postgres {

namespace {

// Small and written again and again. Room in the pages, so that an update finds it in its own page
// and touches no index (HOT). Vacuum after a thousand dead rows and not after a share of the table:
// whoever reads a hot row passes the dead versions before it.
constexpr char kHot[] =
    " WITH (fillfactor=50, autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=1000,"
    " autovacuum_analyze_scale_factor=0.5)";
// Changed now and then (a file's length and times), read far more often, and large.
constexpr char kWarm[] = " WITH (fillfactor=90, autovacuum_vacuum_scale_factor=0.05)";
// Rows come and go: what is gone must not pile up at the front of the index, where the reclaimer
// reads.
constexpr char kQueue[] =
    " WITH (autovacuum_vacuum_scale_factor=0.01, autovacuum_vacuum_threshold=5000)";

const char* settings_of(Table table) {
  switch (table) {
    case Table::kVolume:
    case Table::kDirStat:
    case Table::kClient:
    case Table::kUsage:
    case Table::kLocked:
    case Table::kLock:
      return kHot;
    case Table::kEntry:
    case Table::kInode:
    case Table::kOrphan:
      return kWarm;
    case Table::kGarbage:
    case Table::kPin:
    case Table::kObject:
      return kQueue;
    default:
      return "";
  }
}

const char* type_of(Kind kind) {
  switch (kind) {
    case Kind::kNumber:
      return "bigint NOT NULL";
    case Kind::kSmall:
      return "integer NOT NULL";
    case Kind::kBool:
      return "boolean NOT NULL";
    case Kind::kBytes:
      return "bytea NOT NULL";
    default:
      return "bigint[] NOT NULL";
  }
}

// Defaults let a commit put a row that is nothing but a key; see kExpectAbsent in program.h. An
// entry made so is `linked`, which keeps it out of entry_ino.
const char* default_of(Kind kind) {
  switch (kind) {
    case Kind::kNumber:
    case Kind::kSmall:
      return " DEFAULT 0";
    case Kind::kBool:
      return " DEFAULT true";
    case Kind::kBytes:
      return " DEFAULT ''";
    default:
      return " DEFAULT '{}'";
  }
}

std::string table_sql(Table table) {
  const TableLayout& t = layout_of(table);
  std::string sql = std::string("CREATE TABLE @.") + t.name + "(\n";
  for (const Column& column : t.key) {
    sql += std::string("  ") + column.name + " " + type_of(column.kind) + ",\n";
  }
  for (const Column& column : t.values) {
    sql += std::string("  ") + column.name + " " + type_of(column.kind) + default_of(column.kind) +
           ",\n";
  }
  return sql + "  PRIMARY KEY(" + column_list(t.key, "") + ")\n)" + settings_of(table) + ";\n";
}

constexpr char kFirst[] = R"sql(
CREATE TABLE @.skerry_layout(version integer NOT NULL);

-- The volume's only clock, in nanoseconds since 1970.
CREATE FUNCTION @.now_ns() RETURNS bigint LANGUAGE sql VOLATILE
AS $$ SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::bigint * 1000 $$;
)sql";

constexpr char kLast[] = R"sql(
-- Where the attributes of an inode are that has one name.
CREATE UNIQUE INDEX entry_ino ON @.entry(ino) WHERE NOT linked;

-- Answers of commits, for who asks again because the first answer was lost. NULL: whoever sent it
-- was told that it is not applied, so it must not be any more, however late it arrives.
CREATE TABLE @.request(
  high bigint NOT NULL, low bigint NOT NULL,
  created timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  outcomes bigint[],
  PRIMARY KEY(high, low)
) WITH (autovacuum_vacuum_scale_factor=0.01, autovacuum_vacuum_threshold=5000);
CREATE INDEX request_created ON @.request(created);

COMMENT ON COLUMN @.entry.type IS
  '1 file, 2 directory, 3 symlink, 4 fifo, 5 socket, 6 character device, 7 block device';
COMMENT ON COLUMN @.entry.linked IS 'the attributes are in table inode';
COMMENT ON COLUMN @.extent.extents IS
  'seven numbers each: offset in the chunk, length, object (0: zeros), offset in the object, '
  'length of the slice, where in the slice it begins, CRC-32C of the slice';
)sql";

}  // namespace

std::string schema_sql(const std::string& schema) {
  std::string sql = kFirst;
  for (size_t i = 0; i < kTables; ++i) sql += table_sql(static_cast<Table>(i));
  sql += kLast;
  sql += commit_function_sql();
  sql += "INSERT INTO @.skerry_layout VALUES(" + std::to_string(kSchemaVersion) + ");\n";
  return in_schema(sql, schema);
}

std::string migration_sql(const std::string& schema) {
  const std::string version = std::to_string(kSchemaVersion);
  // The row is locked first, so one client after the other comes to the functions.
  return in_schema("UPDATE @.skerry_layout SET version=" + version + " WHERE version<" + version +
                       ";\n" + commit_function_sql(),
                   schema);
}

}  // namespace skerry::meta::postgres
