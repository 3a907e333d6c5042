// Metadata on SQLite: stat cached and not, create, rename, unlink, and durable creates by 16
// callers; beside bare SQLite writing the same rows of the same tables.
#include <condition_variable>
#include <mutex>
#include <thread>

#include "bare_sqlite.h"
#include "bench.h"
#include "volume.h"

namespace {

using bench::must;

constexpr int kRounds = 7;
constexpr uint64_t kOps = 4000;

int64_t now_ns() {
  timespec t{};
  clock_gettime(CLOCK_REALTIME, &t);
  return int64_t{t.tv_sec} * 1000000000 + t.tv_nsec;
}

/// A grouped writer without a file system: callers queue rows, a leader writes all that wait in
/// one transaction and syncs once.
class GroupedWriter {
 public:
  explicit GroupedWriter(const std::string& path, int64_t dir) : db_(path), dir_(dir) {
    db_.exec("PRAGMA synchronous=FULL");
  }

  void insert(int64_t ino, const std::string& name) {
    std::unique_lock lock(mutex_);
    uint64_t ticket = ++queued_;
    waiting_.push_back({ino, &name});
    while (done_ < ticket) {
      if (busy_) {
        changed_.wait(lock);
        continue;
      }
      busy_ = true;
      std::vector<Row> rows;
      rows.swap(waiting_);
      uint64_t last = queued_;
      lock.unlock();
      begin_.run();
      for (auto& row : rows) {
        int64_t now = now_ns();
        insert_.bind(1, dir_).blob(2, *row.name).bind(3, row.ino).bind(4, now).run();
        dirstat_.bind(1, dir_).bind(2, now).bind(3, 1).run();
        usage_.bind(1, 1).bind(2, 1).run();
      }
      commit_.run();
      lock.lock();
      busy_ = false;
      done_ = last;
      changed_.notify_all();
    }
  }

