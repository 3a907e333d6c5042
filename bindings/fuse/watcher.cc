#include "watcher.h"

#include <sys/statfs.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <sstream>
#include <utility>

namespace skerry::fuse {
namespace {

constexpr auto kTick = std::chrono::milliseconds(250);
constexpr unsigned kTicksOfCheck = 4;

/// "0:57": the device number of what is mounted on `directory`, the last one if several are.
std::string device_of(const std::string& directory) {
  std::ifstream mounts("/proc/self/mountinfo");
  std::string line, device;
  while (std::getline(mounts, line)) {
    std::istringstream fields(line);
    std::string id, parent, number, root, point;
    fields >> id >> parent >> number >> root >> point;
    if (point == directory) device = number;
  }
  return device;
}

}  // namespace

Watcher::Watcher(FileSystem& fs, fuse_session* session, std::function<void()> ready)
    : fs_(fs), session_(session), ready_(std::move(ready)) {
  // Signals are for the threads that serve.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Watcher::~Watcher() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

/// The kernel begins with 128 KiB and takes less in the handshake, never more; afterwards root may
/// raise it. Where that fails reading is only slower.
void Watcher::set_read_ahead() const {
  const std::string device = device_of(fs_.options.directory);
  if (device.empty()) return;
  std::ofstream file("/sys/class/bdi/" + device + "/read_ahead_kb");
  file << fs_.options.read_ahead / 1024 << std::flush;
}

void Watcher::drop_changed() {
  for (const auto& file : fs_.nodes.open_files()) {
    uint64_t token = 0;
    if (skerry_data_token(file->file, nullptr, &token) < 0) continue;
    if (!fs_.nodes.changed(file->ino, token)) continue;
    fuse_lowlevel_notify_inval_inode(session_, fs_.node_of(file->ino), 0, 0);
    fs_.nodes.note_dropped(file->ino, token);
  }
}

void Watcher::run() {
  // Answered after the kernel has taken in the handshake.
  struct statfs usage;
  (void)statfs(fs_.options.directory.c_str(), &usage);
  set_read_ahead();
  ready_();
  std::unique_lock lock(mutex_);
  for (unsigned tick = 0; !stopping_; ++tick) {
    lock.unlock();
    fs_.log.end_interrupted();
    if (tick % kTicksOfCheck == 0) drop_changed();
    lock.lock();
    changed_.wait_for(lock, kTick, [&] { return stopping_; });
  }
}

}  // namespace skerry::fuse
