// What runs out: room on the disks, file sizes, descriptors. Through the C ABI, each in a process
// of its own: calls work or fail with an errno that says why, and go on once there is room again.

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <skerry/skerry.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "conformance/store_fixture.h"
#include "fault/workload.h"

namespace skerry {
namespace {

constexpr int kNotPermitted = 77;

struct Outcome {
  int status = 0;        // of the child: its exit status, 1000 + the signal that ended it
  std::string sentence;  // what was wrong
};

/// Runs `body` in a child; it throws the sentence of what is wrong.
Outcome in_child(const std::function<void()>& body) {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    int status = 0;
    try {
      body();
    } catch (const std::string& sentence) {
      status = write(ends[1], sentence.data(), sentence.size()) < 0 ? 2 : 1;
    } catch (int own) {
      status = own;
    }
    _exit(status);
  }
  close(ends[1]);
  Outcome outcome;
  char buffer[1024];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;) {
    outcome.sentence.append(buffer, static_cast<size_t>(n));
  }
  close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  return outcome;
}

void demand(bool holds, const std::string& what) {
  if (!holds) throw what;
}
void must(int64_t result, const std::string& what) {
  if (result < 0) throw what + " gave " + std::to_string(result) + ": " + skerry_last_error();
}

/// A tmpfs of the child's own, gone with it.
void mount_small(const std::string& at, const std::string& size) {
  mkdir(at.c_str(), 0755);
  if (unshare(CLONE_NEWNS) != 0) throw kNotPermitted;
  mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
  if (mount("tmpfs", at.c_str(), "tmpfs", 0, ("size=" + size).c_str()) != 0) throw kNotPermitted;
}

void make_ballast(const std::string& path, size_t bytes) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  const int failed = posix_fallocate(fd, 0, static_cast<off_t>(bytes));
  close(fd);
  demand(fd >= 0 && failed == 0, "the ballast cannot be written");
}

/// A user who writes files while something runs out, and knows what he was promised.
class User {
 public:
  User(const std::string& url, std::set<int> codes) : url_(url), codes_(std::move(codes)) {}
  ~User() { skerry_volume_close(volume_); }

