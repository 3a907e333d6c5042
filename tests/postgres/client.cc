// One client of a volume that makes random calls on a handful of names, and writes what it asked
// and what it was told, with the times of a clock that all processes of a host share, as lines of
// JSON. check/ decides whether there is one order that explains the lines of all clients.
//
// The names lie in worlds, directories that all clients enter together and leave together, so that
// each can be checked on its own:
//   /p<n>  calls by path on the files a and b, in the world, in d0 and in d1; d0 and d1 come and go
//   /i<n>  calls by inode number on the names x, y and z, in the world and in any directory below;
//          files and directories are renamed from everywhere to everywhere
//
// An append is an open (which finds the inode), a write with fsync, and a close; a lock is taken of
// an open file and held during some other calls. Each is a line of its own, since what happens to
// the name in between is another client's business.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "skerry/skerry.h"

namespace {

constexpr int64_t kMillisecond = 1'000'000;

struct Options {
  std::string url;
  std::string log;
  int client = 0;
  uint64_t seed = 1;
  int64_t begin_ns = 0;  // of CLOCK_MONOTONIC, as all times
  int64_t end_ns = 0;
  int64_t world_ms = 500;  // how long a world is used
  uint32_t timeout_ms = 10'000;
  uint64_t worlds = 0;  // not 0: looks at what the first so many worlds hold, and does nothing else
  std::string plant;    // a lie to write now and then, which the checker must find
};

volatile sig_atomic_t stopped = 0;  // by SIGTERM: as when the time is over

int64_t now_ns() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

/// A line of JSON.
class Line {
 public:
  explicit Line(const char* call) { text("op", call); }
  Line& text(const char* key, std::string_view value) {
    begin(key) += '"';
    for (char c : value) {
      if (c == '"' || c == '\\') text_ += '\\';
      text_ += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    }
    text_ += '"';
    return *this;
  }
  template <typename Number>
  Line& number(const char* key, Number value) {
    begin(key) += std::to_string(value);
    return *this;
  }
  Line& raw(const char* key, std::string_view json) {
    begin(key) += json;
    return *this;
  }
  std::string end() const { return text_ + "}\n"; }

 private:
  std::string& begin(const char* key) {
    text_ += text_.empty() ? '{' : ',';
    return text_ += std::string("\"") + key + "\":";
  }
  std::string text_;
};

class Log {
 public:
  Log(const std::string& path, int client) : file_(fopen(path.c_str(), "we")), client_(client) {}
  ~Log() {
    if (file_ != nullptr) fclose(file_);
  }
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;
  bool ok() const { return file_ != nullptr && ferror(file_) == 0; }

  /// Runs `call`, which returns what the C ABI does and may add to the line, and writes it down.
  template <typename Call>
  int64_t run(Line line, Call call) {
    const int64_t began = now_ns();
    const int64_t result = call(line);
    const int64_t ended = now_ns();
    line.number("c", client_).number("t", began).number("r", ended);
    if (result < 0) line.number("e", -result).text("why", skerry_last_error());
    const std::string text = line.end();
    fwrite(text.data(), 1, text.size(), file_);
    return result;
  }

 private:
  FILE* file_;
  const int client_;
};

/// Records say who wrote them and are full of bytes that follow from it, so that a torn, mixed or
/// wrong one is seen.
std::string record_of(uint64_t id) {
  const size_t length = id % 16 == 0 ? 3000 : 24;
  char head[32];
  snprintf(head, sizeof head, "<%016" PRIx64 ">", id);
  std::string record = head;
  while (record.size() < length) record += static_cast<char>('a' + (id + record.size()) % 26);
  return record;
}

/// "[1,2]" of the records in `bytes`; with a -1 where there is none.
std::string records_in(std::string_view bytes) {
  std::string out = "[";
  while (!bytes.empty()) {
    const std::string head(bytes.substr(0, 18));
    const uint64_t id = head[0] == '<' ? strtoull(head.c_str() + 1, nullptr, 16) : 0;
    const std::string expected = record_of(id);
    if (out.size() > 1) out += ',';
    if (id == 0 || !bytes.starts_with(expected)) return out + "-1]";
    out += std::to_string(id);
    bytes.remove_prefix(expected.size());
  }
  return out + "]";
}

struct Place {
  std::string directory;  // below the world: "", "d0", "d1"
  std::string name;
};

class Client {
 public:
  Client(const Options& options, skerry_volume* volume, Log& log)
      : options_(options), volume_(volume), log_(log), random_(options.seed) {
    context_.struct_size = sizeof context_;
    context_.umask = 022;
    context_.timeout_ms = options.timeout_ms;
  }

