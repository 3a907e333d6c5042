// The opaque objects of the C ABI: shells around state that belongs to one process (fork.h).
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"
#include "capi/fork.h"
#include "io/op_context.h"
#include "skerry/skerry.h"
#include "vfs/handle.h"
#include "vfs/namespace.h"
#include "vfs/options.h"
#include "vfs/queue.h"
#include "vfs/volume.h"

namespace skerry::capi {

struct FileState;
struct QueueState;

/// A doubly linked list through its members; guarded by its owner's mutex.
template <typename T>
class Registry {
 public:
  void add(T* item) {
    item->next = first_;
    item->previous = nullptr;
    if (first_ != nullptr) first_->previous = item;
    first_ = item;
  }
  void remove(T* item) {
    (item->previous == nullptr ? first_ : item->previous->next) = item->next;
    if (item->next != nullptr) item->next->previous = item->previous;
    item->next = item->previous = nullptr;
  }
  T* first() const { return first_; }

 private:
  T* first_ = nullptr;
};

struct VolumeState {
  const uint64_t generation = fork_generation();
  const void* inherited = nullptr;
  std::unique_ptr<vfs::Volume> volume;
  // What close() of the volume must close first.
  std::mutex mutex;
  Registry<FileState> files;    // guarded by mutex
  Registry<QueueState> queues;  // guarded by mutex
};

struct FileState {
  FileState(VolumeState* of, skerry_file* by, std::unique_ptr<vfs::Handle> opened)
      : owner(of), shell(by), handle(std::move(opened)) {}
  const uint64_t generation = fork_generation();
  const void* inherited = nullptr;
  VolumeState* const owner;
  skerry_file* const shell;
  std::unique_ptr<vfs::Handle> handle;
  FileState* next = nullptr;
  FileState* previous = nullptr;
};

struct QueueState {
  QueueState(VolumeState* of, skerry_queue* by, std::unique_ptr<vfs::CompletionQueue> made)
      : owner(of), shell(by), queue(std::move(made)) {}
  const uint64_t generation = fork_generation();
  const void* inherited = nullptr;
  VolumeState* const owner;
  skerry_queue* const shell;
  std::unique_ptr<vfs::CompletionQueue> queue;
  QueueState* next = nullptr;
  QueueState* previous = nullptr;
};

}  // namespace skerry::capi

struct skerry_volume {
  // What it takes to open it again in a forked child.
  const std::string url;
  const skerry::vfs::VolumeOptions options;
  const skerry::Credentials credentials;

  skerry::capi::ForkLocal<skerry::capi::VolumeState> state;
  std::atomic<bool> closed{false};
  // The caller's, and one for each file, directory and queue, which may outlive its volume as a
  // shell that can only be freed.
  std::atomic<uint32_t> references{1};

  skerry_volume(std::string u, const skerry::vfs::VolumeOptions& o, skerry::Credentials c)
      : url(std::move(u)), options(o), credentials(std::move(c)) {}
  skerry_volume* retain() noexcept {
    references.fetch_add(1, std::memory_order_relaxed);
    return this;
  }
  void release() noexcept {
    if (references.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }
};

struct skerry_file {
  skerry_volume* const volume;  // holds a reference
  const skerry::meta::Ino ino;
  const int flags;
  const std::string name;           // for messages: the path it was opened by
  std::atomic<bool> closed{false};  // by its volume's close
  skerry::capi::ForkLocal<skerry::capi::FileState> state;

  skerry_file(skerry_volume* v, skerry::meta::Ino i, int f, std::string n)
      : volume(v->retain()), ino(i), flags(f), name(std::move(n)) {}
  ~skerry_file() { volume->release(); }
};

struct skerry_dir {
  skerry_volume* const volume;  // holds a reference
  skerry::vfs::Listing listing;

  skerry_dir(skerry_volume* v, skerry::vfs::Listing l)
      : volume(v->retain()), listing(std::move(l)) {}
  ~skerry_dir() { volume->release(); }
};

struct skerry_queue {
  skerry_volume* const volume;  // holds a reference
  const uint32_t depth;
  std::atomic<bool> closed{false};  // by its volume's close
  skerry::capi::ForkLocal<skerry::capi::QueueState> state;

  skerry_queue(skerry_volume* v, uint32_t d) : volume(v->retain()), depth(d) {}
  ~skerry_queue() { volume->release(); }
};

namespace skerry::capi {

/// Opens the volume that `shell` stands for, in this process.
Result<std::unique_ptr<VolumeState>> build_volume(const skerry_volume& shell);
/// The state in this process, built where the process is a forked child. EBADF once closed.
Result<VolumeState*> state_of(skerry_volume* volume);
Result<FileState*> state_of(skerry_file* file);
Result<QueueState*> state_of(skerry_queue* queue);

/// Makes the shell around a handle that was opened by `path`, if by any. ENOMEM leaves nothing
/// behind.
Result<skerry_file*> wrap(skerry_volume* volume, VolumeState& state,
                          std::unique_ptr<vfs::Handle> handle, const char* path = nullptr);
/// The handle behind `file`; null for null.
Result<vfs::Handle*> handle_of(skerry_file* file);
/// Closes and frees; the error of the flush.
Status close_file(const OpContext& ctx, skerry_file* file);
Status close_file_state(const OpContext& ctx, skerry_file* file);
void close_queue_state(skerry_queue* queue);

}  // namespace skerry::capi
