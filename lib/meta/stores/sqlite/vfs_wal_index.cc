// The WAL index: shared memory of all connections to a database, in a file beside it.
// Layout and lock bytes: https://www.sqlite.org/walformat.html#the_wal_index_file_format

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>

#include "meta/stores/sqlite/vfs_file.h"

namespace skerry::meta::sqlite {

namespace {

constexpr int64_t kLockBase = 120;       // eight lock bytes
constexpr int64_t kDeadManSwitch = 128;  // shared by all who have the file open
constexpr int kWriteLock = 0;            // WAL_WRITE_LOCK
constexpr int kRecoverLock = 2;          // WAL_RECOVER_LOCK

// Whoever finds nobody on the dead-man switch is first and empties what a crash may have left.
// 3 bytes, as the unix VFS: mappings of length 0 stay distinguishable from never having been made.
int take_dead_man_switch(int fd) {
  for (int attempt = 0; attempt < 2000; ++attempt) {
    short holder = F_UNLCK;
    if (int rc = test_lock(fd, kDeadManSwitch, &holder)) return rc;
    int rc = SQLITE_OK;
    if (holder == F_UNLCK) {
      rc = set_lock(fd, F_WRLCK, kDeadManSwitch, 1, SQLITE_IOERR_SHMLOCK);
      if (rc == SQLITE_OK && ftruncate(fd, 3) != 0) return failed(SQLITE_IOERR_SHMOPEN);
    } else if (holder == F_WRLCK) {
      rc = SQLITE_BUSY;
    }
    if (rc == SQLITE_OK) rc = set_lock(fd, F_RDLCK, kDeadManSwitch, 1, SQLITE_IOERR_SHMLOCK);
    if (rc != SQLITE_BUSY) return rc;
    timespec pause{0, 200'000};  // the other is between truncating and sharing: microseconds
    nanosleep(&pause, nullptr);
  }
  return SQLITE_BUSY;
}

int open_wal_index(OfdFile* file) {
  struct stat st;
  if (fstat(file->fd, &st) != 0) return failed(SQLITE_IOERR_FSTAT);
  auto index = std::make_unique<WalIndex>();
  index->path = file->path + "-shm";
  index->fd =
      open_descriptor(index->path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW, st.st_mode & 0777);
  if (index->fd < 0) return failed(SQLITE_CANTOPEN);
  // A database of another user opened by root stays usable for that user.
  if (geteuid() == 0 && fchown(index->fd, st.st_uid, st.st_gid) != 0) errno = 0;
  if (int rc = take_dead_man_switch(index->fd)) {
    close(index->fd);
    return rc;
  }
  file->wal_index = std::move(index);
  return SQLITE_OK;
}

// Writes a byte of every new page, so that a full disk is an error here and not SIGBUS later.
int grow(int fd, int64_t from, int64_t to) {
  constexpr int64_t kPage = 4096;
  for (int64_t page = from / kPage; page < to / kPage; ++page) {
    if (pwrite(fd, "", 1, page * kPage + kPage - 1) != 1) {
      return failed(errno == ENOSPC || errno == EDQUOT ? SQLITE_FULL : SQLITE_IOERR_SHMSIZE);
    }
  }
  return SQLITE_OK;
}

int map_region(sqlite3_file* base, int region, int region_size, int extend, void volatile** out) {
  OfdFile* file = ofd_file(base);
  *out = nullptr;
  if (file->wal_index == nullptr) {
    if (int rc = file->fault(VfsOp::kOpen, VfsFile::kWalIndex)) return rc;
    if (int rc = open_wal_index(file)) return rc;
  }
  WalIndex& index = *file->wal_index;
  const auto wanted = static_cast<size_t>(region);
  const auto size = static_cast<size_t>(region_size);
  index.region_size = size;
  if (index.regions.size() <= wanted) {
    if (int rc = file->fault(VfsOp::kMap, VfsFile::kWalIndex)) return rc;
    struct stat st;
    if (fstat(index.fd, &st) != 0) return failed(SQLITE_IOERR_SHMSIZE);
    const auto needed = static_cast<int64_t>((wanted + 1) * size);
    if (st.st_size < needed) {
      if (!extend) return SQLITE_OK;
      if (int rc = grow(index.fd, st.st_size, needed)) return rc;
    }
  }
  // A region is 32 KiB; on machines with larger pages a mapping holds several.
  const size_t map_size = std::max(size, static_cast<size_t>(sysconf(_SC_PAGESIZE)));
  while (index.regions.size() <= wanted) {
    index.regions.reserve(index.regions.size() + map_size / size);
    void* at = mmap(nullptr, map_size, PROT_READ | PROT_WRITE, MAP_SHARED, index.fd,
                    static_cast<off_t>(index.regions.size() * size));
    if (at == MAP_FAILED) return failed(SQLITE_IOERR_SHMMAP);
    for (size_t offset = 0; offset < map_size; offset += size) {
      index.regions.push_back(static_cast<char*>(at) + offset);
    }
  }
  index.header.store(index.regions[0], std::memory_order_release);
  *out = index.regions[wanted];
  return SQLITE_OK;
}

}  // namespace

int wal_index_map(sqlite3_file* base, int region, int region_size, int extend,
                  void volatile** out) noexcept {
  try {
    return map_region(base, region, region_size, extend, out);
  } catch (const std::bad_alloc&) {
    return SQLITE_NOMEM;
  }
}

int wal_index_lock(sqlite3_file* base, int offset, int count, int flags) noexcept {
  OfdFile* file = ofd_file(base);
  if (file->wal_index == nullptr) return SQLITE_IOERR_SHMLOCK;
  WalIndex& index = *file->wal_index;
  const bool exclusive = (flags & SQLITE_SHM_EXCLUSIVE) != 0;
  const bool observed = exclusive && offset == kWriteLock && file->hooks.observer != nullptr;
  const void* header = index.header.load(std::memory_order_relaxed);
  if (flags & SQLITE_SHM_UNLOCK) {
    if (observed) file->hooks.observer->write_unlocking(header);
    return set_lock(index.fd, F_UNLCK, kLockBase + offset, count, SQLITE_IOERR_SHMLOCK);
  }
  int rc = set_lock(index.fd, exclusive ? F_WRLCK : F_RDLCK, kLockBase + offset, count,
                    SQLITE_IOERR_SHMLOCK);
  if (rc != SQLITE_OK || !exclusive || file->hooks.observer == nullptr) return rc;
  if (observed) file->hooks.observer->write_locked(header);
  if (offset <= kRecoverLock && offset + count > kRecoverLock) file->hooks.observer->recovering();
  return rc;
}

void wal_index_barrier(sqlite3_file*) noexcept { __sync_synchronize(); }

int wal_index_unmap(sqlite3_file* base, int remove) noexcept {
  OfdFile* file = ofd_file(base);
  if (file->wal_index == nullptr) return SQLITE_OK;
  WalIndex& index = *file->wal_index;
  const size_t map_size = std::max(index.region_size, static_cast<size_t>(sysconf(_SC_PAGESIZE)));
  const size_t step = index.region_size == 0 ? 1 : map_size / index.region_size;
  for (size_t i = 0; i < index.regions.size(); i += step) munmap(index.regions[i], map_size);
  if (remove) unlink(index.path.c_str());
  if (index.fd >= 0) close(index.fd);
  file->wal_index.reset();
  return SQLITE_OK;
}

}  // namespace skerry::meta::sqlite
