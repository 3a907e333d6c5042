// skerry_context becomes OpContext.
#pragma once

#include <optional>

#include "io/op_context.h"
#include "skerry/skerry.h"
#include "vfs/volume.h"

struct skerry_cancel {
  skerry::CancelToken token;
};

namespace skerry::capi {

/// EINVAL for a struct_size or groups that cannot be.
Status check_context(const skerry_context* context);

/// The context of one call with full credentials. It borrows an OpContext of the thread, so that a
/// call that repeats its credentials allocates nothing.
class CallContext {
 public:
  CallContext(const vfs::Volume& volume, const skerry_context* context);
  ~CallContext();
  CallContext(const CallContext&) = delete;
  CallContext& operator=(const CallContext&) = delete;
  const OpContext& operator*() const { return *ctx_; }

 private:
  std::optional<OpContext> own_;  // a call within a call (from a progress function)
  const bool borrowed_;
  OpContext* const ctx_;
};

/// For calls on open files, where permissions were decided at open: user and group alone.
OpContext io_context(const vfs::Volume& volume, const skerry_context* context);

/// Owns its credentials, for what runs later.
OpContext owned_context(const vfs::Volume& volume, const skerry_context* context,
                        uint32_t timeout_ms);

}  // namespace skerry::capi
