#include "io/command_output.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <utility>

extern char** environ;

namespace skerry {
namespace {

constexpr size_t kMaxOutput = 64u << 10;
constexpr int kLookMs = 20;  // at the context

struct Pipe {
  int ends[2] = {-1, -1};
  ~Pipe() {
    for (int end : ends) {
      if (end >= 0) close(end);
    }
  }
  void close_writer() { close(std::exchange(ends[1], -1)); }
};

/// 0 or an errno.
int spawn(const std::string& command, int output, pid_t* pid) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  if (posix_spawn_file_actions_init(&actions) != 0) return ENOMEM;
  if (posix_spawnattr_init(&attributes) != 0) {
    posix_spawn_file_actions_destroy(&actions);
    return ENOMEM;
  }
  sigset_t none, defaults;
  sigemptyset(&none);
  sigemptyset(&defaults);
  for (int signal : {SIGPIPE, SIGCHLD, SIGINT, SIGQUIT, SIGTERM, SIGHUP}) {
    sigaddset(&defaults, signal);
  }
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, output, 1);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  const char* const arguments[] = {"sh", "-c", command.c_str(), nullptr};
  const int failed = posix_spawn(pid, "/bin/sh", &actions, &attributes,
                                 const_cast<char* const*>(arguments), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return failed;
}

Status read_all(const OpContext& ctx, int input, std::string* out) {
  for (;;) {
    SKERRY_TRY(ctx.check());
    pollfd waiting{input, POLLIN, 0};
    if (poll(&waiting, 1, kLookMs) <= 0) continue;
    char bytes[4096];
    const ssize_t n = read(input, bytes, sizeof bytes);
    if (n == 0) return {};
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error(errno, "its output cannot be read");
    if (out->size() + static_cast<size_t>(n) > kMaxOutput) {
      return Error(EACCES, "it prints more than 64 KiB");
    }
    out->append(bytes, static_cast<size_t>(n));
  }
}

/// Whether it ended well; where the host has its children reaped unseen, what it printed decides.
Status await_end(const OpContext& ctx, pid_t pid) {
  for (;;) {
    int status = 0;
    const pid_t ended = waitpid(pid, &status, WNOHANG);
    if (ended == pid) {
      if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
      return Error(EACCES, WIFEXITED(status)
                               ? "it ended with status " + std::to_string(WEXITSTATUS(status))
                               : "it was ended by signal " + std::to_string(WTERMSIG(status)));
    }
    if (ended < 0 && errno == ECHILD) return {};
    SKERRY_TRY(ctx.check());
    poll(nullptr, 0, 2);
  }
}

}  // namespace

Result<std::string> command_output(const OpContext& ctx, const std::string& command) {
  Pipe pipe;
  if (pipe2(pipe.ends, O_CLOEXEC) != 0) return Error(errno, "no pipe");
  pid_t pid = -1;
  if (const int failed = spawn(command, pipe.ends[1], &pid); failed != 0) {
    return Error(failed, "it cannot be started: " + std::string(strerrordesc_np(failed)));
  }
  pipe.close_writer();
  std::string printed;
  Status done = read_all(ctx, pipe.ends[0], &printed);
  bool reaped = false;
  if (done.ok()) {
    done = await_end(ctx, pid);
    reaped = done.ok() || done.error().code() == EACCES;
  }
  if (!reaped) {
    kill(-pid, SIGKILL);
    while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  if (!done.ok()) return std::move(done).error();
  return printed;
}

}  // namespace skerry
