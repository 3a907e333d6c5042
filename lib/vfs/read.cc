#include <unistd.h>

#include <algorithm>

#include "vfs/handle.h"

namespace skerry::vfs {
Result<size_t> Handle::read(const OpContext& ctx, uint64_t offset, MutableBytes out) {
  if (!readable_ || inode_ == nullptr) {
    SKERRY_TRY(check_readable());
    return Error(EBADF, "the file has no data");
  }
  if (offset > kMaxOffset || out.size() > kMaxOffset) {
    return Error(EINVAL, "an offset or length above 2^63");
  }
  if (out.empty()) return size_t{0};
  SKERRY_TRY(check_not_lost(ctx));
  note_read();
  const NotBefore since(ctx, opened_ns_);
  return inode_->read(*since, offset, out, &readahead_);
}

Result<size_t> Handle::read_pieces(const OpContext& ctx, uint64_t offset,
                                   const MutableBytes* pieces, size_t count) {
  size_t total = 0;
  SKERRY_TRY(check_readable());
  for (size_t i = 0; i < count; i++) {
    auto got = read(ctx, offset + total, pieces[i]);
    if (!got.ok()) {
      if (total > 0) break;
      return got;
    }
    total += *got;
    if (*got < pieces[i].size()) break;
  }
  return total;
}

Result<data::CacheView> Handle::view(const OpContext& ctx, uint64_t offset, uint64_t length) {
  SKERRY_TRY(check_readable());
  if (offset > kMaxOffset || length > kMaxOffset) {
    return Error(EINVAL, "an offset or length above 2^63");
  }
  if (inode_ == nullptr) return Error(EBADF, "the file has no data");
  if (length == 0) return data::CacheView();
  SKERRY_TRY(check_not_lost(ctx));
  note_read();
  const NotBefore since(ctx, opened_ns_);
  return inode_->view(*since, offset, length);
}

Result<uint64_t> Handle::seek_data(const OpContext& ctx, uint64_t offset, int whence) {
  SKERRY_TRY(check_not_path());
  if (whence != SEEK_DATA && whence != SEEK_HOLE) {
    return Error(EINVAL, "whence is neither SEEK_DATA nor SEEK_HOLE");
  }
  if (inode_ == nullptr) return Error(EINVAL, "only regular files have data and holes");
  if (offset > kMaxOffset) return Error(ENXIO, "the offset is past the end of the file");
  SKERRY_TRY(check_not_lost(ctx));
  const NotBefore since(ctx, opened_ns_);
  return inode_->seek(*since, offset, whence == SEEK_DATA);
}

}  // namespace skerry::vfs
