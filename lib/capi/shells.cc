#include "capi/shells.h"

#include <utility>

#include "capi/context.h"
#include "capi/factory.h"
#include "meta/meta.h"
#include "vfs/settings.h"

namespace skerry::capi {
namespace {

Error closed(const char* what) {
  return Error(EBADF, std::string("the ") + what + " was closed together with its volume");
}

}  // namespace

Result<std::unique_ptr<VolumeState>> build_volume(const skerry_volume& shell) {
  OpContext ctx;
  ctx.clock = &system_clock();
  ctx.credentials = shell.credentials;
  ctx.began_ns = ctx.clock->monotonic_ns();
  ctx.deadline_ns = ctx.began_ns + shell.options.timeout_ns;

  vfs::Volume::Parts parts;
  parts.clock = &system_clock();
  parts.random = &system_random();
  parts.credentials = shell.credentials;
  SKERRY_ASSIGN(parts.store, open_metadata(shell.url, *parts.clock, shell.options.notify));
  SKERRY_ASSIGN(parts.format, meta::read_format(ctx, *parts.store));
  SKERRY_ASSIGN(parts.keys, vfs::unlock(ctx, parts.format, shell.options.encryption_key));
  SKERRY_ASSIGN(parts.objects, open_objects(parts.format.storage, DataFolder::kMustExist,
                                            *parts.clock, shell.options.requests));
  auto state = std::make_unique<VolumeState>();
  SKERRY_ASSIGN(state->volume, vfs::Volume::open(ctx, std::move(parts), shell.options));
  return state;
}

Result<VolumeState*> state_of(skerry_volume* volume) {
  if (VolumeState* state = volume->state.current(); state != nullptr) [[likely]]
    return state;
  if (volume->closed.load(std::memory_order_acquire)) return Error(EBADF, "the volume is closed");
  return volume->state.get([&] { return build_volume(*volume); });
}

Result<FileState*> state_of(skerry_file* file) {
  if (FileState* state = file->state.current(); state != nullptr) [[likely]]
    return state;
  if (file->closed.load(std::memory_order_acquire)) return closed("file");
  SKERRY_ASSIGN(VolumeState * owner, state_of(file->volume));
  return file->state.get([&]() -> Result<std::unique_ptr<FileState>> {
    OpContext ctx = owner->volume->own_context(owner->volume->options().timeout_ns);
    SKERRY_ASSIGN(auto handle, vfs::Handle::reopen(ctx, *owner->volume, file->ino, file->flags));
    auto state = std::make_unique<FileState>(owner, file, std::move(handle));
    std::lock_guard lock(owner->mutex);
    owner->files.add(state.get());
    return state;
  });
}

Result<QueueState*> state_of(skerry_queue* queue) {
  if (QueueState* state = queue->state.current(); state != nullptr) [[likely]]
    return state;
  if (queue->closed.load(std::memory_order_acquire)) return closed("queue");
  SKERRY_ASSIGN(VolumeState * owner, state_of(queue->volume));
  return queue->state.get([&]() -> Result<std::unique_ptr<QueueState>> {
    SKERRY_ASSIGN(auto made,
                  vfs::CompletionQueue::create(owner->volume->queue_executor(), queue->depth));
    auto state = std::make_unique<QueueState>(owner, queue, std::move(made));
    std::lock_guard lock(owner->mutex);
    owner->queues.add(state.get());
    return state;
  });
}

Result<skerry_file*> wrap(skerry_volume* volume, VolumeState& state,
                          std::unique_ptr<vfs::Handle> handle, const char* path) {
  std::string name = path != nullptr ? path : "inode " + std::to_string(handle->ino());
  auto shell =
      std::make_unique<skerry_file>(volume, handle->ino(), handle->flags(), std::move(name));
  auto file = std::make_unique<FileState>(&state, shell.get(), std::move(handle));
  {
    std::lock_guard lock(state.mutex);
    state.files.add(file.get());
  }
  shell->state.set(std::move(file));
  return shell.release();
}

Result<vfs::Handle*> handle_of(skerry_file* file) {
  if (file == nullptr) return static_cast<vfs::Handle*>(nullptr);
  SKERRY_ASSIGN(FileState * state, state_of(file));
  return state->handle.get();
}

Status close_file_state(const OpContext& ctx, skerry_file* file) {
  std::unique_ptr<FileState> state = file->state.take();
  if (state == nullptr) return {};  // closed by its volume, or the parent's alone
  Status flushed = state->handle->flush(ctx);
  state->handle->release_locks(ctx);
  std::lock_guard lock(state->owner->mutex);
  state->owner->files.remove(state.get());
  return flushed;
}

Status close_file(const OpContext& ctx, skerry_file* file) {
  std::unique_ptr<skerry_file> shell(file);
  return close_file_state(ctx, file);
}

void close_queue_state(skerry_queue* queue) {
  std::unique_ptr<QueueState> state = queue->state.take();
  if (state == nullptr) return;
  state->queue->stop([&](const vfs::CompletionQueue::Completion& dropped) {
    if (dropped.object == nullptr) return;
    // An open whose file nobody took.
    auto* file = static_cast<skerry_file*>(dropped.object);
    OpContext ctx = state->owner->volume->own_context(queue->volume->options.timeout_ns);
    (void)close_file(ctx, file).ok();
  });
  std::lock_guard lock(state->owner->mutex);
  state->owner->queues.remove(state.get());
}

}  // namespace skerry::capi