 private:
  struct Row {
    int64_t ino;
    const std::string* name;
  };
  bench::BareSqlite db_;
  int64_t dir_;
  bench::Statement begin_{db_.get(), "BEGIN IMMEDIATE"}, commit_{db_.get(), "COMMIT"},
      insert_{db_.get(), bench::kInsertEntry}, dirstat_{db_.get(), bench::kAddDirstat},
      usage_{db_.get(), bench::kAddUsage};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Row> waiting_;
  uint64_t queued_ = 0, done_ = 0;
  bool busy_ = false;
};

uint64_t ino_of(const bench::BenchVolume& volume, const std::string& path) {
  struct skerry_stat st;
  must(skerry_stat(volume.get(), nullptr, path.c_str(), &st) == 0, "stat " + path);
  return st.ino;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace bench;
  Report report("metadata on SQLite", argc, argv);
  std::string parent = argument(argc, argv, "dir", "/tmp");
  report.condition("sqlite", sqlite3_libversion());

  {  // stat
    Scratch scratch(parent);
    std::vector<std::string> paths;
    {
      BenchVolume fill(scratch.path(), {"background=0"});
      for (int a = 0; a < 10; ++a) {
        std::string dir = "/d" + std::to_string(a) + "/sub/leaf";
        fill.mkdir(dir);
        for (int f = 0; f < 200; ++f) {
          std::string path = dir + "/file-" + std::to_string(f);
          must(skerry_mknod(fill.get(), nullptr, path.c_str(), S_IFREG | 0644, 0) == 0, "mknod");
          paths.push_back(path);
        }
      }
    }
    auto stat_all = [&](const BenchVolume& v) {
      return [&] {
        struct skerry_stat st;
        for (uint64_t i = 0; i < kOps; ++i)
          if (skerry_stat(v.get(), nullptr, paths[mix(i) % paths.size()].c_str(), &st) != 0)
            abort();
      };
    };
    BenchVolume cold(scratch.path(), {"background=0", "metadata_cache=0"}, {}, false);
    BenchVolume warm(scratch.path(), {"background=0"}, {}, false);
    BareSqlite bare(scratch.path() + "/vol.db");
    Statement select(bare.get(), kSelectEntry);
    auto bare_stat = [&] {
      for (uint64_t i = 0; i < kOps; ++i) {
        const std::string& path = paths[mix(i) % paths.size()];
        int64_t dir = 1;
        for (size_t at = 1; at != 0;) {
          size_t slash = path.find('/', at);
          std::string name = path.substr(at, slash - at);
          select.bind(1, dir).blob(2, name);
          must(select.step(), "find " + path);
          dir = select.column(1);
          select.reset();
          at = slash == std::string::npos ? 0 : slash + 1;
        }
      }
    };
    auto r = compare({{"uncached", kOps, stat_all(cold)},
                      {"bare", kOps, bare_stat},
                      {"cached", kOps, stat_all(warm)}},
                     kRounds);
    report.line("stat at depth 4, nothing cached, CPU", r[0].median.cpu_ns / 1e3, "us",
                "4 prepared SELECTs", r[1].median.cpu_ns / 1e3, 2, true);
    report.figure("stat at depth 4, cached, CPU", r[2].median.cpu_ns / 1e3, "us", 1, true);
  }

  {  // create, rename, unlink: one caller; the same rows by bare SQLite, in a database beside it
    Scratch scratch(parent), other(parent);
    BenchVolume volume(scratch.path(), {"background=0"}), twin(other.path(), {"background=0"});
    volume.mkdir("/dir");
    twin.mkdir("/dir");
    auto dir = static_cast<int64_t>(ino_of(twin, "/dir"));
    BareSqlite bare(other.path() + "/vol.db");
    Statement begin(bare.get(), "BEGIN IMMEDIATE"), commit(bare.get(), "COMMIT"),
        insert(bare.get(), kInsertEntry), dirstat(bare.get(), kAddDirstat),
        usage(bare.get(), kAddUsage), remove(bare.get(), kDeleteEntry),
        orphan(bare.get(), kInsertOrphan);
    uint64_t made = 0, bare_made = 0;
    auto name = [](uint64_t i) { return "file-" + std::to_string(i); };
    double create[2], renamed[2], unlinked[2];
    std::vector<std::vector<double>> samples(6);
    for (int round = -1; round < kRounds; ++round) {
      uint64_t from = made, bare_from = bare_made;
      auto keep = [&](int i, const Sample& s) {
        if (round >= 0) samples[i].push_back(s.cpu_ns / 1e3);
      };
      keep(0, time_once(kOps, [&] {
             for (uint64_t i = 0; i < kOps; ++i)
               if (skerry_mknod(volume.get(), nullptr, ("/dir/" + name(made++)).c_str(),
                                S_IFREG | 0644, 0) != 0)
                 abort();
           }));
      keep(1, time_once(kOps, [&] {
             for (uint64_t i = 0; i < kOps; ++i, ++bare_made) {
               int64_t now = now_ns();
               std::string n = name(bare_made);
               begin.run();
               insert.bind(1, dir).blob(2, n).bind(3, 1000000 + static_cast<int64_t>(bare_made));
               insert.bind(4, now).run();
               dirstat.bind(1, dir).bind(2, now).bind(3, 1).run();
               usage.bind(1, 1).bind(2, 1).run();
               commit.run();
             }
           }));
      keep(2, time_once(kOps, [&] {
             for (uint64_t i = 0; i < kOps; ++i)
               if (skerry_rename(volume.get(), nullptr, ("/dir/" + name(from + i)).c_str(),
                                 ("/dir/renamed-" + name(from + i)).c_str()) != 0)
                 abort();
           }));
      keep(3, time_once(kOps, [&] {
             for (uint64_t i = 0; i < kOps; ++i) {
               int64_t now = now_ns();
               std::string a = name(bare_from + i), b = "renamed-" + a;
               begin.run();
               remove.bind(1, dir).blob(2, a).run();
               insert.bind(1, dir).blob(2, b);
               insert.bind(3, 1000000 + static_cast<int64_t>(bare_from + i)).bind(4, now).run();
               dirstat.bind(1, dir).bind(2, now).bind(3, 0).run();
               commit.run();
             }
           }));
      keep(4, time_once(kOps, [&] {
             for (uint64_t i = 0; i < kOps; ++i)
               if (skerry_unlink(volume.get(), nullptr,
                                 ("/dir/renamed-" + name(from + i)).c_str()) != 0)
                 abort();
           }));
      keep(5, time_once(kOps, [&] {
             for (uint64_t i = 0; i < kOps; ++i) {
               int64_t now = now_ns();
               std::string b = "renamed-" + name(bare_from + i);
               begin.run();
               remove.bind(1, dir).blob(2, b).run();
               orphan.bind(1, 1000000 + static_cast<int64_t>(bare_from + i)).bind(2, now).run();
               dirstat.bind(1, dir).bind(2, now).bind(3, -1).run();
               usage.bind(1, 1).bind(2, -1).run();
               commit.run();
             }
           }));
    }
    auto median = [](std::vector<double> v) {
      std::sort(v.begin(), v.end());
      return v[v.size() / 2];
    };
    for (int i = 0; i < 2; ++i) {
      create[i] = median(samples[i]);
      renamed[i] = median(samples[2 + i]);
      unlinked[i] = median(samples[4 + i]);
    }
    report.line("create, CPU", create[0], "us", "bare transaction", create[1], 1.5, true);
    report.line("rename, CPU", renamed[0], "us", "bare transaction", renamed[1], 2, true);
    report.line("unlink, CPU", unlinked[0], "us", "bare transaction", unlinked[1], 2, true);
  }

  {  // 16 callers, every create durable
    Scratch scratch(parent), other(parent);
    BenchVolume volume(scratch.path(), {"background=0", "durable=1"}), twin(other.path());
    volume.mkdir("/dir");
    twin.mkdir("/dir");
    GroupedWriter bare(other.path() + "/vol.db", static_cast<int64_t>(ino_of(twin, "/dir")));
    constexpr int kCallers = 16;
    constexpr uint64_t kEach = 400;
    uint64_t round = 0;
    auto callers = [&](auto create) {
      return [&, create] {
        uint64_t base = ++round * kCallers * kEach;
        std::vector<std::thread> pool;
        for (int t = 0; t < kCallers; ++t)
          pool.emplace_back([&, t] {
            for (uint64_t i = 0; i < kEach; ++i) create(base + t * kEach + i);
          });
        for (auto& t : pool) t.join();
      };
    };
    auto r =
        compare({{"skerry", kCallers * kEach, callers([&](uint64_t i) {
                    if (skerry_mknod(volume.get(), nullptr, ("/dir/f" + std::to_string(i)).c_str(),
                                     S_IFREG | 0644, 0) != 0)
                      abort();
                  })},
                 {"bare", kCallers * kEach, callers([&](uint64_t i) {
                    std::string n = "f" + std::to_string(i);
                    bare.insert(1000000 + static_cast<int64_t>(i), n);
                  })}},
                5);
    report.line("durable creates, 16 callers", 1e6 / r[0].median.wall_ns, "k/s",
                "bare grouped writer", 1e6 / r[1].median.wall_ns, 0.7, false);
    report.line("durable creates, 16 callers, CPU", r[0].median.cpu_ns / 1e3, "us",
                "bare grouped writer", r[1].median.cpu_ns / 1e3, -1, true);
  }
  return 0;
}