  void format(const std::string& storage) {
    const std::string option = "storage=file://" + storage;
    const char* const options[] = {option.c_str(), nullptr};
    must(skerry_format(url_.c_str(), options), "format");
  }
  /// False if it failed as it may.
  bool open() {
    return check(skerry_volume_open(url_.c_str(), nullptr, &volume_), "open the volume");
  }
  void close() { must(skerry_volume_close(std::exchange(volume_, nullptr)), "close the volume"); }
  bool write(const std::string& path, size_t length) {
    const std::string bytes = pattern_bytes(length, ++seed_);
    promised_.erase(path);
    const int result =
        skerry_write_file(volume_, nullptr, path.c_str(), bytes.data(), bytes.size(), 0644);
    if (!check(result, "write_file")) return false;
    promised_[path] = bytes;
    return true;
  }
  /// Keeps the file open, whatever happens. `until`: gives up after so many.
  void write_until_full(const std::string& path, size_t piece, int until = 10'000) {
    if (!check(skerry_open(volume_, nullptr, path.c_str(), O_RDWR | O_CREAT, 0644, &file_),
               "open")) {
      return;
    }
    path_ = path;
    bytes_.clear();
    for (int i = 0; i < until; ++i) {
      const std::string bytes = pattern_bytes(piece, ++seed_);
      const int64_t written =
          skerry_pwrite(file_, nullptr, bytes.data(), bytes.size(), bytes_.size());
      if (!check(written, "pwrite")) return;
      demand(written == static_cast<int64_t>(piece), "pwrite took a part");
      bytes_ += bytes;
      if (!check(skerry_fsync(file_, nullptr), "fsync")) return;
      promised_[path] = bytes_;
    }
  }
  /// The one file that was written until the store was full: what was taken is stored now.
  void finish_open_file() {
    if (file_ == nullptr) return;
    must(skerry_fsync(file_, nullptr), "fsync when there is room again");
    const std::string more = pattern_bytes(5000, ++seed_);
    must(skerry_pwrite(file_, nullptr, more.data(), more.size(), bytes_.size()), "pwrite again");
    bytes_ += more;
    must(skerry_close(std::exchange(file_, nullptr), nullptr), "close");
    promised_[path_] = bytes_;
  }
  /// Calls of all kinds; each may fail, none may lie.
  void do_everything() {
    write("/tiny", 100);
    if (check(skerry_mkdir(volume_, nullptr, "/dir", 0755), "mkdir", EEXIST)) {
      write("/dir/packed", 50'000);
      write("/dir/large", 6 << 20);
    }
    struct skerry_stat st {};
    check(skerry_stat(volume_, nullptr, "/dir", &st), "stat", ENOENT);
    skerry_dir* dir = nullptr;
    if (check(skerry_opendir(volume_, nullptr, "/", 1, nullptr, &dir), "opendir")) {
      skerry_dirent entries[8];
      check(skerry_readdir(dir, nullptr, entries, 8), "readdir");
      skerry_closedir(dir);
    }
    skerry_queue* queue = nullptr;
    if (check(skerry_queue_create(volume_, 4, &queue), "queue")) skerry_queue_free(queue);
    for (const auto& [path, bytes] : promised_) {
      std::string back(bytes.size(), '\0');
      const int64_t length =
          skerry_read_file(volume_, nullptr, path.c_str(), back.data(), back.size());
      if (!check(length, "read_file")) continue;
      demand(back == bytes, "read_file gave other bytes of " + path);
    }
    check(skerry_sync(volume_, nullptr), "sync");
  }
  void check_promises() {
    for (const auto& [path, bytes] : promised_) {
      std::string back(bytes.size() + 1, '\0');
      const int64_t length =
          skerry_read_file(volume_, nullptr, path.c_str(), back.data(), back.size());
      must(length, "read " + path);
      back.resize(static_cast<size_t>(length));
      demand(back == bytes, path + " holds other bytes than were acknowledged");
    }
    skerry_fsck_options options{sizeof options, 1};
    skerry_fsck_result result{};
    std::string problems;
    auto tell = [](void* context, const char* kind, const char* detail) {
      *static_cast<std::string*>(context) += std::string(kind) + ": " + detail + "; ";
    };
    must(skerry_fsck(volume_, nullptr, &options, &result, tell, nullptr, &problems), "fsck");
    demand(result.problems == 0, "fsck: " + problems);
    skerry_gc_result swept{};
    for (int i = 0; i < 2; ++i) {
      must(skerry_gc(volume_, nullptr, nullptr, &swept, nullptr, nullptr), "gc");
    }
  }
  size_t promises() const { return promised_.size(); }
  unsigned failures() const { return failures_; }

 private:
  bool check(int64_t result, const char* what, int fine = 0) {
    if (result >= 0 || result == -fine) return true;
    demand(codes_.contains(static_cast<int>(-result)),
           std::string(what) + " gave " + std::to_string(result) + ": " + skerry_last_error());
    demand(strlen(skerry_last_error()) > 0, std::string(what) + " failed without a sentence");
    ++failures_;
    return false;
  }

  const std::string url_;
  const std::set<int> codes_;
  skerry_volume* volume_ = nullptr;
  skerry_file* file_ = nullptr;
  std::string path_;   // of file_
  std::string bytes_;  // taken by file_
  std::map<std::string, std::string> promised_;
  unsigned seed_ = 0;
  unsigned failures_ = 0;
};

void expect_fine(const Outcome& outcome) {
  INFO(outcome.sentence);
  if (outcome.status == kNotPermitted) {
    WARN("no private tmpfs here: only the file size limit was tried");
    return;
  }
  CHECK(outcome.status == 0);
}

/// A limit under which so many more descriptors can be opened.
rlim_t limit_for(size_t spare) {
  rlim_t limit = 0;
  for (size_t unused = 0;; ++limit) {
    const bool used = fcntl(static_cast<int>(limit), F_GETFD) >= 0;
    if (!used && unused++ == spare) return limit;
  }
}

/// After a full disk: the same open volume goes on once there is room, and so does the next one.
void make_room(User& user, const std::string& ballast) {
  unlink(ballast.c_str());
  user.finish_open_file();
  demand(user.write("/after", 100'000), "a write when there is room again");
  user.check_promises();
  user.close();
  demand(user.open(), "open again");
  user.check_promises();
}

}  // namespace

TEST_CASE("resources: the data's disk fills up and gets room again", "[fault][resources]") {
  meta::TestDirectory folder(meta::fast_folder());
  expect_fine(in_child([&] {
    const std::string disk = folder.file("disk");
    mount_small(disk, "24m");
    make_ballast(disk + "/ballast", 10 << 20);
    User user("sqlite://" + folder.file("v.db"), {ENOSPC});
    user.format(disk + "/data");
    demand(user.open(), "open");
    user.do_everything();
    user.write_until_full("/growing", 1 << 20);
    demand(user.failures() == 1, "a full disk was not told");
    user.do_everything();
    demand(user.failures() > 1, "a full disk was not told again");
    make_room(user, disk + "/ballast");
  }));
}

TEST_CASE("resources: the database's disk fills up and gets room again", "[fault][resources]") {
  meta::TestDirectory folder(meta::fast_folder());
  expect_fine(in_child([&] {
    const std::string disk = folder.file("disk");
    mount_small(disk, "6m");
    make_ballast(disk + "/ballast", 2 << 20);
    User user("sqlite://" + disk + "/v.db", {ENOSPC});
    user.format(folder.file("data"));
    demand(user.open(), "open");
    user.do_everything();
    for (int i = 0; i < 100'000 && user.failures() == 0; ++i) {
      user.write("/small" + std::to_string(i), 4000);
    }
    demand(user.failures() == 1, "a full disk was not told");
    user.write_until_full("/growing", 300'000, 3);
    user.do_everything();
    demand(user.failures() > 1, "a full disk was not told again");
    make_room(user, disk + "/ballast");
  }));
}

TEST_CASE("resources: a database on a disk with little room, down to none", "[fault][resources]") {
  meta::TestDirectory folder(meta::fast_folder());
  expect_fine(in_child([&] {
    const std::string disk = folder.file("disk");
    mount_small(disk, "2m");
    User user("sqlite://" + disk + "/v.db", {ENOSPC});
    user.format(folder.file("data"));
    unsigned opened = 0;
    for (size_t room = 0; room <= 320 << 10; room += 16 << 10) {
      // Everything but `room`, to a page.
      const int ballast = ::open((disk + "/ballast").c_str(), O_WRONLY | O_CREAT, 0644);
      const std::string page(4096, 'b');
      while (::write(ballast, page.data(), page.size()) == 4096) {
      }
      struct stat st {};
      fstat(ballast, &st);
      const bool cut = ftruncate(ballast, st.st_size - static_cast<off_t>(room)) == 0;
      ::close(ballast);
      demand(cut, "the ballast cannot be cut");
      if (user.open()) {
        ++opened;
        user.do_everything();
        unlink((disk + "/ballast").c_str());
        user.do_everything();
        user.check_promises();
        user.close();
      }
      unlink((disk + "/ballast").c_str());
    }
    demand(user.failures() > 0, "no room was never told");
    demand(opened > 0, "it never opened");
  }));
}

TEST_CASE("resources: files may not grow, then may again", "[fault][resources]") {
  meta::TestDirectory folder(meta::fast_folder());
  const Outcome outcome = in_child([&] {
    signal(SIGXFSZ, SIG_IGN);
    User user("sqlite://" + folder.file("v.db"), {EFBIG});
    user.format(folder.file("data"));
    demand(user.open(), "open");
    user.do_everything();
    for (rlim_t limit : {rlim_t{1} << 20, rlim_t{200} << 10, rlim_t{4096}}) {
      rlimit sizes{limit, RLIM_INFINITY};
      demand(setrlimit(RLIMIT_FSIZE, &sizes) == 0, "setrlimit");
      const unsigned before = user.failures();
      user.do_everything();
      user.write("/other", 900'000);
      for (int i = 0; i < 60; ++i) user.write("/small" + std::to_string(i), 4000);
      demand(user.failures() > before, "the limit was not told");
      sizes.rlim_cur = RLIM_INFINITY;
      demand(setrlimit(RLIMIT_FSIZE, &sizes) == 0, "setrlimit");
      user.write_until_full("/growing" + std::to_string(limit), 100'000, 2);
      user.finish_open_file();
      user.do_everything();
      user.check_promises();
    }
    user.close();
    demand(user.open(), "open again");
    user.check_promises();
  });
  expect_fine(outcome);
}

TEST_CASE("resources: descriptors run out, then are there again", "[fault][resources]") {
  meta::TestDirectory folder(meta::fast_folder());
  const std::string url = "sqlite://" + folder.file("v.db");
  expect_fine(in_child([&] { User(url, {}).format(folder.file("data")); }));
  unsigned opened = 0, refused = 0;
  for (size_t spare = 0; spare < 16; ++spare) {
    CAPTURE(spare);
    const Outcome outcome = in_child([&] {
      rlimit before{};
      getrlimit(RLIMIT_NOFILE, &before);
      rlimit low = before;
      low.rlim_cur = limit_for(spare);
      demand(setrlimit(RLIMIT_NOFILE, &low) == 0, "setrlimit");
      User user(url, {EMFILE, ENFILE});
      const bool open = user.open();
      if (open) {
        user.do_everything();
        user.write_until_full("/growing", 100'000, 3);
      }
      demand(setrlimit(RLIMIT_NOFILE, &before) == 0, "setrlimit");
      if (!open) {
        demand(user.open(), "open with descriptors");
        user.do_everything();
        user.check_promises();
        throw 3;
      }
      user.finish_open_file();
      user.do_everything();
      user.check_promises();
      user.close();
      demand(user.open(), "open again");
      user.check_promises();
    });
    INFO(outcome.sentence);
    CHECK((outcome.status == 0 || outcome.status == 3));
    ++(outcome.status == 3 ? refused : opened);
  }
  CHECK(opened > 0);
  CHECK(refused > 0);
}

}  // namespace skerry
