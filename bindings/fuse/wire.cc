#include "wire.h"

#include <linux/fuse.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace skerry::fuse {
namespace {

// Not in the headers of Linux before 6.6, which this shall be built with.
constexpr uint32_t kOpcodeStatx = 52;

struct WireTime {
  int64_t sec;
  uint32_t nsec;
  int32_t reserved;
};

/// struct fuse_statx, which is laid out as struct statx is.
struct WireStatx {
  uint32_t mask, block_size;
  uint64_t attributes;
  uint32_t nlink, uid, gid;
  uint16_t mode, reserved;
  uint64_t ino, size, blocks, attributes_mask;
  WireTime atime, btime, ctime, mtime;
  uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
  std::array<uint64_t, 14> spare;
};
static_assert(sizeof(WireStatx) == sizeof(struct statx));
static_assert(offsetof(WireStatx, btime) == offsetof(struct statx, stx_btime));
static_assert(offsetof(WireStatx, rdev_major) == offsetof(struct statx, stx_rdev_major));

/// struct fuse_statx_out.
struct WireStatxAnswer {
  uint64_t valid_sec;
  uint32_t valid_nsec, flags;
  std::array<uint64_t, 2> spare;
  WireStatx stat;
};
static_assert(sizeof(WireStatxAnswer) == 288);
static_assert(STATX_ATTR_IMMUTABLE == SKERRY_ATTR_IMMUTABLE &&
              STATX_ATTR_APPEND == SKERRY_ATTR_APPEND);

thread_local Kind kind = Kind::kOfItsName;
thread_local bool offered_killpriv = false;  // by the FUSE_INIT that this thread serves

void note_offer(const char* request, size_t length) {
  fuse_init_in offer = {};
  constexpr size_t kEnd = offsetof(fuse_init_in, flags) + sizeof(offer.flags);
  if (length < sizeof(fuse_in_header) + kEnd) return;
  std::memcpy(&offer, request + sizeof(fuse_in_header), kEnd);
  offered_killpriv = (offer.flags & FUSE_HANDLE_KILLPRIV_V2) != 0;
}

/// As read(2). Threads that wait in it are cancelled when the session ends, so nothing may be left
/// to be undone.
ssize_t read_request(int device, void* buffer, size_t size, void*) {
  const ssize_t length = read(device, buffer, size);
  fuse_in_header header;
  if (length < static_cast<ssize_t>(sizeof(header))) return length;
  std::memcpy(&header, buffer, sizeof(header));
  kind = Kind::kOfItsName;
  switch (header.opcode) {
    case FUSE_INIT:
      note_offer(static_cast<const char*>(buffer), static_cast<size_t>(length));
      return length;
    case FUSE_TMPFILE:
      kind = Kind::kTmpfile;
      header.opcode = FUSE_CREATE;
      break;
    case kOpcodeStatx:
      kind = Kind::kStatx;
      header.opcode = FUSE_GETATTR;
      break;
    default:
      return length;
  }
  std::memcpy(buffer, &header, sizeof(header));
  return length;
}

/// As writev(2).
ssize_t write_answer(int device, iovec* parts, int count, void*) {
  constexpr size_t kFlags = offsetof(fuse_init_out, flags);
  uint32_t flags = 0;
  const bool of_init = offered_killpriv && count == 2 &&
                       parts[0].iov_len == sizeof(fuse_out_header) &&
                       parts[1].iov_len >= kFlags + sizeof(flags);
  if (of_init) {
    offered_killpriv = false;
    char* at = static_cast<char*>(parts[1].iov_base) + kFlags;
    std::memcpy(&flags, at, sizeof(flags));
    flags |= FUSE_HANDLE_KILLPRIV_V2;
    std::memcpy(at, &flags, sizeof(flags));
  }
  return writev(device, parts, count);
}

WireTime wire_time(const timespec& time) {
  return {time.tv_sec, static_cast<uint32_t>(time.tv_nsec), 0};
}

}  // namespace

bool connect(fuse_session* session) {
  fuse_custom_io io = {};
  io.read = read_request;
  io.writev = write_answer;
  if (fuse_session_custom_io(session, &io, fuse_session_fd(session)) != 0) return false;
  fuse_buf request = {};
  int length = 0;
  do {
    length = fuse_session_receive_buf(session, &request);
  } while (length == -EINTR && fuse_session_exited(session) == 0);
  if (length > 0) fuse_session_process_buf(session, &request);
  std::free(request.mem);
  return length > 0 && fuse_session_exited(session) == 0;
}

Kind kind_of_request() { return kind; }

void reply_attributes(fuse_req_t req, const struct stat& stat, double seconds,
                      const struct skerry_stat* more) {
  if (kind != Kind::kStatx) {
    fuse_reply_attr(req, &stat, seconds);
    return;
  }
  WireStatxAnswer answer = {};
  double whole = 0;
  answer.valid_nsec = static_cast<uint32_t>(std::modf(seconds, &whole) * 1e9);
  answer.valid_sec = static_cast<uint64_t>(whole);
  WireStatx& out = answer.stat;
  out.mask = STATX_BASIC_STATS;
  out.block_size = static_cast<uint32_t>(stat.st_blksize);
  out.nlink = static_cast<uint32_t>(stat.st_nlink);
  out.uid = stat.st_uid;
  out.gid = stat.st_gid;
  out.mode = static_cast<uint16_t>(stat.st_mode);
  out.ino = stat.st_ino;
  out.size = static_cast<uint64_t>(stat.st_size);
  out.blocks = static_cast<uint64_t>(stat.st_blocks);
  out.atime = wire_time(stat.st_atim);
  out.mtime = wire_time(stat.st_mtim);
  out.ctime = wire_time(stat.st_ctim);
  out.rdev_major = major(stat.st_rdev);
  out.rdev_minor = minor(stat.st_rdev);
  if (more != nullptr) {
    out.mask |= STATX_BTIME;
    out.btime = {more->btime.sec, static_cast<uint32_t>(more->btime.nsec), 0};
    out.attributes_mask = STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND;
    out.attributes = more->attributes & out.attributes_mask;
  }
  fuse_reply_buf(req, reinterpret_cast<const char*>(&answer), sizeof(answer));
}

}  // namespace skerry::fuse
