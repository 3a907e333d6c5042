#include "meta/stores/sqlite/vfs_ofd.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <new>

#include "meta/stores/sqlite/fork_gate.h"
#include "meta/stores/sqlite/vfs_file.h"
#include "meta/stores/sqlite/wal_events.h"

namespace skerry::meta::sqlite {

namespace {

// The lock bytes of a database file: https://www.sqlite.org/src/file/src/os.h
constexpr int64_t kPendingByte = 0x40000000;
constexpr int64_t kReservedByte = kPendingByte + 1;
constexpr int64_t kSharedFirst = kPendingByte + 2;
constexpr int64_t kSharedSize = 510;

thread_local const VfsHooks* hooks_of_thread = nullptr;

// SQLite asks for the cause of a failure after it has cleaned up, with calls that set errno anew,
// and not at all where COMMIT fails.
thread_local int errno_of_failure = 0;

int noted(int rc) { return rc == SQLITE_OK ? rc : failed(rc); }

// All open files of the process, for the child of a fork. Never destroyed: SQLite may close a
// database while static objects are being destroyed.
struct OpenFiles {
  std::mutex mutex;
  OfdFile* first = nullptr;
};
OpenFiles& open_files() {
  static OpenFiles* files = new OpenFiles;  // never freed, see above
  return *files;
}

void enlist(OfdFile* file) {
  OpenFiles& all = open_files();
  std::lock_guard lock(all.mutex);
  file->next = all.first;
  if (all.first != nullptr) all.first->previous = file;
  all.first = file;
}

void delist(OfdFile* file) {
  OpenFiles& all = open_files();
  std::lock_guard lock(all.mutex);
  if (file->previous != nullptr) file->previous->next = file->next;
  if (file->next != nullptr) file->next->previous = file->previous;
  if (all.first == file) all.first = file->next;
}

// Only close(2): unlocking would release the parent's locks, which the description shares. The
// list's mutex is free here because files are opened and closed inside the fork gate.
void close_inherited_descriptors() {
  close_inherited_events();
  OpenFiles& all = open_files();
  for (OfdFile* file = all.first; file != nullptr; file = file->next) {
    if (file->fd >= 0) close(file->fd);
    file->fd = -1;
    if (file->wal_index != nullptr) {
      close(file->wal_index->fd);
      file->wal_index->fd = -1;
    }
  }
  all.first = nullptr;
}

int close_file(sqlite3_file* base) {
  OfdFile* file = ofd_file(base);
  wal_index_unmap(base, 0);
  delist(file);
  if (file->fd >= 0) close(file->fd);  // releases this connection's locks and no others
  file->~OfdFile();
  return SQLITE_OK;
}

int read_file(sqlite3_file* base, void* buffer, int amount, sqlite3_int64 offset) {
  OfdFile* file = ofd_file(base);
  if (int rc = file->fault(VfsOp::kRead)) return rc;
  auto* to = static_cast<char*>(buffer);
  int done = 0;
  while (done < amount) {
    ssize_t n = pread(file->fd, to + done, static_cast<size_t>(amount - done), offset + done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed(SQLITE_IOERR_READ);
    if (n == 0) break;
    done += static_cast<int>(n);
  }
  if (done == amount) return SQLITE_OK;
  std::memset(to + done, 0, static_cast<size_t>(amount - done));  // as SQLite requires
  return SQLITE_IOERR_SHORT_READ;  // no failure to SQLite where it looks past an end
}

int write_error() {
  return failed(errno == ENOSPC || errno == EDQUOT ? SQLITE_FULL : SQLITE_IOERR_WRITE);
}

int write_file(sqlite3_file* base, const void* buffer, int amount, sqlite3_int64 offset) {
  OfdFile* file = ofd_file(base);
  if (int rc = file->fault(VfsOp::kWrite)) return rc;
  const auto* from = static_cast<const char*>(buffer);
  int done = 0;
  while (done < amount) {
    ssize_t n = pwrite(file->fd, from + done, static_cast<size_t>(amount - done), offset + done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return write_error();
    if (n == 0) return SQLITE_FULL;
    done += static_cast<int>(n);
  }
  return SQLITE_OK;
}

int truncate_file(sqlite3_file* base, sqlite3_int64 size) {
  OfdFile* file = ofd_file(base);
  if (int rc = file->fault(VfsOp::kTruncate)) return rc;
  while (ftruncate(file->fd, size) != 0) {
    if (errno != EINTR) return failed(SQLITE_IOERR_TRUNCATE);
  }
  return SQLITE_OK;
}

int sync_directory_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  int fd = open_descriptor(directory.c_str(), O_RDONLY | O_DIRECTORY, 0);
  if (fd < 0) return failed(SQLITE_CANTOPEN);
  int rc = fsync(fd) == 0 ? SQLITE_OK : failed(SQLITE_IOERR_DIR_FSYNC);
  close(fd);
  return rc;
}

int sync_method(sqlite3_file* base, int) { return sync_file(base); }

int file_size(sqlite3_file* base, sqlite3_int64* size) {
  OfdFile* file = ofd_file(base);
  if (int rc = file->fault(VfsOp::kSize)) return rc;
  struct stat st;
  if (fstat(file->fd, &st) != 0) return failed(SQLITE_IOERR_FSTAT);
  *size = st.st_size;
  return SQLITE_OK;
}

int lock_shared(OfdFile* file) {
  // A writer that holds PENDING lets the present readers finish and keeps new ones out.
  int rc = set_lock(file->fd, F_RDLCK, kPendingByte, 1, SQLITE_IOERR_RDLOCK);
  if (rc != SQLITE_OK) return rc;
  rc = set_lock(file->fd, F_RDLCK, kSharedFirst, kSharedSize, SQLITE_IOERR_RDLOCK);
  int unlocked = set_lock(file->fd, F_UNLCK, kPendingByte, 1, SQLITE_IOERR_UNLOCK);
  if (rc == SQLITE_OK) file->lock = SQLITE_LOCK_SHARED;
  return rc != SQLITE_OK ? rc : unlocked;
}

int lock_file(sqlite3_file* base, int level) {
  OfdFile* file = ofd_file(base);
  if (file->lock >= level) return SQLITE_OK;
  if (int rc = file->fault(VfsOp::kLock)) return rc;
  if (level == SQLITE_LOCK_SHARED) return lock_shared(file);
  if (level == SQLITE_LOCK_RESERVED) {
    int rc = set_lock(file->fd, F_WRLCK, kReservedByte, 1, SQLITE_IOERR_LOCK);
    if (rc == SQLITE_OK) file->lock = level;
    return rc;
  }
  if (file->lock < SQLITE_LOCK_PENDING) {
    int rc = set_lock(file->fd, F_WRLCK, kPendingByte, 1, SQLITE_IOERR_LOCK);
    if (rc != SQLITE_OK) return rc;
    file->lock = SQLITE_LOCK_PENDING;
  }
  int rc = set_lock(file->fd, F_WRLCK, kSharedFirst, kSharedSize, SQLITE_IOERR_LOCK);
  if (rc == SQLITE_OK) file->lock = SQLITE_LOCK_EXCLUSIVE;
  return rc;
}

int unlock_file(sqlite3_file* base, int level) {
  OfdFile* file = ofd_file(base);
  if (file->lock <= level) return SQLITE_OK;
  int rc = SQLITE_OK;
  if (level == SQLITE_LOCK_SHARED) {
    if (file->lock == SQLITE_LOCK_EXCLUSIVE) {
      rc = set_lock(file->fd, F_RDLCK, kSharedFirst, kSharedSize, SQLITE_IOERR_RDLOCK);
    }
    int unlocked = set_lock(file->fd, F_UNLCK, kPendingByte, 2, SQLITE_IOERR_UNLOCK);
    if (rc == SQLITE_OK) rc = unlocked;
  } else {
    rc = set_lock(file->fd, F_UNLCK, kPendingByte, 2 + kSharedSize, SQLITE_IOERR_UNLOCK);
  }
  file->lock = level;
  return rc;
}

int check_reserved_lock(sqlite3_file* base, int* reserved) {
  OfdFile* file = ofd_file(base);
  if (file->lock >= SQLITE_LOCK_RESERVED) {
    *reserved = 1;
    return SQLITE_OK;
  }
  short type = F_UNLCK;
  int rc = test_lock(file->fd, kReservedByte, &type);
  *reserved = type != F_UNLCK;
  return rc;
}

int file_control(sqlite3_file* base, int op, void* argument) {
  OfdFile* file = ofd_file(base);
  switch (op) {
    case SQLITE_FCNTL_LOCKSTATE:
      *static_cast<int*>(argument) = file->lock;
      return SQLITE_OK;
    case SQLITE_FCNTL_PERSIST_WAL: {
      int* value = static_cast<int*>(argument);
      if (*value < 0) {
        *value = file->persist_wal;
      } else {
        file->persist_wal = *value != 0;
      }
      return SQLITE_OK;
    }
    case SQLITE_FCNTL_VFSNAME:
      *static_cast<char**>(argument) = sqlite3_mprintf("%s", kVfsName);
      return SQLITE_OK;
    default:
      return SQLITE_NOTFOUND;
  }
}

int sector_size(sqlite3_file*) { return 4096; }
// As the unix VFS: a torn write does not damage bytes beside those written.
int device_characteristics(sqlite3_file*) { return SQLITE_IOCAP_POWERSAFE_OVERWRITE; }

constexpr sqlite3_io_methods kMethods = {
    2,
    close_file,
    read_file,
    write_file,
    truncate_file,
    sync_method,
    file_size,
    lock_file,
    unlock_file,
    check_reserved_lock,
    file_control,
    sector_size,
    device_characteristics,
    wal_index_map,
    wal_index_lock,
    wal_index_barrier,
    wal_index_unmap,
    nullptr,
    nullptr,
};

sqlite3_vfs* unix_vfs(sqlite3_vfs* vfs) { return static_cast<sqlite3_vfs*>(vfs->pAppData); }

// A WAL or journal gets the permissions of its database.
unsigned mode_for(const char* name, VfsFile kind) {
  struct stat st;
  if (kind != VfsFile::kDatabase && stat(sqlite3_filename_database(name), &st) == 0) {
    return st.st_mode & 0777;
  }
  return 0644;
}

int open_file(sqlite3_vfs* vfs, const char* name, sqlite3_file* base, int flags, int* out_flags) {
  constexpr int kOurs = SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL;
  if (name == nullptr || (flags & kOurs) == 0) {  // temporary files are nobody else's
    return noted(unix_vfs(vfs)->xOpen(unix_vfs(vfs), name, base, flags, out_flags));
  }
  base->pMethods = nullptr;
  VfsFile kind = (flags & SQLITE_OPEN_MAIN_DB) ? VfsFile::kDatabase
                 : (flags & SQLITE_OPEN_WAL)   ? VfsFile::kWal
                                               : VfsFile::kJournal;
  VfsHooks hooks;
  if (kind == VfsFile::kDatabase) {
    if (hooks_of_thread != nullptr) hooks = *hooks_of_thread;
  } else {
    hooks.faults = ofd_file(sqlite3_database_file_object(name))->hooks.faults;
  }
  if (hooks.faults != nullptr) {
    errno = 0;  // what failed is the hook's answer, not a system call
    if (int rc = hooks.faults->before(VfsOp::kOpen, kind)) return failed(rc);
  }
  int open_flags = (flags & SQLITE_OPEN_READONLY) ? O_RDONLY : O_RDWR;
  if (flags & SQLITE_OPEN_CREATE) open_flags |= O_CREAT;
  if (flags & SQLITE_OPEN_EXCLUSIVE) open_flags |= O_EXCL | O_NOFOLLOW;
  int fd = open_descriptor(name, open_flags, mode_for(name, kind));
  if (fd < 0 && (errno == EACCES || errno == EPERM || errno == EROFS) &&
      (flags & SQLITE_OPEN_READWRITE)) {
    flags = (flags & ~(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)) | SQLITE_OPEN_READONLY;
    fd = open_descriptor(name, O_RDONLY, 0);
  }
  if (fd < 0) return failed(SQLITE_CANTOPEN);
  std::string path;
  try {
    path = name;
  } catch (const std::bad_alloc&) {
    close(fd);
    return SQLITE_NOMEM;
  }
  auto* file = new (base) OfdFile;
  file->base.pMethods = &kMethods;
  file->fd = fd;
  file->kind = kind;
  file->sync_directory = (flags & SQLITE_OPEN_CREATE) != 0;
  file->path = std::move(path);
  file->hooks = hooks;
  enlist(file);
  if (out_flags != nullptr) *out_flags = flags;
  return SQLITE_OK;
}

int last_error(sqlite3_vfs*, int, char*) { return errno_of_failure; }

sqlite3_vfs make_vfs(sqlite3_vfs* original) {
  sqlite3_vfs vfs{};
  vfs.iVersion = 2;
  vfs.szOsFile = std::max(static_cast<int>(sizeof(OfdFile)), original->szOsFile);
  vfs.mxPathname = original->mxPathname;
  vfs.zName = kVfsName;
  vfs.pAppData = original;
  vfs.xOpen = open_file;
  vfs.xDelete = [](sqlite3_vfs* v, const char* name, int sync) {
    return noted(unix_vfs(v)->xDelete(unix_vfs(v), name, sync));
  };
  vfs.xAccess = [](sqlite3_vfs* v, const char* name, int flags, int* out) {
    return noted(unix_vfs(v)->xAccess(unix_vfs(v), name, flags, out));
  };
  vfs.xFullPathname = [](sqlite3_vfs* v, const char* name, int size, char* out) {
    return noted(unix_vfs(v)->xFullPathname(unix_vfs(v), name, size, out));
  };
  vfs.xRandomness = [](sqlite3_vfs* v, int size, char* out) {
    return unix_vfs(v)->xRandomness(unix_vfs(v), size, out);
  };
  vfs.xSleep = [](sqlite3_vfs* v, int us) { return unix_vfs(v)->xSleep(unix_vfs(v), us); };
  vfs.xCurrentTime = [](sqlite3_vfs* v, double* out) {
    return unix_vfs(v)->xCurrentTime(unix_vfs(v), out);
  };
  vfs.xCurrentTimeInt64 = [](sqlite3_vfs* v, sqlite3_int64* out) {
    return unix_vfs(v)->xCurrentTimeInt64(unix_vfs(v), out);
  };
  vfs.xGetLastError = last_error;
  return vfs;
}

}  // namespace

int cause_of_failure() noexcept { return errno_of_failure; }

int failed(int rc) noexcept {
  errno_of_failure = errno;
  return rc;
}

int open_descriptor(const char* path, int flags, unsigned mode) noexcept {
  int fd;
  do {
    fd = open(path, flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0 || fd > 2) return fd;
  // A host that closed its standard streams would otherwise print into the database.
  int moved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  const int saved = errno;
  close(fd);
  errno = saved;
  return moved;
}

int set_lock(int fd, short type, int64_t start, int64_t length, int io_error) noexcept {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = start;
  lock.l_len = length;
  while (fcntl(fd, F_OFD_SETLK, &lock) != 0) {
    if (errno == EINTR) continue;
    return errno == EAGAIN || errno == EACCES || errno == ENOLCK ? SQLITE_BUSY : failed(io_error);
  }
  return SQLITE_OK;
}

int test_lock(int fd, int64_t start, short* type) noexcept {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = start;
  lock.l_len = 1;
  if (fcntl(fd, F_OFD_GETLK, &lock) != 0) return failed(SQLITE_IOERR_CHECKRESERVEDLOCK);
  *type = lock.l_type;
  return SQLITE_OK;
}

int register_ofd_vfs() noexcept {
  static const int result = [] {
    if (int rc = sqlite3_initialize()) return rc;
    sqlite3_vfs* original = sqlite3_vfs_find("unix");
    if (original == nullptr) return SQLITE_ERROR;
    static sqlite3_vfs vfs = make_vfs(original);
    install_fork_handlers(close_inherited_descriptors);
    return sqlite3_vfs_register(&vfs, 0);
  }();
  return result;
}

VfsHooksScope::VfsHooksScope(const VfsHooks& hooks) noexcept { hooks_of_thread = &hooks; }
VfsHooksScope::~VfsHooksScope() { hooks_of_thread = nullptr; }

const void* mapped_wal_index(sqlite3* db) noexcept {
  sqlite3_file* file = nullptr;
  if (sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK ||
      file == nullptr || file->pMethods != &kMethods) {
    return nullptr;
  }
  const auto& index = ofd_file(file)->wal_index;
  return index == nullptr ? nullptr : index->header.load(std::memory_order_acquire);
}

sqlite3_file* wal_file(sqlite3* db) noexcept {
  sqlite3_file* file = nullptr;
  if (sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file) != SQLITE_OK ||
      file == nullptr || file->pMethods != &kMethods || ofd_file(file)->kind != VfsFile::kWal) {
    return nullptr;
  }
  return file;
}

int sync_file(sqlite3_file* base) noexcept {
  OfdFile* file = ofd_file(base);
  if (int rc = file->fault(VfsOp::kSync)) return rc;
  while (fdatasync(file->fd) != 0) {
    if (errno != EINTR) return failed(SQLITE_IOERR_FSYNC);
  }
  // A new file is durable once its name is.
  if (file->sync_directory.load(std::memory_order_acquire)) {
    if (int rc = sync_directory_of(file->path)) return rc;
    file->sync_directory.store(false, std::memory_order_release);
  }
  return SQLITE_OK;
}

}  // namespace skerry::meta::sqlite
