// Processes that are killed while they write: what they were told is stored is there, what they
// were not told is there whole or not at all, and nothing of them stays behind.
//
// SKERRY_KILLS: how many (60), SKERRY_KILL_SEED: the choices of the writers and of the moments.

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <skerry/skerry.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <cstring>
#include <set>
#include <utility>

#include "conformance/store_fixture.h"
#include "data/block_format.h"
#include "fault/workload.h"
#include "fault/writer_process.h"
#include "meta/session.h"
#include "object/local/local_store.h"
#include "vfs/maintenance.h"

namespace skerry {
namespace {

uint64_t number_from(const char* variable, uint64_t otherwise) {
  const char* text = getenv(variable);
  return text == nullptr ? otherwise : strtoull(text, nullptr, 10);
}

/// Runs ahead of the real time, so that the sessions of the dead have expired.
class AheadClock final : public Clock {
 public:
  TimeNs now_ns() override { return system_clock().now_ns() + ahead_ns; }
  TimeNs monotonic_ns() override { return system_clock().monotonic_ns() + slept_ns_; }
  /// What is long is not slept but over.
  void sleep_ns(TimeNs duration) override {
    if (duration < 100'000'000) return system_clock().sleep_ns(duration);
    slept_ns_ += duration;
    ahead_ns += duration;
  }
  std::atomic<TimeNs> ahead_ns = 0;

 private:
  std::atomic<TimeNs> slept_ns_ = 0;
};

/// A forked writer and the pipe it reports through.
class WriterProcess {
 public:
  WriterProcess(const std::string& url, const WriterState& state,
                const std::vector<uint32_t>& directories, uint64_t seed) {
    int reports[2], stop[2];
    REQUIRE(pipe2(reports, O_CLOEXEC) == 0);
    fcntl(reports[1], F_SETPIPE_SZ, 1 << 20);  // so that it does not wait for us
    REQUIRE(pipe2(stop, O_CLOEXEC) == 0);
    pid_ = fork();
    REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      close(reports[0]);
      close(stop[1]);
      alarm(120);  // should the parent be gone
      run_writer(url, state, directories, seed, reports[1], stop[0]);
    }
    close(reports[1]);
    close(stop[0]);
    reports_ = reports[0];
    stop_ = stop[1];
  }
  ~WriterProcess() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      wait();
    }
    close(reports_);
    if (stop_ >= 0) close(stop_);
  }
  WriterProcess(const WriterProcess&) = delete;
  WriterProcess& operator=(const WriterProcess&) = delete;

  /// Waits for a report; false once the process is gone and all were taken.
  bool take(WriterState* state) {
    Report report;
    ssize_t n = 0;
    do {
      n = read(reports_, &report, sizeof report);
    } while (n < 0 && errno == EINTR);
    if (n != sizeof report) return false;
    state->take(report);
    return true;
  }
  /// What is there by now.
  void drain(WriterState* state) {
    pollfd wait{reports_, POLLIN, 0};
    while (poll(&wait, 1, 0) == 1 && take(state)) {
    }
  }
  void kill(WriterState* state) {
    ::kill(pid_, SIGKILL);
    wait();
    while (take(state)) {
    }
  }
  /// Lets it end by itself; its exit status.
  int stop(WriterState* state) {
    close(std::exchange(stop_, -1));
    while (take(state)) {
    }
    return wait();
  }

 private:
  int wait() {
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
    return status;
  }
  pid_t pid_ = 0;
  int reports_ = -1;
  int stop_ = -1;
};

class KillTest {
 public:
  explicit KillTest(uint32_t directories)
      : seed(number_from("SKERRY_KILL_SEED", 20260101)), random(seed) {
    REQUIRE(skerry_format(url.c_str(), nullptr) == 0);
    auto volume = open();
    for (uint32_t directory = 0; directory < directories; ++directory) {
      state.files[directory];
      REQUIRE(vfs::mkdir(ctx, *volume, nullptr, path_of(directory), 0755).ok());
    }
    auto log = vfs::open_file(ctx, *volume, nullptr, "/log", O_WRONLY | O_CREAT, 0644);
    REQUIRE(log.ok());
    log->reset();
    REQUIRE(volume->close(ctx).ok());
  }

  /// As a client whose clock says that the others have been silent for long. Without threads, so
  /// that this process can fork.
  std::unique_ptr<vfs::Volume> open() {
    clock.ahead_ns += 90'000'000'000;  // past the expiry, and past the lease of the last one
    vfs::Volume::Parts parts;
    parts.clock = &clock;
    parts.random = &system_random();
    auto store = meta::SqliteStore::open(folder.file("v.db"), {}, clock);
    REQUIRE(store.ok());
    parts.store = std::move(store).value();
    auto format = meta::read_format(ctx, *parts.store);
    REQUIRE(format.ok());
    parts.format = *format;
    auto objects = LocalObjectStore::open(folder.file("v.db.data"), clock);
    REQUIRE(objects.ok());
    parts.objects = std::move(objects).value();
    vfs::VolumeOptions options;
    options.io_threads = 0;
    options.background = false;
    auto volume = vfs::Volume::open(ctx, std::move(parts), options);
    if (!volume.ok()) FAIL(volume.error().message());
    return std::move(volume).value();
  }

