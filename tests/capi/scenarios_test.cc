// Two clients of one volume. Rows are those of the table of sharp scenarios.
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <set>
#include <thread>

#include "support.h"

namespace fs = std::filesystem;

namespace {

uint64_t problems(skerry_volume* volume) {
  skerry_fsck_options options{sizeof options, 1};
  skerry_fsck_result result{};
  auto tell = [](void*, const char* kind, const char* detail) {
    UNSCOPED_INFO(kind << ": " << detail);
  };
  OK(skerry_fsck(volume, nullptr, &options, &result, tell, nullptr, nullptr));
  return result.problems + result.surplus_objects;
}

void collect(skerry_volume* volume) {
  OK(skerry_gc(volume, nullptr, nullptr, nullptr, nullptr, nullptr));
}

}  // namespace

TEST_CASE("two clients: each sees what the other did when its call returned", "[capi][two]") {
  TestVolume test;
  Client& a = test.client;
  Client b(test.url);
  struct skerry_stat st {};
  FAILS(skerry_stat(b, nullptr, "/d/f", &st), ENOENT);
  OK(skerry_mkdir(a, nullptr, "/d", 0755));
  a.write("/d/f", "one");
  CHECK(b.read("/d/f") == "one");
  a.write("/d/f", "second");
  CHECK(b.read("/d/f") == "second");
  CHECK(b.stat("/d/f").size == 6);
  OK(skerry_rename(b, nullptr, "/d/f", "/d/g"));
  FAILS(skerry_stat(a, nullptr, "/d/f", &st), ENOENT);
  CHECK(a.read("/d/g") == "second");
  OK(skerry_chmod(b, nullptr, "/d", 0700));
  skerry_context user = context_of(1000, 1000);
  FAILS(skerry_stat(a, &user, "/d/g", &st), EACCES);
  OK(skerry_unlink(b, nullptr, "/d/g"));
  OK(skerry_rmdir(b, nullptr, "/d"));
  FAILS(skerry_mkdir(a, nullptr, "/d/late", 0755), ENOENT);
}

TEST_CASE("row 1: appends of two clients are all there, each whole", "[capi][two][scenarios]") {
  TestVolume test;
  Client b(test.url);
  test.client.write("/log", "");
  constexpr int kRecords = 60;
  auto append = [&](Client& client, char who) {
    skerry_file* file = nullptr;
    if (skerry_open(client, nullptr, "/log", O_WRONLY | O_APPEND, 0, &file) != 0) return false;
    bool fine = true;
    for (int i = 0; i < kRecords; i++) {
      std::string record = std::string(1, who) + std::to_string(1000 + i);
      record += std::string(3000 + static_cast<size_t>(i) * 7, who) + "\n";
      fine = fine && skerry_pwrite(file, nullptr, record.data(), record.size(), 0) > 0;
      if (i % 3 == 0) fine = fine && skerry_fsync(file, nullptr) == 0;
    }
    return skerry_close(file, nullptr) == 0 && fine;
  };
  bool fine_a = false, fine_b = false;
  std::thread one([&] { fine_a = append(test.client, 'a'); });
  std::thread two([&] { fine_b = append(b, 'b'); });
  one.join();
  two.join();
  CHECK(fine_a);
  CHECK(fine_b);
  const std::string log = test.client.read("/log");
  CHECK(b.read("/log") == log);
  std::set<std::string> seen;
  for (size_t at = 0; at < log.size();) {
    const size_t end = log.find('\n', at);
    REQUIRE(end != std::string::npos);
    const std::string record = log.substr(at, end - at);
    const int number = std::stoi(record.substr(1, 4)) - 1000;
    CHECK(record.substr(5) == std::string(3000 + static_cast<size_t>(number) * 7, record[0]));
    CHECK(seen.insert(record.substr(0, 5)).second);
    at = end + 1;
  }
  CHECK(seen.size() == 2 * kRecords);
}

