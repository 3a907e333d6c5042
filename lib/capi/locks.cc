// File locks.
#include <fcntl.h>
#include <sys/file.h>

#include <cstdint>

#include "capi/call.h"

namespace skerry::capi {
namespace {

static_assert(SKERRY_LOCK_SH == LOCK_SH && SKERRY_LOCK_EX == LOCK_EX && SKERRY_LOCK_NB == LOCK_NB &&
              SKERRY_LOCK_UN == LOCK_UN);
static_assert(SKERRY_F_RDLCK == F_RDLCK && SKERRY_F_WRLCK == F_WRLCK && SKERRY_F_UNLCK == F_UNLCK);

/// Waiting for a lock ends when the lock is there, unless the caller said otherwise.
OpContext waiting_context(const OpContext& ctx, const skerry_context* context) {
  OpContext waiting = ctx;
  if (context == nullptr || context->timeout_ms == 0) waiting.deadline_ns = INT64_MAX;
  return waiting;
}

Status check_lock(const struct skerry_lock* lock) {
  if (lock == nullptr) return null_argument("the lock");
  if (lock->struct_size < sizeof(struct skerry_lock)) {
    return Error(EINVAL, "skerry_lock.struct_size is not set to sizeof(struct skerry_lock)");
  }
  if (lock->type != SKERRY_F_RDLCK && lock->type != SKERRY_F_WRLCK &&
      lock->type != SKERRY_F_UNLCK) {
    return Error(EINVAL, "a type of lock that does not exist");
  }
  if (lock->start > meta::kLastLockByte) return Error(EINVAL, "a start above 2^63");
  if (lock->length > 0 && lock->length - 1 > meta::kLastLockByte - lock->start) {
    return Error(EOVERFLOW, "the range ends above 2^63");
  }
  return {};
}

meta::FileLock from_abi(const struct skerry_lock& lock) {
  meta::FileLock range;
  range.exclusive = lock.type == SKERRY_F_WRLCK;
  range.owner = lock.owner;
  range.first = lock.start;
  range.last = lock.length == 0 ? meta::kLastLockByte : lock.start + (lock.length - 1);
  range.pid = lock.pid;
  return range;
}

}  // namespace
}  // namespace skerry::capi

using namespace skerry;        // NOLINT: the entries of a C ABI have no namespace of their own
using namespace skerry::capi;  // NOLINT

extern "C" {

int skerry_flock(skerry_file* file, const skerry_context* context, int operation) {
  return static_cast<int>(on_data(
      {"skerry_flock"}, file, context, [&](const OpContext& ctx, vfs::Handle& handle) -> Status {
        meta::FileLock lock;
        lock.kind = meta::LockKind::kFlock;
        lock.owner = handle.flock_owner();
        const bool wait = (operation & SKERRY_LOCK_NB) == 0;
        switch (operation & ~SKERRY_LOCK_NB) {
          case SKERRY_LOCK_UN:
            return handle.unlock(ctx, lock);
          case SKERRY_LOCK_EX:
            lock.exclusive = true;
            [[fallthrough]];
          case SKERRY_LOCK_SH:
            return handle.lock(waiting_context(ctx, context), lock, wait);
          default:
            return Error(EINVAL, "an operation of flock(2) that does not exist");
        }
      }));
}

int skerry_setlk(skerry_file* file, const skerry_context* context, const struct skerry_lock* lock,
                 int wait) {
  return static_cast<int>(on_data(
      {"skerry_setlk"}, file, context, [&](const OpContext& ctx, vfs::Handle& handle) -> Status {
        SKERRY_TRY(check_lock(lock));
        const meta::FileLock range = from_abi(*lock);
        if (lock->type == SKERRY_F_UNLCK) return handle.unlock(ctx, range);
        return handle.lock(waiting_context(ctx, context), range, wait != 0);
      }));
}

int skerry_release_owner(skerry_file* file, const skerry_context* context, uint64_t owner) {
  return static_cast<int>(on_data({"skerry_release_owner"}, file, context,
                                  [&](const OpContext& ctx, vfs::Handle& handle) -> Status {
                                    handle.release_owner(ctx, owner);
                                    return {};
                                  }));
}

int skerry_getlk(skerry_file* file, const skerry_context* context, struct skerry_lock* lock) {
  return static_cast<int>(on_data(
      {"skerry_getlk"}, file, context, [&](const OpContext& ctx, vfs::Handle& handle) -> Status {
        SKERRY_TRY(check_lock(lock));
        if (lock->type == SKERRY_F_UNLCK) return Error(EINVAL, "nothing keeps an unlock");
        SKERRY_ASSIGN(auto holder, handle.find_lock(ctx, from_abi(*lock)));
        if (!holder) {
          lock->type = SKERRY_F_UNLCK;
          return {};
        }
        const meta::FileLock& found = holder->lock;
        lock->type = found.exclusive ? SKERRY_F_WRLCK : SKERRY_F_RDLCK;
        lock->start = found.first;
        lock->length = found.last == meta::kLastLockByte ? 0 : found.last - found.first + 1;
        lock->owner = found.owner;
        lock->pid = static_cast<uint32_t>(found.pid);
        return {};
      }));
}

}  // extern "C"
