// Requests for file locks. With `local_locks` the kernel asks for none of them.
//
// A lock that is free is taken by the thread that serves the request. One that is to be waited for
// goes to a thread of its own, so that the requests which would free it always find one to serve
// them, however many callers wait.
#include "locks.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>

#include <csignal>
#include <memory>
#include <utility>

#include "file_system.h"

namespace skerry::fuse {
namespace {

constexpr size_t kStackBytes = 512 << 10;

skerry_lock lock_of(const fuse_file_info* fi, const struct flock& from) {
  skerry_lock lock = {};
  lock.struct_size = sizeof(lock);
  lock.type = static_cast<uint32_t>(from.l_type);
  lock.start = static_cast<uint64_t>(from.l_start);
  lock.length = static_cast<uint64_t>(from.l_len);
  lock.owner = fi->lock_owner;
  lock.pid = static_cast<uint32_t>(from.l_pid);
  return lock;
}

void on_interrupt(fuse_req_t, void* cancel) {
  skerry_cancel_fire(static_cast<skerry_cancel*>(cancel));
}

/// Who gets a lock must see what others wrote under it, so the kernel may have nothing older.
bool kernel_is_current(FileSystem& fs, const OpenFile& file) {
  uint64_t token = 0;
  return skerry_data_token(file.file, nullptr, &token) == 0 && fs.nodes.is_dropped(file.ino, token);
}
void make_kernel_current(FileSystem& fs, const OpenFile& file) {
  uint64_t token = 0;
  const bool told = skerry_data_token(file.file, nullptr, &token) == 0;
  fuse_lowlevel_notify_inval_inode(fs.session, fs.node_of(file.ino), 0, 0);
  if (told) fs.nodes.note_dropped(file.ino, token);
}

/// Takes a lock by `take(context, wait)` and replies.
template <typename Take>
void take_lock(fuse_req_t req, Op op, const Arguments& arguments, const fuse_file_info* fi,
               bool wait, Take take) {
  FileSystem& fs = FileSystem::of(req);
  OpenFile* const file = opened(fi);
  const auto begin = AccessLog::Clock::now();
  int64_t result = 0;
  {
    const Request request(req, fs.options, As::kFile, false, fs.interrupts);
    result = take(request.context(), false);
  }
  const bool granted = result == 0;
  if ((granted && !kernel_is_current(fs, *file)) || (wait && result == -EAGAIN)) {
    // The caller waits for the answer, so the file stays open.
    const bool handed_on = fs.lock_waiters.run([=, &fs](skerry_cancel* cancel) {
      int64_t outcome = 0;
      if (!granted) {
        skerry_context context = {};
        context.struct_size = sizeof(context);
        context.uid = fuse_req_ctx(req)->uid;
        context.gid = fuse_req_ctx(req)->gid;
        context.cancel = cancel;
        fuse_req_interrupt_func(req, on_interrupt, cancel);
        outcome = take(&context, true);
        fuse_req_interrupt_func(req, nullptr, nullptr);  // waits for one that is running
      }
      if (outcome == -ECANCELED) outcome = -EINTR;
      if (outcome == 0) make_kernel_current(fs, *file);
      fs.log.record(req, op, arguments, outcome, begin);
      FileSystem::reply_status(req, outcome);
    });
    if (handed_on) return;
    result = -ENOLCK;
  }
  if (result == -ECANCELED) result = -EINTR;
  fs.log.record(req, op, arguments, result, begin);
  FileSystem::reply_status(req, result);
}

void getlk(fuse_req_t req, fuse_ino_t node, fuse_file_info* fi, struct flock* wanted) {
  FileSystem& fs = FileSystem::of(req);
  if (VirtualFiles::owns(node)) return FileSystem::reply_status(req, -ENOLCK);
  skerry_lock lock = lock_of(fi, *wanted);
  const int64_t result =
      fs.run(req, Op::kGetlk, {.ino = opened(fi)->ino, .offset = lock.start, .length = lock.length},
             As::kFile, [&](const skerry_context* context) {
               return skerry_getlk(opened(fi)->file, context, &lock);
             });
  if (result < 0) return FileSystem::reply_status(req, result);
  struct flock found = {};
  found.l_type = static_cast<short>(lock.type);
  found.l_whence = SEEK_SET;
  found.l_start = static_cast<off_t>(lock.start);
  found.l_len = static_cast<off_t>(lock.length);
  found.l_pid = static_cast<pid_t>(lock.pid);
  fuse_reply_lock(req, &found);
}

void setlk(fuse_req_t req, fuse_ino_t node, fuse_file_info* fi, struct flock* wanted, int sleep) {
  FileSystem& fs = FileSystem::of(req);
  if (VirtualFiles::owns(node)) return FileSystem::reply_status(req, -ENOLCK);
  const skerry_lock lock = lock_of(fi, *wanted);
  skerry_file* const file = opened(fi)->file;
  const Arguments arguments = {.ino = opened(fi)->ino, .offset = lock.start, .length = lock.length};
  const auto take = [file, lock](const skerry_context* context, bool wait) -> int64_t {
    return skerry_setlk(file, context, &lock, wait ? 1 : 0);
  };
  if (lock.type != SKERRY_F_UNLCK) {
    return take_lock(req, Op::kSetlk, arguments, fi, sleep != 0, take);
  }
  const int64_t result =
      fs.run(req, Op::kSetlk, arguments, As::kFile,
             [&](const skerry_context* context) { return take(context, false); });
  FileSystem::reply_status(req, result);
}

void flock(fuse_req_t req, fuse_ino_t node, fuse_file_info* fi, int operation) {
  FileSystem& fs = FileSystem::of(req);
  if (VirtualFiles::owns(node)) return FileSystem::reply_status(req, -ENOLCK);
  skerry_file* const file = opened(fi)->file;
  const Arguments arguments = {.ino = opened(fi)->ino};
  const int kind = operation & ~LOCK_NB;
  const auto take = [file, kind](const skerry_context* context, bool wait) -> int64_t {
    return skerry_flock(file, context, kind | (wait ? 0 : SKERRY_LOCK_NB));
  };
  if (kind != LOCK_UN) {
    return take_lock(req, Op::kFlock, arguments, fi, (operation & LOCK_NB) == 0, take);
  }
  const int64_t result =
      fs.run(req, Op::kFlock, arguments, As::kFile,
             [&](const skerry_context* context) { return take(context, false); });
  FileSystem::reply_status(req, result);
}

}  // namespace

struct LockWaiters::Waiter {
  LockWaiters* waiters = nullptr;
  Body body;
  skerry_cancel* cancel = nullptr;
  std::list<skerry_cancel*>::iterator place;
};

void* LockWaiters::serve(void* argument) {
  const std::unique_ptr<Waiter> waiter(static_cast<Waiter*>(argument));
  LockWaiters& waiters = *waiter->waiters;
  waiter->body(waiter->cancel);
  waiter->body = nullptr;
  const std::lock_guard lock(waiters.mutex_);
  waiters.cancels_.erase(waiter->place);
  skerry_cancel_free(waiter->cancel);
  waiters.ended_.notify_all();  // under the mutex: afterwards the table may be gone
  return nullptr;
}

bool LockWaiters::run(Body body) {
  auto waiter = std::make_unique<Waiter>();
  waiter->waiters = this;
  waiter->body = std::move(body);
  waiter->cancel = skerry_cancel_create();
  if (waiter->cancel == nullptr) return false;
  {
    const std::lock_guard lock(mutex_);
    if (stopped_ || cancels_.size() >= kMost) {
      skerry_cancel_free(waiter->cancel);
      return false;
    }
    waiter->place = cancels_.insert(cancels_.end(), waiter->cancel);
  }
  // Signals are for the threads that serve.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  pthread_t thread;
  const int failed = pthread_create(&thread, &attributes, serve, waiter.get());
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (failed == 0) {
    waiter.release();
    return true;
  }
  const std::lock_guard lock(mutex_);
  cancels_.erase(waiter->place);
  skerry_cancel_free(waiter->cancel);
  return false;
}

void LockWaiters::stop() {
  std::unique_lock lock(mutex_);
  stopped_ = true;
  for (skerry_cancel* each : cancels_) skerry_cancel_fire(each);
  ended_.wait(lock, [&] { return cancels_.empty(); });
}

void add_lock_operations(fuse_lowlevel_ops* table) {
  table->getlk = getlk;
  table->setlk = setlk;
  table->flock = flock;
}

}  // namespace skerry::fuse
