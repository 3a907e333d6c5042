// Each caller has a connection of its own and sends its statements in one pipeline.
#include <libpq-fe.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <vector>

#include "bench_floor.h"
#include "skerry/skerry.h"

namespace skerry::cli {
namespace {

// The URL without `schema=` and what else only Skerry knows.
std::string plain_url(const std::string& url) {
  const size_t question = url.find('?');
  std::string out = url.substr(0, question);
  if (question == std::string::npos) return out;
  char separator = '?';
  for (size_t at = question + 1; at <= url.size();) {
    const size_t end = std::min(url.find('&', at), url.size());
    const std::string part = url.substr(at, end - at);
    if (!part.empty() && part.rfind("schema=", 0) != 0) {
      out += separator + part;
      separator = '&';
    }
    at = end + 1;
  }
  return out;
}

enum Query : unsigned { kInsert, kRemove, kSelect, kPage, kDirstat, kUsage, kOrphan, kRequest };
constexpr unsigned kQueries = 8;

std::array<std::string, kQueries> queries(const std::string& schema) {
  const std::string s = schema + ".";
  const std::string attributes = kEntryColumns;
  return {
      "INSERT INTO " + s + "entry(parent,name," + attributes +
          ") VALUES($1,$2,false,$3,1,420,0,0,1,0,0,0,0,$4,$4,$4,$4,1)",
      "DELETE FROM " + s + "entry WHERE parent=$1 AND name=$2",
      "SELECT " + attributes + " FROM " + s + "entry WHERE parent=$1 AND name=$2",
      "SELECT name," + attributes + " FROM " + s +
          "entry WHERE parent=$1 AND name>$2 ORDER BY name LIMIT 1024",
      "UPDATE " + s +
          "dirstat SET mtime=greatest(mtime,$2),entries=entries+$3 WHERE ino=$1 AND shard=0",
      "INSERT INTO " + s +
          "usage AS u(scope,client,bytes,inodes) VALUES(0,$1,0,$2) ON CONFLICT(scope,client) "
          "DO UPDATE SET inodes=u.inodes+excluded.inodes",
      "INSERT INTO " + s +
          "orphan(ino,type,mode,uid,gid,nlink,flags,shards,rdev,length,atime,mtime,ctime,btime,"
          "version,epoch) VALUES($1,1,420,0,0,0,0,0,0,0,$2,$2,$2,$2,2,1)",
      "INSERT INTO " + s + "request(high,low,outcomes) VALUES($1,$2,'{}')",
  };
}

class Connection {
 public:
  ~Connection() { PQfinish(connection_); }
  Connection() = default;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  bool open(const std::string& url, std::string* why) {
    connection_ = PQconnectdb(url.c_str());
    PQsetNoticeReceiver(
        connection_, [](void*, const PGresult*) {}, nullptr);
    // As the volume's connections have it.
    return run(
        "SET plan_cache_mode=force_generic_plan; SET enable_seqscan=off; "
        "SET enable_bitmapscan=off; SET enable_sort=off; SET jit=off",
        why);
  }
  bool run(const std::string& sql, std::string* why) {
    PGresult* result = PQexec(connection_, sql.c_str());
    const ExecStatusType status = PQresultStatus(result);
    const bool ok = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
    if (!ok) *why = PQerrorMessage(connection_);
    PQclear(result);
    return ok;
  }
  PGconn* get() { return connection_; }

 private:
  PGconn* connection_ = nullptr;
};

class Caller final : public FloorCaller {
 public:
  Caller(std::unique_ptr<Connection> connection, int64_t id)
      : connection_(std::move(connection)), id_(id) {}

  bool prepare(const std::array<std::string, kQueries>& sql, std::string* why) {
    for (unsigned q = 0; q < kQueries; ++q) {
      PGresult* result =
          PQprepare(connection_->get(), std::to_string(q).c_str(), sql[q].c_str(), 0, nullptr);
      const bool ok = PQresultStatus(result) == PGRES_COMMAND_OK;
      PQclear(result);
      if (!ok) {
        *why = PQerrorMessage(connection_->get());
        return false;
      }
    }
    return PQenterPipelineMode(connection_->get()) == 1;
  }

  bool create(int64_t dir, const std::string& name, int64_t ino) override {
    const int64_t now = floor_now_ns();
    insert(dir, name, ino, now);
    count(dir, now, 1);
    use(1);
    request();
    return finish();
  }
  bool stat(int64_t dir, const std::string& name, unsigned depth) override {
    for (unsigned i = 0; i <= depth; ++i) {
      begin().number(dir).text(i < depth ? std::to_string(dir) : name).send(kSelect);
    }
    return finish() && rows_ == depth + 1;
  }
  bool list(int64_t dir, uint64_t* entries) override {
    last_.clear();
    do {
      const std::string from = last_;
      begin().number(dir).text(from).send(kPage);
      if (!finish()) return false;
      *entries += rows_;
    } while (rows_ == 1024);
    return true;
  }
  bool rename(int64_t dir, const std::string& from, const std::string& to, int64_t ino) override {
    const int64_t now = floor_now_ns();
    begin().number(dir).text(from).send(kRemove);
    insert(dir, to, ino, now);
    count(dir, now, 0);
    request();
    return finish();
  }
  bool unlink(int64_t dir, const std::string& name, int64_t ino) override {
    const int64_t now = floor_now_ns();
    begin().number(dir).text(name).send(kRemove);
    begin().number(ino).number(now).send(kOrphan);
    count(dir, now, -1);
    use(-1);
    request();
    return finish();
  }
  const std::string& error() const override { return error_; }

