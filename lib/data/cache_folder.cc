#include "data/cache_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>
#include <utility>
#include <vector>

namespace skerry::data {
namespace {

constexpr uint64_t kFolders = 256;
constexpr uint64_t kAllocationUnit = 4096;  // what a file takes is counted in these
constexpr uint64_t kMostReserved = uint64_t{1} << 30;
constexpr time_t kTouchEveryS = 10;  // a file that is read all the time is not marked each time
constexpr char kUsedName[] = ".used";
constexpr char kNewName[] = ".new";

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { reset(-1); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  void reset(int fd) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

Error failed(int code, const char* call, const std::string& path) {
  return Error(code, std::string(call) + " " + path + ": " + std::generic_category().message(code));
}

uint64_t charge_of(uint64_t file_bytes) {
  return (file_bytes + kAllocationUnit - 1) / kAllocationUnit * kAllocationUnit;
}

/// 0, an errno, or EBADMSG if the file ends before.
int read_fully(int fd, uint64_t offset, MutableBytes out) {
  while (!out.empty()) {
    const ssize_t n = ::pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    if (n == 0) return EBADMSG;
    offset += static_cast<uint64_t>(n);
    out = out.subspan(static_cast<size_t>(n));
  }
  return 0;
}

int write_fully(int fd, ByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return 0;
}

/// mkdir -p, each for its owner alone.
int make_folders(const std::string& path) {
  for (size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    if (::mkdir(path.substr(0, slash).c_str(), 0700) != 0 && errno != EEXIST) {
      const int code = errno;
      struct stat st {};
      // What is above may be another's, and read-only.
      if (::stat(path.substr(0, slash).c_str(), &st) != 0) return code;
    }
    if (slash == std::string::npos) return 0;
  }
}

/// What the file at hand holds, if it is what it should be.
struct SegmentFile {
  PageMask pages = 0;
  struct stat st {};
};
Result<SegmentFile> read_header(int fd, std::string_view volume, const SegmentKey& key) {
  SegmentFile file;
  if (::fstat(fd, &file.st) != 0) return Error(errno);
  SegmentHeader header;
  const int code = read_fully(fd, 0, header);
  if (code != 0) return Error(code);
  const auto pages = decode_segment_header(header, volume, key);
  if (!pages ||
      static_cast<uint64_t>(file.st.st_size) != kSegmentHeaderBytes + key.framed_bytes(*pages))
    return Error(EBADMSG);
  file.pages = *pages;
  return file;
}

PageMask below(PageMask pages) {
  return pages == 0 ? 0 : page_mask(0, static_cast<uint64_t>(std::countr_zero(pages)));
}

}  // namespace

/// One of the 256, for one writer.
class CacheFolder::Folder {
 public:
  Folder(const CacheFolder& cache, std::string path) : cache_(cache), path_(std::move(path)) {}
  ~Folder() {
    // Not left to close(): a process that was forked meanwhile has the descriptor, too.
    if (locked_) ::flock(used_.get(), LOCK_UN);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  /// False if another has it locked.
  Result<bool> lock() {
    const std::string path = path_ + "/" + kUsedName;
    for (bool made = false;; made = true) {
      int code = cache_.fault("open");
      if (code == 0) {
        used_.reset(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
        if (used_.get() >= 0) break;
        code = errno;
      }
      if (code != ENOENT || made) return failed(code, "open", path);
      code = cache_.fault("mkdir");
      if (code == 0) code = make_folders(path_);
      if (code != 0) return failed(code, "mkdir", path_);
    }
    locked_ = ::flock(used_.get(), LOCK_EX | LOCK_NB) == 0;
    if (!locked_ && errno != EWOULDBLOCK) return failed(errno, "flock", path);
    return locked_;
  }

  /// Notes `charge` bytes for a file that replaces one of `held_charge`, once there is room.
  Result<bool> make_room(const std::string& name, uint64_t charge, uint64_t held_charge,
                         Added* added) const;
  /// Makes the file, or replaces it.
  Status write(const std::string& name, ByteView bytes) const;

 private:
  struct Evicted {
    uint64_t files = 0;
    uint64_t left_bytes = 0;  // of the other files than the one to be kept
  };
  /// Removes what was read longest ago until at most `target` bytes are left beside `keep`.
  Result<Evicted> evict(uint64_t target, const std::string& keep) const;
  /// Of all files, as noted, or counted where that was damaged.
  Result<uint64_t> used_bytes() const {
    std::array<uint64_t, 2> noted{};
    const int code = read_fully(used_.get(), 0, std::as_writable_bytes(std::span(noted)));
    if (code == 0 && noted[0] == ~noted[1]) return noted[0];
    if (code != 0 && code != EBADMSG) return failed(code, "read", path_);
    SKERRY_ASSIGN(const Evicted counted, evict(UINT64_MAX, {}));
    return counted.left_bytes;
  }
  Status note_used(uint64_t bytes) const {
    const std::array<uint64_t, 2> noted{bytes, ~bytes};
    int code = cache_.fault("write");
    if (code == 0 && ::pwrite(used_.get(), noted.data(), sizeof noted, 0) != sizeof noted)
      code = errno != 0 ? errno : EIO;
    if (code != 0) return failed(code, "write", path_ + "/" + kUsedName);
    return {};
  }

  const CacheFolder& cache_;
  const std::string path_;
  Descriptor used_{-1};
  bool locked_ = false;
};

Result<CacheFolder::Folder::Evicted> CacheFolder::Folder::evict(uint64_t target,
                                                                const std::string& keep) const {
  struct File {
    std::string name;
    uint64_t bytes;
    timespec read_at;
  };
  std::vector<File> files;
  Evicted evicted;
  int code = cache_.fault("list");
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(
      code == 0 ? ::opendir(path_.c_str()) : nullptr, ::closedir);
  if (directory == nullptr) return failed(code != 0 ? code : errno, "list", path_);
  const int folder = ::dirfd(directory.get());
  // Of a writer that was killed: there is no other now.
  ::unlinkat(folder, kNewName, 0);
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(directory.get());
    if (entry == nullptr) break;
    struct stat st {};
    if (entry->d_name == keep || !is_segment_name(entry->d_name) ||
        ::fstatat(folder, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
      continue;
    files.push_back({entry->d_name, charge_of(static_cast<uint64_t>(st.st_size)), st.st_mtim});
    evicted.left_bytes += files.back().bytes;
  }
  if (errno != 0) return failed(errno, "list", path_);
  if (evicted.left_bytes > target) {
    std::sort(files.begin(), files.end(), [](const File& a, const File& b) {
      return std::pair(a.read_at.tv_sec, a.read_at.tv_nsec) <
             std::pair(b.read_at.tv_sec, b.read_at.tv_nsec);
    });
  }
  for (const File& file : files) {
    if (evicted.left_bytes <= target) break;
    code = cache_.fault("unlink");
    if (code == 0 && ::unlinkat(folder, file.name.c_str(), 0) != 0 && errno != ENOENT) code = errno;
    if (code != 0) return failed(code, "unlink", path_ + "/" + file.name);
    evicted.files++;
    evicted.left_bytes -= file.bytes;
  }
  return evicted;
}

std::string CacheFolder::folder_of(const SegmentKey& key) const {
  std::array<char, 4> name{};
  std::snprintf(name.data(), name.size(), "/%02x", segment_folder(options_.volume, key));
  return options_.directory + name.data();
}

std::string CacheFolder::path_of(const SegmentKey& key) const {
  return folder_of(key) + "/" + segment_name(options_.volume, key);
}

Status CacheFolder::prepare() const {
  const std::string& path = options_.directory;
  if (!path.starts_with('/')) return Error(EINVAL, "\"" + path + "\" is not an absolute path");
  int code = fault("mkdir");
  if (code == 0) code = make_folders(path);
  if (code != 0) return failed(code, "mkdir", path);
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return failed(errno, "stat", path);
  if (!S_ISDIR(st.st_mode)) return Error(ENOTDIR, path + " is not a folder");
  if (::faccessat(AT_FDCWD, path.c_str(), R_OK | W_OK | X_OK, AT_EACCESS) != 0)
    return failed(errno, "access", path);
  return {};
}

Result<PageMask> CacheFolder::read(const SegmentKey& key, PageMask wanted, std::byte* out) const {
  const std::string path = path_of(key);
  int code = fault("open");
  if (code != 0) return failed(code, "open", path);
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (fd.get() < 0) {
    if (errno == ENOENT || errno == ENOTDIR) return PageMask{0};
    return failed(errno, "open", path);
  }
  code = fault("read");
  if (code != 0) return failed(code, "read", path);
  const auto file = read_header(fd.get(), options_.volume, key);
  PageMask found = 0;
  if (file.ok()) {
    found = file->pages & wanted;
    const uint64_t skipped = key.framed_bytes(file->pages & below(found));
    code = read_fully(fd.get(), kSegmentHeaderBytes + skipped, {out, key.framed_bytes(found)});
  } else {
    code = file.error().code();
  }
  if (code == EBADMSG) remove(key);
  if (code != 0) return failed(code, "read", path);
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  // A failure to note it makes the file look older than it is, no more.
  if (now.tv_sec - file->st.st_mtim.tv_sec >= kTouchEveryS) ::futimens(fd.get(), nullptr);
  return found;
}

void CacheFolder::remove(const SegmentKey& key) const {
  if (fault("unlink") == 0) ::unlink(path_of(key).c_str());
}

/// Some of the disk is left to others: a tenth, at most 1 GiB.
Result<bool> CacheFolder::has_room(uint64_t bytes) const {
  struct statvfs disk {};
  const int code = fault("statvfs");
  if (code != 0) return failed(code, "statvfs", options_.directory);
  if (::statvfs(options_.directory.c_str(), &disk) != 0) {
    if (errno == ENOENT) return true;  // removed: it is made anew
    return failed(errno, "statvfs", options_.directory);
  }
  const uint64_t total = disk.f_blocks * disk.f_frsize;
  if (total == 0) return true;  // it does not tell
  return disk.f_bavail * disk.f_frsize >= std::min(total / 10, kMostReserved) + bytes;
}

Result<bool> CacheFolder::Folder::make_room(const std::string& name, uint64_t charge,
                                            uint64_t held_charge, Added* added) const {
  const uint64_t share = cache_.options_.size_bytes / kFolders;
  if (charge > share) return false;
  SKERRY_ASSIGN(uint64_t used, used_bytes());
  SKERRY_ASSIGN(bool room, cache_.has_room(charge + kAllocationUnit));
  if (!room && used > 0) {
    SKERRY_ASSIGN(const Evicted evicted, evict(used - std::max(used / 8, uint64_t{1}), name));
    added->evicted += evicted.files;
    used = evicted.left_bytes + held_charge;
    SKERRY_TRY(note_used(used));
    SKERRY_ASSIGN(room, cache_.has_room(charge + kAllocationUnit));
  }
  added->disk_full = !room;
  if (!room) return false;
  used = used - std::min(used, held_charge) + charge;
  if (used > share) {
    const uint64_t target = share - share / 8;
    SKERRY_ASSIGN(const Evicted evicted, evict(target - std::min(target, charge), name));
    added->evicted += evicted.files;
    used = evicted.left_bytes + charge;
  }
  SKERRY_TRY(note_used(used));
  return true;
}

Status CacheFolder::Folder::write(const std::string& name, ByteView bytes) const {
  const std::string path = path_ + "/" + name;
  const std::string new_path = path_ + "/" + kNewName;
  int code = cache_.fault("open");
  if (code != 0) return failed(code, "open", new_path);
  const Descriptor out(
      ::open(new_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (out.get() < 0) return failed(errno, "open", new_path);
  const char* call = "write";
  code = cache_.fault(call);
  if (code == 0) code = write_fully(out.get(), bytes);
  if (code == 0) {
    call = "rename";
    code = cache_.fault(call);
    if (code == 0 && ::rename(new_path.c_str(), path.c_str()) != 0) code = errno;
  }
  if (code == 0) return {};
  ::unlink(new_path.c_str());
  return failed(code, call, path);
}

/// What is there of the segment. A damaged file has no pages; it is replaced.
Result<CacheFolder::Held> CacheFolder::held(const SegmentKey& key, PageMask covering) const {
  Held held;
  const std::string path = path_of(key);
  const int code = fault("open");
  if (code != 0) return failed(code, "open", path);
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (fd.get() < 0) return held;
  struct stat st {};
  if (::fstat(fd.get(), &st) == 0) held.charge = charge_of(static_cast<uint64_t>(st.st_size));
  const auto file = read_header(fd.get(), options_.volume, key);
  if (!file.ok()) return held;
  if ((covering & ~file->pages) == 0) {
    held.pages = file->pages;
    return held;
  }
  held.bytes.resize(key.framed_bytes(file->pages));
  if (read_fully(fd.get(), kSegmentHeaderBytes, held.bytes) == 0) held.pages = file->pages;
  return held;
}

/// The file's bytes: the header, and the pages of both in their order.
std::vector<std::byte> CacheFolder::merge(const SegmentKey& key, const Held& held, PageMask pages,
                                          ByteView framed) const {
  const PageMask all = held.pages | pages;
  std::vector<std::byte> bytes;
  bytes.reserve(kSegmentHeaderBytes + key.framed_bytes(all));
  const SegmentHeader header = encode_segment_header(options_.volume, key, all);
  bytes.insert(bytes.end(), header.begin(), header.end());
  ByteView old = held.bytes;
  for (uint64_t page = 0; page < kSegmentPages; page++) {
    const PageMask bit = page_mask(page, page + 1);
    if ((all & bit) == 0) continue;
    const uint64_t size = key.framed_bytes(bit);
    const ByteView from = ((pages & bit) != 0 ? framed : old).first(size);
    bytes.insert(bytes.end(), from.begin(), from.end());
    if ((pages & bit) != 0) framed = framed.subspan(size);
    if ((held.pages & bit) != 0) old = old.subspan(size);
  }
  return bytes;
}

Result<CacheFolder::Added> CacheFolder::add(const SegmentKey& key, PageMask pages,
                                            ByteView framed) const {
  Added added;
  Folder folder(*this, folder_of(key));
  SKERRY_ASSIGN(const bool locked, folder.lock());
  if (!locked) return added;
  SKERRY_ASSIGN(const Held before, held(key, pages));
  if ((pages & ~before.pages) == 0) return added;
  const std::string name = segment_name(options_.volume, key);
  const uint64_t bytes = kSegmentHeaderBytes + key.framed_bytes(before.pages | pages);
  SKERRY_ASSIGN(const bool room, folder.make_room(name, charge_of(bytes), before.charge, &added));
  if (!room) return added;
  SKERRY_TRY(folder.write(name, merge(key, before, pages, framed)));
  added.bytes = framed.size();
  return added;
}

}  // namespace skerry::data
