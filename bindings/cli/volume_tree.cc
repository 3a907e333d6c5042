#include <cerrno>
#include <cstring>

#include "tree.h"

namespace skerry::cli {
namespace {

Attributes from_stat(const struct skerry_stat& stat) {
  Attributes out;
  out.mode = stat.mode;
  out.nlink = stat.nlink;
  out.uid = stat.uid;
  out.gid = stat.gid;
  out.ino = stat.ino;
  out.rdev = stat.rdev;
  out.size = stat.size;
  out.stored = stat.size;
  out.atime = {stat.atime.sec, stat.atime.nsec};
  out.mtime = {stat.mtime.sec, stat.mtime.nsec};
  out.no_xattrs = (stat.attributes & SKERRY_ATTR_NO_XATTRS) != 0;
  return out;
}

class VolumeTree : public Tree {
 public:
  explicit VolumeTree(const Session& session)
      : session_(session), volume_(session.volume()), context_(session.exact_context()) {}

  std::string show(const std::string& path) const override { return ":" + path; }
  std::string explain(int, const std::string&) const override { return skerry_last_error(); }

  int stat(const std::string& path, bool follow, Attributes* out) override {
    struct skerry_stat stat = {};
    const int rc = (follow ? skerry_stat : skerry_lstat)(volume_, context_, path.c_str(), &stat);
    if (rc == 0) *out = from_stat(stat);
    return rc;
  }

  void stat_many(const std::vector<std::string>& paths, std::vector<Attributes>* out,
                 std::vector<int>* results) override {
    std::vector<const char*> names;
    for (const std::string& path : paths) names.push_back(path.c_str());
    std::vector<struct skerry_stat> stats(paths.size());
    results->assign(paths.size(), 0);
    const int64_t rc = skerry_stat_batch(volume_, context_, names.data(), names.size(),
                                         SKERRY_AT_SYMLINK_NOFOLLOW, stats.data(), results->data());
    if (rc < 0) results->assign(paths.size(), static_cast<int>(rc));
    out->clear();
    for (const struct skerry_stat& stat : stats) out->push_back(from_stat(stat));
  }

  int list(const std::string& path, const std::function<bool(Child&&)>& visit) override {
    return session_.list(path, true, [&](Session::Listed&& listed) {
      return visit(Child{std::move(listed.name), from_stat(listed.stat)});
    });
  }

  int read_link(const std::string& path, std::string* target) override {
    int64_t rc = 0;
    *target = session_.read_link(path, &rc);
    return rc < 0 ? static_cast<int>(rc) : 0;
  }

  int get_xattrs(const std::string& path, Xattrs* out) override {
    std::string names(4 << 10, '\0');
    int64_t n = skerry_listxattr(volume_, context_, path.c_str(), names.data(), names.size(),
                                 SKERRY_AT_SYMLINK_NOFOLLOW);
    if (n == -ERANGE) {
      names.resize(1 << 20);
      n = skerry_listxattr(volume_, context_, path.c_str(), names.data(), names.size(),
                           SKERRY_AT_SYMLINK_NOFOLLOW);
    }
    if (n < 0) return n == -ENOTSUP ? 0 : static_cast<int>(n);
    for (size_t at = 0; at < static_cast<size_t>(n);) {
      const std::string name = names.c_str() + at;
      at += name.size() + 1;
      if (name.rfind("user.", 0) != 0) continue;
      std::string value(64 << 10, '\0');
      const int64_t size = skerry_getxattr(volume_, context_, path.c_str(), name.c_str(),
                                           value.data(), value.size(), SKERRY_AT_SYMLINK_NOFOLLOW);
      if (size < 0) return static_cast<int>(size);
      value.resize(static_cast<size_t>(size));
      out->emplace_back(name, std::move(value));
    }
    return 0;
  }

  int make_directory(const std::string& path) override {
    return skerry_mkdir(volume_, context_, path.c_str(), 0700);
  }
  int make_symlink(const std::string& target, const std::string& path) override {
    return skerry_symlink(volume_, context_, target.c_str(), path.c_str());
  }
  int make_node(const std::string& path, const Attributes& attributes) override {
    return skerry_mknod(volume_, context_, path.c_str(), (attributes.mode & S_IFMT) | 0600,
                        attributes.rdev);
  }
  int link(const std::string& from, const std::string& to) override {
    return skerry_link(volume_, context_, from.c_str(), to.c_str());
  }
  int remove(const std::string& path) override {
    return skerry_unlink(volume_, context_, path.c_str());
  }

  int set_attributes(const std::string& path, const Attributes& attributes,
                     unsigned what) override {
    int rc = 0;
    // The owner first: changing it clears the set-id bits.
    if ((what & kSetOwner) != 0) {
      rc = skerry_lchown(volume_, context_, path.c_str(), attributes.uid, attributes.gid);
      if (rc < 0) return rc;
    }
    if ((what & kSetMode) != 0 && !attributes.is_symlink()) {
      rc = skerry_chmod(volume_, context_, path.c_str(), attributes.mode & 07777);
      if (rc < 0) return rc;
    }
    if ((what & kSetTimes) != 0) {
      const auto convert = [](const struct timespec& time) {
        return skerry_timespec{time.tv_sec, static_cast<int32_t>(time.tv_nsec), 0};
      };
      skerry_timespec times[2] = {convert(attributes.atime), convert(attributes.mtime)};
      if ((what & kSetAccessTime) == 0) times[0] = {0, SKERRY_UTIME_OMIT, 0};
      rc = skerry_utimensat(volume_, context_, nullptr, path.c_str(), times,
                            SKERRY_AT_SYMLINK_NOFOLLOW);
    }
    return rc;
  }

  int set_xattrs(const std::string& path, const Xattrs& xattrs) override {
    for (const auto& [name, value] : xattrs) {
      const int rc = skerry_setxattr(volume_, context_, path.c_str(), name.c_str(), value.data(),
                                     value.size(), SKERRY_AT_SYMLINK_NOFOLLOW);
      if (rc < 0) return rc;
    }
    return 0;
  }

 private:
  const Session& session_;
  skerry_volume* const volume_;
  const skerry_context* const context_;
};

}  // namespace

std::unique_ptr<Tree> make_volume_tree(const Session& session) {
  return std::make_unique<VolumeTree>(session);
}

}  // namespace skerry::cli
