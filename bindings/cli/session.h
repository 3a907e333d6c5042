// The volume a command works on, and the signals that stop it.
#ifndef SKERRY_BINDINGS_CLI_SESSION_H_
#define SKERRY_BINDINGS_CLI_SESSION_H_

#include <memory>
#include <string>
#include <vector>

#include "report.h"
#include "skerry/skerry.h"

namespace skerry::cli {

// SIGINT and SIGTERM stop the calls in flight; a second one ends the process at once.
// SIGPIPE becomes an error of the write.
void install_signal_handlers();
bool interrupted();
// 130 for SIGINT, 143 for SIGTERM, as shells report them; 0 if none came.
int interrupted_status();
// Stops the calls in flight as a signal would: standard output is gone.
void stop_calls();
skerry_cancel* cancel_flag();

// "sqlite:///srv/vol.db" rather than a path.
bool is_url(const std::string& text);

// Owns an opened volume; closes it at the end and reports if that fails. Thread-safe as the C ABI.
class Session {
 public:
  // Null after a reported failure. `options` are "key=value" strings. `cost`: what the session cost
  // is said before it ends.
  static std::unique_ptr<Session> open(const std::string& url,
                                       const std::vector<std::string>& options, Report& report,
                                       bool cost = false);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  skerry_volume* volume() const { return volume_; }
  // The process's credentials and umask, as a shell's commands have.
  const skerry_context* context() const { return &context_; }
  // The same with umask 0, for copies that keep modes.
  const skerry_context* exact_context() const { return &exact_context_; }

  // Reports a failed call with the library's sentence; silent for what a signal stopped.
  // `rc` >= 0 is fine and true.
  bool check(int64_t rc) const;
  // The same for a call on an open file, whose sentence may not name `path`: then it is put first.
  bool check(int64_t rc, const std::string& path) const;

  struct Listed {
    std::string name;
    struct skerry_stat stat;
  };
  // One directory, in byte order of names, in pages: `visit` returns false to stop. Memory stays
  // bounded however long it is. Returns 0 or a negative errno.
  template <typename Visit>
  int list(const std::string& path, bool with_attributes, Visit visit) const;

  std::string read_link(const std::string& path, int64_t* rc) const;

 private:
  Session(skerry_volume* volume, Report& report, bool cost);
  void tell_cost() const;

  skerry_volume* volume_;
  Report& report_;
  const bool cost_;
  std::vector<uint32_t> groups_;
  skerry_context context_ = {};
  skerry_context exact_context_ = {};
};

// The sentence of this thread's last failure, with `path` in it.
std::string sentence_about(const std::string& path);

// Null-terminated for the C ABI; borrows the strings.
std::vector<const char*> option_array(const std::vector<std::string>& options);

// "dir/name" for any spelling of "dir".
std::string join_path(const std::string& directory, const std::string& name);
// The last component without trailing slashes; "" for "/" and "".
std::string base_name(const std::string& path);

template <typename Visit>
int Session::list(const std::string& path, bool with_attributes, Visit visit) const {
  constexpr uint32_t kPage = 512;
  skerry_dir* dir = nullptr;
  int rc = skerry_opendir(volume_, context(), path.c_str(), with_attributes ? 1 : 0, nullptr, &dir);
  if (rc < 0) return rc;
  std::vector<struct skerry_dirent> page(kPage);
  bool more = true;
  while (more && (rc = skerry_readdir(dir, context(), page.data(), kPage)) > 0) {
    for (int i = 0; i < rc && more; ++i) {
      const struct skerry_dirent& entry = page[static_cast<size_t>(i)];
      Listed listed{std::string(entry.name, entry.name_length), entry.stat};
      if (!with_attributes) {
        listed.stat.mode = entry.type;
        listed.stat.ino = entry.ino;
      }
      more = visit(std::move(listed));
    }
  }
  skerry_closedir(dir);
  return rc < 0 ? rc : 0;
}

}  // namespace skerry::cli

#endif  // SKERRY_BINDINGS_CLI_SESSION_H_
