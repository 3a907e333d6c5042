// The completion queue: each request runs the call of its name on a thread of the volume's pool.
#include "vfs/queue.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "capi/call.h"
#include "vfs/batch.h"

namespace skerry::capi {
namespace {

using vfs::CompletionQueue;

constexpr uint32_t kMaxDepth = 65536;
constexpr uint32_t kMaxTaken = 4096;  // by one skerry_wait

/// A request as it waits: what the caller may free is copied.
struct Pending {
  struct skerry_request request;
  std::string path;
  OpContext ctx;
  const CancelToken* callers;  // the flag of the context given at submit, or null
};

Result<int64_t> status_as_zero(Status status) {
  if (!status.ok()) return std::move(status).error();
  return int64_t{0};
}

Result<int64_t> run_on_file(const OpContext& ctx, const struct skerry_request& request) {
  SKERRY_ASSIGN(vfs::Handle * handle, handle_of(request.file));
  switch (request.operation) {
    case SKERRY_OP_PREAD: {
      SKERRY_ASSIGN(size_t got,
                    handle->read(ctx, request.offset,
                                 {static_cast<std::byte*>(request.buffer), request.length}));
      return static_cast<int64_t>(got);
    }
    case SKERRY_OP_PWRITE:
      SKERRY_TRY(
          handle->write(ctx, request.offset,
                        ByteView(static_cast<const std::byte*>(request.buffer), request.length)));
      return static_cast<int64_t>(request.length);
    default:
      return status_as_zero(handle->sync(ctx));
  }
}

Result<int64_t> run_on_path(const OpContext& ctx, skerry_volume* volume, const Pending& pending,
                            void** opened) {
  const struct skerry_request& request = pending.request;
  SKERRY_ASSIGN(VolumeState * state, state_of(volume));
  std::string_view path = std::string_view(pending.path).substr(0, meta::kMaxPathBytes);
  switch (request.operation) {
    case SKERRY_OP_OPEN: {
      SKERRY_ASSIGN(auto handle, vfs::open_file(ctx, *state->volume, nullptr, path, request.flags,
                                                request.mode));
      SKERRY_ASSIGN(skerry_file * file,
                    wrap(volume, *state, std::move(handle), pending.path.c_str()));
      *opened = file;
      return int64_t{0};
    }
    case SKERRY_OP_STAT: {
      vfs::Lookup how{(request.flags & SKERRY_AT_SYMLINK_NOFOLLOW) == 0, false};
      SKERRY_ASSIGN(meta::Attributes attr, vfs::stat(ctx, *state->volume, nullptr, path, how));
      fill_stat(attr, *state->volume, static_cast<struct skerry_stat*>(request.buffer));
      return int64_t{0};
    }
    default: {
      SKERRY_ASSIGN(uint64_t size,
                    vfs::read_file(ctx, *state->volume, path,
                                   {static_cast<std::byte*>(request.buffer), request.length}));
      return static_cast<int64_t>(size);
    }
  }
}

Result<int64_t> run(skerry_volume* volume, Pending& pending, const CancelToken& cancel,
                    void** opened) {
  pending.ctx.cancel = &cancel;
  if (pending.request.operation == SKERRY_OP_CLOSE) {
    // Also when cancelled: the file is gone afterwards in any case.
    return status_as_zero(close_file(pending.ctx, pending.request.file));
  }
  if (pending.callers != nullptr && pending.callers->cancelled()) {
    return Error(ECANCELED, "operation cancelled");
  }
  SKERRY_TRY(pending.ctx.check());
  if (pending.request.file != nullptr) return run_on_file(pending.ctx, pending.request);
  return run_on_path(pending.ctx, volume, pending, opened);
}

Status check_request(const struct skerry_request& request) {
  if (request.struct_size < sizeof(struct skerry_request)) {
    return Error(EINVAL, "skerry_request.struct_size is not set to its size");
  }
  switch (request.operation) {
    case SKERRY_OP_PREAD:
    case SKERRY_OP_PWRITE:
      if (request.buffer == nullptr && request.length > 0) return null_argument("the buffer");
      [[fallthrough]];
    case SKERRY_OP_FSYNC:
    case SKERRY_OP_CLOSE:
      if (request.file == nullptr) return null_argument("the file");
      return {};
    case SKERRY_OP_STAT:
    case SKERRY_OP_READ_FILE:
      if (request.buffer == nullptr &&
          (request.operation == SKERRY_OP_STAT || request.length > 0)) {
        return null_argument("the buffer");
      }
      [[fallthrough]];
    case SKERRY_OP_OPEN:
      if (request.path == nullptr) return null_argument("the path");
      return {};
    default:
      return Error(EINVAL, "an operation that does not exist");
  }
}

std::shared_ptr<Pending> make_pending(const vfs::Volume& volume, const skerry_context* context,
                                      const struct skerry_request& request) {
  auto pending = std::make_shared<Pending>();
  pending->request = request;
  const bool on_path = request.operation == SKERRY_OP_OPEN || request.operation == SKERRY_OP_STAT ||
                       request.operation == SKERRY_OP_READ_FILE;
  if (on_path) {
    pending->path = view_of(request.path);
    pending->request.file = nullptr;
  }
  pending->request.path = nullptr;
  pending->ctx = owned_context(volume, context, request.timeout_ms);
  pending->callers =
      context != nullptr && context->cancel != nullptr ? &context->cancel->token : nullptr;
  return pending;
}

CompletionQueue::Job make_job(skerry_volume* volume, std::shared_ptr<Pending> pending) {
  return [volume, pending = std::move(pending)](const CancelToken& cancel) {
    CompletionQueue::Completion completion;
    completion.result = guarded("skerry_submit", [&]() -> int64_t {
      auto done = run(volume, *pending, cancel, &completion.object);
      if (done.ok()) return *done;
      return fail(done.error(), "skerry_submit", pending->path.c_str());
    });
    return completion;
  };
}

}  // namespace
}  // namespace skerry::capi

