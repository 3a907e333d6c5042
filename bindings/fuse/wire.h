// What passes between the kernel and libfuse, changed where the kernel knows more than
// libfuse 3.14.
//
// The protocol is that of the kernel's include/uapi/linux/fuse.h. Two requests that libfuse does
// not know begin as others do that it knows, and are shown to it as these, so that it does with
// them all that it does with others (credentials, interrupts, open handles); kind_of_request()
// tells:
//   FUSE_TMPFILE (7.37, Linux 6.1): asks and is answered as FUSE_CREATE, with no name that counts;
//   FUSE_STATX (7.39, Linux 6.6): asks as FUSE_GETATTR does with more after it; the answer is
//   longer.
// And libfuse's answer to FUSE_INIT gets FUSE_HANDLE_KILLPRIV_V2, where the kernel offers it:
// Skerry drops set-user-ID when somebody writes, cuts or gives a file away. Without it the kernel
// asks for the attribute security.capability before each write, a request as costly as the write
// itself.
#ifndef SKERRY_BINDINGS_FUSE_WIRE_H_
#define SKERRY_BINDINGS_FUSE_WIRE_H_

#include <sys/stat.h>

#include "fuse_api.h"
#include "skerry/skerry.h"

namespace skerry::fuse {

/// Of a session that was mounted: takes over what it reads and writes, and serves its first
/// request, FUSE_INIT, before any other thread serves it. False if there will be no session.
bool connect(fuse_session* session);

enum class Kind { kOfItsName, kTmpfile, kStatx };
/// What the request is that this thread serves; libfuse serves it on the thread that has read it.
Kind kind_of_request();

/// Answers FUSE_GETATTR or FUSE_STATX, whichever it is. `more`: has the birth time and the flags,
/// null if there are none.
void reply_attributes(fuse_req_t req, const struct stat& stat, double seconds,
                      const struct skerry_stat* more);

}  // namespace skerry::fuse

#endif  // SKERRY_BINDINGS_FUSE_WIRE_H_
