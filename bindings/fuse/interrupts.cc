#include "interrupts.h"

#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>

namespace skerry::fuse {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 1s;
constexpr auto kLookEvery = 100ms;

constexpr uint64_t mask_of(int signal) { return uint64_t{1} << (signal - 1); }
constexpr uint64_t kNotFatal = mask_of(SIGCHLD) | mask_of(SIGCONT) | mask_of(SIGURG) |
                               mask_of(SIGWINCH) | mask_of(SIGSTOP) | mask_of(SIGTSTP) |
                               mask_of(SIGTTIN) | mask_of(SIGTTOU);
constexpr uint64_t kWantsToStop =
    mask_of(SIGINT) | mask_of(SIGTERM) | mask_of(SIGHUP) | mask_of(SIGQUIT);

enum class Pending { kNothing, kWish, kDeath };

/// Of a thread, by proc(5). One that is not there any more has died.
Pending pending_signals(pid_t thread) {
  if (thread == 0) return Pending::kNothing;
  std::ifstream status("/proc/" + std::to_string(thread) + "/status");
  if (!status) return Pending::kDeath;
  uint64_t pending = 0, held = 0, ignored = 0, caught = 0;
  std::string line;
  while (std::getline(status, line)) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos || !line.starts_with("S")) continue;
    const std::string name = line.substr(0, colon);
    if (name != "SigPnd" && name != "ShdPnd" && name != "SigBlk" && name != "SigIgn" &&
        name != "SigCgt") {
      continue;
    }
    const uint64_t signals = std::stoull(line.substr(colon + 1), nullptr, 16);
    if (name == "SigPnd" || name == "ShdPnd") pending |= signals;
    if (name == "SigBlk") held = signals;
    if (name == "SigIgn") ignored = signals;
    if (name == "SigCgt") caught = signals;
  }
  pending &= ~held & ~ignored;
  if ((pending & ~caught & ~kNotFatal) != 0) return Pending::kDeath;
  return (pending & kWantsToStop) != 0 ? Pending::kWish : Pending::kNothing;
}

bool should_end(const Interrupts::Call& call) {
  const Pending pending = pending_signals(call.caller);
  if (pending != Pending::kWish) return pending == Pending::kDeath;
  return call.asks && std::chrono::steady_clock::now() - call.begin >= kPatience;
}

}  // namespace

Interrupts::~Interrupts() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Interrupts::interrupted(Call* call) {
  const std::lock_guard lock(mutex_);
  call->seen = true;
  if (call->fired) return;
  if (should_end(*call)) {
    call->fired = true;
    skerry_cancel_fire(call->cancel);
    return;
  }
  if (std::find(calls_.begin(), calls_.end(), call) == calls_.end()) calls_.push_back(call);
  if (!thread_.joinable()) {
    thread_ = std::thread([this] { run(); });
    pthread_setname_np(thread_.native_handle(), "skerry-signals");
  }
  changed_.notify_all();
}

bool Interrupts::ended(Call* call) {
  const std::lock_guard lock(mutex_);
  std::erase(calls_, call);
  return call->fired;
}

void Interrupts::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (calls_.empty()) {
      changed_.wait(lock);
      continue;
    }
    changed_.wait_for(lock, kLookEvery);
    for (Call* call : calls_) {
      if (call->fired || !should_end(*call)) continue;
      call->fired = true;
      skerry_cancel_fire(call->cancel);
    }
  }
}

}  // namespace skerry::fuse
