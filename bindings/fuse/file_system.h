// FileSystem: a volume as the kernel asks for it. The requests are in names.cc, files.cc,
// directories.cc, attributes.cc; operations() is the table that libfuse calls.
//
// A node number of the kernel is Skerry's inode number, but for the root of the mount, which is
// always 1 there, and for the virtual files (virtual_files.h). Inode numbers are never used twice,
// so nothing is kept per look-up and a number that is not in use any more is ESTALE: the kernel
// then looks the path up again.
#ifndef SKERRY_BINDINGS_FUSE_FILE_SYSTEM_H_
#define SKERRY_BINDINGS_FUSE_FILE_SYSTEM_H_

#include <sys/stat.h>

#include <cerrno>
#include <memory>
#include <string>

#include "access_log.h"
#include "directory_stream.h"
#include "fuse_api.h"
#include "locks.h"
#include "nodes.h"
#include "options.h"
#include "request.h"
#include "virtual_files.h"

namespace skerry::fuse {

class FileSystem {
 public:
  /// Does not own the volume. `root`: the inode that is mounted.
  FileSystem(skerry_volume* volume, const Options& options, uint64_t root)
      : volume(volume), options(options), root(root), virtual_files(*this) {}
  FileSystem(const FileSystem&) = delete;
  FileSystem& operator=(const FileSystem&) = delete;

  static FileSystem& of(fuse_req_t req) {
    return *static_cast<FileSystem*>(fuse_req_userdata(req));
  }

  uint64_t ino_of(fuse_ino_t node) const { return node == FUSE_ROOT_ID ? root : node; }
  fuse_ino_t node_of(uint64_t ino) const { return ino == root ? FUSE_ROOT_ID : ino; }

  /// Who decides about permissions to search a directory: the kernel has done so already.
  As searcher() const { return options.default_permissions ? As::kRoot : As::kCaller; }

  /// Runs body(context), which answers >= 0 or a negative errno. The request may be replied to when
  /// it returns.
  template <typename Body>
  int64_t run(fuse_req_t req, Op op, const Arguments& arguments, As as, Body&& body) {
    const auto begin = AccessLog::Clock::now();
    int64_t result = 0;
    {
      const Request request(req, options, as, asks(op), interrupts);
      result = body(request.context());
    }
    if (result == -ECANCELED) result = -EINTR;
    log.record(req, op, arguments, result, begin);
    return result;
  }

  /// A write in the name of `req`'s caller: who writes, and whether that may take bits from the
  /// file's mode.
  struct Writer {
    As as = As::kFile;
    bool takes_mode_bits = false;
  };
  Writer writer_of(fuse_req_t req, skerry_file* file) const;
  /// The kernel forgets the attributes that it has cached. To be called before the request that
  /// changed them is answered.
  void forget_attributes(fuse_ino_t node) const;

  struct stat attributes_of(const struct skerry_stat& from) const;
  fuse_entry_param entry_of(const struct skerry_stat& from) const;
  void reply_entry(fuse_req_t req, int64_t result, const struct skerry_stat& stat);
  static void reply_status(fuse_req_t req, int64_t result) {
    fuse_reply_err(req, result < 0 ? static_cast<int>(-result) : 0);
  }

  skerry_volume* const volume;
  const Options& options;
  const uint64_t root;
  fuse_session* session = nullptr;  // set before the first request
  Nodes nodes;
  AccessLog log;
  Interrupts interrupts;
  LockWaiters lock_waiters;
  VirtualFiles virtual_files;
};

/// For parts of the table: each file adds its own.
void add_name_operations(fuse_lowlevel_ops* table);
void add_attribute_operations(fuse_lowlevel_ops* table);
void add_file_operations(fuse_lowlevel_ops* table);
void add_directory_operations(fuse_lowlevel_ops* table);
void add_ioctl_operations(fuse_lowlevel_ops* table);
void add_lock_operations(fuse_lowlevel_ops* table);
fuse_lowlevel_ops operations();

/// What open() or create() gave the kernel to name the file with.
inline OpenFile* opened(const fuse_file_info* fi) { return reinterpret_cast<OpenFile*>(fi->fh); }

}  // namespace skerry::fuse

#endif  // SKERRY_BINDINGS_FUSE_FILE_SYSTEM_H_
