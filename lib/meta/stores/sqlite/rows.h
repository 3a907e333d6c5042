// How records lie in SQL tables: columns, parameters and the statements made from them.
#pragma once

#include <sqlite3.h>

#include <string>

#include "meta/records.h"

namespace skerry::meta::sqlite {

inline constexpr size_t kTables = std::variant_size_v<Record>;

/// Columns of a table: those of the key (null where the table does not use the field), then others.
struct TableLayout {
  const char* name;
  const char* a;
  const char* b;
  const char* c;
  const char* key_name;
  const char* values;  // separated by commas; empty if there are none
  int columns;         // of the key and the values together
  bool versioned;      // has a column `version`
};
const TableLayout& layout_of(Table table);

/// Statements that exist for every table. Parameters are named where they are bound: in rows.cc for
/// keys and records, beside each use for others.
enum class Verb : uint8_t {
  kSelect,  // by key
  kExists,  // by key
  kAny,     // by a
  kInsert,  // fails if the key is there
  kUpsert,
  kUpdateVersion,  // the record, then the version (and inode) it must have
  kDelete,         // by key
  kDeleteVersion,
  kDeleteRange,               // + 1 with b, + 2 with max_c
  kRange = kDeleteRange + 4,  // + 4 * prefix_fields + 2 with `after` + 1 without attributes
  kCount = kRange + 12,
};
inline Verb operator+(Verb verb, unsigned n) {
  return static_cast<Verb>(static_cast<unsigned>(verb) + n);
}
std::string statement_sql(Table table, Verb verb);

// Parameter numbers of kRange.
inline constexpr int kRangeA = 1, kRangeB = 2, kAfterA = 3, kAfterB = 4, kAfterC = 5,
                     kAfterName = 6, kRangeMaxA = 7, kRangeLimit = 8;

inline void bind_value(sqlite3_stmt* s, int i, uint64_t v) {
  sqlite3_bind_int64(s, i, static_cast<sqlite3_int64>(v));
}
inline void bind_value(sqlite3_stmt* s, int i, int64_t v) { sqlite3_bind_int64(s, i, v); }
inline void bind_value(sqlite3_stmt* s, int i, uint32_t v) { sqlite3_bind_int64(s, i, v); }
/// `v` is borrowed until the statement was stepped.
inline void bind_value(sqlite3_stmt* s, int i, const std::string& v) {
  sqlite3_bind_blob64(s, i, v.data(), v.size(), SQLITE_STATIC);
}

/// Binds the key's columns from ?1 on; returns the next number.
int bind_key(sqlite3_stmt* s, const Key& key);
/// Binds all columns, with `encoded` as scratch that outlives the step; returns the next number.
int bind_record(sqlite3_stmt* s, const Record& record, std::string* encoded);

/// The attributes in columns from `column` on.
void bind_attributes(sqlite3_stmt* s, int parameter, const Attributes& attr);
Attributes column_attributes(sqlite3_stmt* s, int column);
std::string column_bytes(sqlite3_stmt* s, int column);
inline uint64_t column_u64(sqlite3_stmt* s, int column) {
  return static_cast<uint64_t>(sqlite3_column_int64(s, column));
}
/// The record of the row `s` stands on. False if it is malformed.
bool column_record(sqlite3_stmt* s, Table table, Record* record);
/// The same for a kRange without attributes.
EntryRecord column_bare_entry(sqlite3_stmt* s);

/// "ino,type,...,version": as bind_attributes counts them.
inline constexpr char kAttributeColumns[] =
    "ino,type,mode,uid,gid,nlink,flags,shards,rdev,length,atime,mtime,ctime,btime,version";
inline constexpr int kAttributeColumnCount = 15;

}  // namespace skerry::meta::sqlite
