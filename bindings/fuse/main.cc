// The program `skerry-fuse`, which `skerry mount` runs, and mount(8) as `mount.skerry`: opens a
// volume, mounts it, serves the kernel until it is unmounted or told to stop, closes the volume.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "file_system.h"
#include "watcher.h"
#include "wire.h"

namespace skerry::fuse {
namespace {

bool to_syslog = false;

void say(int priority, const std::string& sentence) {
  if (to_syslog) {
    syslog(priority, "%s", sentence.c_str());
  } else {
    std::fprintf(stderr, "skerry-fuse: %s\n", sentence.c_str());
  }
}

void on_library_log(void*, int level, const char* message) {
  constexpr std::array kPriorities = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
  say(kPriorities[static_cast<size_t>(level)], message);
}

void on_fuse_log(enum fuse_log_level level, const char* format, va_list arguments) {
  std::array<char, 1024> text{};
  std::vsnprintf(text.data(), text.size(), format, arguments);
  std::string message = text.data();
  while (!message.empty() && message.back() == '\n') message.pop_back();
  say(static_cast<int>(level), message);
}

/// The parent waits for the outcome of the mount and ends with it, so that who runs the command may
/// use the mount as soon as it returns. In the child: a function that tells the parent.
std::function<void(int status)> detach() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return {};
  const pid_t child = fork();
  if (child < 0) return {};
  if (child > 0) {
    close(ends[1]);
    unsigned char status = EXIT_FAILURE;
    ssize_t got = 0;
    do {
      got = read(ends[0], &status, 1);
    } while (got < 0 && errno == EINTR);
    _exit(got == 1 ? status : EXIT_FAILURE);
  }
  close(ends[0]);
  setsid();
  return [end = ends[1]](int status) {
    if (status == EXIT_SUCCESS) {
      // From here on nobody reads what is said.
      to_syslog = true;
      const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
      for (int fd = 0; null >= 0 && fd < 3; ++fd) dup2(null, fd);
      if (null > 2) close(null);
      if (chdir("/") != 0) say(LOG_WARNING, "cannot change to the directory /");
    }
    const auto byte = static_cast<unsigned char>(status);
    if (write(end, &byte, 1) != 1) say(LOG_WARNING, "the parent process has gone");
    close(end);
  };
}

/// In the list that libfuse and the kernel split at commas.
std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == ',' || c == '\\') result += '\\';
    result += c;
  }
  return result;
}

/// libfuse's own argument list.
class Arguments {
 public:
  Arguments() { fuse_opt_add_arg(&list_, "skerry-fuse"); }
  ~Arguments() { fuse_opt_free_args(&list_); }
  Arguments(const Arguments&) = delete;
  Arguments& operator=(const Arguments&) = delete;
  void option(const std::string& text) {
    fuse_opt_add_arg(&list_, "-o");
    fuse_opt_add_arg(&list_, text.c_str());
  }
  void flag(const char* text) { fuse_opt_add_arg(&list_, text); }
  fuse_args* get() { return &list_; }

 private:
  fuse_args list_ = FUSE_ARGS_INIT(0, nullptr);
};

void add_options(const Options& options, Arguments* arguments) {
  arguments->option("fsname=" + escaped(without_secret(options.url)));
  arguments->option("subtype=skerry");
  arguments->option("max_read=" + std::to_string(options.max_io));
  if (options.default_permissions) arguments->option("default_permissions");
  if (options.read_only) arguments->option("ro");
  for (const std::string& option : options.kernel) arguments->option(option);
  if (options.debug) arguments->flag("-d");
}

/// What serves one mount; everything is undone in reverse.
int serve(const Options& options, skerry_volume* volume, uint64_t root,
          const std::function<void()>& ready) {
  FileSystem fs(volume, options, root);
  Arguments arguments;
  add_options(options, &arguments);
  const fuse_lowlevel_ops table = operations();
  const std::unique_ptr<fuse_session, decltype(&fuse_session_destroy)> session(
      fuse_session_new(arguments.get(), &table, sizeof(table), &fs), fuse_session_destroy);
  if (!session) return EXIT_FAILURE;
  fs.session = session.get();
  if (fuse_set_signal_handlers(session.get()) != 0) return EXIT_FAILURE;
  int status = EXIT_FAILURE;
  if (fuse_session_mount(session.get(), options.directory.c_str()) == 0) {
    fuse_loop_config* config = fuse_loop_cfg_create();
    fuse_loop_cfg_set_max_threads(config, options.threads);
    fuse_loop_cfg_set_idle_threads(config, options.threads);
    if (connect(session.get())) {
      const Watcher watcher(fs, session.get(), ready);
      const int ended = fuse_session_loop_mt(session.get(), config);
      // Positive: the signal that ended it.
      status = ended >= 0 ? EXIT_SUCCESS : EXIT_FAILURE;
      fs.lock_waiters.stop();
      fuse_session_unmount(session.get());
    } else {
      fuse_session_unmount(session.get());
    }
    fuse_loop_cfg_destroy(config);
  }
  fuse_remove_signal_handlers(session.get());
  return status;
}

