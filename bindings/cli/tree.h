// One side of a copy: a tree of files in a volume or on this host, as the copier sees it.
#ifndef SKERRY_BINDINGS_CLI_TREE_H_
#define SKERRY_BINDINGS_CLI_TREE_H_

#include <sys/stat.h>
#include <time.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "session.h"

namespace skerry::cli {

struct Attributes {
  uint32_t mode = 0, nlink = 0, uid = 0, gid = 0;
  uint64_t device = 0, ino = 0, rdev = 0, size = 0;
  uint64_t stored = 0;  // bytes that are not holes; `size` where the side does not tell
  struct timespec atime = {}, mtime = {};
  bool no_xattrs = false;  // known without asking

  bool is_file() const { return S_ISREG(mode); }
  bool is_directory() const { return S_ISDIR(mode); }
  bool is_symlink() const { return S_ISLNK(mode); }
  bool same_content(const Attributes& other) const {
    return is_file() && other.is_file() && size == other.size &&
           mtime.tv_sec == other.mtime.tv_sec && mtime.tv_nsec == other.mtime.tv_nsec;
  }
};

struct Child {
  std::string name;
  Attributes attributes;
};

// What set_attributes writes.
inline constexpr unsigned kSetMode = 1;
inline constexpr unsigned kSetOwner = 2;
inline constexpr unsigned kSetTimes = 4;       // modification time
inline constexpr unsigned kSetAccessTime = 8;  // with kSetTimes

using Xattrs = std::vector<std::pair<std::string, std::string>>;

// Calls return 0 or a negative errno; explain() gives the sentence for the last failure of this
// thread. Symlinks are never followed but where a parameter says so. Thread-safe.
class Tree {
 public:
  virtual ~Tree() = default;

  // The path as the user would write it.
  virtual std::string show(const std::string& path) const = 0;
  virtual std::string explain(int rc, const std::string& path) const;

  virtual int stat(const std::string& path, bool follow, Attributes* out) = 0;
  // results[i]: 0 or a negative errno.
  virtual void stat_many(const std::vector<std::string>& paths, std::vector<Attributes>* out,
                         std::vector<int>* results);
  // `visit` returns false to stop.
  virtual int list(const std::string& path, const std::function<bool(Child&&)>& visit) = 0;
  virtual int read_link(const std::string& path, std::string* target) = 0;
  // Names of "user." attributes with their values.
  virtual int get_xattrs(const std::string& path, Xattrs* out) = 0;

  virtual int make_directory(const std::string& path) = 0;  // mode 0700
  virtual int make_symlink(const std::string& target, const std::string& path) = 0;
  virtual int make_node(const std::string& path, const Attributes& attributes) = 0;
  virtual int link(const std::string& from, const std::string& to) = 0;
  virtual int remove(const std::string& path) = 0;
  virtual int set_attributes(const std::string& path, const Attributes& attributes,
                             unsigned what) = 0;
  virtual int set_xattrs(const std::string& path, const Xattrs& xattrs) = 0;
};

std::unique_ptr<Tree> make_local_tree();
// Borrows the session.
std::unique_ptr<Tree> make_volume_tree(const Session& session);

}  // namespace skerry::cli

#endif  // SKERRY_BINDINGS_CLI_TREE_H_
