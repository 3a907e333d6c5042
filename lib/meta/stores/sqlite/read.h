// Reads of records over one connection. All return SQLite result codes.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "meta/store.h"
#include "meta/stores/sqlite/connection.h"

namespace skerry::meta::sqlite {

/// Everything asked for, from one snapshot.
int read_snapshot(Connection& connection, const ReadRequest& request, ReadResult* result);
/// See Store::resolve.
int resolve_snapshot(Connection& connection, Ino directory, const std::vector<std::string>& names,
                     std::vector<EntryRecord>* entries);

/// Inside the caller's transaction.
int find_home(Connection& connection, Ino ino, std::optional<AttributeHome>* home);
int read_record(Connection& connection, const Key& key, bool join, std::optional<Record>* record);

}  // namespace skerry::meta::sqlite
