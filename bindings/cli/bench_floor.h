// The floor of "skerry bench meta": what the database itself makes of the same rows, without a file
// system. It has tables of its own, made by skerry_format beside the volume's (another schema,
// another file), and removes them at the end.
#ifndef SKERRY_BINDINGS_CLI_BENCH_FLOOR_H_
#define SKERRY_BINDINGS_CLI_BENCH_FLOOR_H_

#include <cstdint>
#include <memory>
#include <string>

namespace skerry::cli {

// What one thread does, each call one transaction and one round trip; list() one a page. Rows of
// directory `dir`, which is any number above 1,000. False: error() says why.
class FloorCaller {
 public:
  virtual ~FloorCaller() = default;
  virtual bool create(int64_t dir, const std::string& name, int64_t ino) = 0;
  // Finds the name below `depth` others.
  virtual bool stat(int64_t dir, const std::string& name, unsigned depth) = 0;
  // All names with attributes; adds to *entries.
  virtual bool list(int64_t dir, uint64_t* entries) = 0;
  virtual bool rename(int64_t dir, const std::string& from, const std::string& to, int64_t ino) = 0;
  virtual bool unlink(int64_t dir, const std::string& name, int64_t ino) = 0;
  virtual const std::string& error() const = 0;
};

class Floor {
 public:
  // Null with a sentence in *why if the floor cannot be made.
  static std::unique_ptr<Floor> make(const std::string& volume_url, std::string* why);
  virtual ~Floor() = default;
  // A directory with its counters, and itself as a name for stat().
  virtual bool add_directory(int64_t dir, std::string* why) = 0;
  // Null with a sentence in *why. Callers end before the floor does.
  virtual std::unique_ptr<FloorCaller> caller(std::string* why) = 0;
  // For people: "libpq, 8 connections".
  virtual std::string describe() const = 0;
};

// What the engines share: the columns of table "entry" behind the name, and the time as they hold
// it.
inline constexpr char kEntryColumns[] =
    "linked,ino,type,mode,uid,gid,nlink,flags,shards,rdev,length,atime,mtime,ctime,btime,version";
int64_t floor_now_ns();

// One for each engine.
std::unique_ptr<Floor> make_sqlite_floor(const std::string& volume_url, std::string* why);
std::unique_ptr<Floor> make_postgres_floor(const std::string& volume_url, std::string* why);

}  // namespace skerry::cli

#endif  // SKERRY_BINDINGS_CLI_BENCH_FLOOR_H_