  void run() {
    while (stopped == 0 && now_ns() < options_.end_ns && log_.ok()) {
      if (now_ns() < options_.begin_ns) {
        usleep(1000);
        continue;
      }
      const int64_t world = (now_ns() - options_.begin_ns) / (options_.world_ms * kMillisecond);
      if (world != world_ && !enter(world)) continue;
      if (held_.file != nullptr && below(16) == 0) let_go();
      if (below(10) < 7) {
        by_path();
      } else {
        by_number();
      }
    }
    let_go();
  }

  /// Writes down all that can be seen of the worlds. One that is missing is made anew, empty.
  bool look() {
    for (uint64_t world = 0; world < options_.worlds; ++world) {
      if (!enter(static_cast<int64_t>(world))) return false;
      for (const char* kind : {"p", "i"}) {
        world_name_ = kind + std::to_string(world);
        look_at("");
      }
    }
    return true;
  }

 private:
  uint64_t below(uint64_t bound) { return random_() % bound; }
  const skerry_context* context() const { return &context_; }
  std::string path(const Place& place) const {
    return "/" + world_name_ + "/" + place.directory + (place.directory.empty() ? "" : "/") +
           place.name;
  }
  Line line(const char* call) const { return std::move(Line(call).text("w", world_name_)); }
  Line line(const char* call, const Place& place) const {
    return std::move(line(call).text("d", place.directory).text("n", place.name));
  }
  Line numbered(const char* call, uint64_t ino) const {
    return std::move(line(call).number("i", ino));
  }

  /// True now and then, where the option says so: the caller then writes what did not happen.
  bool lies(const char* what) { return options_.plant == what && ++lies_ % 4 == 0; }

  bool enter(int64_t world) {
    for (const char* kind : {"p", "i"}) {
      const std::string path = "/" + std::string(kind) + std::to_string(world);
      const int made = skerry_mkdir(volume_, context(), path.c_str(), 0755);
      struct skerry_stat found {};
      if ((made != 0 && made != -EEXIST) ||
          skerry_stat(volume_, context(), path.c_str(), &found) != 0) {
        return false;
      }
      root_ = found.ino;
    }
    world_ = world;
    directories_ = {root_};
    return true;
  }

  Place file_place() {
    static const std::vector<std::string> directories = {"", "", "d0", "d1"};
    return {directories[below(directories.size())], below(2) == 0 ? "a" : "b"};
  }
  Place directory_place() { return {"", below(2) == 0 ? "d0" : "d1"}; }

  // ---- by path

  void by_path() {
    world_name_ = "p" + std::to_string(world_);
    const uint64_t dice = below(100);
    if (dice < 14) {
      create(file_place());
    } else if (dice < 24) {
      remove(file_place());
    } else if (dice < 34) {
      rename(file_place(), file_place());
    } else if (dice < 42) {
      link(file_place(), file_place());
    } else if (dice < 56) {
      append(file_place());
    } else if (dice < 66) {
      read(file_place());
    } else if (dice < 76) {
      stat(file_place());
    } else if (dice < 82) {
      make_directory(directory_place());
    } else if (dice < 87) {
      remove_directory(directory_place());
    } else if (dice < 92) {
      list(below(2) == 0 ? "" : directory_place().name);
    } else if (held_.file == nullptr) {
      lock({"", "a"});
    }
  }