using namespace skerry;        // NOLINT: the entries of a C ABI have no namespace of their own
using namespace skerry::capi;  // NOLINT

extern "C" {

int skerry_queue_create(skerry_volume* volume, uint32_t depth, skerry_queue** queue) {
  if (queue != nullptr) *queue = nullptr;
  return static_cast<int>(on_volume(
      {"skerry_queue_create"}, volume, nullptr, [&](const OpContext&, VolumeState&) -> Status {
        if (queue == nullptr) return null_argument("the place for the queue");
        if (depth == 0 || depth > kMaxDepth) {
          return Error(EINVAL, "the depth is not between 1 and 65,536");
        }
        auto shell = std::make_unique<skerry_queue>(volume, depth);
        SKERRY_TRY(state_of(shell.get()));
        *queue = shell.release();
        return {};
      }));
}

void skerry_queue_free(skerry_queue* queue) {
  if (queue == nullptr) return;
  guarded("skerry_queue_free", [&]() -> int {
    std::unique_ptr<skerry_queue> shell(queue);
    close_queue_state(queue);
    return 0;
  });
}

int skerry_queue_fd(skerry_queue* queue) {
  constexpr const char* kCall = "skerry_queue_fd";
  return guarded(kCall, [&]() -> int {
    if (queue == nullptr) return fail(EINVAL, "the queue is null", kCall);
    auto state = state_of(queue);
    return state.ok() ? (*state)->queue->fd() : fail(state.error(), kCall);
  });
}

int skerry_submit(skerry_queue* queue, const skerry_context* context,
                  const struct skerry_request* requests, uint32_t count) {
  constexpr const char* kCall = "skerry_submit";
  return guarded(kCall, [&]() -> int {
    if (queue == nullptr) return fail(EINVAL, "the queue is null", kCall);
    if (requests == nullptr && count > 0) return fail(EINVAL, "the requests are null", kCall);
    Status valid = check_context(context);
    if (!valid.ok()) return fail(valid.error(), kCall);
    auto state = state_of(queue);
    if (!state.ok()) return fail(state.error(), kCall);
    vfs::Volume& volume = *(*state)->owner->volume;
    for (uint32_t i = 0; i < count; i++) {
      valid = check_request(requests[i]);
      // What was taken before is on its way, so the caller has to hear of it first.
      if (!valid.ok()) return i > 0 ? static_cast<int>(i) : fail(valid.error(), kCall);
      auto job = make_job(queue->volume, make_pending(volume, context, requests[i]));
      if (!(*state)->queue->submit(requests[i].user_data, std::move(job))) {
        return i > 0 ? static_cast<int>(i) : fail(EAGAIN, "the queue is full", kCall);
      }
    }
    return static_cast<int>(count);
  });
}

int skerry_wait(skerry_queue* queue, struct skerry_completion* completions, uint32_t max,
                uint32_t min, uint32_t timeout_ms) {
  constexpr const char* kCall = "skerry_wait";
  return guarded(kCall, [&]() -> int {
    if (queue == nullptr) return fail(EINVAL, "the queue is null", kCall);
    if (completions == nullptr && max > 0) return fail(EINVAL, "the completions are null", kCall);
    auto state = state_of(queue);
    if (!state.ok()) return fail(state.error(), kCall);
    std::vector<CompletionQueue::Completion> taken(std::min({max, kMaxTaken, queue->depth}));
    const TimeNs timeout_ns = timeout_ms == UINT32_MAX ? INT64_MAX : TimeNs{timeout_ms} * 1'000'000;
    size_t count = (*state)->queue->wait(taken.data(), taken.size(), min, timeout_ns);
    for (size_t i = 0; i < count; i++) {
      completions[i] = {taken[i].user_data, taken[i].result,
                        static_cast<skerry_file*>(taken[i].object)};
    }
    return static_cast<int>(count);
  });
}

int skerry_queue_cancel(skerry_queue* queue, uint64_t user_data) {
  constexpr const char* kCall = "skerry_queue_cancel";
  return guarded(kCall, [&]() -> int {
    if (queue == nullptr) return fail(EINVAL, "the queue is null", kCall);
    auto state = state_of(queue);
    if (!state.ok()) return fail(state.error(), kCall);
    return static_cast<int>((*state)->queue->cancel(user_data));
  });
}

}  // extern "C"
