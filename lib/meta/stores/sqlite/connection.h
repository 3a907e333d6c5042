// One SQLite connection with its prepared statements. Used by one thread at a time, inside the fork
// gate (fork_gate.h).
#pragma once

#include <sqlite3.h>

#include <array>
#include <memory>
#include <string>

#include "base/result.h"
#include "meta/stores/sqlite/rows.h"
#include "meta/stores/sqlite/vfs_ofd.h"

namespace skerry::meta::sqlite {

/// Statements that are not made from a table's layout.
enum class Fixed : uint8_t {
  kBegin,
  kBeginImmediate,
  kCommit,
  kRollback,
  kSavepoint,
  kRelease,
  kRollbackTo,
  kHomeEntry,     // ?1 ino: parent, name, attributes
  kUpdateEntry,   // ?1 parent, ?2 name, ?3.. what a Patch can change
  kUpdateInode,   // ?1 ino, ?3..
  kUpdateOrphan,  // ?1 ino, ?3..
  kDirStats,      // ?1 ino: mtime, subdirs of each shard
  kAddDirStat,    // ?1 ino, ?2 shard, ?3 mtime, ?4 subdirs, ?5 entries
  kAddUsage,      // ?1 scope, ?2 client, ?3 bytes, ?4 inodes
  kCountExtents,  // ?1 ino, ?2 chunk, ?3 last seq
  kFindRequest,   // ?1 high, ?2 low: outcomes
  kAddRequest,    // ?1 high, ?2 low, ?3 outcomes
  kTrimRequests,  // ?1 how many to keep
  kCount,
};

/// Whether `rc` says that another connection is in the way, and waiting helps.
bool is_busy(int rc);

/// What went wrong as an errno and a sentence that names `path`.
Error error_of(sqlite3* db, int rc, const std::string& path);

class Connection {
 public:
  struct Settings {
    std::string path;
    VfsHooks hooks;
    uint64_t cache_bytes = 0;
    int checkpoint_pages = 0;  // 0: never checkpoints by itself
    bool create = false;       // the file may be made
  };

  static Result<std::unique_ptr<Connection>> open(const Settings& settings);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  sqlite3* db() { return db_; }
  const std::string& path() const { return path_; }
  Error error(int rc) { return error_of(db_, rc, path_); }

  /// Prepares on first use. An SQLite result code.
  int statement(Table table, Verb verb, sqlite3_stmt** out);
  int statement(Fixed fixed, sqlite3_stmt** out);
  /// Steps a statement without parameters and rows.
  int execute(Fixed fixed);
  /// Runs SQL text. An SQLite result code.
  int execute(const char* sql) { return sqlite3_exec(db_, sql, nullptr, nullptr, nullptr); }
  /// The first column of the first row.
  int query_number(const char* sql, int64_t* out);
  bool in_transaction() { return sqlite3_get_autocommit(db_) == 0; }

 private:
  Connection(sqlite3* db, std::string path) : db_(db), path_(std::move(path)) {}

  sqlite3* db_;
  std::string path_;
  std::array<std::array<sqlite3_stmt*, static_cast<size_t>(Verb::kCount)>, kTables> verbs_{};
  std::array<sqlite3_stmt*, static_cast<size_t>(Fixed::kCount)> fixed_{};
};

/// Resets a statement when done with its rows; until then it holds a snapshot open.
class Rows {
 public:
  explicit Rows(sqlite3_stmt* s) : s_(s) {}
  ~Rows() { sqlite3_reset(s_); }
  Rows(const Rows&) = delete;
  Rows& operator=(const Rows&) = delete;

 private:
  sqlite3_stmt* s_;
};

}  // namespace skerry::meta::sqlite
