#include "access_log.h"

#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <utility>

namespace skerry::fuse {
namespace {

constexpr size_t kMaxWaiting = 1 << 20;  // bytes kept for one reader

constexpr std::array kNames = {"lookup",     "getattr",   "statx",           "setattr",
                               "access",     "readlink",  "mknod",           "mkdir",
                               "unlink",     "rmdir",     "symlink",         "rename",
                               "link",       "create",    "tmpfile",         "open",
                               "read",       "write",     "flush",           "release",
                               "fsync",      "fallocate", "copy_file_range", "lseek",
                               "ioctl",      "opendir",   "readdir",         "readdirplus",
                               "releasedir", "fsyncdir",  "statfs",          "setxattr",
                               "getxattr",   "listxattr", "removexattr",     "getlk",
                               "setlk",      "flock"};
static_assert(kNames.size() == static_cast<size_t>(Op::kCount));

// Names in the log are one word, whatever bytes they are made of.
std::string quoted(const char* name) {
  std::string text;
  for (const char* at = name; *at != '\0'; ++at) {
    const auto byte = static_cast<unsigned char>(*at);
    if (byte <= ' ' || byte == '\\' || byte == 0x7f || byte == ',') {
      std::array<char, 8> escape{};
      std::snprintf(escape.data(), escape.size(), "\\x%02x", byte);
      text += escape.data();
    } else {
      text += *at;
    }
  }
  return text;
}

std::string line_of(const fuse_ctx& caller, Op op, const Arguments& arguments, int64_t result,
                    double seconds) {
  timeval now = {};
  gettimeofday(&now, nullptr);
  tm broken_down = {};
  localtime_r(&now.tv_sec, &broken_down);
  std::array<char, 64> time{};
  std::strftime(time.data(), time.size(), "%Y.%m.%d %H:%M:%S", &broken_down);
  std::array<char, 256> text{};
  std::snprintf(text.data(), text.size(), "%s.%06ld [uid:%u,gid:%u,pid:%d] %s (%" PRIu64,
                time.data(), static_cast<long>(now.tv_usec), caller.uid, caller.gid, caller.pid,
                kNames[static_cast<size_t>(op)], arguments.ino);
  std::string line = text.data();
  if (arguments.name != nullptr) line += "," + quoted(arguments.name);
  if (arguments.other_ino != 0) line += "," + std::to_string(arguments.other_ino);
  if (arguments.other_name != nullptr) line += "," + quoted(arguments.other_name);
  if (op == Op::kRead || op == Op::kWrite || op == Op::kFallocate || op == Op::kCopyFileRange ||
      op == Op::kGetlk || op == Op::kSetlk) {
    line += "," + std::to_string(arguments.length) + "," + std::to_string(arguments.offset);
  }
  line += "): ";
  line += result < 0 ? std::strerror(static_cast<int>(-result)) : "OK";
  std::snprintf(text.data(), text.size(), " <%.6f>\n", seconds);
  return line + text.data();
}

}  // namespace

void AccessLog::record(fuse_req_t req, Op op, const Arguments& arguments, int64_t result,
                       Clock::time_point begin) {
  const std::chrono::duration<double> took = Clock::now() - begin;
  Counters& counters = counters_[static_cast<size_t>(op)];
  counters.calls.fetch_add(1, std::memory_order_relaxed);
  if (result < 0) counters.errors.fetch_add(1, std::memory_order_relaxed);
  counters.microseconds.fetch_add(static_cast<uint64_t>(took.count() * 1e6),
                                  std::memory_order_relaxed);
  if (open_readers_.load(std::memory_order_acquire) == 0) return;
  append(line_of(*fuse_req_ctx(req), op, arguments, result, took.count()));
}

std::string AccessLog::statistics() const {
  std::string text;
  for (size_t i = 0; i < kNames.size(); ++i) {
    const Counters& counters = counters_[i];
    const std::string name = std::string("op_") + kNames[i];
    text += name + " " + std::to_string(counters.calls.load()) + "\n";
    text += name + "_errors " + std::to_string(counters.errors.load()) + "\n";
    text += name + "_us " + std::to_string(counters.microseconds.load()) + "\n";
  }
  return text;
}

AccessLog::Reader* AccessLog::open() {
  std::lock_guard lock(mutex_);
  readers_.push_back(std::make_unique<Reader>());
  open_readers_.store(readers_.size(), std::memory_order_release);
  return readers_.back().get();
}

void AccessLog::close(Reader* reader) {
  std::lock_guard lock(mutex_);
  readers_.remove_if([&](const auto& each) { return each.get() == reader; });
  open_readers_.store(readers_.size(), std::memory_order_release);
}

void AccessLog::append(const std::string& line) {
  std::lock_guard lock(mutex_);
  for (const auto& reader : readers_) {
    if (reader->lines.size() + line.size() > kMaxWaiting) {
      ++reader->missed;
      continue;
    }
    if (reader->missed > 0) {
      reader->lines += "# " + std::to_string(reader->missed) + " lines were not kept\n";
      reader->missed = 0;
    }
    reader->lines += line;
    if (reader->waiting != nullptr) reply(*reader);
  }
}

void AccessLog::reply(Reader& reader) {
  const size_t size = std::min(reader.wanted, reader.lines.size());
  fuse_reply_buf(reader.waiting, reader.lines.data(), size);
  reader.lines.erase(0, size);
  reader.waiting = nullptr;
}

bool AccessLog::end_interrupted() {
  if (open_readers_.load(std::memory_order_acquire) == 0) return false;
  std::lock_guard lock(mutex_);
  bool waiting = false;
  for (const auto& reader : readers_) {
    if (reader->waiting == nullptr) continue;
    if (fuse_req_interrupted(reader->waiting) != 0) {
      fuse_reply_err(std::exchange(reader->waiting, nullptr), EINTR);
    } else {
      waiting = true;
    }
  }
  return waiting;
}

void AccessLog::read(fuse_req_t req, Reader* reader, size_t size) {
  std::lock_guard lock(mutex_);
  if (reader->waiting != nullptr) {
    fuse_reply_err(req, EBUSY);
    return;
  }
  reader->waiting = req;
  reader->wanted = size;
  if (!reader->lines.empty()) reply(*reader);
}

}  // namespace skerry::fuse
