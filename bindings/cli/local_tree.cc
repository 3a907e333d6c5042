#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "tree.h"

namespace skerry::cli {
namespace {

Attributes from_stat(const struct ::stat& stat) {
  Attributes out;
  out.mode = stat.st_mode;
  out.nlink = static_cast<uint32_t>(stat.st_nlink);
  out.uid = stat.st_uid;
  out.gid = stat.st_gid;
  out.device = stat.st_dev;
  out.ino = stat.st_ino;
  out.rdev = stat.st_rdev;
  out.size = static_cast<uint64_t>(stat.st_size);
  out.stored = static_cast<uint64_t>(stat.st_blocks) * 512;
  out.atime = stat.st_atim;
  out.mtime = stat.st_mtim;
  return out;
}

int result(int rc) { return rc < 0 ? -errno : 0; }

class LocalTree : public Tree {
 public:
  std::string show(const std::string& path) const override { return path; }

  int stat(const std::string& path, bool follow, Attributes* out) override {
    struct ::stat stat = {};
    if ((follow ? ::stat : ::lstat)(path.c_str(), &stat) < 0) return -errno;
    *out = from_stat(stat);
    return 0;
  }

  int list(const std::string& path, const std::function<bool(Child&&)>& visit) override {
    DIR* dir = ::opendir(path.c_str());
    if (dir == nullptr) return -errno;
    int rc = 0;
    while (true) {
      errno = 0;
      const struct dirent* entry = ::readdir(dir);
      if (entry == nullptr) {
        rc = -errno;
        break;
      }
      const std::string name = entry->d_name;
      if (name == "." || name == "..") continue;
      struct ::stat stat = {};
      if (::fstatat(::dirfd(dir), name.c_str(), &stat, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno == ENOENT) continue;  // removed since it was listed
        rc = -errno;
        break;
      }
      if (!visit(Child{name, from_stat(stat)})) break;
    }
    ::closedir(dir);
    return rc;
  }

  int read_link(const std::string& path, std::string* target) override {
    target->resize(4096);
    const ssize_t n = ::readlink(path.c_str(), target->data(), target->size());
    if (n < 0) return -errno;
    target->resize(static_cast<size_t>(n));
    return 0;
  }

  int get_xattrs(const std::string& path, Xattrs* out) override {
    std::string names(64 << 10, '\0');
    const ssize_t n = ::llistxattr(path.c_str(), names.data(), names.size());
    if (n < 0) return errno == ENOTSUP ? 0 : -errno;
    for (size_t at = 0; at < static_cast<size_t>(n);) {
      const std::string name = names.c_str() + at;
      at += name.size() + 1;
      if (name.rfind("user.", 0) != 0) continue;
      std::string value(64 << 10, '\0');
      const ssize_t size = ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
      if (size < 0) return -errno;
      value.resize(static_cast<size_t>(size));
      out->emplace_back(name, std::move(value));
    }
    return 0;
  }

  int make_directory(const std::string& path) override {
    return result(::mkdir(path.c_str(), 0700));
  }
  int make_symlink(const std::string& target, const std::string& path) override {
    return result(::symlink(target.c_str(), path.c_str()));
  }
  int make_node(const std::string& path, const Attributes& attributes) override {
    return result(::mknod(path.c_str(), (attributes.mode & S_IFMT) | 0600, attributes.rdev));
  }
  int link(const std::string& from, const std::string& to) override {
    return result(::link(from.c_str(), to.c_str()));
  }
  int remove(const std::string& path) override { return result(::unlink(path.c_str())); }

  int set_attributes(const std::string& path, const Attributes& attributes,
                     unsigned what) override {
    // The owner first: changing it clears the set-id bits.
    if ((what & kSetOwner) != 0 && ::lchown(path.c_str(), attributes.uid, attributes.gid) < 0) {
      return -errno;
    }
    if ((what & kSetMode) != 0 && !attributes.is_symlink() &&
        ::chmod(path.c_str(), attributes.mode & 07777) < 0) {
      return -errno;
    }
    if ((what & kSetTimes) != 0) {
      struct timespec times[2] = {attributes.atime, attributes.mtime};
      if ((what & kSetAccessTime) == 0) times[0].tv_nsec = UTIME_OMIT;
      return result(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW));
    }
    return 0;
  }

  int set_xattrs(const std::string& path, const Xattrs& xattrs) override {
    for (const auto& [name, value] : xattrs) {
      if (::lsetxattr(path.c_str(), name.c_str(), value.data(), value.size(), 0) < 0) return -errno;
    }
    return 0;
  }
};

}  // namespace

std::string Tree::explain(int rc, const std::string& path) const {
  return show(path) + ": " + std::strerror(-rc);
}

void Tree::stat_many(const std::vector<std::string>& paths, std::vector<Attributes>* out,
                     std::vector<int>* results) {
  out->resize(paths.size());
  results->resize(paths.size());
  for (size_t i = 0; i < paths.size(); ++i) (*results)[i] = stat(paths[i], false, &(*out)[i]);
}

std::unique_ptr<Tree> make_local_tree() { return std::make_unique<LocalTree>(); }

}  // namespace skerry::cli