  void create(const Place& place) {
    skerry_file* file = nullptr;
    log_.run(line("create", place), [&](Line& out) -> int64_t {
      if (lies("lost-create")) {
        out.number("ino", uint64_t{1} << 60 | below(1 << 30));
        return 0;
      }
      const int made = skerry_open(volume_, context(), path(place).c_str(),
                                   O_CREAT | O_EXCL | O_WRONLY, 0644, &file);
      if (made != 0) return made;
      struct skerry_stat found {};
      const int told = skerry_fstat(file, context(), &found);
      if (told == 0) out.number("ino", found.ino);
      return told;
    });
    if (file != nullptr) skerry_close(file, context());
  }

  void remove(const Place& place) {
    log_.run(line("unlink", place), [&](Line&) -> int64_t {
      if (lies("lost-unlink")) return 0;
      return skerry_unlink(volume_, context(), path(place).c_str());
    });
  }

  void rename(const Place& from, const Place& to) {
    const unsigned flags = below(4) == 0   ? SKERRY_RENAME_NOREPLACE
                           : below(4) == 0 ? SKERRY_RENAME_EXCHANGE
                                           : 0;
    Line asked = line("rename", from);
    asked.text("d2", to.directory).text("n2", to.name).number("flags", flags);
    log_.run(asked, [&](Line&) -> int64_t {
      if (lies("lost-rename")) return 0;
      return skerry_renameat2(volume_, context(), nullptr, path(from).c_str(), nullptr,
                              path(to).c_str(), flags);
    });
  }

  void link(const Place& from, const Place& to) {
    Line asked = line("link", from);
    asked.text("d2", to.directory).text("n2", to.name);
    log_.run(asked, [&](Line&) -> int64_t {
      return skerry_link(volume_, context(), path(from).c_str(), path(to).c_str());
    });
  }

  void make_directory(const Place& place) {
    log_.run(line("mkdir", place), [&](Line&) -> int64_t {
      return skerry_mkdir(volume_, context(), path(place).c_str(), 0755);
    });
  }

  void remove_directory(const Place& place) {
    log_.run(line("rmdir", place), [&](Line&) -> int64_t {
      return skerry_rmdir(volume_, context(), path(place).c_str());
    });
  }

  void stat(const Place& place) {
    log_.run(line("stat", place), [&](Line& out) -> int64_t {
      if (options_.plant == "stale-stat" && below(8) == 0) {
        if (auto seen = seen_.find(path(place)); seen != seen_.end()) {
          describe(seen->second, &out);
          return 0;
        }
      }
      struct skerry_stat found {};
      const int told = skerry_lstat(volume_, context(), path(place).c_str(), &found);
      if (told != 0) return told;
      describe(found, &out);
      seen_.try_emplace(path(place), found);
      return 0;
    });
  }

  static void describe(const struct skerry_stat& found, Line* out) {
    out->number("ino", found.ino)
        .number("dir", S_ISDIR(found.mode) ? 1 : 0)
        .number("nlink", found.nlink)
        .number("size", S_ISDIR(found.mode) ? 0 : found.size);
  }

  void list(const std::string& directory) {
    log_.run(std::move(line("list").text("d", directory)), [&](Line& out) -> int64_t {
      skerry_dir* dir = nullptr;
      const std::string where = "/" + world_name_ + "/" + directory;
      const int opened = skerry_opendir(volume_, context(), where.c_str(), 0, nullptr, &dir);
      if (opened != 0) return opened;
      std::vector<struct skerry_dirent> entries(64);
      const int count = skerry_readdir(dir, context(), entries.data(), 64);
      std::string names = "{";
      listed_.clear();
      for (int i = 0; i < count; ++i) {
        if (i != 0) names += ',';
        names += std::string("\"") + entries[i].name + "\":" + std::to_string(entries[i].ino);
        listed_[entries[i].name] = entries[i].type == S_IFDIR;
      }
      if (count >= 0) out.raw("names", names + "}");
      skerry_closedir(dir);
      return count;
    });
  }

