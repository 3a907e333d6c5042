#include "object/local/local_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <set>
#include <system_error>
#include <utility>

#include "base/crc32c.h"
#include "base/log.h"
#include "object/local/file_io.h"
#include "object/local/key_path.h"
#include "object/local/key_walk.h"

namespace skerry {
namespace {

constexpr mode_t kFileMode = 0666;  // less the process's umask
constexpr mode_t kDirectoryMode = 0777;
constexpr size_t kMaxDurableDirectories = 4096;
constexpr size_t kCopyBytes = 1 << 20;
constexpr int kMaxNameTries = 8;
constexpr size_t kUploadIdBytes = 32;

std::string sentence(int code) { return std::generic_category().message(code); }

std::string in_directory(std::string_view directory, std::string_view name) {
  std::string path(directory);
  path += '/';
  path += name;
  return path;
}

TimeNs modified_ns(const struct stat& st) {
  return st.st_mtim.tv_sec * TimeNs{1'000'000'000} + st.st_mtim.tv_nsec;
}

std::string hex(uint64_t v) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(v));
  return text;
}

std::string etag_of(uint32_t crc, uint64_t size_bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%08x-%llx", crc, static_cast<unsigned long long>(size_bytes));
  return text;
}

std::string part_name(uint32_t number) { return "part-" + std::to_string(number); }

/// Names in directory `path`, without "." and ".."; empty where it cannot be read.
std::vector<std::string> names_in(int root_fd, const char* path) {
  std::vector<std::string> names;
  FileHandle handle(::openat(root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  DIR* directory = handle.is_open() ? ::fdopendir(handle.fd()) : nullptr;
  if (directory == nullptr) return names;
  handle.release();  // closedir closes it
  while (const dirent* entry = ::readdir(directory)) {
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
  ::closedir(directory);
  return names;
}

/// A disk quota is a full disk to whoever stores objects on it; a component of the path that is a
/// file, or a directory where the object would be, means that the key holds no object.
int object_errno(int code) {
  if (code == EDQUOT) return ENOSPC;
  if (code == ENOTDIR || code == EISDIR) return ENOENT;
  return code;
}

int sync_fd(int fd) {
  // Some file systems cannot sync a directory and say EINVAL (fsync(2)); they order it themselves.
  if (::fsync(fd) == 0 || errno == EINVAL) return 0;
  return errno;
}

/// mkdir -p, each new entry made durable. Returns 0 or an errno.
int make_root(const std::string& root) {
  if (::mkdir(root.c_str(), kDirectoryMode) == 0 || errno == EEXIST) return 0;
  if (errno != ENOENT) return errno;
  size_t end = root.find_last_not_of('/');
  size_t slash = end == std::string::npos ? end : root.rfind('/', end);
  if (slash == std::string::npos || slash == 0) return ENOENT;
  std::string parent = root.substr(0, slash);
  if (int code = make_root(parent); code != 0) return code;
  if (::mkdir(root.c_str(), kDirectoryMode) != 0 && errno != EEXIST) return errno;
  FileHandle handle(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return handle.is_open() ? sync_fd(handle.fd()) : errno;
}

}  // namespace

/// A file in .tmp, unlinked unless it was renamed away.
class LocalObjectStore::TempFile {
 public:
  TempFile(int root_fd, std::string path, int fd)
      : root_fd_(root_fd), path_(std::move(path)), handle_(fd) {}
  ~TempFile() {
    if (!path_.empty()) ::unlinkat(root_fd_, path_.c_str(), 0);
  }
  TempFile(TempFile&& other) noexcept
      : root_fd_(other.root_fd_),
        path_(std::exchange(other.path_, {})),
        handle_(std::move(other.handle_)) {}
  TempFile& operator=(TempFile&&) = delete;

  FileHandle& handle() { return handle_; }
  const std::string& path() const { return path_; }
  void renamed_away() { path_.clear(); }

 private:
  const int root_fd_;
  std::string path_;
  FileHandle handle_;
};

Result<std::unique_ptr<ObjectStore>> LocalObjectStore::open(const std::string& root, Clock& clock,
                                                            Options options) {
  std::string failed = "cannot open object directory \"" + root + "\": ";
  if (root.empty()) return Error(EINVAL, "the object directory's path is empty");
  if (int code = make_root(root); code != 0) return Error(code, failed + sentence(code));
  std::unique_ptr<char, decltype(&::free)> real(::realpath(root.c_str(), nullptr), &::free);
  if (real == nullptr) return Error(errno, failed + sentence(errno));
  FileHandle handle(::open(real.get(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!handle.is_open()) return Error(errno, failed + sentence(errno));
  for (std::string_view own : {kTempDirectory, kUploadDirectory}) {
    if (::mkdirat(handle.fd(), own.data(), kDirectoryMode) == 0 || errno == EEXIST) continue;
    // What may only be read is still a store; put() will say why it fails.
    if (errno == EROFS || errno == EACCES) continue;
    return Error(object_errno(errno), failed + sentence(errno));
  }
  std::unique_ptr<LocalObjectStore> store(
      new LocalObjectStore(real.get(), std::move(handle), clock, options));
  store->remove_leftovers();
  return std::unique_ptr<ObjectStore>(std::move(store));
}

LocalObjectStore::LocalObjectStore(std::string root, FileHandle root_handle, Clock& clock,
                                   Options options)
    : root_(std::move(root)),
      root_handle_(std::move(root_handle)),
      clock_(clock),
      options_(options),
      random_(options.random != nullptr ? *options.random : system_random()),
      readers_(options.max_open_files) {}

ObjectCapabilities LocalObjectStore::capabilities() const {
  ObjectCapabilities c;
  c.conditional_put = true;
  c.multipart = true;
  c.max_put_bytes = INT64_MAX;
  return c;
}

Error LocalObjectStore::error(const char* what, std::string_view name, int code) const {
  std::string message(what);
  message.append(" ").append(name).append(": ").append(sentence(code));
  message.append(" (").append(describe()).append(")");
  return Error(object_errno(code), std::move(message));
}

Result<LocalObjectStore::TempFile> LocalObjectStore::create_temp() {
  int code = 0;
  for (int i = 0; i < kMaxNameTries; i++) {
    std::string name = std::to_string(::getpid()) + "-" +
                       std::to_string(next_temp_.fetch_add(1, std::memory_order_relaxed)) + "-" +
                       hex(random_.next());
    std::string path = in_directory(kTempDirectory, name);
    int fd = ::openat(root_handle_.fd(), path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                      kFileMode);
    if (fd >= 0) return TempFile(root_handle_.fd(), std::move(path), fd);
    code = errno;
    if (code == ENOENT) {  // a read-only store turned writable, or someone tidied up
      if (::mkdirat(root_handle_.fd(), kTempDirectory.data(), kDirectoryMode) != 0 &&
          errno != EEXIST) {
        code = errno;
        break;
      }
    } else if (code == EMFILE) {
      readers_.clear();
    } else if (code != EEXIST && code != EINTR) {
      break;
    }
  }
  return error("create a file in", kTempDirectory, code);
}

Status LocalObjectStore::finish(TempFile& temp) {
  if (options_.sync && ::fdatasync(temp.handle().fd()) != 0)
    return error("flush", temp.path(), errno);
  if (!temp.handle().close()) return error("close", temp.path(), errno);
  return {};
}

Status LocalObjectStore::sync_directory(std::string_view directory) const {
  if (!options_.sync) return {};
  std::string path(directory);
  FileHandle handle(::openat(root_handle_.fd(), path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  int code = handle.is_open() ? sync_fd(handle.fd()) : errno;
  return code == 0 ? Status() : error("flush directory", directory, code);
}

/// That a directory exists does not say that it would survive a crash: another thread or process
/// may have made it this moment. So each instance syncs the way up once, made by itself or not.
Status LocalObjectStore::make_directory(std::string_view directory) {
  if (directory == ".") return {};
  const std::string path(directory);
  if (is_durable(path)) return {};
  for (size_t end = path.find('/');; end = path.find('/', end + 1)) {
    std::string step = path.substr(0, end);
    if (!is_durable(step)) {
      if (::mkdirat(root_handle_.fd(), step.c_str(), kDirectoryMode) != 0 && errno != EEXIST) {
        int code = errno;
        if (code == ENOTDIR)
          return Error(EINVAL, "directory " + step + " cannot be made in " + describe() +
                                   ": a component of it is an object");
        return error("make directory", step, code);
      }
      SKERRY_TRY(sync_directory(parent_of(step)));
      std::lock_guard lock(directories_mutex_);
      if (durable_directories_.size() >= kMaxDurableDirectories) durable_directories_.clear();
      durable_directories_.insert(std::move(step));
    }
    if (end == std::string::npos) return {};
  }
}

bool LocalObjectStore::is_durable(const std::string& directory) {
  std::lock_guard lock(directories_mutex_);
  return durable_directories_.contains(directory);
}

int LocalObjectStore::move_into_place(const TempFile& temp, const std::string& key,
                                      bool if_absent) const {
  int root = root_handle_.fd();
  const char* from = temp.path().c_str();
  if (!if_absent) return ::renameat(root, from, root, key.c_str()) == 0 ? 0 : errno;

  if (::linkat(root, from, root, key.c_str(), 0) == 0) return 0;
  int code = errno;
  if (code == EEXIST) {
    // Over NFS a link that was made, its answer lost and the call sent again, says EEXIST: open(2).
    struct stat st;
    bool ours = ::fstatat(root, from, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_nlink == 2;
    return ours ? 0 : EEXIST;
  }
  if (code == EPERM || code == EOPNOTSUPP || code == EMLINK)  // no hard links here
    return ::renameat2(root, from, root, key.c_str(), RENAME_NOREPLACE) == 0 ? 0 : errno;
  return code;
}

Status LocalObjectStore::publish(TempFile& temp, std::string_view key, bool if_absent) {
  std::string path(key);
  std::string_view directory = parent_of(key);
  SKERRY_TRY(make_directory(directory));
  int code = move_into_place(temp, path, if_absent);
  if (code == ENOENT) {  // somebody removed the directory behind our back
    {
      std::lock_guard lock(directories_mutex_);
      durable_directories_.clear();
    }
    SKERRY_TRY(make_directory(directory));
    code = move_into_place(temp, path, if_absent);
  }
  if (code == ENOENT)
    return Error(EIO, "object " + path + " was not stored in " + describe() +
                          ": its temporary file vanished");
  if (code == EEXIST) return Error(EEXIST, "object " + path + " exists in " + describe());
  if (code == EISDIR || code == ENOTDIR)
    return Error(EINVAL, "object " + path + " cannot be stored in " + describe() +
                             ": its key is a prefix of another's, or another's of it");
  if (code != 0) return error("store object", key, code);
  if (!if_absent) temp.renamed_away();
  readers_.erase(key);
  Status synced = sync_directory(directory);
  if (!synced.ok()) return std::move(synced).error().set_maybe_applied();
  return {};
}

Status LocalObjectStore::put(const OpContext& ctx, std::string_view key,
                             const std::vector<ByteView>& pieces, const PutOptions& options) {
  SKERRY_TRY(ctx.check());
  SKERRY_TRY(check_key(key));
  SKERRY_ASSIGN(TempFile temp, create_temp());
  if (int code = write_fully(temp.handle().fd(), pieces); code != 0)
    return error("write object", key, code);
  SKERRY_TRY(finish(temp));
  SKERRY_TRY(ctx.check());
  return publish(temp, key, options.if_absent);
}

/// A descriptor whose file has no name left was removed or replaced, perhaps by another process.
Result<std::shared_ptr<FileHandle>> LocalObjectStore::open_object(std::string_view key,
                                                                  uint64_t* size_bytes) {
  struct stat st;
  if (auto cached = readers_.find(key)) {
    if (::fstat(cached->fd(), &st) == 0 && st.st_nlink != 0) {
      *size_bytes = static_cast<uint64_t>(st.st_size);
      return cached;
    }
    readers_.erase(key);
  }
  std::string path(key);
  int fd = ::openat(root_handle_.fd(), path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0 && errno == EMFILE) {
    readers_.clear();
    fd = ::openat(root_handle_.fd(), path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  }
  if (fd < 0) return error("open object", key, errno);
  auto file = std::make_shared<FileHandle>(fd);
  if (::fstat(fd, &st) != 0) return error("stat object", key, errno);
  if (!S_ISREG(st.st_mode)) return error("open object", key, ENOENT);
  *size_bytes = static_cast<uint64_t>(st.st_size);
  readers_.insert(key, file);
  return file;
}

Status LocalObjectStore::get(const OpContext& ctx, std::string_view key, uint64_t offset,
                             MutableBytes out) {
  SKERRY_TRY(ctx.check());
  SKERRY_TRY(check_key(key));
  uint64_t size_bytes = 0;
  SKERRY_ASSIGN(std::shared_ptr<FileHandle> file, open_object(key, &size_bytes));
  int code = ENODATA;
  if (offset <= size_bytes && out.size() <= size_bytes - offset)
    code = read_fully(file->fd(), offset, out);
  if (code == 0) return {};
  if (code != ENODATA) return error("read object", key, code);
  return Error(EINVAL, "object " + std::string(key) + " has " + std::to_string(size_bytes) +
                           " bytes, asked for " + std::to_string(out.size()) + " at " +
                           std::to_string(offset) + " (" + describe() + ")");
}

Status LocalObjectStore::get_in_steps(const OpContext& ctx, std::string_view key, uint64_t offset,
                                      uint64_t length, uint64_t step, MutableBytes buffer,
                                      const Take& take) {
  for (uint64_t done = 0; done < length; done += step) {
    const MutableBytes range = buffer.first(std::min(step, length - done));
    SKERRY_TRY(get(ctx, key, offset + done, range));
    SKERRY_TRY(take(range));
  }
  return {};
}

Result<ObjectInfo> LocalObjectStore::head(const OpContext& ctx, std::string_view key) {
  SKERRY_TRY(ctx.check());
  SKERRY_TRY(check_key(key));
  std::string path(key);
  struct stat st;
  if (::fstatat(root_handle_.fd(), path.c_str(), &st, 0) != 0)
    return error("stat object", key, errno);
  if (!S_ISREG(st.st_mode)) return error("stat object", key, ENOENT);
  ObjectInfo info;
  info.key = std::move(path);
  info.size_bytes = static_cast<uint64_t>(st.st_size);
  info.modified_ns = modified_ns(st);
  return info;
}

int LocalObjectStore::unlink_object(const std::string& key) {
  readers_.erase(key);
  if (::unlinkat(root_handle_.fd(), key.c_str(), 0) == 0) return 0;
  int code = object_errno(errno);
  return code == ENOENT ? 0 : code;
}

Status LocalObjectStore::remove(const OpContext& ctx, std::string_view key) {
  SKERRY_TRY(ctx.check());
  SKERRY_TRY(check_key(key));
  if (int code = unlink_object(std::string(key)); code != 0)
    return error("remove object", key, code);
  Status synced = sync_directory(parent_of(key));
  if (synced.ok() || synced.error().code() == ENOENT) return {};
  return std::move(synced).error().set_maybe_applied();
}

Result<std::vector<DeleteOutcome>> LocalObjectStore::remove_batch(
    const OpContext& ctx, const std::vector<std::string>& keys) {
  SKERRY_TRY(ctx.check());
  if (keys.size() > capabilities().max_batch_delete)
    return Error(EINVAL, "too many keys in one batch delete");
  std::vector<DeleteOutcome> outcomes;
  outcomes.reserve(keys.size());
  std::set<std::string_view> directories;
  for (const std::string& key : keys) {
    Status valid = check_key(key);
    outcomes.push_back({key, valid.ok() ? unlink_object(key) : EINVAL});
    if (outcomes.back().error == 0) directories.insert(parent_of(key));
  }
  for (std::string_view directory : directories) {
    Status synced = sync_directory(directory);
    if (synced.ok() || synced.error().code() == ENOENT) continue;
    for (DeleteOutcome& outcome : outcomes)
      if (outcome.error == 0 && parent_of(outcome.key) == directory)
        outcome.error = synced.error().code();
  }
  return outcomes;
}

Result<ObjectPage> LocalObjectStore::list(const OpContext& ctx, std::string_view prefix,
                                          std::string_view start_after, uint32_t limit) {
  Result<ObjectPage> page = list_directory(ctx, root_handle_.fd(), prefix, start_after, limit);
  if (!page.ok()) return std::move(page).error().with_context(describe());
  return page;
}

// Multipart uploads. Parts are flushed only as the object they become.

Result<std::string> LocalObjectStore::start_upload(const OpContext& ctx, std::string_view key,
                                                   const PutOptions& options) {
  SKERRY_TRY(ctx.check());
  SKERRY_TRY(check_key(key));
  std::string id = hex(random_.next()) + hex(random_.next());
  std::string directory = in_directory(kUploadDirectory, id);
  int root = root_handle_.fd();
  if (::mkdirat(root, kUploadDirectory.data(), kDirectoryMode) != 0 && errno != EEXIST)
    return error("make directory", kUploadDirectory, errno);
  if (::mkdirat(root, directory.c_str(), kDirectoryMode) != 0)
    return error("make directory", directory, errno);
  std::string record = (options.if_absent ? "1" : "0") + std::string(key);
  std::string path = in_directory(directory, "key");
  FileHandle file(::openat(root, path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kFileMode));
  int code = file.is_open() ? write_fully(file.fd(), {as_bytes(record)}) : errno;
  if (code == 0 && !file.close()) code = errno;
  if (code != 0) {
    remove_upload(directory);
    return error("write", path, code);
  }
  return id;
}

Result<LocalObjectStore::UploadRecord> LocalObjectStore::find_upload(
    std::string_view key, std::string_view upload_id) const {
  Error absent(ENOENT, "no upload " + std::string(upload_id) + " of " + std::string(key) + " in " +
                           describe());
  bool valid = upload_id.size() == kUploadIdBytes &&
               upload_id.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  if (!valid) return absent;
  UploadRecord upload{in_directory(kUploadDirectory, upload_id)};
  std::string path = in_directory(upload.directory, "key");
  FileHandle file(::openat(root_handle_.fd(), path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.is_open() && errno == ENOENT) return absent;
  if (!file.is_open()) return error("open", path, errno);
  std::string record(1 + key.size(), '\0');
  int code = read_fully(file.fd(), 0, std::as_writable_bytes(std::span(record)));
  if (code != 0 && code != ENODATA) return error("read", path, code);
  struct stat st;
  bool same = code == 0 && ::fstat(file.fd(), &st) == 0 &&
              static_cast<size_t>(st.st_size) == record.size() &&
              std::string_view(record).substr(1) == key;
  if (!same) return absent;
  upload.if_absent = record[0] == '1';
  return upload;
}

Result<UploadedPart> LocalObjectStore::put_part(const OpContext& ctx, std::string_view key,
                                                std::string_view upload_id, uint32_t number,
                                                ByteView data) {
  SKERRY_TRY(ctx.check());
  if (number == 0) return Error(EINVAL, "parts are numbered from 1");
  SKERRY_ASSIGN(UploadRecord upload, find_upload(key, upload_id));
  SKERRY_ASSIGN(TempFile temp, create_temp());
  std::string path = in_directory(upload.directory, part_name(number));
  int code = write_fully(temp.handle().fd(), {data});
  if (code == 0 && !temp.handle().close()) code = errno;
  int root = root_handle_.fd();
  if (code == 0 && ::renameat(root, temp.path().c_str(), root, path.c_str()) != 0) code = errno;
  if (code != 0) return error("write", path, code);
  temp.renamed_away();
  return UploadedPart{number, etag_of(crc32c(0, data), data.size())};
}

Status LocalObjectStore::append_part(const OpContext& ctx, const UploadRecord& upload,
                                     const UploadedPart& part, TempFile& out) const {
  std::string path = in_directory(upload.directory, part_name(part.number));
  FileHandle file(::openat(root_handle_.fd(), path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.is_open() && errno == ENOENT)
    return Error(EINVAL, "part " + std::to_string(part.number) + " was not uploaded");
  struct stat st;
  if (!file.is_open() || ::fstat(file.fd(), &st) != 0) return error("open", path, errno);
  const auto size_bytes = static_cast<uint64_t>(st.st_size);
  std::vector<std::byte> buffer(std::min<uint64_t>(kCopyBytes, size_bytes));
  uint32_t crc = 0;
  for (uint64_t offset = 0; offset < size_bytes;) {
    SKERRY_TRY(ctx.check());
    MutableBytes block(buffer.data(), std::min<uint64_t>(buffer.size(), size_bytes - offset));
    if (int code = read_fully(file.fd(), offset, block); code != 0)
      return error("read", path, code);
    crc = crc32c(crc, block);
    if (int code = write_fully(out.handle().fd(), {block}); code != 0)
      return error("write", out.path(), code);
    offset += block.size();
  }
  if (etag_of(crc, size_bytes) != part.etag)
    return Error(EINVAL, "part " + std::to_string(part.number) + " has another etag");
  return {};
}

Status LocalObjectStore::complete_upload(const OpContext& ctx, std::string_view key,
                                         std::string_view upload_id,
                                         const std::vector<UploadedPart>& parts) {
  SKERRY_TRY(ctx.check());
  SKERRY_ASSIGN(UploadRecord upload, find_upload(key, upload_id));
  if (parts.empty()) return Error(EINVAL, "an upload needs a part");
  SKERRY_ASSIGN(TempFile temp, create_temp());
  uint32_t last = 0;
  for (const UploadedPart& part : parts) {
    if (part.number <= last) return Error(EINVAL, "parts must be given in ascending order");
    last = part.number;
    SKERRY_TRY(append_part(ctx, upload, part, temp));
  }
  SKERRY_TRY(finish(temp));
  SKERRY_TRY(publish(temp, key, upload.if_absent));
  remove_upload(upload.directory);
  return {};
}

Status LocalObjectStore::abort_upload(const OpContext& ctx, std::string_view key,
                                      std::string_view upload_id) {
  SKERRY_TRY(ctx.check());
  SKERRY_ASSIGN(UploadRecord upload, find_upload(key, upload_id));
  remove_upload(upload.directory);
  return {};
}

/// Best effort: what stays is removed by a later open().
void LocalObjectStore::remove_upload(const std::string& directory) const {
  int root = root_handle_.fd();
  // The record goes first: without it no part can be added to what is being removed.
  ::unlinkat(root, in_directory(directory, "key").c_str(), 0);
  for (const std::string& name : names_in(root, directory.c_str()))
    ::unlinkat(root, in_directory(directory, name).c_str(), 0);
  if (::unlinkat(root, directory.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT)
    log_message(LogLevel::kWarning,
                "cannot remove " + in_directory(root_, directory) + ": " + sentence(errno));
}

void LocalObjectStore::remove_leftovers() const {
  int root = root_handle_.fd();
  const TimeNs now = clock_.now_ns();
  auto older_than = [&](const std::string& path, TimeNs age) {
    struct stat st;
    return ::fstatat(root, path.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           modified_ns(st) < now - age;
  };
  for (const std::string& name : names_in(root, kTempDirectory.data())) {
    std::string path = in_directory(kTempDirectory, name);
    if (older_than(path, options_.stale_temp_ns)) ::unlinkat(root, path.c_str(), 0);
  }
  for (const std::string& name : names_in(root, kUploadDirectory.data())) {
    std::string path = in_directory(kUploadDirectory, name);
    if (older_than(path, options_.stale_upload_ns)) remove_upload(path);
  }
}

}  // namespace skerry
