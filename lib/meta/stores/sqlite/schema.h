// The tables of a volume, and how a database says that it is one.
#pragma once

#include <cstdint>

namespace skerry::meta::sqlite {

inline constexpr int32_t kApplicationId = 0x534b5259;  // "SKRY"
inline constexpr int32_t kSchemaVersion = 1;           // of the newest layout this code knows

/// Creates all tables and marks the database; runs inside a transaction.
extern const char kSchemaSql[];

}  // namespace skerry::meta::sqlite