  skerry_file* open(const Place& place, int flags, uint64_t* ino) {
    skerry_file* file = nullptr;
    log_.run(line("open", place), [&](Line& out) -> int64_t {
      const int opened = skerry_open(volume_, context(), path(place).c_str(), flags, 0, &file);
      if (opened != 0) return opened;
      struct skerry_stat found {};
      const int told = skerry_fstat(file, context(), &found);
      if (told != 0) return told;
      *ino = found.ino;
      out.number("ino", found.ino);
      return 0;
    });
    if (file != nullptr && *ino == 0) {
      skerry_close(file, context());
      file = nullptr;
    }
    return file;
  }

  /// A close gives up locks, so where any may be held it is a call as others are.
  void close(skerry_file* file, uint64_t ino, const std::string& owner) {
    if (owner.empty() && (held_.ino != ino || held_.owner != client_owner())) {
      skerry_close(file, context());
      return;
    }
    Line asked = numbered("close", ino);
    if (held_.ino == ino) asked = std::move(Line("close").text("w", held_.world).number("i", ino));
    asked.text("o", owner).text("o2", client_owner());
    log_.run(asked, [&](Line&) -> int64_t { return skerry_close(file, context()); });
  }

  void append(const Place& place) {
    uint64_t ino = 0;
    skerry_file* file = open(place, O_WRONLY | O_APPEND, &ino);
    if (file == nullptr) return;
    const uint64_t id = static_cast<uint64_t>(options_.client + 1) << 40 | ++records_;
    const std::string record = record_of(id);
    Line asked = numbered("append", ino);
    asked.number("rec", id).number("len", record.size());
    log_.run(asked, [&](Line&) -> int64_t {
      if (lies("lost-append")) return 0;
      if (lies("doubled-append")) skerry_pwrite(file, context(), record.data(), record.size(), 0);
      const int64_t written = skerry_pwrite(file, context(), record.data(), record.size(), 0);
      return written < 0 ? written : skerry_fsync(file, context());
    });
    close(file, ino, "");
  }

  void read(const Place& place) {
    uint64_t ino = 0;
    skerry_file* file = open(place, O_RDONLY, &ino);
    if (file == nullptr) return;
    log_.run(numbered("read", ino), [&](Line& out) -> int64_t {
      std::string bytes(1 << 20, '\0');
      const int64_t count = skerry_pread(file, context(), bytes.data(), bytes.size(), 0);
      if (count < 0) return count;
      bytes.resize(static_cast<size_t>(count));
      out.raw("recs", records_in(bytes)).number("size", count);
      return 0;
    });
    close(file, ino, "");
  }

  // ---- locks: of one file at a time

  struct Held {
    skerry_file* file = nullptr;
    uint64_t ino = 0;
    std::string world, owner;
    bool record = false;
  };

  /// Owns the ranges that fcntl locks; a flock belongs to an open file.
  std::string client_owner() const { return "c" + std::to_string(options_.client); }

  void lock(const Place& place) {
    uint64_t ino = 0;
    skerry_file* file = open(place, O_RDWR, &ino);
    if (file == nullptr) return;
    const bool exclusive = below(4) != 0;
    Held held{file, ino, world_name_, "", below(2) == 0};
    held.owner = client_owner();
    if (!held.record) held.owner += "h" + std::to_string(++handles_);
    skerry_lock range{};
    range.struct_size = sizeof range;
    range.type = exclusive ? SKERRY_F_WRLCK : SKERRY_F_RDLCK;
    range.start = below(2) * 8;
    range.length = below(2) * 8;
    if (!held.record) range.start = range.length = 0;
    Line asked = numbered(held.record ? "setlk" : "flock", ino);
    asked.text("o", held.owner).number("ex", exclusive ? 1 : 0);
    asked.number("from", range.start).number("len", range.length);
    const int64_t taken = log_.run(asked, [&](Line&) -> int64_t {
      if (lies("lost-lock")) return 0;
      if (held.record) return skerry_setlk(file, context(), &range, 0);
      return skerry_flock(file, context(),
                          (exclusive ? SKERRY_LOCK_EX : SKERRY_LOCK_SH) | SKERRY_LOCK_NB);
    });
    if (taken == 0) {
      held_ = held;
    } else {
      close(file, ino, held.owner);
    }
  }

