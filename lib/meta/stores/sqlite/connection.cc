#include "meta/stores/sqlite/connection.h"

namespace skerry::meta::sqlite {

namespace {

#define SKERRY_CHANGEABLE                                                                       \
  "mode=?3,uid=?4,gid=?5,nlink=?6,flags=?7,length=?8,atime=?9,mtime=?10,ctime=?11,version=?12 " \
  "WHERE "

constexpr std::array<const char*, static_cast<size_t>(Fixed::kCount)> kFixedSql = {
    "BEGIN",
    "BEGIN IMMEDIATE",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT one",
    "RELEASE one",
    "ROLLBACK TO one",
    "SELECT parent,name,ino,type,mode,uid,gid,nlink,flags,shards,rdev,length,atime,mtime,ctime,"
    "btime,version FROM entry WHERE ino=?1 AND linked=0",
    "UPDATE entry SET " SKERRY_CHANGEABLE "parent=?1 AND name=?2",
    "UPDATE inode SET " SKERRY_CHANGEABLE "ino=?1",
    "UPDATE orphan SET " SKERRY_CHANGEABLE "ino=?1",
    "SELECT mtime,subdirs FROM dirstat WHERE ino=?1",
    "UPDATE dirstat SET mtime=max(mtime,?3),subdirs=subdirs+?4,entries=entries+?5 "
    "WHERE ino=?1 AND shard=?2",
    "UPDATE usage SET bytes=bytes+?3,inodes=inodes+?4 WHERE scope=?1 AND client=?2",
    "SELECT count(*) FROM extent WHERE ino=?1 AND chunk=?2 AND seq<=?3",
    "SELECT outcomes FROM request WHERE high=?1 AND low=?2",
    "INSERT INTO request(high,low,outcomes) VALUES(?1,?2,?3)",
    "DELETE FROM request WHERE number<=(SELECT max(number) FROM request)-?1",
};
#undef SKERRY_CHANGEABLE

int prepare(sqlite3* db, const char* sql, sqlite3_stmt** out) {
  return sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, nullptr);
}

Error open_error(const std::string& path) {
  switch (cause_of_failure()) {
    case EMFILE:
    case ENFILE:
      return Error(EMFILE, "database " + path +
                               ": no file descriptor is left; raise the limit (ulimit -n) or "
                               "close files");
    case ENOENT:
    case ENOTDIR:
      return Error(ENOENT, "database " + path + " does not exist; create the volume first");
    case EACCES:
    case EPERM:
      return Error(EACCES, "database " + path + " may not be opened by this user");
    case EISDIR:
      return Error(EISDIR, "database " + path + " is a directory; name a file");
    case ENOSPC:
    case EDQUOT:
      return Error(ENOSPC, "database " + path + ": no space for its WAL files");
    default:
      return Error(EIO, "database " + path + " or a file beside it cannot be opened");
  }
}

}  // namespace

bool is_busy(int rc) {
  const int primary = rc & 0xff;
  return primary == SQLITE_BUSY || primary == SQLITE_LOCKED || primary == SQLITE_PROTOCOL;
}

