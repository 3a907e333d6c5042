#include "request.h"

#include <algorithm>
#include <vector>

namespace skerry::fuse {
namespace {

/// What each serving thread keeps from request to request.
struct Scratch {
  ~Scratch() { skerry_cancel_free(cancel); }
  skerry_cancel* cancel = nullptr;
  std::vector<uint32_t> groups;
};
thread_local Scratch scratch;

/// Asked anew each time: a process may change its groups, and a number may become another's.
/// Callers in another PID namespace have no number here, so no groups either.
void read_groups(fuse_req_t req, std::vector<uint32_t>* groups) {
  groups->resize(std::max<size_t>(groups->capacity(), 32));
  for (;;) {
    static_assert(sizeof(gid_t) == sizeof(uint32_t));
    const int count = fuse_req_getgroups(req, static_cast<int>(groups->size()), groups->data());
    const bool fits = count <= static_cast<int>(groups->size());
    groups->resize(static_cast<size_t>(std::clamp(count, 0, 65536)));
    if (fits) return;
  }
}

}  // namespace

void Request::on_interrupt(fuse_req_t, void* data) {
  auto* request = static_cast<Request*>(data);
  request->interrupts_.interrupted(&request->call_);
}

Request::Request(fuse_req_t req, const Options& options, As as, bool asks, Interrupts& interrupts)
    : req_(req), interrupts_(interrupts) {
  const fuse_ctx* caller = fuse_req_ctx(req);
  context_.struct_size = sizeof(context_);
  if (as != As::kRoot) {
    context_.uid = caller->uid;
    context_.gid = caller->gid;
  }
  context_.umask = options.umask.value_or(caller->umask);
  if (as == As::kCaller && caller->uid != 0 && caller->pid != 0) {
    read_groups(req, &scratch.groups);
    context_.groups = scratch.groups.data();
    context_.group_count = static_cast<uint32_t>(scratch.groups.size());
  }
  if (scratch.cancel == nullptr) scratch.cancel = skerry_cancel_create();
  if (scratch.cancel == nullptr) return;
  context_.cancel = scratch.cancel;
  call_.caller = caller->pid;
  call_.asks = asks;
  call_.cancel = scratch.cancel;
  fuse_req_interrupt_func(req, on_interrupt, this);
}

Request::~Request() {
  if (context_.cancel == nullptr) return;
  fuse_req_interrupt_func(req_, nullptr, nullptr);  // waits for one that is running
  if (!call_.seen || !interrupts_.ended(&call_)) return;
  skerry_cancel_free(scratch.cancel);
  scratch.cancel = nullptr;
}

}  // namespace skerry::fuse