TEST_CASE("row 2: unlinked while open here: works, and is freed after close",
          "[capi][two][scenarios]") {
  TestVolume test({"background=0"}, {"inline=0"});
  Client b(test.url, {"background=0"});
  Client& a = test.client;
  skerry_file* file = a.open("/f", O_RDWR | O_CREAT);
  const std::string bytes = pattern(100'000);
  OK(skerry_pwrite(file, nullptr, bytes.data(), bytes.size(), 0));
  OK(skerry_fsync(file, nullptr));
  OK(skerry_unlink(a, nullptr, "/f"));
  collect(b);
  collect(a);
  collect(b);
  OK(skerry_pwrite(file, nullptr, bytes.data(), bytes.size(), bytes.size()));
  OK(skerry_fsync(file, nullptr));
  CHECK(read_all(file) == bytes + bytes);
  OK(skerry_close(file, nullptr));
  skerry_gc_result result{};
  uint64_t freed = 0;
  result.scanned_objects = 1;
  for (int i = 0; i < 12 && result.scanned_objects > 0; i++) {  // each passes its epochs on
    OK(skerry_gc(i % 2 == 0 ? a : b, nullptr, nullptr, &result, nullptr, nullptr));
    freed += result.reclaimed_inodes;
  }
  CHECK(freed == 1);
  CHECK(result.scanned_objects == 0);
  CHECK(problems(a) == 0);
}

TEST_CASE("row 3: unlinked by another while open here, then collected: data or ESTALE",
          "[capi][two][scenarios]") {
  TestVolume test({"background=0", "cache_size=1M"}, {"inline=0"});
  Client& a = test.client;
  Client b(test.url, {"background=0"});
  const std::string bytes = pattern(6 << 20);
  b.write("/f", bytes);
  skerry_file* file = a.open("/f", O_RDONLY);
  OK(skerry_unlink(b, nullptr, "/f"));
  b.write("/other", pattern(6 << 20, 9));
  for (int i = 0; i < 3; i++) collect(b);
  for (int i = 0; i < 3; i++) {
    std::string back(bytes.size(), '\0');
    int64_t got = skerry_pread(file, nullptr, back.data(), back.size(), 0);
    if (got < 0) {
      CHECK(got == -ESTALE);
    } else {
      CHECK(got == static_cast<int64_t>(bytes.size()));
      CHECK(back == bytes);
    }
    collect(a);
    collect(b);
  }
  OK(skerry_close(file, nullptr));
}

TEST_CASE("row 4: compaction while another reads and a third overwrites",
          "[capi][two][scenarios]") {
  TestVolume test({"cache_size=0"}, {"inline=0"});
  Client reader(test.url, {"cache_size=0"});
  Client writer(test.url);
  constexpr size_t kPiece = 10'000;
  constexpr size_t kPieces = 24;
  constexpr char kRounds = 6;
  // Each piece holds one letter, the number of the round in which it was written.
  test.client.write("/f", std::string(kPiece * kPieces, 'a'));
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0}, reads{0};
  std::thread reading([&] {
    skerry_file* file = nullptr;
    if (skerry_open(reader, nullptr, "/f", O_RDONLY, 0, &file) != 0) wrong++;
    std::string bytes(kPiece * kPieces, '\0');
    while (!stop || reads == 0) {
      if (skerry_pread(file, nullptr, bytes.data(), bytes.size(), 0) !=
          static_cast<int64_t>(bytes.size())) {
        wrong++;
      }
      for (size_t piece = 0; piece < kPieces; piece++) {
        const std::string_view part = std::string_view(bytes).substr(piece * kPiece, kPiece);
        if (part[0] < 'a' || part[0] > 'a' + kRounds) wrong++;
        if (part.find_first_not_of(part[0]) != std::string_view::npos) wrong++;
      }
      reads++;
    }
    skerry_close(file, nullptr);
  });
  std::thread writing([&] {
    skerry_file* file = nullptr;
    if (skerry_open(writer, nullptr, "/f", O_RDWR, 0, &file) != 0) wrong++;
    for (char round = 1; round <= kRounds; round++) {
      for (size_t piece = 0; piece < kPieces; piece++) {
        const std::string bytes(kPiece, static_cast<char>('a' + round));
        if (skerry_pwrite(file, nullptr, bytes.data(), kPiece, piece * kPiece) < 0) wrong++;
        if (skerry_fsync(file, nullptr) != 0) wrong++;
      }
    }
    skerry_close(file, nullptr);
    stop = true;
  });
  while (!stop) {
    if (skerry_compact(test.client, nullptr, "/f") < 0) wrong++;
    collect(test.client);
  }
  reading.join();
  writing.join();
  CHECK(wrong == 0);
  CHECK(test.client.read("/f") == std::string(kPiece * kPieces, 'a' + kRounds));
  CHECK(problems(test.client) == 0);
}

