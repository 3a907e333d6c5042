#include <fcntl.h>

#include <algorithm>
#include <utility>

#include "meta/attribute_changes.h"
#include "meta/metadata_cache.h"
#include "vfs/confirm.h"
#include "vfs/handle.h"

#ifndef FALLOC_FL_KEEP_SIZE
#include <linux/falloc.h>
#endif

namespace skerry::vfs {
namespace {

Status check_range(uint64_t offset, uint64_t length) {
  if (offset > kMaxOffset || length > kMaxOffset) {
    return Error(EINVAL, "an offset or length above 2^63");
  }
  if (length > meta::kMaxFileSize || offset > meta::kMaxFileSize - length) {
    return Error(EFBIG, "a file holds at most 2^57 bytes");
  }
  return {};
}

/// What a write takes away, where a call that counts as one has changed no byte: file_modified() of
/// Linux does so.
Status drop_privileges(const OpContext& ctx, meta::Meta& meta, meta::Ino ino, uint32_t clear_mode) {
  const NotBefore now(ctx, meta.current_not_before(ctx));
  SKERRY_ASSIGN(meta::Attributes attr, meta::get_attributes(*now, meta, ino, false));
  const bool none = meta::mode_without(attr.mode, clear_mode) == attr.mode &&
                    (attr.flags & meta::kFlagCapability) == 0;
  if (none) return {};
  meta::Patch patch;
  patch.ino = ino;
  patch.clear_mode = clear_mode;
  patch.clear_flags = meta::kFlagCapability;
  patch.max_ctime_ns = meta.now_ns();
  SKERRY_ASSIGN(meta::CommitResult result, meta.commit(ctx, {}, {std::move(patch)}));
  meta.cache().forget_attributes(ino);
  if (!result.applied) return Error(ESTALE, "the inode does not exist any more");
  return {};
}

}  // namespace

/// write(2): a write by anyone but root drops the bits that lend the owner's rights. Of the group
/// that the file was opened with.
uint32_t Handle::cleared_mode(const OpContext& ctx) const {
  return meta::clear_mode_of(ctx.credentials, at_open_.gid);
}

/// Linux lets who has the file open go on writing to it, but do nothing else with its bytes.
Status Handle::refuse(const OpContext& ctx, uint32_t inode_flags) {
  return confirmed(ctx, volume_.meta(), [&](const OpContext& by) -> Status {
    SKERRY_ASSIGN(meta::Attributes attr, meta::get_attributes(by, volume_.meta(), ino_, false));
    if ((attr.flags & inode_flags) == 0) return {};
    return Error(EPERM, "the file is immutable or append-only");
  });
}

/// O_SYNC and O_DSYNC; and what close() has to know.
Status Handle::written(const OpContext& ctx, Status result) {
  if (!result.ok()) {
    if (result.error().code() == ESTALE) volume_.suspect_session();
    return result;
  }
  if (!wrote_.load(std::memory_order_relaxed)) wrote_.store(true, std::memory_order_release);
  if ((flags_ & (O_SYNC | O_DSYNC)) != 0) return sync(ctx);
  return {};
}

Status Handle::write(const OpContext& ctx, uint64_t offset, ByteView bytes) {
  if (!writable_) return check_writable();
  if (bytes.empty()) return {};
  const bool append = (flags_ & O_APPEND) != 0;
  SKERRY_TRY(check_range(append ? 0 : offset, bytes.size()));
  SKERRY_TRY(check_not_lost(ctx));
  return written(ctx, inode_->write(ctx, offset, bytes, append, cleared_mode(ctx), losses_));
}

Status Handle::truncate(const OpContext& ctx, uint64_t length) {
  if (!writable_) return Error(EINVAL, "the file is not open for writing");  // ftruncate(2)
  SKERRY_TRY(check_range(length, 0));
  SKERRY_TRY(refuse(ctx, meta::kInodeFlags));
  OpContext bound;
  SKERRY_TRY(changeable(ctx, &bound));
  auto cut = inode_->truncate(bound, length, cleared_mode(ctx));
  return written(ctx, cut.ok() ? Status() : Status(std::move(cut).error()));
}

Status Handle::allocate(const OpContext& caller, uint32_t mode, uint64_t offset, uint64_t length) {
  SKERRY_TRY(check_writable());
  if (length == 0) return Error(EINVAL, "a length of zero");
  SKERRY_TRY(check_range(offset, length));
  OpContext ctx;
  SKERRY_TRY(changeable(caller, &ctx));
  const bool keep_size = (mode & FALLOC_FL_KEEP_SIZE) != 0;
  const bool adds = (mode & ~FALLOC_FL_KEEP_SIZE) == 0;
  SKERRY_TRY(refuse(ctx, adds ? meta::kFlagImmutable : meta::kInodeFlags));
  auto change = [&]() -> Status {
    switch (mode & ~FALLOC_FL_KEEP_SIZE) {
      case 0: {
        if (keep_size) return {};  // space is not reserved, so there is nothing to do
        // The new length is one that others see, so it may not rest on data only buffered here.
        if (inode_->dirty())
          SKERRY_TRY(written(ctx, inode_->flush(ctx, meta::Durability::kVisible)));
        const NotBefore now(ctx, volume_.meta().current_not_before(ctx));
        SKERRY_ASSIGN(meta::Attributes attr, attributes(*now));
        if (attr.length >= offset + length) return {};
        auto grown = inode_->truncate(ctx, offset + length, cleared_mode(ctx), /*only_grow=*/true);
        return written(ctx, grown.ok() ? Status() : Status(std::move(grown).error()));
      }
      case FALLOC_FL_PUNCH_HOLE:
        if (!keep_size)
          return Error(ENOTSUP, "a hole is punched with SKERRY_FALLOC_KEEP_SIZE only");
        return written(ctx, inode_->zero_range(ctx, offset, length, false, cleared_mode(ctx)));
      case FALLOC_FL_ZERO_RANGE:
        return written(ctx, inode_->zero_range(ctx, offset, length, !keep_size, cleared_mode(ctx)));
      default:
        return Error(ENOTSUP, "a mode of fallocate(2) that is not supported");
    }
  };
  SKERRY_TRY(change());
  return drop_privileges(ctx, volume_.meta(), ino_, cleared_mode(ctx));
}

Result<uint64_t> Handle::copy_range(const OpContext& ctx, Handle& from, uint64_t from_offset,
                                    Handle& to, uint64_t to_offset, uint64_t length) {
  if (&from.volume_ != &to.volume_) return Error(EXDEV, "the files are in different volumes");
  if (from.is_directory() || to.is_directory()) return Error(EISDIR, "a directory has no data");
  SKERRY_TRY(from.check_readable());
  SKERRY_TRY(to.check_writable());
  if ((to.flags_ & O_APPEND) != 0) return Error(EBADF, "the target is open with O_APPEND");
  if (from_offset > kMaxOffset || length > kMaxOffset || from_offset > kMaxOffset - length) {
    return Error(EINVAL, "an offset or length above 2^63");
  }
  SKERRY_TRY(check_range(to_offset, 0));
  SKERRY_TRY(to.refuse(ctx, meta::kFlagImmutable));
  length = std::min(length, meta::kMaxFileSize - to_offset);
  if (from.ino_ == to.ino_ && from_offset < to_offset + length &&
      to_offset < from_offset + length) {
    return Error(EINVAL, "the ranges overlap in one file");
  }
  if (length == 0) return uint64_t{0};
  SKERRY_TRY(from.check_not_lost(ctx));
  OpContext bound;
  SKERRY_TRY(to.changeable(ctx, &bound));
  const NotBefore since(bound, from.opened_ns_);
  auto copied = from.volume_.files().copy_range(*since, *from.inode_, from_offset, *to.inode_,
                                                to_offset, length, to.cleared_mode(ctx));
  SKERRY_TRY(to.written(ctx, copied.ok() ? Status() : Status(copied.error())));
  return copied;
}

Status Handle::sync(const OpContext& ctx) {
  SKERRY_TRY(check_not_path());
  if (volume_.options().read_only) return {};
  volume_.heartbeat_if_due();
  SKERRY_TRY(check_not_lost(ctx));
  // A flush with something to do makes a durable commit, and with it all that was done before.
  const bool covers_all = inode_ != nullptr && inode_->dirty();
  Status flushed;
  if (inode_ != nullptr) flushed = inode_->flush(ctx, meta::Durability::kDurable);
  if (flushed.ok() && !covers_all) flushed = volume_.meta().store().sync(ctx);
  return told(std::move(flushed));
}

Status Handle::flush(const OpContext& ctx) {
  if (inode_ == nullptr || !wrote_.exchange(false, std::memory_order_acq_rel)) return {};
  volume_.heartbeat_if_due();
  Status flushed = check_not_lost(ctx);
  if (flushed.ok()) flushed = told(inode_->flush(ctx, meta::Durability::kDurable));
  if (!flushed.ok()) wrote_.store(true, std::memory_order_release);
  return flushed;
}

/// An error of data that had to be dropped, which this handle was not told yet, goes first.
Status Handle::told(Status flushed) {
  if (inode_ == nullptr) return flushed;
  std::lock_guard lock(error_mutex_);
  if (!flushed.ok()) inode_->note_told();
  Status dropped = inode_->take_error(&errors_seen_);
  return dropped.ok() ? flushed : dropped;
}

}  // namespace skerry::vfs
