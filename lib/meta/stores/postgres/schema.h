// The tables and functions of a volume, as SQL.
#pragma once

#include <string>

namespace skerry::meta::postgres {

/// Of the tables and functions together. A client that knows only smaller ones refuses.
///   2  commit_1 moves files by name (kMove of program.h)
inline constexpr int kSchemaVersion = 2;

/// Makes the schema's contents; the schema itself is there and empty.
std::string schema_sql(const std::string& schema);
/// Brings what an earlier version made up to this one, in one transaction. Clients of the earlier
/// version that have the volume open go on: what they call is there.
std::string migration_sql(const std::string& schema);
/// The functions that apply a commit; see commit_function.cc. '@' stands for the schema.
std::string commit_function_sql();

}  // namespace skerry::meta::postgres