Error error_of(sqlite3* db, int rc, const std::string& path) {
  const std::string where = "database " + path;
  if (is_busy(rc)) {
    return Error(ETIMEDOUT, where +
                                ": another process held its write lock for too long; look for one "
                                "that is stopped in a transaction")
        .set_retryable();
  }
  switch (rc & 0xff) {
    case SQLITE_FULL:
      return Error(ENOSPC, where + ": no space is left; free some and try again");
    case SQLITE_READONLY:
      return Error(EROFS, where + " cannot be written: the file or its file system is read-only");
    case SQLITE_NOMEM:
      return Error(ENOMEM, where + ": out of memory");
    case SQLITE_CORRUPT:
      return Error(EIO, where +
                            " is damaged; copy it away and restore a backup (PRAGMA "
                            "integrity_check lists the damage)");
    case SQLITE_NOTADB:
      return Error(EINVAL, where + " is not an SQLite database; name another file");
    case SQLITE_CANTOPEN:
      return open_error(path);
    case SQLITE_IOERR: {
      if (rc == SQLITE_IOERR_NOMEM) return Error(ENOMEM, where + ": out of memory");
      const int cause = rc == SQLITE_IOERR_SHORT_READ ? 0 : cause_of_failure();
      if (cause == ENOSPC || cause == EDQUOT) {
        return Error(ENOSPC, where + ": no space is left; free some and try again");
      }
      if (cause == EMFILE || cause == ENFILE) return open_error(path);
      if (cause == EFBIG) {
        return Error(EFBIG, where +
                                ": the process may not write files that large; raise the limit "
                                "(ulimit -f)");
      }
      return Error(EIO, where + ": input or output failed (" + sqlite3_errstr(rc) + ")");
    }
    default:
      return Error(EIO, where + ": " + (db == nullptr ? sqlite3_errstr(rc) : sqlite3_errmsg(db)));
  }
}

Result<std::unique_ptr<Connection>> Connection::open(const Settings& settings) {
  if (int rc = register_ofd_vfs()) return error_of(nullptr, rc, settings.path);
  VfsHooksScope scope(settings.hooks);
  sqlite3* db = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
                    (settings.create ? SQLITE_OPEN_CREATE : 0);
  int rc = sqlite3_open_v2(settings.path.c_str(), &db, flags, kVfsName);
  if (rc != SQLITE_OK) {
    Error error = error_of(db, rc, settings.path);
    sqlite3_close(db);
    return error;
  }
  auto connection = std::unique_ptr<Connection>(new Connection(db, settings.path));
  sqlite3_busy_timeout(db, 0);  // waiting is done outside the fork gate, see commit_queue.h
  sqlite3_wal_autocheckpoint(db, settings.checkpoint_pages);
  const std::string pragmas =
      "PRAGMA synchronous=NORMAL; PRAGMA temp_store=MEMORY; PRAGMA mmap_size=0; "
      "PRAGMA trusted_schema=OFF; PRAGMA cache_size=-" +
      std::to_string(settings.cache_bytes / 1024);
  rc = connection->execute(pragmas.c_str());
  if (rc != SQLITE_OK && !is_busy(rc)) return connection->error(rc);
  return connection;
}

Connection::~Connection() {
  for (auto& table : verbs_) {
    for (sqlite3_stmt* s : table) sqlite3_finalize(s);
  }
  for (sqlite3_stmt* s : fixed_) sqlite3_finalize(s);
  sqlite3_close(db_);
}

int Connection::statement(Table table, Verb verb, sqlite3_stmt** out) {
  sqlite3_stmt*& slot = verbs_[static_cast<size_t>(table)][static_cast<size_t>(verb)];
  int rc = SQLITE_OK;
  if (slot == nullptr) rc = prepare(db_, statement_sql(table, verb).c_str(), &slot);
  *out = slot;
  return rc;
}

int Connection::statement(Fixed fixed, sqlite3_stmt** out) {
  sqlite3_stmt*& slot = fixed_[static_cast<size_t>(fixed)];
  int rc = SQLITE_OK;
  if (slot == nullptr) rc = prepare(db_, kFixedSql[static_cast<size_t>(fixed)], &slot);
  *out = slot;
  return rc;
}

int Connection::execute(Fixed fixed) {
  sqlite3_stmt* s = nullptr;
  if (int rc = statement(fixed, &s)) return rc;
  sqlite3_step(s);
  return sqlite3_reset(s);
}

int Connection::query_number(const char* sql, int64_t* out) {
  sqlite3_stmt* s = nullptr;
  if (int rc = prepare(db_, sql, &s)) return rc;
  if (sqlite3_step(s) == SQLITE_ROW) *out = sqlite3_column_int64(s, 0);
  return sqlite3_finalize(s);
}

}  // namespace skerry::meta::sqlite
