// A directory of a million entries: filled, listed, renamed, removed. The limit beside it: scanning
// the same rows with a bare SELECT, deleting them with bare DELETEs.
#include <sys/resource.h>

#include <fstream>

#include "bare_sqlite.h"
#include "bench.h"
#include "volume.h"

namespace {

uint64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  uint64_t total = 0, resident = 0;
  in >> total >> resident;
  return resident * 4096;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace bench;
  uint64_t entries = std::stoull(argument(argc, argv, "entries", "1000000"));
  Report report("a directory of " + std::to_string(entries) + " entries", argc, argv);
  Scratch scratch(argument(argc, argv, "dir", "/tmp"));
  BenchVolume volume(scratch.path(), {"background=0"});
  volume.mkdir("/top/dir");
  auto n = static_cast<double>(entries);
  auto fill = [&](const char* directory, uint64_t count, uint64_t stride) {
    return time_once(count, [&, directory, count, stride] {
      char path[64];
      for (uint64_t i = 0; i < count; ++i) {
        std::snprintf(path, sizeof path, "%s/entry-%08llu", directory,
                      static_cast<unsigned long long>(i * stride % 100'000'000));
        must(skerry_mknod(volume.get(), nullptr, path, S_IFREG | 0644, 0) == 0,
             "create: " + BenchVolume::why());
      }
    });
  };
  Sample filled = fill("/top/dir", entries, 1);
  report.figure("create, CPU an entry", filled.cpu_ns / 1e3, "us");

  BareSqlite bare(scratch.path() + "/vol.db");
  std::string middle;
  uint64_t listed = 0;
  auto list = [&](int attributes) {
    skerry_dir* dir = nullptr;
    must(skerry_opendir(volume.get(), nullptr, "/top/dir", attributes, nullptr, &dir) == 0,
         "opendir");
    std::vector<skerry_dirent> page(1024);
    listed = 0;
    for (int got; (got = skerry_readdir(dir, nullptr, page.data(), 1024)) > 0;) {
      listed += static_cast<uint64_t>(got);
      if (listed > entries / 2 && middle.empty()) middle = page[0].name;
    }
    skerry_closedir(dir);
  };
  Statement ino(bare.get(), "SELECT ino FROM entry WHERE name=CAST('dir' AS BLOB)");
  must(ino.step(), "find the directory");
  int64_t dir_ino = ino.column(0);
  ino.reset();
  list(0);
  must(listed == entries, "list every entry once");
  uint64_t before = resident_bytes();
  for (int i = 0; i < 3; ++i) list(0);
  uint64_t after = resident_bytes();
  report.figure("memory grown by listing",
                after > before ? static_cast<double>(after - before) / 1e6 : 0, "MB", 16, true);
  auto r = compare({{"list", entries, [&] { list(0); }},
                    {"list with attributes", entries, [&] { list(1); }},
                    {"bare", entries,
                     [&] {
                       Statement s(bare.get(), "SELECT name,ino,type FROM entry WHERE parent=?1");
                       s.bind(1, dir_ino);
                       while (s.step()) {
                       }
                     }}},
                   3);
  double seen = static_cast<double>(listed);
  report.figure("list, CPU an entry", r[0].median.cpu_ns * n / seen / 1e3, "us", 1, true);
  report.line("list, CPU an entry", r[0].median.cpu_ns * n / seen / 1e3, "us", "bare SELECT",
              r[2].median.cpu_ns * n / seen / 1e3, -1, true);
  report.figure("list with attributes, CPU an entry", r[1].median.cpu_ns * n / seen / 1e3, "us");

  auto page_at = [&](const char* after_name) {
    return [&, after_name] {
      for (int i = 0; i < 50; ++i) {
        skerry_dir* dir = nullptr;
        must(skerry_opendir(volume.get(), nullptr, "/top/dir", 0, after_name, &dir) == 0,
             "opendir");
        std::vector<skerry_dirent> page(1000);
        must(skerry_readdir(dir, nullptr, page.data(), 1000) == 1000, "list a page");
        skerry_closedir(dir);
      }
    };
  };
  r = compare({{"first", 50, page_at(nullptr)}, {"middle", 50, page_at(middle.c_str())}}, 5);
  report.line("page of 1,000 in the middle, CPU", r[1].median.cpu_ns / 1e3, "us", "first page",
              r[0].median.cpu_ns / 1e3, 1.3, true);

  volume.mkdir("/other");  // a heartbeat that is due comes now
  uint64_t commits = volume.counter("metadata_commits");
  Sample rename = time_once(
      1, [&] { must(skerry_rename(volume.get(), nullptr, "/top/dir", "/moved") == 0, "rename"); });
  report.figure("rename of the directory, CPU", rename.cpu_ns / 1e3, "us");
  report.figure("rename of the directory, commits",
                static_cast<double>(volume.counter("metadata_commits") - commits), "", 1, true);

  auto remove = [&](const char* directory, const std::string& what, double wanted) {
    uint64_t removed = 0;
    Sample took = time_once(1, [&] {
      must(skerry_remove_tree(volume.get(), nullptr, directory, &removed, nullptr, nullptr) == 0,
           "remove: " + BenchVolume::why());
    });
    report.figure(what + ", CPU an entry", took.cpu_ns / 1e3 / static_cast<double>(removed), "us",
                  wanted, true);
    report.figure(what + ", wall an entry", took.wall_ns / 1e3 / static_cast<double>(removed),
                  "us");
  };
  remove("/moved", "removed recursively", 10);
  // Names whose order is not that of their making: the removal changes pages all over the database.
  volume.mkdir("/mixed");
  fill("/mixed", entries / 4, 61'803'399);
  remove("/mixed", "removed, names in no order", -1);
  return 0;
}
