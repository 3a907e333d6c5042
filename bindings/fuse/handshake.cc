#include "handshake.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace skerry::fuse {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

bool kernel_knows(const fuse_buf& request) {
  fuse_in_header header;
  fuse_init_in init = {};
  if (request.size < sizeof(header) + 16) return false;
  std::memcpy(&header, request.mem, sizeof(header));
  if (header.opcode != FUSE_INIT) return false;
  std::memcpy(&init, static_cast<const char*>(request.mem) + sizeof(header), 16);
  return (init.flags & FUSE_HANDLE_KILLPRIV_V2) != 0;
}

/// The answer goes into a pipe, which for as long has the session's descriptor, and from there,
/// changed, to the kernel.
void answer_changed(fuse_session* session, const fuse_buf& request) {
  const int device = fuse_session_fd(session);
  const Descriptor kept(fcntl(device, F_DUPFD_CLOEXEC, 0));
  std::array<int, 2> ends = {-1, -1};
  if (kept.get() < 0 || pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) {
    return fuse_session_process_buf(session, &request);
  }
  const Descriptor out(ends[0]), in(ends[1]);
  if (dup3(in.get(), device, O_CLOEXEC) < 0) {
    return fuse_session_process_buf(session, &request);
  }
  fuse_session_process_buf(session, &request);
  dup3(kept.get(), device, O_CLOEXEC);

  std::array<char, sizeof(fuse_out_header) + sizeof(fuse_init_out)> answer{};
  const ssize_t length = read(out.get(), answer.data(), answer.size());
  if (length <= 0) return;
  fuse_out_header header;
  std::memcpy(&header, answer.data(), sizeof(header));
  constexpr size_t kFlags = sizeof(header) + offsetof(fuse_init_out, flags);
  if (header.error == 0 && static_cast<size_t>(length) >= kFlags + sizeof(uint32_t)) {
    uint32_t flags = 0;
    std::memcpy(&flags, answer.data() + kFlags, sizeof(flags));
    flags |= FUSE_HANDLE_KILLPRIV_V2;
    std::memcpy(answer.data() + kFlags, &flags, sizeof(flags));
  }
  ssize_t written = 0;
  do {
    written = write(device, answer.data(), static_cast<size_t>(length));
  } while (written < 0 && errno == EINTR);
  if (written < 0) fuse_session_exit(session);
}

}  // namespace

bool shake_hands(fuse_session* session) {
  fuse_buf request = {};
  int length = 0;
  do {
    length = fuse_session_receive_buf(session, &request);
  } while (length == -EINTR && fuse_session_exited(session) == 0);
  if (length > 0) {
    if (kernel_knows(request)) {
      answer_changed(session, request);
    } else {
      fuse_session_process_buf(session, &request);
    }
  }
  std::free(request.mem);
  return length > 0 && fuse_session_exited(session) == 0;
}

}  // namespace skerry::fuse
