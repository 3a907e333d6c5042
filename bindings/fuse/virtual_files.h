// The directory `.skerry` in the root of a mount, which listings do not show:
//   stats      counters of the volume and of the requests, "name value" a line
//   config     the volume and the options of the mount as JSON, without passwords
//   accesslog  a line for each request while it is read
// It belongs to the user who mounted and is for that user (and root) alone.
#ifndef SKERRY_BINDINGS_FUSE_VIRTUAL_FILES_H_
#define SKERRY_BINDINGS_FUSE_VIRTUAL_FILES_H_

#include <sys/stat.h>

#include <cstdint>
#include <string>

#include "fuse_api.h"

namespace skerry::fuse {

class FileSystem;

class VirtualFiles {
 public:
  explicit VirtualFiles(FileSystem& fs);

  /// Skerry's inode numbers are below 2^63.
  static bool owns(fuse_ino_t node) { return node >= kDirectory; }
  static constexpr const char* kName = ".skerry";
  /// True where a request on (parent, name) is about what is not in the volume.
  static bool hides(fuse_ino_t parent, const char* name);

  /// Each replies.
  void lookup(fuse_req_t req, fuse_ino_t parent, const char* name) const;
  void getattr(fuse_req_t req, fuse_ino_t node) const;
  void access(fuse_req_t req, fuse_ino_t node, int mask) const;
  void open(fuse_req_t req, fuse_ino_t node, fuse_file_info* fi);
  void read(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset, fuse_file_info* fi);
  void release(fuse_req_t req, fuse_ino_t node, fuse_file_info* fi);
  void readdir(fuse_req_t req, size_t size, off_t offset, bool plus) const;

 private:
  static constexpr fuse_ino_t kDirectory = fuse_ino_t{1} << 63;
  enum File : fuse_ino_t { kStats = kDirectory + 1, kConfig, kAccessLog, kEnd };

  struct stat attributes(fuse_ino_t node) const;
  bool permitted(fuse_req_t req) const;
  std::string stats() const;
  std::string config() const;

  FileSystem& fs_;
  const uid_t uid_;
  const gid_t gid_;
  const timespec mounted_;
};

}  // namespace skerry::fuse

#endif  // SKERRY_BINDINGS_FUSE_VIRTUAL_FILES_H_
