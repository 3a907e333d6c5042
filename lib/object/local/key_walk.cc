#include "object/local/key_walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <system_error>
#include <utility>

#include "object/local/file_handle.h"
#include "object/local/key_path.h"

namespace skerry {
namespace {

struct CloseDirectory {
  void operator()(DIR* d) const { ::closedir(d); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

Error listing_error(std::string_view directory, int code) {
  return Error(code, "cannot list directory \"" + std::string(directory) +
                         "\": " + std::generic_category().message(code));
}

class Walk {
 public:
  Walk(const OpContext& ctx, std::string_view prefix, std::string_view start_after, uint32_t limit)
      : ctx_(ctx), prefix_(prefix), start_after_(start_after), limit_(limit) {}

  /// Adds the keys below `name` in `parent_fd`; `key_prefix` is "" or ends with a slash.
  Status visit(int parent_fd, const std::string& name, const std::string& key_prefix) {
    SKERRY_TRY(ctx_.check());
    FileHandle handle(
        ::openat(parent_fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!handle.is_open()) {
      bool vanished = errno == ENOENT || errno == ENOTDIR || errno == ELOOP;
      return vanished ? Status() : listing_error(key_prefix, errno);
    }
    SKERRY_ASSIGN(std::vector<std::string> names, read_names(handle.fd(), key_prefix));
    for (std::string& entry : names) {
      if (page_.more) break;
      std::string key = key_prefix + entry;
      if (entry.back() == '/') {
        entry.pop_back();
        SKERRY_TRY(visit(handle.fd(), entry, key));
      } else {
        SKERRY_TRY(add(handle.fd(), entry, std::move(key)));
      }
    }
    return {};
  }

  ObjectPage take_page() { return std::move(page_); }

 private:
  /// Directories bear a slash in the order: "a-b" and "a.b" come before "a/b", "a0" after it.
  Result<std::vector<std::string>> read_names(int fd, const std::string& key_prefix) {
    std::vector<std::string> names;
    FileHandle copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    Directory directory(copy.is_open() ? ::fdopendir(copy.fd()) : nullptr);
    if (directory == nullptr) return listing_error(key_prefix, errno);
    copy.release();  // closedir closes it
    errno = 0;
    while (const dirent* entry = ::readdir(directory.get())) {
      std::string name = entry->d_name;
      bool own = key_prefix.empty() && (name == kTempDirectory || name == kUploadDirectory);
      if (name == "." || name == ".." || own) continue;
      unsigned char type = entry->d_type;
      if (type == DT_UNKNOWN) type = type_of(fd, name);
      if (type == DT_DIR) name += '/';
      if ((type == DT_DIR || type == DT_REG) && wanted(key_prefix + name))
        names.push_back(std::move(name));
      errno = 0;
    }
    if (errno != 0) return listing_error(key_prefix, errno);
    std::sort(names.begin(), names.end());
    return names;
  }

  static unsigned char type_of(int fd, const std::string& name) {
    struct stat st;
    if (::fstatat(fd, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return DT_UNKNOWN;
    return S_ISDIR(st.st_mode) ? DT_DIR : S_ISREG(st.st_mode) ? DT_REG : DT_UNKNOWN;
  }

  /// Whether `key`, or for a directory ("a/") any key below it, can be on the page.
  bool wanted(std::string_view key) const {
    if (key.size() > kMaxKeyBytes) return false;
    if (key.back() != '/') return key.starts_with(prefix_) && key > start_after_;
    return (key.starts_with(prefix_) || prefix_.starts_with(key)) &&
           (key > start_after_ || start_after_.starts_with(key));
  }

  Status add(int fd, const std::string& name, std::string key) {
    struct stat st;
    if (::fstatat(fd, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) return {};
      return Error(errno,
                   "cannot stat object " + key + ": " + std::generic_category().message(errno));
    }
    if (!S_ISREG(st.st_mode)) return {};
    if (page_.objects.size() == limit_) {
      page_.more = true;
      return {};
    }
    ObjectInfo info;
    info.key = std::move(key);
    info.size_bytes = static_cast<uint64_t>(st.st_size);
    info.modified_ns = st.st_mtim.tv_sec * TimeNs{1'000'000'000} + st.st_mtim.tv_nsec;
    page_.objects.push_back(std::move(info));
    return {};
  }

  const OpContext& ctx_;
  const std::string_view prefix_;
  const std::string_view start_after_;
  const size_t limit_;
  ObjectPage page_;
};

}  // namespace

Result<ObjectPage> list_directory(const OpContext& ctx, int root_fd, std::string_view prefix,
                                  std::string_view start_after, uint32_t limit) {
  if (limit == 0) return ObjectPage{};
  Walk walk(ctx, prefix, start_after, limit);
  size_t slash = prefix.rfind('/');
  if (slash == std::string_view::npos) {
    SKERRY_TRY(walk.visit(root_fd, ".", ""));
  } else {
    std::string directory(prefix.substr(0, slash));
    if (!check_key(directory).ok()) return ObjectPage{};  // no key begins so
    SKERRY_TRY(walk.visit(root_fd, directory, directory + '/'));
  }
  return walk.take_page();
}

}  // namespace skerry
