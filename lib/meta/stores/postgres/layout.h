// How records lie in PostgreSQL tables, from which the schema, the reads and the commit function
// are written.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "meta/records.h"

namespace skerry::meta::postgres {

inline constexpr size_t kTables = std::variant_size_v<Record>;

enum class Kind : char {
  kNumber,   // bigint; an unsigned 64-bit value keeps its bits
  kSmall,    // integer; an unsigned 32-bit value keeps its bits
  kBool,     // boolean
  kBytes,    // bytea: compared with memcmp, never by a collation
  kNumbers,  // bigint[]
};

struct Column {
  const char* name;
  Kind kind;
};

struct TableLayout {
  const char* name;
  std::vector<Column> key;
  std::vector<Column> values;
  bool versioned;  // has a column `version`

  std::vector<Column> columns() const;
  /// The column of key field a, b, c (0 to 2); null where the table does not use it.
  const char* field(unsigned position) const;
  bool has_name() const;  // among its key
};
const TableLayout& layout_of(Table table);

/// The columns of Attributes, `ino` first, as in the tables.
const std::vector<Column>& attribute_columns();

/// Of the row `t` of entry: " AND ..." that MoveFile moves it.
const std::string& movable_condition();
/// The attributes of an orphan made of `row`, an entry's; `named`: as columns of their names.
std::vector<std::string> orphan_values(const std::string& row, const std::string& ctime,
                                       bool named = false);

/// "prefix.parent,prefix.name,...".
std::string column_list(const std::vector<Column>& columns, const std::string& prefix);
std::string joined(const std::vector<std::string>& parts, const char* separator);

/// As an SQL identifier, in quotes.
std::string quoted(std::string_view identifier);
/// `text` with the quoted schema for every '@'.
std::string in_schema(std::string_view text, const std::string& schema);

}  // namespace skerry::meta::postgres