  void insert(int64_t dir, const std::string& name, int64_t ino, int64_t now) {
    begin().number(dir).text(name).number(ino).number(now).send(kInsert);
  }
  bool finish() {
    rows_ = 0;
    bool ok = PQpipelineSync(connection_->get()) == 1 && PQflush(connection_->get()) == 0;
    for (bool done = !ok; !done;) {
      PGresult* result = PQgetResult(connection_->get());
      if (result == nullptr) {
        ok = ok && PQstatus(connection_->get()) == CONNECTION_OK;
        if (!ok) break;
        continue;
      }
      const ExecStatusType status = PQresultStatus(result);
      done = status == PGRES_PIPELINE_SYNC;
      if (status == PGRES_TUPLES_OK) {
        rows_ += static_cast<unsigned>(PQntuples(result));
        if (PQntuples(result) > 0) {
          const int row = PQntuples(result) - 1;
          last_.assign(PQgetvalue(result, row, 0),
                       static_cast<size_t>(PQgetlength(result, row, 0)));
        }
      } else if (status == PGRES_FATAL_ERROR) {
        error_ = PQresultErrorMessage(result);
        ok = false;
      }
      PQclear(result);
    }
    return ok;
  }

 private:
  void count(int64_t dir, int64_t now, int64_t entries) {
    begin().number(dir).number(now).number(entries).send(kDirstat);
  }
  void use(int64_t inodes) { begin().number(id_).number(inodes).send(kUsage); }
  void request() { begin().number(id_).number(++requests_).send(kRequest); }

  // Parameters are binary: numbers are sent as bigint.
  Caller& begin() {
    values_.clear();
    return *this;
  }
  Caller& number(int64_t value) {
    std::string bytes(8, '\0');
    for (int i = 0; i < 8; ++i) {
      bytes[static_cast<size_t>(i)] =
          static_cast<char>(static_cast<uint64_t>(value) >> (8 * (7 - i)));
    }
    values_.push_back(std::move(bytes));
    return *this;
  }
  Caller& text(const std::string& value) {
    values_.push_back(value);
    return *this;
  }
  void send(Query query) {
    std::array<const char*, 4> values{};
    std::array<int, 4> lengths{}, formats{};
    for (size_t i = 0; i < values_.size(); ++i) {
      values[i] = values_[i].data();
      lengths[i] = static_cast<int>(values_[i].size());
      formats[i] = 1;
    }
    PQsendQueryPrepared(connection_->get(), std::to_string(query).c_str(),
                        static_cast<int>(values_.size()), values.data(), lengths.data(),
                        formats.data(), 1);
  }

  const std::unique_ptr<Connection> connection_;
  const int64_t id_;
  int64_t requests_ = 0;
  std::vector<std::string> values_;
  unsigned rows_ = 0;
  std::string last_, error_;
};

class PostgresFloor final : public Floor {
 public:
  explicit PostgresFloor(std::string url) : url_(plain_url(url)) {}
  ~PostgresFloor() override {
    std::string ignored;
    if (made_) admin_.run("DROP SCHEMA " + schema_ + " CASCADE", &ignored);
  }

  bool open(std::string* why) {
    const std::string separator = url_.find('?') == std::string::npos ? "?" : "&";
    const std::string url = url_ + separator + "schema=" + schema_;
    // No object is ever written.
    const std::string storage =
        "storage=file://" + std::filesystem::temp_directory_path().string() + "/" + schema_;
    const std::array<const char*, 2> options = {storage.c_str(), nullptr};
    if (skerry_format(url.c_str(), options.data()) < 0) {
      *why = skerry_last_error();
      return false;
    }
    std::error_code ignored;
    std::filesystem::remove_all(storage.substr(storage.find('/') + 2), ignored);
    made_ = true;
    return admin_.open(url_, why);
  }

  bool add_directory(int64_t dir, std::string* why) override {
    const std::string id = std::to_string(dir);
    return admin_.run(
        "INSERT INTO " + schema_ + ".dirstat(ino,shard,mtime,subdirs,entries) VALUES(" + id +
            ",0,0,0,0); INSERT INTO " + schema_ + ".entry(parent,name,linked,ino,type) VALUES(" +
            id + ",'" + id + "'::bytea,false," + id + ",2)",
        why);
  }

  std::unique_ptr<FloorCaller> caller(std::string* why) override {
    auto connection = std::make_unique<Connection>();
    if (!connection->open(url_, why)) return nullptr;
    auto made = std::make_unique<Caller>(std::move(connection), ++callers_);
    if (!made->prepare(queries(schema_), why)) return nullptr;
    return made;
  }
  std::string describe() const override {
    return "libpq, a connection a caller, one pipeline an operation";
  }

 private:
  const std::string url_;
  const std::string schema_ = "skerry_bench_" + std::to_string(getpid());
  bool made_ = false;
  Connection admin_;
  std::atomic<int64_t> callers_ = 0;
};

}  // namespace

std::unique_ptr<Floor> make_postgres_floor(const std::string& volume_url, std::string* why) {
  auto floor = std::make_unique<PostgresFloor>(volume_url);
  if (!floor->open(why)) return nullptr;
  return floor;
}

}  // namespace skerry::cli
