// mv, rm, mkdir, ln: changing the names in a volume.
#include <fcntl.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <cerrno>

#include "command.h"

namespace skerry::cli {
namespace {

bool is_directory(const Session& session, const std::string& path) {
  struct skerry_stat stat = {};
  return skerry_stat(session.volume(), session.context(), path.c_str(), &stat) == 0 &&
         S_ISDIR(stat.mode);
}

struct MvOptions {
  bool no_clobber = false, exchange = false, no_target_directory = false, verbose = false;
};

int run_mv(Invocation& self, const MvOptions& options) {
  int status = 0;
  const auto session = self.open(&status);
  if (!session) return status;
  if (self.operands.size() < 2) return self.usage("mv takes SOURCE... DESTINATION");
  if (options.exchange && self.operands.size() != 2) {
    return self.usage("mv --exchange takes two paths");
  }
  const std::string destination = self.operands.back();
  const bool into =
      !options.exchange && !options.no_target_directory && is_directory(*session, destination);
  if (self.operands.size() > 2 && !into) {
    self.report.failure(destination + ": not a directory, and there are several sources");
    return kExitFailure;
  }
  for (size_t i = 0; i + 1 < self.operands.size() && !interrupted(); ++i) {
    const std::string& source = self.operands[i];
    const std::string target = into ? join_path(destination, base_name(source)) : destination;
    const unsigned flags = (options.no_clobber ? SKERRY_RENAME_NOREPLACE : 0) |
                           (options.exchange ? SKERRY_RENAME_EXCHANGE : 0);
    const int rc = skerry_renameat2(session->volume(), session->context(), nullptr, source.c_str(),
                                    nullptr, target.c_str(), flags);
    if (session->check(rc) && options.verbose) self.report.note(source + " -> " + target);
  }
  return self.status();
}

struct RmOptions {
  bool recursive = false, force = false, directory = false, verbose = false;
};

struct Removal {
  Progress* progress;
};

int on_removed(void* context, const char* what, uint64_t done, uint64_t total) {
  static_cast<Removal*>(context)->progress->set(what, done, total);
  return interrupted() ? 1 : 0;
}

void remove_one(Invocation& self, const Session& session, const RmOptions& options,
                const std::string& path) {
  if (base_name(path).empty()) {
    self.report.failure("the root of a volume is not removed; name what is in it");
    return;
  }
  struct skerry_stat stat = {};
  int rc = skerry_lstat(session.volume(), session.context(), path.c_str(), &stat);
  if (rc == -ENOENT && options.force) return;
  if (!session.check(rc)) return;
  uint64_t removed = 1;
  if (!S_ISDIR(stat.mode)) {
    rc = skerry_unlink(session.volume(), session.context(), path.c_str());
  } else if (options.recursive) {
    Progress progress(self.report, self.progress);
    Removal removal{&progress};
    rc = skerry_remove_tree(session.volume(), session.context(), path.c_str(), &removed, on_removed,
                            &removal);
  } else if (options.directory) {
    rc = skerry_rmdir(session.volume(), session.context(), path.c_str());
  } else {
    self.report.failure(path + ": is a directory; -r removes it with what it holds");
    return;
  }
  if (rc == -ENOENT && options.force) return;
  if (session.check(rc) && options.verbose) {
    self.report.note("removed " + path + " (" + std::to_string(removed) + " entries)");
  }
}

int run_rm(Invocation& self, const RmOptions& options) {
  int status = 0;
  const auto session = self.open(&status);
  if (!session) return status;
  if (self.operands.empty() && !options.force) return self.usage("rm takes at least one PATH");
  for (const std::string& path : self.operands) {
    if (interrupted()) break;
    remove_one(self, *session, options, path);
  }
  return self.status();
}

struct MkdirOptions {
  bool parents = false;
  std::string mode;
};

int run_mkdir(Invocation& self, const MkdirOptions& options) {
  uint32_t mode = 0777;
  if (!options.mode.empty()) {
    const auto parsed = parse_mode(options.mode, S_IFDIR | 0777, 0);
    if (!parsed) return self.usage(options.mode + ": not a mode such as 755 or u=rwx,go=rx");
    mode = *parsed & 07777;
  }
  int status = 0;
  const auto session = self.open(&status);
  if (!session) return status;
  if (self.operands.empty()) return self.usage("mkdir takes at least one PATH");
  for (const std::string& path : self.operands) {
    if (interrupted()) break;
    if (options.parents) {
      if (is_directory(*session, path)) continue;
      if (!session->check(
              skerry_mkdirs(session->volume(), session->context(), path.c_str(), 0777))) {
        continue;
      }
    } else if (!session->check(
                   skerry_mkdir(session->volume(), session->context(), path.c_str(), mode))) {
      continue;
    }
    // -m is exact: the umask takes nothing from it, and parents keep the default.
    if (!options.mode.empty()) {
      session->check(skerry_chmod(session->volume(), session->context(), path.c_str(), mode));
    }
  }
  return self.status();
}

struct LnOptions {
  bool symbolic = false, force = false;
};

int run_ln(Invocation& self, const LnOptions& options) {
  int status = 0;
  const auto session = self.open(&status);
  if (!session) return status;
  if (self.operands.size() != 2) return self.usage("ln takes TARGET and NAME");
  const std::string& target = self.operands[0];
  std::string name = self.operands[1];
  if (is_directory(*session, name)) name = join_path(name, base_name(target));
  if (options.force) {
    struct skerry_stat stat = {};
    const int rc = skerry_lstat(session->volume(), session->context(), name.c_str(), &stat);
    if (rc == 0 &&
        !session->check(skerry_unlink(session->volume(), session->context(), name.c_str()))) {
      return kExitFailure;
    }
  }
  const auto call = options.symbolic ? skerry_symlink : skerry_link;
  session->check(call(session->volume(), session->context(), target.c_str(), name.c_str()));
  return self.status();
}

}  // namespace

void add_name_commands(CommandTable& table) {
  const std::string group = "Names";
  const auto mv = std::make_shared<MvOptions>();
  const auto rm = std::make_shared<RmOptions>();
  const auto make = std::make_shared<MkdirOptions>();
  const auto ln = std::make_shared<LnOptions>();
  table.push_back(
      {.name = "mv",
       .group = group,
       .operands = "[META_URL] SOURCE... DESTINATION",
       .summary = "Rename, or move into a directory",
       .declare =
           [=](CLI::App& app) {
             app.add_flag("-n,--no-clobber", mv->no_clobber, "Fail where DESTINATION exists");
             app.add_flag("--exchange", mv->exchange, "Swap two names in one step");
             app.add_flag("-T,--no-target-directory", mv->no_target_directory,
                          "DESTINATION is the new name, never a directory to move into");
             app.add_flag("-v,--verbose", mv->verbose, "Say what was done, on standard error");
           },
       .run = [=](Invocation& self) { return run_mv(self, *mv); }});
  table.push_back(
      {.name = "rm",
       .group = group,
       .operands = "[META_URL] PATH...",
       .summary = "Remove files and trees",
       .long_running = true,
       .declare =
           [=](CLI::App& app) {
             app.add_flag("-r,-R,--recursive", rm->recursive, "Directories with all they hold");
             app.add_flag("-f,--force", rm->force, "What is missing is fine");
             app.add_flag("-d,--dir", rm->directory, "Empty directories");
             app.add_flag("-v,--verbose", rm->verbose, "Say what was done, on standard error");
           },
       .run = [=](Invocation& self) { return run_rm(self, *rm); }});
  table.push_back({.name = "mkdir",
                   .group = group,
                   .operands = "[META_URL] PATH...",
                   .summary = "Create directories",
                   .declare =
                       [=](CLI::App& app) {
                         app.add_flag("-p,--parents", make->parents,
                                      "Parents too; what exists is fine");
                         app.add_option("-m,--mode", make->mode, "Such as 750 or u=rwx,g=rx")
                             ->type_name("MODE");
                       },
                   .run = [=](Invocation& self) { return run_mkdir(self, *make); }});
  table.push_back({.name = "ln",
                   .group = group,
                   .operands = "[META_URL] TARGET NAME",
                   .summary = "Give a file another name, or make a symlink",
                   .declare =
                       [=](CLI::App& app) {
                         app.add_flag("-s,--symbolic", ln->symbolic,
                                      "Make a symlink; TARGET is any text");
                         app.add_flag("-f,--force", ln->force, "Remove NAME first");
                       },
                   .run = [=](Invocation& self) { return run_ln(self, *ln); }});
}

}  // namespace skerry::cli