int find_root(const Options& options, skerry_volume* volume, uint64_t* root) {
  *root = SKERRY_ROOT_INO;
  if (options.subdir.empty()) return 0;
  struct skerry_stat stat;
  const int found = skerry_stat(volume, nullptr, options.subdir.c_str(), &stat);
  if (found < 0) {
    say(LOG_ERR, skerry_last_error());
    return found;
  }
  if (!S_ISDIR(stat.mode)) {
    say(LOG_ERR, "subdir=" + options.subdir + " is not a directory");
    return -ENOTDIR;
  }
  *root = stat.ino;
  return 0;
}

/// What mount(8) wants for `mount -o remount,ro`. A volume that was opened read-only stays so.
int remount(const Options& options) {
  constexpr std::array<std::pair<const char*, unsigned long>, 6> kFlags = {{
      {"nosuid", MS_NOSUID},
      {"nodev", MS_NODEV},
      {"noexec", MS_NOEXEC},
      {"noatime", MS_NOATIME},
      {"sync", MS_SYNCHRONOUS},
      {"dirsync", MS_DIRSYNC},
  }};
  unsigned long flags = MS_REMOUNT | (options.read_only ? MS_RDONLY : 0);
  for (const std::string& word : options.kernel) {
    for (const auto& [name, flag] : kFlags) {
      if (word == name) flags |= flag;
    }
  }
  if (mount(nullptr, options.directory.c_str(), nullptr, flags, nullptr) == 0) return EXIT_SUCCESS;
  say(LOG_ERR, options.directory + ": " + std::strerror(errno));
  return EXIT_FAILURE;
}

int run(Options& options) {
  std::array<char, PATH_MAX> absolute{};
  struct stat point;
  if (realpath(options.directory.c_str(), absolute.data()) == nullptr ||
      stat(absolute.data(), &point) != 0) {
    say(LOG_ERR, options.directory + ": " + std::strerror(errno));
    return EXIT_FAILURE;
  }
  if (!S_ISDIR(point.st_mode)) {
    say(LOG_ERR, options.directory + ": not a directory");
    return EXIT_FAILURE;
  }
  options.directory = absolute.data();
  if (options.remount) return remount(options);
  // Before the volume is opened: threads and connections do not pass a fork.
  std::function<void(int)> tell;
  if (!options.foreground) {
    tell = detach();
    if (!tell) {
      say(LOG_ERR, std::string("cannot start a background process: ") + std::strerror(errno));
      return EXIT_FAILURE;
    }
  }
  umask(0);
  skerry_set_log(on_library_log, nullptr, options.debug ? 2 : 1);
  fuse_set_log_func(on_fuse_log);

  std::vector<const char*> settings;
  for (const std::string& each : options.volume) settings.push_back(each.c_str());
  settings.push_back(nullptr);
  skerry_volume* volume = nullptr;
  if (skerry_volume_open(options.url.c_str(), settings.data(), &volume) < 0) {
    say(LOG_ERR, skerry_last_error());
    return EXIT_FAILURE;
  }
  uint64_t root = 0;
  int status = EXIT_FAILURE;
  if (find_root(options, volume, &root) == 0) {
    status = serve(options, volume, root, [&] {
      if (tell) tell(EXIT_SUCCESS);
    });
  }
  if (skerry_volume_close(volume) < 0) {
    say(LOG_ERR, skerry_last_error());
    status = EXIT_FAILURE;
  }
  return status;
}

}  // namespace
}  // namespace skerry::fuse

int main(int argc, char** argv) {
  using namespace skerry::fuse;  // NOLINT
  try {
    Options options;
    std::string error;
    if (!parse_arguments(argc, argv, &options, &error)) {
      if (error.empty()) {
        std::fputs(kUsage, stdout);
        return EXIT_SUCCESS;
      }
      std::fprintf(stderr, "skerry-fuse: %s\nsee skerry-fuse --help\n", error.c_str());
      return 2;
    }
    hide_secrets(argc, argv);
    openlog("skerry-fuse", LOG_PID, LOG_DAEMON);
    return run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "skerry-fuse: %s\n", error.what());
    return EXIT_FAILURE;
  }
}
