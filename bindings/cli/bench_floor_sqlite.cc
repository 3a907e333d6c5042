// Callers share one connection, as SQLite is fastest: it has one writer at a time.
#include <sqlite3.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <mutex>

#include "bench_floor.h"
#include "skerry/skerry.h"

namespace skerry::cli {
namespace {

class Prepared {
 public:
  Prepared(sqlite3* db, const std::string& sql) {
    sqlite3_prepare_v3(db, sql.c_str(), -1, SQLITE_PREPARE_PERSISTENT, &statement_, nullptr);
  }
  ~Prepared() { sqlite3_finalize(statement_); }
  Prepared(const Prepared&) = delete;
  Prepared& operator=(const Prepared&) = delete;
  Prepared& number(int i, int64_t value) {
    sqlite3_bind_int64(statement_, i, value);
    return *this;
  }
  Prepared& bytes(int i, const std::string& value) {
    sqlite3_bind_blob(statement_, i, value.data(), static_cast<int>(value.size()),
                      SQLITE_TRANSIENT);
    return *this;
  }
  int step() { return sqlite3_step(statement_); }
  bool row() { return step() == SQLITE_ROW; }
  int64_t column(int i) { return sqlite3_column_int64(statement_, i); }
  std::string column_bytes(int i) {
    const auto* data = static_cast<const char*>(sqlite3_column_blob(statement_, i));
    return data == nullptr ? "" : std::string(data, sqlite3_column_bytes(statement_, i));
  }
  void reset() { sqlite3_reset(statement_); }
  bool run() {
    const int rc = step();
    reset();
    return rc == SQLITE_DONE || rc == SQLITE_ROW;
  }

 private:
  sqlite3_stmt* statement_ = nullptr;
};

class SqliteFloor final : public Floor {
 public:
  explicit SqliteFloor(std::string folder) : folder_(std::move(folder)) {}
  ~SqliteFloor() override {
    engine_.reset();
    sqlite3_close(db_);
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  bool open(std::string* why) {
    const std::string file = folder_ + "/vol.db";
    if (skerry_format(("sqlite://" + file).c_str(), nullptr) < 0) {
      *why = skerry_last_error();
      return false;
    }
    bool ok = sqlite3_open_v2(file.c_str(), &db_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
                              nullptr) == SQLITE_OK;
    for (const char* sql : {"PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL",
                            "PRAGMA cache_size=-65536", "PRAGMA wal_autocheckpoint=4000"}) {
      ok = ok && sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) == SQLITE_OK;
    }
    if (ok) {
      engine_ = std::make_unique<Engine>(db_);
    } else {
      *why = file + ": " + sqlite3_errmsg(db_);
    }
    return ok;
  }

  bool add_directory(int64_t dir, std::string* why) override {
    std::lock_guard lock(mutex_);
    const std::string name = std::to_string(dir);
    const bool ok =
        Prepared(db_, "INSERT INTO dirstat(ino,shard,mtime,subdirs,entries) VALUES(?1,0,0,0,0)")
            .number(1, dir)
            .run() &&
        engine_->insert.number(1, dir)
            .bytes(2, name)
            .number(3, dir)
            .number(4, floor_now_ns())
            .run();
    if (!ok) *why = sqlite3_errmsg(db_);
    return ok;
  }

  std::unique_ptr<FloorCaller> caller(std::string*) override {
    return std::make_unique<Caller>(*this);
  }
  std::string describe() const override {
    return std::string("SQLite ") + sqlite3_libversion() + ", one connection";
  }

