// What the mount is asked for: counters, and a line for each request while somebody reads them.
#ifndef SKERRY_BINDINGS_FUSE_ACCESS_LOG_H_
#define SKERRY_BINDINGS_FUSE_ACCESS_LOG_H_

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <string>

#include "fuse_api.h"

namespace skerry::fuse {

enum class Op : uint8_t {
  kLookup,
  kGetattr,
  kStatx,
  kSetattr,
  kAccess,
  kReadlink,
  kMknod,
  kMkdir,
  kUnlink,
  kRmdir,
  kSymlink,
  kRename,
  kLink,
  kCreate,
  kTmpfile,
  kOpen,
  kRead,
  kWrite,
  kFlush,
  kRelease,
  kFsync,
  kFallocate,
  kCopyFileRange,
  kLseek,
  kIoctl,
  kOpendir,
  kReaddir,
  kReaddirplus,
  kReleasedir,
  kFsyncdir,
  kStatfs,
  kSetxattr,
  kGetxattr,
  kListxattr,
  kRemovexattr,
  kGetlk,
  kSetlk,
  kFlock,
  kCount,
};

/// Those that change nothing, so that nothing is half done when they end early.
constexpr bool asks(Op op) {
  switch (op) {
    case Op::kLookup:
    case Op::kGetattr:
    case Op::kStatx:
    case Op::kAccess:
    case Op::kReadlink:
    case Op::kRead:
    case Op::kLseek:
    case Op::kOpendir:
    case Op::kReaddir:
    case Op::kReaddirplus:
    case Op::kStatfs:
    case Op::kGetxattr:
    case Op::kListxattr:
    case Op::kGetlk:
      return true;
    default:
      return false;
  }
}

/// What a line of the log says of a request.
struct Arguments {
  uint64_t ino = 0;
  const char* name = nullptr;
  uint64_t offset = 0;
  uint64_t length = 0;
  uint64_t other_ino = 0;
  const char* other_name = nullptr;
};

/// Thread-safe. Bounded: a reader that does not keep up misses lines, and is told how many.
class AccessLog {
 public:
  using Clock = std::chrono::steady_clock;

  void record(fuse_req_t req, Op op, const Arguments& arguments, int64_t result,
              Clock::time_point begin);
  /// Lines "op_lookup 17", "op_lookup_errors 2", "op_lookup_us 180".
  std::string statistics() const;

  /// Who has the log open.
  struct Reader {
    // Guarded by the log's mutex_.
    std::string lines;
    uint64_t missed = 0;
    fuse_req_t waiting = nullptr;
    size_t wanted = 0;
  };
  Reader* open();
  void close(Reader* reader);
  /// Replies now, or as soon as there is a line.
  void read(fuse_req_t req, Reader* reader, size_t size);
  /// To be called now and then: ends the reads whose callers were interrupted. Not done from
  /// libfuse's callback, which holds the request's lock. True if any still waits.
  bool end_interrupted();

 private:
  struct Counters {
    std::atomic<uint64_t> calls{0}, errors{0}, microseconds{0};
  };
  void append(const std::string& line);
  static void reply(Reader& reader);

  std::array<Counters, static_cast<size_t>(Op::kCount)> counters_;
  std::atomic<size_t> open_readers_{0};
  std::mutex mutex_;
  std::list<std::unique_ptr<Reader>> readers_;  // guarded by mutex_
};

}  // namespace skerry::fuse

#endif  // SKERRY_BINDINGS_FUSE_ACCESS_LOG_H_
