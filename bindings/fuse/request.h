// One request of the kernel while it is worked on: who asks, and how it is interrupted.
#ifndef SKERRY_BINDINGS_FUSE_REQUEST_H_
#define SKERRY_BINDINGS_FUSE_REQUEST_H_

#include "fuse_api.h"
#include "interrupts.h"
#include "options.h"
#include "skerry/skerry.h"

namespace skerry::fuse {

enum class As {
  kCaller,  // its user, group and supplementary groups
  kFile,    // user and group alone: calls on open files, where groups decide nothing
  kRoot,    // the kernel has decided
};

/// Lives on the stack of the thread that serves the request, and ends before the reply: a reply
/// frees the request. While it lives a signal to the caller may stop the call (interrupts.h).
class Request {
 public:
  /// `asks`: the call changes nothing.
  Request(fuse_req_t req, const Options& options, As as, bool asks, Interrupts& interrupts);
  ~Request();
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;
  const skerry_context* context() const { return &context_; }

 private:
  static void on_interrupt(fuse_req_t req, void* data);

  fuse_req_t req_;
  Interrupts& interrupts_;
  Interrupts::Call call_;
  skerry_context context_ = {};
};

}  // namespace skerry::fuse

#endif  // SKERRY_BINDINGS_FUSE_REQUEST_H_
