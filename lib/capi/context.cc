#include "capi/context.h"

namespace skerry::capi {
namespace {

constexpr uint32_t kMaxGroups = 65536;

struct Scratch {
  OpContext ctx;
  uint64_t volume_serial = 0;  // whose defaults ctx holds; 0: something else
  bool busy = false;
};
thread_local Scratch scratch;

void set_limits(const vfs::Volume& volume, const skerry_context* context, OpContext* ctx) {
  TimeNs timeout_ns = volume.options().timeout_ns;
  ctx->cancel = nullptr;
  if (context != nullptr) {
    if (context->timeout_ms != 0) timeout_ns = TimeNs{context->timeout_ms} * 1'000'000;
    if (context->cancel != nullptr) ctx->cancel = &context->cancel->token;
  }
  ctx->began_ns = ctx->clock->monotonic_ns();
  ctx->not_before_ns = 0;
  ctx->aged = nullptr;
  ctx->deadline_ns = ctx->began_ns + timeout_ns;
}

void set_credentials(const skerry_context& context, Credentials* who) {
  who->uid = context.uid;
  who->gid = context.gid;
  who->umask = context.umask & 0777;
  who->groups.assign(context.groups, context.groups + context.group_count);
}

}  // namespace

Status check_context(const skerry_context* context) {
  if (context == nullptr) return {};
  if (context->struct_size < sizeof(skerry_context)) {
    return Error(EINVAL, "skerry_context.struct_size is not set to sizeof(skerry_context)");
  }
  if (context->group_count > kMaxGroups ||
      (context->group_count > 0 && context->groups == nullptr)) {
    return Error(EINVAL, "skerry_context.groups is null or group_count above 65,536");
  }
  return {};
}

CallContext::CallContext(const vfs::Volume& volume, const skerry_context* context)
    : borrowed_(!scratch.busy), ctx_(borrowed_ ? &scratch.ctx : &own_.emplace()) {
  ctx_->clock = &volume.clock();
  const bool prepared = borrowed_ && context == nullptr && scratch.volume_serial == volume.serial();
  if (!prepared) {
    if (borrowed_) scratch.volume_serial = 0;
    if (context != nullptr) {
      set_credentials(*context, &ctx_->credentials);
    } else {
      ctx_->credentials = volume.default_credentials();
      if (borrowed_) scratch.volume_serial = volume.serial();
    }
  }
  set_limits(volume, context, ctx_);
  if (borrowed_) scratch.busy = true;
}

CallContext::~CallContext() {
  if (borrowed_) scratch.busy = false;
}

OpContext io_context(const vfs::Volume& volume, const skerry_context* context) {
  OpContext ctx;
  ctx.clock = &volume.clock();
  ctx.credentials.uid = context == nullptr ? volume.default_credentials().uid : context->uid;
  ctx.credentials.gid = context == nullptr ? volume.default_credentials().gid : context->gid;
  set_limits(volume, context, &ctx);
  return ctx;
}

OpContext owned_context(const vfs::Volume& volume, const skerry_context* context,
                        uint32_t timeout_ms) {
  OpContext ctx;
  ctx.clock = &volume.clock();
  if (context == nullptr) {
    ctx.credentials = volume.default_credentials();
  } else {
    set_credentials(*context, &ctx.credentials);
  }
  set_limits(volume, context, &ctx);
  if (timeout_ms != 0) {
    ctx.deadline_ns = ctx.clock->monotonic_ns() + TimeNs{timeout_ms} * 1'000'000;
  }
  ctx.cancel = nullptr;
  return ctx;
}

}  // namespace skerry::capi