  void let_go() {
    if (held_.file == nullptr) return;
    const Held held = held_;
    if (below(2) == 0) {
      Line asked = std::move(Line(held.record ? "unsetlk" : "unflock").text("w", held.world));
      asked.number("i", held.ino).text("o", held.owner);
      log_.run(asked, [&](Line&) -> int64_t {
        if (!held.record) return skerry_flock(held.file, context(), SKERRY_LOCK_UN);
        skerry_lock range{};
        range.struct_size = sizeof range;
        range.type = SKERRY_F_UNLCK;
        return skerry_setlk(held.file, context(), &range, 0);
      });
    }
    close(held.file, held.ino, held.owner);
    held_ = {};
  }

  // ---- by inode number

  uint64_t directory() { return directories_[below(directories_.size())]; }
  std::string any_name() { return std::string(1, static_cast<char>('x' + below(3))); }
  Line line(const char* call, uint64_t directory, const std::string& name) const {
    return std::move(line(call).number("di", directory == root_ ? 1 : directory).text("n", name));
  }

  void by_number() {
    world_name_ = "i" + std::to_string(world_);
    const uint64_t dir = directory();
    const std::string name = any_name();
    const uint64_t dice = below(36);
    if (dice < 4) {
      log_.run(line("create", dir, name), [&](Line& out) -> int64_t {
        struct skerry_stat found {};
        skerry_file* file = nullptr;
        const int made = skerry_inode_create(volume_, context(), dir, name.c_str(),
                                             O_EXCL | O_WRONLY, 0644, &found, &file);
        if (made != 0) return made;
        out.number("ino", found.ino);
        skerry_close(file, context());
        return 0;
      });
    } else if (dice < 10) {
      log_.run(line("mkdir", dir, name), [&](Line& out) -> int64_t {
        struct skerry_stat found {};
        const int made = skerry_inode_mkdir(volume_, context(), dir, name.c_str(), 0755, &found);
        if (made != 0) return made;
        out.number("ino", found.ino);
        know(found.ino);
        return 0;
      });
    } else if (dice < 18) {
      log_.run(line("stat", dir, name), [&](Line& out) -> int64_t {
        struct skerry_stat found {};
        const int told = skerry_inode_lookup(volume_, context(), dir, name.c_str(), &found);
        if (told != 0) return told;
        describe(found, &out);
        if (S_ISDIR(found.mode)) know(found.ino);
        return 0;
      });
    } else if (dice < 21) {
      log_.run(line("unlink", dir, name), [&](Line&) -> int64_t {
        return skerry_inode_unlink(volume_, context(), dir, name.c_str(), 0);
      });
    } else if (dice < 25) {
      log_.run(line("rmdir", dir, name), [&](Line&) -> int64_t {
        return skerry_inode_unlink(volume_, context(), dir, name.c_str(), SKERRY_AT_REMOVEDIR);
      });
    } else {
      const uint64_t to = directory();
      const std::string other = any_name();
      const unsigned flags = below(5) == 0   ? SKERRY_RENAME_NOREPLACE
                             : below(5) == 0 ? SKERRY_RENAME_EXCHANGE
                                             : 0;
      Line asked = line("rename", dir, name);
      asked.number("di2", to == root_ ? 1 : to).text("n2", other).number("flags", flags);
      log_.run(asked, [&](Line&) -> int64_t {
        return skerry_inode_rename(volume_, context(), dir, name.c_str(), to, other.c_str(), flags);
      });
    }
  }