  /// Compares all files with what the writers reported, and takes what open calls have become.
  void check_files(vfs::Volume& volume) {
    auto tree = read_tree(ctx, volume);
    if (!tree.ok()) FAIL("reading all: " << tree.error().message());
    std::map<uint32_t, std::map<std::string, std::string>> found;
    for (auto& [path, bytes] : tree->files) {
      if (path == "/log") continue;
      const size_t slash = path.find('/', 2);
      const auto directory = static_cast<uint32_t>(std::stoul(path.substr(2, slash - 2)));
      found[directory][path.substr(slash + 1)] = std::move(bytes);
    }
    for (auto& [directory, files] : state.files) {
      CAPTURE(directory);
      settle(directory, found[directory], &files);
    }
    state.open.clear();
    check_log(tree->files.at("/log"));
  }

  void check_log(const std::string& log) {
    REQUIRE(log.size() % kLogRecordBytes == 0);
    std::set<uint64_t> seen;
    for (size_t at = 0; at < log.size(); at += kLogRecordBytes) {
      uint64_t id = 0;
      memcpy(&id, log.data() + at, sizeof id);
      REQUIRE(state.logged.contains(id));
      const bool whole = log.compare(at, kLogRecordBytes, log_record(id)) == 0;
      REQUIRE(whole);
      REQUIRE(seen.insert(id).second);
    }
    for (auto& [id, acknowledged] : state.logged) {
      if (acknowledged) REQUIRE(seen.contains(id));
    }
  }

  /// What the dead left: gone once their sessions have expired.
  void check_garbage(vfs::Volume& volume) {
    vfs::GcResult swept;
    for (int round = 0; round < 3; ++round) {  // ends sessions, deletes, finds nothing
      swept = {};
      REQUIRE(vfs::collect_garbage(ctx, volume, false, &swept, {}).ok());
    }
    CHECK(swept.leaked_objects == 0);
    CHECK(swept.pending_objects == 0);
    auto sessions = meta::sessions(ctx, volume.meta());
    REQUIRE(sessions.ok());
    CHECK(sessions->size() == 1);
    std::string problems;
    auto report = [&](const char* kind, const char* detail) {
      problems += std::string(kind) + ": " + detail + "\n";
    };
    auto found = vfs::check(ctx, volume, true, report, {});
    REQUIRE(found.ok());
    CHECK(problems.empty());
    CHECK(found->meta.orphans == 0);
    std::set<meta::ObjectId> live, stored;
    auto visit = [&](meta::Ino, uint64_t, const meta::Extent& extent) {
      if (extent.object != 0) live.insert(extent.object);
    };
    REQUIRE(meta::fsck(ctx, volume.meta(), visit).ok());
    auto page = volume.objects().list(ctx, data::kObjectPrefix, "", 10'000);
    REQUIRE(page.ok());
    for (const auto& object : page->objects) stored.insert(data::object_id_of_key(object.key));
    CHECK(stored == live);
  }

  static std::string path_of(uint32_t directory) { return "/t" + std::to_string(directory); }

  meta::TestDirectory folder;
  const std::string url = "sqlite://" + folder.file("v.db");
  AheadClock clock;
  const OpContext ctx = fault_context(clock);
  const uint64_t seed;
  FakeRandom random;
  WriterState state;

 private:
  static bool holds(const std::map<std::string, std::string>& found, const StreamFiles& files) {
    if (found.size() != files.size()) return false;
    for (const auto& [name, file] : files) {
      const auto it = found.find(name);
      if (it == found.end() || it->second != stream_bytes(file.id, 0, file.length)) return false;
    }
    return true;
  }

  void settle(uint32_t directory, const std::map<std::string, std::string>& found,
              StreamFiles* files) {
    std::vector<StreamFiles> possible = {*files};
    const auto open = state.open.find(directory);
    if (open != state.open.end()) {
      const Report& call = open->second;
      possible.push_back(*files);
      apply(call, &possible.back());
      // A file is replaced by emptying and filling it.
      if (call.call == Report::kReplace) {
        possible.push_back(*files);
        possible.back()[call.name.data()] = {call.id, 0};
      }
      if (call.call == Report::kExtend && found.contains(call.name.data())) {
        const uint64_t length = found.at(call.name.data()).size();
        if (length > (*files)[call.name.data()].length && length < call.length) {
          possible.push_back(*files);
          possible.back()[call.name.data()].length = length;
        }
      }
      CAPTURE(call.call, call.name.data(), call.length);
    }
    for (StreamFiles& candidate : possible) {
      if (!holds(found, candidate)) continue;
      *files = std::move(candidate);
      return;
    }
    for (const auto& [name, bytes] : found) UNSCOPED_INFO(name << ": " << bytes.size());
    for (const auto& [name, file] : *files)
      UNSCOPED_INFO("expected " << name << ": " << file.length);
    if (open != state.open.end()) {
      UNSCOPED_INFO("unanswered: call " << open->second.call << " of " << open->second.name.data()
                                        << " to " << open->second.length);
    }
    FAIL("the files of " << path_of(directory) << " are not what was acknowledged");
  }
};

}  // namespace

