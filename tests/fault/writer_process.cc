#include "fault/writer_process.h"

#include <fcntl.h>
#include <poll.h>
#include <skerry/skerry.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstring>
#include <thread>

#include "support/fake_clock.h"

namespace skerry {
namespace {

constexpr unsigned kNames = 8;

static_assert(sizeof(Report) <= PIPE_BUF, "reports of several threads stay whole");

class Writer {
 public:
  Writer(skerry_volume* volume, uint32_t directory, StreamFiles files, uint64_t seed, int report_fd)
      : volume_(volume),
        directory_(directory),
        files_(std::move(files)),
        random_(seed),
        report_fd_(report_fd) {}

  /// One call, or a few that belong together. False after an error.
  bool step() {
    const auto choice = pick(100);
    if (choice < 22 || files_.empty()) return replace();
    if (choice < 42) return append();
    if (choice < 54) return extend();
    if (choice < 64) return rename();
    if (choice < 70) return unlink();
    if (choice < 76) return truncate();
    if (choice < 86) return log();
    if (choice < 97) return read();
    if (choice < 99) return list();
    return collect();
  }

 private:
  uint64_t pick(uint64_t n) { return random_.next() % n; }
  std::string name() { return "f" + std::to_string(pick(kNames)); }
  std::string existing() {
    auto it = files_.begin();
    std::advance(it, static_cast<ptrdiff_t>(pick(files_.size())));
    return it->first;
  }
  std::string path(const std::string& name) const {
    return "/t" + std::to_string(directory_) + "/" + name;
  }
  uint64_t length() {
    constexpr std::array<uint64_t, 6> kLengths = {100, 3000, 5000, 30'000, 120'000, 300'000};
    return kLengths[pick(kLengths.size())] + pick(100);
  }

  void send(Report report, Report::Phase phase) const {
    report.phase = phase;
    report.directory = directory_;
    if (write(report_fd_, &report, sizeof report) != sizeof report) _exit(3);
  }
  Report intent(Report::Call call, const std::string& name, uint64_t id, uint64_t length,
                const std::string& to = "") const {
    Report report;
    report.call = call;
    report.id = id;
    report.length = length;
    name.copy(report.name.data(), report.name.size() - 1);
    to.copy(report.to.data(), report.to.size() - 1);
    send(report, Report::kIntent);
    return report;
  }
  bool done(const Report& report) {
    apply(report, &files_);
    send(report, Report::kDone);
    return true;
  }
  bool failed(const char* what, int64_t result) const {
    Report report;
    report.error = static_cast<int32_t>(result);
    const std::string text = std::string(what) + ": " + (result < 0 ? skerry_last_error() : "");
    text.copy(report.sentence.data(), report.sentence.size() - 1);
    send(report, Report::kError);
    return false;
  }

  bool replace() {
    const std::string n = name();
    const uint64_t id = random_.next();
    const uint64_t bytes = length();
    const Report report = intent(Report::kReplace, n, id, bytes);
    const std::string data = stream_bytes(id, 0, bytes);
    const int result =
        skerry_write_file(volume_, nullptr, path(n).c_str(), data.data(), data.size(), 0644);
    return result == 0 ? done(report) : failed("write_file", result);
  }

  bool append() {
    const std::string n = existing();
    const StreamFile now = files_[n];
    const std::string data = stream_bytes(now.id, now.length, length() / 3);
    const Report report = intent(Report::kAppend, n, now.id, now.length + data.size());
    skerry_file* file = nullptr;
    int64_t result = skerry_open(volume_, nullptr, path(n).c_str(), O_WRONLY | O_APPEND, 0, &file);
    if (result == 0) result = skerry_pwrite(file, nullptr, data.data(), data.size(), 0);
    if (result >= 0) result = skerry_fsync(file, nullptr);
    if (result < 0) return failed("append", result);
    done(report);
    result = skerry_close(file, nullptr);
    return result == 0 || failed("close", result);
  }

  /// In pieces, and durable by close alone.
  bool extend() {
    const std::string n = existing();
    const StreamFile now = files_[n];
    const std::string data = stream_bytes(now.id, now.length, length());
    const Report report = intent(Report::kExtend, n, now.id, now.length + data.size());
    skerry_file* file = nullptr;
    int64_t result = skerry_open(volume_, nullptr, path(n).c_str(), O_RDWR, 0, &file);
    if (result < 0) return failed("open", result);
    for (size_t at = 0; at < data.size() && result >= 0; at += 7000) {
      result = skerry_pwrite(file, nullptr, data.data() + at,
                             std::min<size_t>(7000, data.size() - at), now.length + at);
    }
    if (result < 0) return failed("pwrite", result);
    result = skerry_close(file, nullptr);
    return result == 0 ? done(report) : failed("close", result);
  }

  bool rename() {
    const std::string from = existing();
    const std::string to = name();
    if (from == to) return true;
    const Report report = intent(Report::kRename, from, 0, 0, to);
    const int result = skerry_rename(volume_, nullptr, path(from).c_str(), path(to).c_str());
    return result == 0 ? done(report) : failed("rename", result);
  }

  bool unlink() {
    const std::string n = existing();
    const Report report = intent(Report::kUnlink, n, 0, 0);
    const int result = skerry_unlink(volume_, nullptr, path(n).c_str());
    return result == 0 ? done(report) : failed("unlink", result);
  }

  bool truncate() {
    const std::string n = existing();
    const Report report = intent(Report::kTruncate, n, files_[n].id, files_[n].length / 2);
    const int result = skerry_truncate(volume_, nullptr, path(n).c_str(), report.length);
    return result == 0 ? done(report) : failed("truncate", result);
  }

  bool log() {
    const uint64_t id = random_.next();
    const Report report = intent(Report::kLog, "", id, 0);
    const std::string record = log_record(id);
    skerry_file* file = nullptr;
    int64_t result = skerry_open(volume_, nullptr, "/log", O_WRONLY | O_APPEND, 0, &file);
    if (result == 0) result = skerry_pwrite(file, nullptr, record.data(), record.size(), 0);
    if (result >= 0) result = skerry_close(file, nullptr);
    return result == 0 ? done(report) : failed("log", result);
  }

  bool read() {
    const std::string n = existing();
    const StreamFile now = files_[n];
    std::string bytes(now.length + 1, '\0');
    const int64_t result =
        skerry_read_file(volume_, nullptr, path(n).c_str(), bytes.data(), bytes.size());
    if (result < 0) return failed("read", result);
    bytes.resize(std::min<size_t>(bytes.size(), static_cast<size_t>(result)));
    return bytes == stream_bytes(now.id, 0, now.length) || failed("read: other bytes", 0);
  }

  bool list() {
    skerry_dir* dir = nullptr;
    int result = skerry_opendir(volume_, nullptr, path("").c_str(), 0, nullptr, &dir);
    if (result < 0) return failed("opendir", result);
    std::vector<skerry_dirent> entries(3);
    size_t found = 0;
    while ((result = skerry_readdir(dir, nullptr, entries.data(), 3)) > 0) {
      for (int i = 0; i < result; ++i) {
        found += files_.contains({entries[i].name, entries[i].name_length});
      }
    }
    skerry_closedir(dir);
    if (result < 0) return failed("readdir", result);
    return found == files_.size() || failed("readdir: not all names", 0);
  }

  bool collect() {
    const int result = skerry_gc(volume_, nullptr, nullptr, nullptr, nullptr, nullptr);
    return result == 0 || failed("gc", result);
  }

  skerry_volume* const volume_;
  const uint32_t directory_;
  StreamFiles files_;
  FakeRandom random_;
  const int report_fd_;
};

}  // namespace

std::string stream_bytes(uint64_t id, uint64_t from, uint64_t length) {
  std::string bytes(length, '\0');
  uint64_t word = 0;
  for (uint64_t i = 0; i < length; ++i) {
    const uint64_t at = from + i;
    if (i == 0 || at % 8 == 0) word = FakeRandom(id + at / 8 * 0x2545f4914f6cdd1d).next();
    bytes[i] = static_cast<char>(word >> (at % 8 * 8));
  }
  return bytes;
}

std::string log_record(uint64_t id) {
  std::string record(reinterpret_cast<const char*>(&id), sizeof id);
  return record + stream_bytes(id, 0, kLogRecordBytes - sizeof id);
}

void apply(const Report& report, StreamFiles* files) {
  const std::string name = report.name.data();
  switch (report.call) {
    case Report::kReplace:
    case Report::kAppend:
    case Report::kExtend:
    case Report::kTruncate:
      (*files)[name] = {report.id, report.length};
      break;
    case Report::kRename:
      (*files)[report.to.data()] = (*files)[name];
      files->erase(name);
      break;
    case Report::kUnlink:
      files->erase(name);
      break;
    default:
      break;
  }
}

void WriterState::take(const Report& report) {
  switch (report.phase) {
    case Report::kIntent:
      open[report.directory] = report;
      if (report.call == Report::kLog) logged.emplace(report.id, false);
      break;
    case Report::kDone:
      apply(report, &files[report.directory]);
      if (report.call == Report::kLog) logged[report.id] = true;
      open.erase(report.directory);
      break;
    case Report::kError:
      if (error.empty()) {
        error = std::string(report.sentence.data()) + " (" + std::to_string(report.error) + ")";
      }
      break;
  }
}

void run_writer(const std::string& url, const WriterState& state,
                const std::vector<uint32_t>& directories, uint64_t seed, int report_fd,
                int stop_fd) {
  skerry_volume* volume = nullptr;
  if (const int result = skerry_volume_open(url.c_str(), nullptr, &volume); result != 0) {
    Report report;
    report.phase = Report::kError;
    report.error = result;
    strncpy(report.sentence.data(), skerry_last_error(), report.sentence.size() - 1);
    if (write(report_fd, &report, sizeof report) != sizeof report) _exit(3);
    _exit(1);
  }
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (uint32_t directory : directories) {
    const auto files = state.files.find(directory);
    threads.emplace_back([&, directory, mine = files->second] {
      Writer writer(volume, directory, mine, seed + directory, report_fd);
      while (!stop && writer.step()) {
      }
    });
  }
  pollfd wait{stop_fd, POLLIN, 0};
  while (poll(&wait, 1, -1) < 0 && errno == EINTR) {
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  _exit(skerry_volume_close(volume) == 0 ? 0 : 2);
}

}  // namespace skerry