  /// The last few directories that were seen, and the world.
  void know(uint64_t directory) {
    if (std::find(directories_.begin(), directories_.end(), directory) != directories_.end()) {
      return;
    }
    if (directories_.size() > 5) directories_.erase(directories_.begin() + 1);
    directories_.push_back(directory);
  }

  // ---- at the end

  void look_at(const std::string& directory) {
    listed_.clear();
    list(directory);
    const std::map<std::string, bool> found = listed_;
    for (const auto& [name, is_directory] : found) {
      stat({directory, name});
      if (is_directory) {
        look_at(directory.empty() ? name : directory + "/" + name);
      } else {
        read({directory, name});
      }
    }
  }

  const Options& options_;
  skerry_volume* const volume_;
  Log& log_;
  std::mt19937_64 random_;
  skerry_context context_{};
  int64_t world_ = -1;
  std::string world_name_;
  uint64_t root_ = 0;                  // of the world of numbers
  std::vector<uint64_t> directories_;  // of that world; its root first
  std::map<std::string, bool> listed_;
  std::map<std::string, struct skerry_stat> seen_;  // first answers, for "stale-stat"
  Held held_;
  uint64_t records_ = 0;
  uint64_t handles_ = 0;
  uint64_t lies_ = 0;
};

int64_t number(const char* text) { return strtoll(text, nullptr, 10); }

Options parse(int count, char** words) {
  Options options;
  const std::map<std::string_view, void (*)(Options&, const char*)> keys = {
      {"url", [](Options& o, const char* v) { o.url = v; }},
      {"log", [](Options& o, const char* v) { o.log = v; }},
      {"client", [](Options& o, const char* v) { o.client = static_cast<int>(number(v)); }},
      {"seed", [](Options& o, const char* v) { o.seed = static_cast<uint64_t>(number(v)); }},
      {"begin_ns", [](Options& o, const char* v) { o.begin_ns = number(v); }},
      {"end_ns", [](Options& o, const char* v) { o.end_ns = number(v); }},
      {"world_ms", [](Options& o, const char* v) { o.world_ms = number(v); }},
      {"timeout_ms",
       [](Options& o, const char* v) { o.timeout_ms = static_cast<uint32_t>(number(v)); }},
      {"worlds", [](Options& o, const char* v) { o.worlds = static_cast<uint64_t>(number(v)); }},
      {"plant", [](Options& o, const char* v) { o.plant = v; }},
  };
  for (int i = 1; i < count; ++i) {
    const std::string_view word = words[i];
    const size_t equals = word.find('=');
    auto key = keys.find(word.substr(0, equals));
    if (equals == std::string_view::npos || key == keys.end()) {
      fprintf(stderr, "unknown option: %s\n", words[i]);
      exit(2);
    }
    key->second(options, words[i] + equals + 1);
  }
  return options;
}

}  // namespace

int main(int count, char** words) {
  const Options options = parse(count, words);
  signal(SIGTERM, [](int) { stopped = 1; });
  Log log(options.log, options.client);
  if (!log.ok()) {
    perror(options.log.c_str());
    return 1;
  }
  // Every answer must be as of its call, and nothing is read twice from memory.
  const char* volume_options[] = {"cache_size=4M", "consistency=strict", nullptr};
  skerry_volume* volume = nullptr;
  if (skerry_volume_open(options.url.c_str(), volume_options, &volume) != 0) {
    fprintf(stderr, "%s\n", skerry_last_error());
    return 1;
  }
  Client client(options, volume, log);
  bool done = true;
  if (options.worlds != 0) {
    done = client.look();
  } else {
    client.run();
  }
  if (!done) fprintf(stderr, "looking: %s\n", skerry_last_error());
  const int closed = skerry_volume_close(volume);
  if (closed != 0) fprintf(stderr, "closing: %s\n", skerry_last_error());
  return done && log.ok() && (closed == 0 || options.worlds == 0) ? 0 : 1;
}