TEST_CASE("row 5: a copy in one client, its source written in another", "[capi][two][scenarios]") {
  TestVolume test({}, {"inline=0"});
  Client& a = test.client;
  Client b(test.url);
  const std::string bytes = pattern(100'000);
  skerry_file* writer = b.open("/source", O_RDWR | O_CREAT);
  OK(skerry_pwrite(writer, nullptr, bytes.data(), bytes.size(), 0));
  OK(skerry_fsync(writer, nullptr));
  skerry_file* from = a.open("/source", O_RDONLY);
  skerry_file* to = a.open("/target", O_RDWR | O_CREAT);
  CHECK(skerry_copy_file_range(from, 0, to, 0, 200'000, nullptr) == 100'000);
  OK(skerry_close(to, nullptr));
  // The copy shares its data, and outlives the source.
  OK(skerry_close(from, nullptr));
  OK(skerry_close(writer, nullptr));
  OK(skerry_unlink(b, nullptr, "/source"));
  collect(a);
  collect(b);
  collect(a);
  CHECK(b.read("/target") == bytes);
  CHECK(problems(b) == 0);
}

TEST_CASE("row 6: data that cannot be stored is an error at fsync and close, on each handle",
          "[capi][scenarios]") {
  TestVolume test({"timeout=2s"}, {"inline=0"});
  Client& v = test.client;
  const std::string bytes = pattern(100'000);
  skerry_file* one = v.open("/f", O_RDWR | O_CREAT);
  skerry_file* two = v.open("/f", O_RDWR);
  // The store goes away: where folders were, a file is.
  if (std::getenv("SKERRY_TEST_S3") != nullptr) return;  // its folder cannot be taken away
  const std::string data = test.files;
  fs::rename(data, data + ".away");
  {
    FILE* in_the_way = fopen(data.c_str(), "w");
    fclose(in_the_way);
  }
  OK(skerry_pwrite(one, nullptr, bytes.data(), bytes.size(), 0));
  OK(skerry_pwrite(two, nullptr, bytes.data(), bytes.size(), 100'000));
  const bool refused = skerry_fsync(one, nullptr) < 0;
  if (refused) {
    CHECK(skerry_fsync(two, nullptr) < 0);
    CHECK(v.read("/f").empty() == false);  // what was written is still seen here
  }
  // It comes back: nothing was lost.
  fs::remove(data);
  fs::rename(data + ".away", data);
  OK(skerry_fsync(one, nullptr));
  OK(skerry_close(one, nullptr));
  OK(skerry_close(two, nullptr));
  Client other(test.url);
  CHECK(other.read("/f") == bytes + bytes);
}

TEST_CASE("a file that is replaced during a call by its path", "[capi][scenarios]") {
  TestVolume test;
  Client& v = test.client;
  Client other(test.url);
  v.write("/f", "first");
  v.write("/linked", "");
  std::atomic<bool> stop{false};
  std::atomic<int> replaced{0}, failed{0};
  std::thread replacer([&] {
    while (!stop) {
      if (skerry_mknod(other, nullptr, "/new", S_IFREG | 0644, 0) != 0) ++failed;
      if (skerry_rename(other, nullptr, "/new", "/f") != 0) ++failed;
      ++replaced;
    }
  });
  struct Joined {
    std::atomic<bool>& stop;
    std::thread& thread;
    ~Joined() {
      stop = true;
      if (thread.joinable()) thread.join();
    }
  } joined{stop, replacer};
  for (int i = 0; i < 100 || replaced < 100; ++i) {
    OK(skerry_truncate(v, nullptr, "/f", 2));
    OK(skerry_chmod(v, nullptr, "/f", 0640));
    OK(skerry_setxattr(v, nullptr, "/f", "user.x", "1", 1, 0));
    OK(skerry_unlink(v, nullptr, "/linked"));
    OK(skerry_link(v, nullptr, "/f", "/linked"));
    skerry_file* file = nullptr;
    OK(skerry_open(v, nullptr, "/f", O_WRONLY | O_TRUNC, 0, &file));
    OK(skerry_close(file, nullptr));
  }
  stop = true;
  replacer.join();
  CHECK(failed == 0);
}

TEST_CASE("row 10: create, mkdir and link as a mutex between processes", "[capi][two][scenarios]") {
  TestVolume test;
  constexpr int kRounds = 40;
  constexpr int kProcesses = 4;
  OK(test.client.close());  // children open their own
  for (const char* way : {"open", "mkdir", "link"}) {
    INFO(way);
    TempFolder won;
    std::vector<pid_t> children;
    for (int p = 0; p < kProcesses; p++) {
      pid_t child = fork();
      if (child == 0) {
        alarm(60);
        skerry_volume* volume = nullptr;
        if (open_volume(test.url, {}, &volume) != 0) _exit(1);
        const std::string own = "/own" + std::string(way) + std::to_string(p);
        if (skerry_write_file(volume, nullptr, own.c_str(), "", 0, 0644) != 0) _exit(2);
        for (int i = 0; i < kRounds; i++) {
          const std::string path = "/" + std::string(way) + std::to_string(i);
          int got = 0;
          if (way[0] == 'o') {
            skerry_file* file = nullptr;
            got =
                skerry_open(volume, nullptr, path.c_str(), O_RDWR | O_CREAT | O_EXCL, 0644, &file);
            skerry_close(file, nullptr);
          } else if (way[0] == 'm') {
            got = skerry_mkdir(volume, nullptr, path.c_str(), 0755);
          } else {
            got = skerry_link(volume, nullptr, own.c_str(), path.c_str());
          }
          if (got == 0) {
            const std::string mark = won.path() + "/" + std::to_string(i);
            if (::mkdir(mark.c_str(), 0755) != 0) _exit(3);  // a second winner
          } else if (got != -EEXIST) {
            _exit(4);
          }
        }
        _exit(skerry_volume_close(volume) == 0 ? 0 : 5);
      }
      children.push_back(child);
    }
    expect_all_fine(children);
    const auto winners = std::distance(fs::directory_iterator(won.path()), {});
    CHECK(winners == kRounds);
  }
  Client check(test.url);
  CHECK(problems(check) == 0);
}

TEST_CASE("row 11: renames of two clients race", "[capi][two][scenarios]") {
  TestVolume test;
  Client& a = test.client;
  Client b(test.url);
  for (int i = 0; i < 25; i++) {
    const std::string n = std::to_string(i);
    a.write("/a" + n, "a");
    b.write("/b" + n, "b");
    // NOREPLACE: one winner.
    std::atomic<int> won{0}, lost{0};
    auto rename = [&](Client& client, const std::string& from) {
      int got = skerry_renameat2(client, nullptr, nullptr, from.c_str(), nullptr,
                                 ("/target" + n).c_str(), SKERRY_RENAME_NOREPLACE);
      (got == 0 ? won : lost)++;
      return got == 0 || got == -EEXIST;
    };
    bool fine_a = false, fine_b = false;
    std::thread one([&] { fine_a = rename(a, "/a" + n); });
    std::thread two([&] { fine_b = rename(b, "/b" + n); });
    one.join();
    two.join();
    CHECK((fine_a && fine_b && won == 1 && lost == 1));
  }
  // EXCHANGE: whatever the order, both contents are there.
  a.write("/x", "x");
  a.write("/y", "y");
  std::atomic<int> wrong{0};
  auto swap = [&](Client& client) {
    for (int i = 0; i < 30; i++) {
      if (skerry_renameat2(client, nullptr, nullptr, "/x", nullptr, "/y", SKERRY_RENAME_EXCHANGE) !=
          0) {
        wrong++;
      }
    }
  };
  std::thread one([&] { swap(a); });
  std::thread two([&] { swap(b); });
  one.join();
  two.join();
  CHECK(wrong == 0);
  CHECK(a.read("/x") + a.read("/y") == "xy");  // 60 swaps
  CHECK(b.read("/x") == "x");
  CHECK(problems(a) == 0);
}

TEST_CASE("row 12: rename of a hard link onto its twin, seen from another client",
          "[capi][two][scenarios]") {
  TestVolume test;
  Client& a = test.client;
  Client b(test.url);
  a.write("/one", "data");
  OK(skerry_link(a, nullptr, "/one", "/two"));
  CHECK(b.stat("/two").nlink == 2);
  OK(skerry_rename(b, nullptr, "/one", "/two"));
  CHECK(a.stat("/one").ino == a.stat("/two").ino);
  CHECK(a.stat("/one").nlink == 2);
  OK(skerry_unlink(a, nullptr, "/one"));
  CHECK(b.stat("/two").nlink == 1);
  CHECK(b.read("/two") == "data");
  CHECK(problems(b) == 0);
}

TEST_CASE("row 13: a listing is resumed by name after inserts and deletes of another",
          "[capi][two][scenarios]") {
  TestVolume test;
  Client b(test.url);
  std::set<std::string> stable;
  for (int i = 0; i < 300; i++) {
    const std::string name = "f" + std::to_string(1000 + i);
    test.client.write("/" + name, "");
    if (i % 3 != 0) stable.insert(name);
  }
  std::multiset<std::string> seen;
  std::string last;
  for (int page = 0;; page++) {
    skerry_dir* dir = nullptr;
    OK(skerry_opendir(test.client, nullptr, "/", 0, last.empty() ? nullptr : last.c_str(), &dir));
    std::vector<skerry_dirent> entries(20);
    const int count = skerry_readdir(dir, nullptr, entries.data(), 20);
    OK(count);
    for (int i = 0; i < count; i++) seen.insert(last = entries[i].name);
    skerry_closedir(dir);
    if (count == 0) break;
    for (int i = page * 30; i < page * 30 + 30 && i < 300; i += 3) {
      OK(skerry_unlink(b, nullptr, ("/f" + std::to_string(1000 + i)).c_str()));
    }
    b.write("/e" + std::to_string(page), "");
    b.write("/g" + std::to_string(page), "");
  }
  for (const std::string& name : stable) CHECK(seen.count(name) == 1);
  for (const std::string& name : seen) CHECK(seen.count(name) == 1);
}

TEST_CASE("row 16: what statvfs counts returns to where it began", "[capi][two][scenarios]") {
  TestVolume test;
  Client& a = test.client;
  auto usage = [](skerry_volume* volume) {
    struct skerry_statvfs out {};
    OK(skerry_statvfs(volume, nullptr, &out));
    return std::pair(out.used_bytes, out.used_inodes);
  };
  const auto begin = usage(a);
  {
    Client b(test.url);
    OK(skerry_mkdirs(b, nullptr, "/d/e", 0755));
    a.write("/d/small", "small");
    a.write("/d/big", pattern(5 << 20));
    OK(skerry_link(b, nullptr, "/d/big", "/d/e/twin"));
    CHECK(usage(a).first == begin.first + 5 + (5 << 20));  // once, whatever its names
    b.write("/d/big", pattern(100'000));                   // through one of its names
    OK(skerry_truncate(a, nullptr, "/d/e/twin", 200'000));
    CHECK(usage(b).first == begin.first + 5 + 200'000);
    OK(skerry_unlink(a, nullptr, "/d/big"));
    CHECK(usage(b).first == begin.first + 5 + 200'000);
    skerry_file* file = b.open("/d/e/twin", O_RDWR);
    OK(skerry_unlink(a, nullptr, "/d/e/twin"));
    OK(skerry_pwrite(file, nullptr, "x", 1, 999'999));
    OK(skerry_close(file, nullptr));
    b.write("/d/other", "other");
    OK(skerry_rename(b, nullptr, "/d/other", "/d/small"));
    OK(skerry_symlink(b, nullptr, "target", "/d/link"));
    skerry_file* sparse = a.open("/d/sparse", O_RDWR | O_CREAT);
    FAILS(skerry_pwrite(sparse, nullptr, "x", 1, uint64_t{1} << 62), EFBIG);
    FAILS(skerry_pwrite(sparse, nullptr, "x", 1, ~uint64_t{0}), EINVAL);
    FAILS(skerry_ftruncate(sparse, nullptr, uint64_t{1} << 62), EFBIG);
    OK(skerry_ftruncate(sparse, nullptr, uint64_t{1} << 50));
    OK(skerry_close(sparse, nullptr));
    OK(skerry_remove_tree(a, nullptr, "/d", nullptr, nullptr, nullptr));
    CHECK(usage(a) == begin);
    CHECK(usage(b) == begin);
  }
  collect(a);
  CHECK(usage(a) == begin);
  CHECK(problems(a) == 0);
}
