// libfuse's low-level API, at one version everywhere.
#ifndef SKERRY_BINDINGS_FUSE_FUSE_API_H_
#define SKERRY_BINDINGS_FUSE_FUSE_API_H_

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#endif  // SKERRY_BINDINGS_FUSE_FUSE_API_H_
