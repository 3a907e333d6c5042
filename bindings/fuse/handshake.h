// The handshake with the kernel, with what libfuse 3.14 does not know yet.
#ifndef SKERRY_BINDINGS_FUSE_HANDSHAKE_H_
#define SKERRY_BINDINGS_FUSE_HANDSHAKE_H_

#include "fuse_api.h"

namespace skerry::fuse {

/// Serves the first request of a mounted session, FUSE_INIT, before any other thread serves it.
/// False if there will be no session.
///
/// libfuse's answer is caught and FUSE_HANDLE_KILLPRIV_V2 added: Skerry drops set-user-ID when
/// somebody writes, cuts or gives a file away. Without it the kernel asks for the attribute
/// security.capability before each write, a request as costly as the write itself.
bool shake_hands(fuse_session* session);

}  // namespace skerry::fuse

#endif  // SKERRY_BINDINGS_FUSE_HANDSHAKE_H_
