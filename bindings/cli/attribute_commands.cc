// chmod, chown, touch: changing the attributes of files.
#include <fcntl.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <cerrno>

#include "command.h"

namespace skerry::cli {
namespace {

// Calls `change(path, stat)` for a path and, with `recursive`, for all below it; symlinks below are
// not followed. A directory comes before what it holds.
template <typename Change>
void for_each(const Session& session, const std::string& path, const struct skerry_stat& stat,
              bool recursive, const Change& change) {
  if (interrupted()) return;
  change(path, stat);
  if (!recursive || !S_ISDIR(stat.mode)) return;
  std::vector<Session::Listed> below;
  const int rc = session.list(path, true, [&](Session::Listed&& listed) {
    if (S_ISDIR(listed.stat.mode)) {
      below.push_back(std::move(listed));
    } else {
      change(join_path(path, listed.name), listed.stat);
    }
    return !interrupted();
  });
  session.check(rc);
  for (const Session::Listed& child : below) {
    for_each(session, join_path(path, child.name), child.stat, true, change);
  }
}

int run_chmod(Invocation& self, bool recursive) {
  int status = 0;
  const auto session = self.open(&status);
  if (!session) return status;
  if (self.operands.size() < 2) return self.usage("chmod takes MODE PATH...");
  const std::string text = self.operands.front();
  const uint32_t umask = session->context()->umask;
  if (!parse_mode(text, S_IFREG | 0644, umask)) {
    return self.usage(text + ": not a mode such as 644 or u+rwx,go-w");
  }
  for (size_t i = 1; i < self.operands.size(); ++i) {
    struct skerry_stat stat = {};
    const std::string& path = self.operands[i];
    if (!session->check(skerry_stat(session->volume(), session->context(), path.c_str(), &stat))) {
      continue;
    }
    for_each(
        *session, path, stat, recursive, [&](const std::string& at, const struct skerry_stat& now) {
          if (S_ISLNK(now.mode)) return;
          const uint32_t mode = *parse_mode(text, now.mode, umask) & 07777;
          session->check(skerry_chmod(session->volume(), session->context(), at.c_str(), mode));
        });
  }
  return self.status();
}

struct ChownOptions {
  bool recursive = false, no_dereference = false;
};

// "user", "user:group", ":group", "1000:1000". False where a name is unknown.
bool parse_owner(const std::string& text, uint32_t* uid, uint32_t* gid) {
  *uid = *gid = UINT32_MAX;
  const size_t colon = text.find(':');
  const std::string user = text.substr(0, colon);
  if (!user.empty()) {
    const auto id = parse_user(user);
    if (!id) return false;
    *uid = *id;
  }
  if (colon != std::string::npos && colon + 1 < text.size()) {
    const auto id = parse_group(text.substr(colon + 1));
    if (!id) return false;
    *gid = *id;
  }
  return *uid != UINT32_MAX || *gid != UINT32_MAX;
}

int run_chown(Invocation& self, const ChownOptions& options) {
  int status = 0;
  const auto session = self.open(&status);
  if (!session) return status;
  if (self.operands.size() < 2) return self.usage("chown takes OWNER[:GROUP] PATH...");
  uint32_t uid = 0, gid = 0;
  if (!parse_owner(self.operands.front(), &uid, &gid)) {
    return self.usage(self.operands.front() + ": no such user or group");
  }
  // With -R a symlink is changed itself, so that nothing outside the tree is.
  const bool follow = !options.recursive && !options.no_dereference;
  for (size_t i = 1; i < self.operands.size(); ++i) {
    struct skerry_stat stat = {};
    const std::string& path = self.operands[i];
    const int rc = (follow ? skerry_stat : skerry_lstat)(session->volume(), session->context(),
                                                         path.c_str(), &stat);
    if (!session->check(rc)) continue;
    for_each(*session, path, stat, options.recursive,
             [&](const std::string& at, const struct skerry_stat&) {
               session->check((follow ? skerry_chown : skerry_lchown)(
                   session->volume(), session->context(), at.c_str(), uid, gid));
             });
  }
  return self.status();
}

int run_touch(Invocation& self, bool no_create) {
  int status = 0;
  const auto session = self.open(&status);
  if (!session) return status;
  if (self.operands.empty()) return self.usage("touch takes at least one PATH");
  for (const std::string& path : self.operands) {
    if (interrupted()) break;
    int rc = skerry_utimens(session->volume(), session->context(), path.c_str(), nullptr);
    if (rc == -ENOENT) {
      if (no_create) continue;
      skerry_file* file = nullptr;
      rc = skerry_open(session->volume(), session->context(), path.c_str(), O_WRONLY | O_CREAT,
                       0666, &file);
      if (rc == 0) rc = skerry_close(file, session->context());
    }
    session->check(rc);
  }
  return self.status();
}

}  // namespace

void add_attribute_commands(CommandTable& table) {
  const std::string group = "Attributes";
  const auto chmod_recursive = std::make_shared<bool>(false);
  const auto no_create = std::make_shared<bool>(false);
  const auto owner = std::make_shared<ChownOptions>();
  table.push_back({.name = "chmod",
                   .group = group,
                   .operands = "[META_URL] MODE PATH...",
                   .summary = "Change permissions: 644, or u+rwx,go-w",
                   .details = "A MODE that begins with \"-\" follows \"--\":\n"
                              "  skerry chmod sqlite:///srv/vol.db -- -w /file",
                   .declare =
                       [=](CLI::App& app) {
                         app.add_flag("-R,--recursive", *chmod_recursive, "Also what is below");
                       },
                   .run = [=](Invocation& self) { return run_chmod(self, *chmod_recursive); }});
  table.push_back({.name = "chown",
                   .group = group,
                   .operands = "[META_URL] OWNER[:GROUP] PATH...",
                   .summary = "Change owner and group: names of this host, or numbers",
                   .declare =
                       [=](CLI::App& app) {
                         app.add_flag("-R,--recursive", owner->recursive, "Also what is below");
                         app.add_flag("-h,--no-dereference", owner->no_dereference,
                                      "Symlinks themselves");
                       },
                   .run = [=](Invocation& self) { return run_chown(self, *owner); }});
  table.push_back(
      {.name = "touch",
       .group = group,
       .operands = "[META_URL] PATH...",
       .summary = "Create files, or set their times to now",
       .declare =
           [=](CLI::App& app) { app.add_flag("-c,--no-create", *no_create, "Create nothing"); },
       .run = [=](Invocation& self) { return run_touch(self, *no_create); }});
}

}  // namespace skerry::cli
