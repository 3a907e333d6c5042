// The floor for metadata: bare SQLite, the same tables, rows and settings as a volume's, prepared
// statements, no file system.
#pragma once

#include <sqlite3.h>

#include <string>

#include "bench.h"

namespace bench {

class Statement {
 public:
  Statement(sqlite3* db, const std::string& sql) : db_(db) {
    must(sqlite3_prepare_v3(db, sql.c_str(), -1, SQLITE_PREPARE_PERSISTENT, &statement_, nullptr) ==
             SQLITE_OK,
         "prepare " + sql + ": " + sqlite3_errmsg(db));
  }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;

  Statement& bind(int i, int64_t v) {
    sqlite3_bind_int64(statement_, i, v);
    return *this;
  }
  Statement& blob(int i, const std::string& v) {
    sqlite3_bind_blob(statement_, i, v.data(), static_cast<int>(v.size()), SQLITE_STATIC);
    return *this;
  }
  bool step() {
    int rc = sqlite3_step(statement_);
    must(rc == SQLITE_ROW || rc == SQLITE_DONE, std::string("step: ") + sqlite3_errmsg(db_));
    return rc == SQLITE_ROW;
  }
  int64_t column(int i) { return sqlite3_column_int64(statement_, i); }
  void reset() { sqlite3_reset(statement_); }
  void run() {
    step();
    reset();
  }

 private:
  sqlite3* db_;
  sqlite3_stmt* statement_ = nullptr;
};

/// Opens the database file of a volume (so the tables are the volume's own) with plain SQLite.
class BareSqlite {
 public:
  explicit BareSqlite(const std::string& path) {
    must(sqlite3_open_v2(path.c_str(), &db_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
                         nullptr) == SQLITE_OK,
         "open " + path);
    sqlite3_busy_timeout(db_, 10000);
    for (const char* sql : {"PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL",
                            "PRAGMA cache_size=-65536", "PRAGMA wal_autocheckpoint=4000"})
      exec(sql);
  }
  ~BareSqlite() { sqlite3_close(db_); }
  BareSqlite(const BareSqlite&) = delete;

  void exec(const char* sql) {
    must(sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) == SQLITE_OK,
         std::string(sql) + ": " + sqlite3_errmsg(db_));
  }
  sqlite3* get() { return db_; }

 private:
  sqlite3* db_ = nullptr;
};

inline const char* const kInsertEntry =
    "INSERT INTO entry(parent,name,linked,ino,type,mode,uid,gid,nlink,flags,shards,rdev,length,"
    "atime,mtime,ctime,btime,version) VALUES(?1,?2,0,?3,1,420,0,0,1,0,0,0,0,?4,?4,?4,?4,1)";
inline const char* const kAddDirstat =
    "UPDATE dirstat SET mtime=max(mtime,?2),entries=entries+?3 WHERE ino=?1 AND shard=0";
inline const char* const kAddUsage =
    "INSERT INTO usage(scope,client,bytes,inodes) VALUES(0,?1,0,?2) ON CONFLICT(scope,client) DO "
    "UPDATE SET inodes=inodes+excluded.inodes";
inline const char* const kSelectEntry =
    "SELECT linked,ino,type,mode,uid,gid,nlink,flags,shards,rdev,length,atime,mtime,ctime,btime,"
    "version FROM entry WHERE parent=?1 AND name=?2";
inline const char* const kDeleteEntry = "DELETE FROM entry WHERE parent=?1 AND name=?2";
inline const char* const kInsertOrphan =
    "INSERT INTO orphan(ino,type,mode,uid,gid,nlink,flags,shards,rdev,length,atime,mtime,ctime,"
    "btime,version,epoch) VALUES(?1,1,420,0,0,0,0,0,0,0,?2,?2,?2,?2,2,1)";

}  // namespace bench