TEST_CASE("kill: a writer killed at any moment loses nothing it was promised", "[fault][kill]") {
  KillTest test(3);
  CAPTURE(test.seed);
  const uint64_t kills = number_from("SKERRY_KILLS", 60);
  for (uint64_t round = 0; round < kills; ++round) {
    CAPTURE(round);
    {
      WriterProcess writer(test.url, test.state, {0, 1, 2}, test.random.next());
      const uint64_t reports = 1 + test.random.next() % 80;
      for (uint64_t i = 0; i < reports && writer.take(&test.state); ++i) {
      }
      // Not to be in step with the reports. Nothing waits for this.
      usleep(static_cast<useconds_t>(test.random.next() % 2000));
      writer.kill(&test.state);
    }
    INFO(test.state.error);
    REQUIRE(test.state.error.empty());
    auto volume = test.open();
    test.check_files(*volume);
    test.check_garbage(*volume);
    REQUIRE(volume->close(test.ctx).ok());
  }
}

TEST_CASE("kill: who shares the volume with the killed never sees an error", "[fault][kill]") {
  const uint64_t kills = number_from("SKERRY_KILLS", 60) / 2;
  // Every victim gets directories of its own, so that it knows what is in them.
  KillTest test(static_cast<uint32_t>(2 + 2 * kills));
  CAPTURE(test.seed);
  WriterProcess survivor(test.url, test.state, {0, 1}, test.random.next());
  for (uint32_t round = 0; round < kills; ++round) {
    CAPTURE(round);
    {
      WriterProcess victim(test.url, test.state, {2 + 2 * round, 3 + 2 * round},
                           test.random.next());
      const uint64_t reports = test.random.next() % 60;
      for (uint64_t i = 0; i < reports && victim.take(&test.state); ++i) {
      }
      usleep(static_cast<useconds_t>(test.random.next() % 2000));
      victim.kill(&test.state);
    }
    survivor.drain(&test.state);
    for (int i = 0; i < 10; ++i) {  // it goes on
      INFO(test.state.error);
      REQUIRE(survivor.take(&test.state));
    }
    INFO(test.state.error);
    REQUIRE(test.state.error.empty());
  }
  CHECK(survivor.stop(&test.state) == 0);
  INFO(test.state.error);
  REQUIRE(test.state.error.empty());
  auto volume = test.open();
  test.check_files(*volume);
  test.check_garbage(*volume);
  REQUIRE(volume->close(test.ctx).ok());
}

TEST_CASE("row 2: space of an unlinked file is freed after its killed client expired, not before",
          "[fault][kill][scenarios]") {
  KillTest test(0);
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    const std::string bytes = pattern_bytes(300'000, 1);
    skerry_volume* volume = nullptr;
    skerry_file* file = nullptr;
    const bool fine = skerry_volume_open(test.url.c_str(), nullptr, &volume) == 0 &&
                      skerry_open(volume, nullptr, "/f", O_RDWR | O_CREAT, 0644, &file) == 0 &&
                      skerry_pwrite(file, nullptr, bytes.data(), bytes.size(), 0) > 0 &&
                      skerry_fsync(file, nullptr) == 0 &&
                      skerry_unlink(volume, nullptr, "/f") == 0 &&
                      skerry_pwrite(file, nullptr, bytes.data(), bytes.size(), bytes.size()) > 0 &&
                      skerry_fsync(file, nullptr) == 0 && write(ends[1], "x", 1) == 1;
    if (!fine) _exit(1);
    for (;;) pause();
  }
  close(ends[1]);
  char byte = 0;
  CHECK(read(ends[0], &byte, 1) == 1);
  close(ends[0]);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);

  // With the real time its session is still good.
  skerry_volume* volume = nullptr;
  const char* const options[] = {"background=0", nullptr};
  REQUIRE(skerry_volume_open(test.url.c_str(), options, &volume) == 0);
  skerry_gc_result swept{};
  for (int i = 0; i < 3; ++i) {
    REQUIRE(skerry_gc(volume, nullptr, nullptr, &swept, nullptr, nullptr) == 0);
    CHECK(swept.reclaimed_inodes == 0);
    CHECK(swept.scanned_objects == 2);
  }
  REQUIRE(skerry_volume_close(volume) == 0);

  auto later = test.open();
  test.check_garbage(*later);
  auto page = later->objects().list(test.ctx, data::kObjectPrefix, "", 10);
  REQUIRE(page.ok());
  CHECK(page->objects.empty());
  REQUIRE(later->close(test.ctx).ok());
}

}  // namespace skerry
