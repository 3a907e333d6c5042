// mount, umount: the FUSE mount is a program of its own, so that this one needs no libfuse.
#include <fcntl.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "command.h"
#include "text.h"

namespace skerry::cli {
namespace {

constexpr const char* kProgram = "skerry-fuse";
constexpr int kWaitMs = 60'000;  // for a mount's process to write what it holds and end

struct MountFlags {
  bool foreground = false;
  bool debug = false;
  bool lazy = false;
};

// Beside this program, as it is installed and built, else in PATH.
void run_program(std::vector<std::string> args) {
  std::vector<char*> pointers;
  for (std::string& arg : args) pointers.push_back(arg.data());
  pointers.push_back(nullptr);
  std::array<char, PATH_MAX> self{};
  const ssize_t length = readlink("/proc/self/exe", self.data(), self.size() - 1);
  const std::string path(self.data(), length > 0 ? static_cast<size_t>(length) : 0);
  const size_t slash = path.rfind('/');
  if (slash != std::string::npos) {
    execv((path.substr(0, slash + 1) + kProgram).c_str(), pointers.data());
  }
  execvp(kProgram, pointers.data());
}

int run_mount(Invocation& self, const MountFlags& flags) {
  const std::string url = self.take_url();
  if (url.empty()) return kExitUsage;
  if (self.operands.size() != 1) return self.usage("mount takes META_URL and DIR");
  std::vector<std::string> args = {kProgram};
  if (flags.foreground) args.emplace_back("-f");
  if (flags.debug) args.emplace_back("-d");
  for (const std::string& option : self.volume_options) {
    args.emplace_back("-o");
    args.push_back(option);
  }
  args.insert(args.end(), {"--", url, self.operands[0]});
  run_program(args);
  self.report.failure(errno == ENOENT ? std::string(kProgram) +
                                            " is not installed: Skerry was built without "
                                            "libfuse 3 (libfuse3-dev)"
                                      : std::string(kProgram) + ": " + std::strerror(errno));
  return kExitFailure;
}

// What /proc/self/mountinfo writes instead of blanks and backslashes.
std::string unescaped(const std::string& field) {
  std::string text;
  for (size_t i = 0; i < field.size(); ++i) {
    if (field[i] == '\\' && i + 3 < field.size()) {
      text += static_cast<char>(std::strtol(field.substr(i + 1, 3).c_str(), nullptr, 8));
      i += 3;
    } else {
      text += field[i];
    }
  }
  return text;
}

bool is_mounted(const std::string& directory) {
  std::ifstream mounts("/proc/self/mountinfo");
  bool found = false;
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string id, parent, device, root, point;
    fields >> id >> parent >> device >> root >> point;
    // The last one lies on top.
    if (unescaped(point) == directory) {
      found = line.find(" - fuse.skerry ") != std::string::npos;
    }
  }
  return found;
}

// A descriptor of the process that serves the mount, to wait for its end; -1 if that is not told.
int serving_process(const std::string& directory) {
  std::ifstream file(directory + "/.skerry/config");
  std::ostringstream text;
  text << file.rdbuf();
  const Json config = Json::parse(text.str(), nullptr, false);
  if (config.is_discarded() || !config.contains("mount")) return -1;
  const int pid = config["mount"].value("pid", 0);
  return pid > 0 ? static_cast<int>(syscall(SYS_pidfd_open, pid, 0)) : -1;
}

int unmount(const std::string& directory, bool lazy) {
  if (geteuid() == 0) {
    return umount2(directory.c_str(), UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0 ? 0 : errno;
  }
  const pid_t child = fork();
  if (child < 0) return errno;
  if (child == 0) {
    execlp("fusermount3", "fusermount3", lazy ? "-uz" : "-u", "--", directory.c_str(), nullptr);
    _exit(127);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : EBUSY;
}

int run_umount(Invocation& self, const MountFlags& flags) {
  if (self.operands.size() != 1) return self.usage("umount takes DIR");
  std::array<char, PATH_MAX> resolved{};
  // A mount that hangs is not asked anything.
  const std::string& given = self.operands[0];
  const std::string directory =
      !flags.lazy && realpath(given.c_str(), resolved.data()) != nullptr ? resolved.data() : given;
  if (!flags.lazy && !is_mounted(directory)) {
    self.report.failure(given + ": no Skerry volume is mounted there");
    return kExitFailure;
  }
  const int process = flags.lazy ? -1 : serving_process(directory);
  if (const int error = unmount(directory, flags.lazy); error != 0) {
    self.report.failure(given + ": " + std::strerror(error));
    return kExitFailure;
  }
  if (process >= 0) {
    pollfd ended = {process, POLLIN, 0};
    if (poll(&ended, 1, kWaitMs) == 0) {
      self.report.failure(given + ": unmounted, but its process has not ended after a minute");
    }
    close(process);
  }
  return self.status();
}

}  // namespace

void add_mount_commands(CommandTable& table) {
  const auto flags = std::make_shared<MountFlags>();
  table.push_back(
      {.name = "mount",
       .group = "Mounts",
       .operands = "[META_URL] DIR",
       .summary = "Mount a volume by FUSE",
       .details = "-o takes options of the mount and of the volume, also several with commas\n"
                  "between (skerry-fuse --help lists them). Examples:\n"
                  "  skerry mount sqlite:///srv/vol.db /mnt/vol\n"
                  "  skerry mount sqlite:///srv/vol.db /mnt/vol -o ro,allow_other,cache_size=1G",
       .declare =
           [=](CLI::App& app) {
             app.add_flag("-f,--foreground", flags->foreground, "Stay in the foreground");
             app.add_flag("-d,--debug", flags->debug, "The same, and show every request");
           },
       .run = [=](Invocation& self) { return run_mount(self, *flags); }});
  table.push_back({.name = "umount",
                   .group = "Mounts",
                   .operands = "DIR",
                   .summary = "Unmount, and wait until the mount's process has ended",
                   .takes_volume = false,
                   .declare =
                       [=](CLI::App& app) {
                         app.add_flag("-l,--lazy", flags->lazy,
                                      "Detach it now, finish when nobody uses it");
                       },
                   .run = [=](Invocation& self) { return run_umount(self, *flags); }});
}

}  // namespace skerry::cli
