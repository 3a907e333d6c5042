#include "object/local/file_io.h"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace skerry {
namespace {

constexpr size_t kMaxVectors = 256;  // Linux allows 1024; more than this gains nothing

}  // namespace

int write_fully(int fd, const std::vector<ByteView>& pieces) {
  std::array<iovec, kMaxVectors> vectors;
  size_t piece = 0;
  size_t done = 0;  // bytes of pieces[piece] written
  while (true) {
    while (piece < pieces.size() && done == pieces[piece].size()) {
      piece++;
      done = 0;
    }
    if (piece == pieces.size()) return 0;
    size_t count = 0;
    for (size_t i = piece; i < pieces.size() && count < kMaxVectors; i++) {
      ByteView rest = i == piece ? pieces[i].subspan(done) : pieces[i];
      if (!rest.empty()) vectors[count++] = {const_cast<std::byte*>(rest.data()), rest.size()};
    }
    ssize_t n = ::writev(fd, vectors.data(), static_cast<int>(count));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    if (n == 0) return EIO;
    for (auto left = static_cast<size_t>(n); left != 0;) {
      size_t step = std::min(left, pieces[piece].size() - done);
      left -= step;
      done += step;
      if (done == pieces[piece].size()) {
        piece++;
        done = 0;
      }
    }
  }
}

int read_fully(int fd, uint64_t offset, MutableBytes out) {
  while (!out.empty()) {
    ssize_t n = ::pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    if (n == 0) return ENODATA;
    offset += static_cast<uint64_t>(n);
    out = out.subspan(static_cast<size_t>(n));
  }
  return 0;
}

}  // namespace skerry