 private:
  struct Engine {
    explicit Engine(sqlite3* db)
        : begin(db, "BEGIN IMMEDIATE"),
          commit(db, "COMMIT"),
          insert(db, std::string("INSERT INTO entry(parent,name,") + kEntryColumns +
                         ") VALUES(?1,?2,0,?3,1,420,0,0,1,0,0,0,0,?4,?4,?4,?4,1)"),
          remove(db, "DELETE FROM entry WHERE parent=?1 AND name=?2"),
          select(db, std::string("SELECT ") + kEntryColumns +
                         " FROM entry WHERE parent=?1 AND name=?2"),
          page(db, std::string("SELECT name,") + kEntryColumns +
                       " FROM entry WHERE parent=?1 AND name>?2 ORDER BY name LIMIT 1024"),
          dirstat(db,
                  "UPDATE dirstat SET mtime=max(mtime,?2),entries=entries+?3 WHERE ino=?1 AND "
                  "shard=0"),
          usage(db,
                "INSERT INTO usage(scope,client,bytes,inodes) VALUES(0,1,0,?1) ON "
                "CONFLICT(scope,client) DO UPDATE SET inodes=inodes+excluded.inodes"),
          orphan(db,
                 "INSERT INTO orphan(ino,type,mode,uid,gid,nlink,flags,shards,rdev,length,atime,"
                 "mtime,ctime,btime,version,epoch) "
                 "VALUES(?1,1,420,0,0,0,0,0,0,0,?2,?2,?2,?2,2,1)") {}
    Prepared begin, commit, insert, remove, select, page, dirstat, usage, orphan;
  };

  class Caller final : public FloorCaller {
   public:
    explicit Caller(SqliteFloor& floor) : floor_(floor) {}
    bool create(int64_t dir, const std::string& name, int64_t ino) override {
      std::lock_guard lock(floor_.mutex_);
      Engine& e = *floor_.engine_;
      const int64_t now = floor_now_ns();
      return said(e.begin.run() &&
                  e.insert.number(1, dir).bytes(2, name).number(3, ino).number(4, now).run() &&
                  count(e, dir, now, 1) && e.usage.number(1, 1).run() && e.commit.run());
    }
    bool stat(int64_t dir, const std::string& name, unsigned depth) override {
      std::lock_guard lock(floor_.mutex_);
      Engine& e = *floor_.engine_;
      bool found = true;
      for (unsigned i = 0; i <= depth && found; ++i) {
        found = e.select.number(1, dir).bytes(2, i < depth ? std::to_string(dir) : name).row();
        e.select.reset();
      }
      return said(found);
    }
    bool list(int64_t dir, uint64_t* entries) override {
      std::lock_guard lock(floor_.mutex_);
      Engine& e = *floor_.engine_;
      std::string last;
      for (int rows = 1024; rows == 1024;) {
        e.page.number(1, dir).bytes(2, last);
        for (rows = 0; e.page.row(); ++rows) last = e.page.column_bytes(0);
        e.page.reset();
        *entries += static_cast<uint64_t>(rows);
      }
      return true;
    }
    bool rename(int64_t dir, const std::string& from, const std::string& to, int64_t ino) override {
      std::lock_guard lock(floor_.mutex_);
      Engine& e = *floor_.engine_;
      const int64_t now = floor_now_ns();
      return said(e.begin.run() && e.remove.number(1, dir).bytes(2, from).run() &&
                  e.insert.number(1, dir).bytes(2, to).number(3, ino).number(4, now).run() &&
                  count(e, dir, now, 0) && e.commit.run());
    }
    bool unlink(int64_t dir, const std::string& name, int64_t ino) override {
      std::lock_guard lock(floor_.mutex_);
      Engine& e = *floor_.engine_;
      const int64_t now = floor_now_ns();
      return said(e.begin.run() && e.remove.number(1, dir).bytes(2, name).run() &&
                  e.orphan.number(1, ino).number(2, now).run() && count(e, dir, now, -1) &&
                  e.usage.number(1, -1).run() && e.commit.run());
    }
    const std::string& error() const override { return error_; }

   private:
    static bool count(Engine& e, int64_t dir, int64_t now, int64_t entries) {
      return e.dirstat.number(1, dir).number(2, now).number(3, entries).run();
    }
    bool said(bool ok) {
      if (!ok) error_ = sqlite3_errmsg(floor_.db_);
      return ok;
    }
    SqliteFloor& floor_;
    std::string error_;
  };

  const std::string folder_;
  sqlite3* db_ = nullptr;
  std::mutex mutex_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace

std::unique_ptr<Floor> make_sqlite_floor(const std::string& volume_url, std::string* why) {
  // On the same disk.
  std::string path = volume_url.substr(std::string("sqlite://").size());
  path = path.substr(0, path.find('?'));
  std::string folder = path + "-bench-XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) {
    *why = "cannot make a folder beside " + path;
    return nullptr;
  }
  auto floor = std::make_unique<SqliteFloor>(folder);
  if (!floor->open(why)) return nullptr;
  return floor;
}

}  // namespace skerry::cli
