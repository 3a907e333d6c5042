#include "meta/stores/sqlite/wal_events.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <mutex>

#include "meta/stores/sqlite/fork_gate.h"

namespace skerry::meta::sqlite {

namespace {

/// Descriptors belong to the process, so their list does; see open_files() in vfs_ofd.cc.
struct AllEvents {
  std::mutex mutex;  // held inside the fork gate only, so it is free in a child
  WalEvents* first = nullptr;
};
AllEvents& all_events() {
  static AllEvents all;
  return all;
}

int open_watch(const std::string& path) {
  int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  if (fd >= 0 && fd <= 2) {  // a host that closed its standard streams
    const int moved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    close(fd);
    fd = moved;
  }
  if (fd < 0) return fd;
  if (inotify_add_watch(fd, path.c_str(), IN_MODIFY) >= 0) return fd;
  close(fd);
  return -1;
}

}  // namespace

WalEvents::WalEvents(const std::string& database_path) {
  const std::string wal = database_path + "-wal";
  ForkGate gate;
  AllEvents& all = all_events();
  std::lock_guard lock(all.mutex);
  fd_ = open_watch(wal);
  next_ = all.first;
  if (next_ != nullptr) next_->previous_ = this;
  all.first = this;
}

WalEvents::~WalEvents() {
  ForkGate gate;
  AllEvents& all = all_events();
  std::lock_guard lock(all.mutex);
  (previous_ == nullptr ? all.first : previous_->next_) = next_;
  if (next_ != nullptr) next_->previous_ = previous_;
  if (fd_ >= 0) close(fd_);
}

void WalEvents::wait(int timeout_ms) {
  pollfd ready{fd_, POLLIN, 0};
  if (poll(&ready, 1, timeout_ms) <= 0) return;
  std::array<char, 4096> events;
  while (read(fd_, events.data(), events.size()) > 0) {
  }
}

void close_inherited_events() noexcept {
  AllEvents& all = all_events();
  for (WalEvents* each = all.first; each != nullptr; each = each->next_) {
    if (each->fd_ >= 0) close(each->fd_);
    each->fd_ = -1;
  }
  all.first = nullptr;
}

}  // namespace skerry::meta::sqlite
