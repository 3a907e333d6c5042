// File locks as open files take them; LockTable does the rest.
#include <utility>

#include "vfs/handle.h"

namespace skerry::vfs {

using meta::FileLock;
using meta::LockKind;

Status Handle::lock(const OpContext& ctx, const FileLock& lock, bool wait) {
  SKERRY_TRY(check_not_path());
  if (inode_ == nullptr) return Error(EINVAL, "only regular files can be locked");
  if (lock.kind == LockKind::kRecord) {
    SKERRY_TRY(lock.exclusive ? check_writable() : check_readable());
  }
  volume_.heartbeat_if_due();
  SKERRY_TRY(check_not_lost(ctx));
  return volume_.locks().take(ctx, inode_, lock, wait, serial_);
}

Status Handle::unlock(const OpContext& ctx, const FileLock& lock) {
  SKERRY_TRY(check_not_path());
  if (inode_ == nullptr) return Error(EINVAL, "only regular files can be locked");
  volume_.heartbeat_if_due();
  return volume_.locks().release(ctx, inode_, lock, /*forced=*/false);
}

Result<std::optional<meta::LockHolder>> Handle::find_lock(const OpContext& ctx,
                                                          const FileLock& wanted) {
  SKERRY_TRY(check_not_path());
  if (inode_ == nullptr) return Error(EINVAL, "only regular files can be locked");
  return volume_.locks().find(ctx, ino_, wanted);
}

void Handle::release_locks(const OpContext& ctx) {
  if (inode_ == nullptr || !volume_.locks().any()) return;
  LockTable& locks = volume_.locks();
  if (locks.holds(ino_, LockKind::kFlock, serial_)) {
    FileLock all;
    all.kind = LockKind::kFlock;
    all.owner = serial_;
    // What cannot be released now is released later, or with the session.
    (void)locks.release(ctx, inode_, all, /*forced=*/true).ok();
  }
  locks.release_owner(ctx, inode_, 0);
  locks.release_handle(ctx, inode_, serial_);
}

void Handle::release_owner(const OpContext& ctx, uint64_t owner) {
  if (inode_ == nullptr || !volume_.locks().any()) return;
  volume_.locks().release_owner(ctx, inode_, owner);
}

Status Handle::check_not_lost(const OpContext& ctx) {
  if (inode_ == nullptr) return {};
  if (inode_->losses() != losses_) {
    inode_->note_told();
    return Error(EIO, "the session was lost while the file was locked; close it, open it again");
  }
  if (inode_->bound() == 0) [[likely]]
    return {};
  Status verified = volume_.locks().verify(ctx, *inode_);
  if (!verified.ok()) inode_->note_told();
  return verified;
}

/// For changes that are committed at once: under the session that holds the locks, if any does, so
/// that the store refuses them when it is gone. Which session is asked first: lose() ends the
/// binding last.
Status Handle::changeable(const OpContext& ctx, OpContext* bound) {
  *bound = ctx;
  bound->session = inode_ == nullptr ? 0 : inode_->bound();
  return check_not_lost(ctx);
}

}  // namespace skerry::vfs
