// ls, stat, cat, tree, du: looking at what a volume holds.
#include <fcntl.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <array>
#include <map>
#include <set>

#include "command.h"

namespace skerry::cli {
namespace {

// Names of users and groups, asked for once each.
class Owners {
 public:
  explicit Owners(bool numeric) : numeric_(numeric) {}
  const std::string& user(uint32_t uid) { return find(users_, uid, user_name); }
  const std::string& group(uint32_t gid) { return find(groups_, gid, group_name); }

 private:
  const std::string& find(std::map<uint32_t, std::string>& known, uint32_t id,
                          std::string (*name)(uint32_t)) {
    const auto found = known.find(id);
    if (found != known.end()) return found->second;
    return known.emplace(id, numeric_ ? std::to_string(id) : name(id)).first->second;
  }

  const bool numeric_;
  std::map<uint32_t, std::string> users_, groups_;
};

struct LsOptions {
  bool details = false, all = false, recursive = false, human = false, directory = false,
       numeric = false, slashes = false;
};

class Lister {
 public:
  Lister(Invocation& self, const Session& session, const LsOptions& options)
      : self_(self),
        session_(session),
        options_(options),
        owners_(options.numeric),
        plain_(!self.out.terminal()) {}

  void run(const std::vector<std::string>& paths);

 private:
  void directory(const std::string& path, bool with_header);
  void entry(const std::string& path, const std::string& name, const struct skerry_stat& stat);

  Invocation& self_;
  const Session& session_;
  const LsOptions& options_;
  Owners owners_;
  const bool plain_;
  bool anything_printed_ = false;
};

void Lister::run(const std::vector<std::string>& paths) {
  std::vector<std::string> directories;
  for (const std::string& path : paths) {
    struct skerry_stat stat = {};
    const auto call = options_.details || options_.directory ? skerry_lstat : skerry_stat;
    int rc = call(session_.volume(), session_.context(), path.c_str(), &stat);
    // A symlink that leads nowhere is still listed.
    if (rc == -ENOENT && call == skerry_stat) {
      rc = skerry_lstat(session_.volume(), session_.context(), path.c_str(), &stat);
    }
    if (!session_.check(rc)) continue;
    if (S_ISDIR(stat.mode) && !options_.directory) {
      directories.push_back(path);
    } else {
      entry(path, path, stat);
    }
  }
  for (const std::string& path : directories) {
    directory(path, paths.size() > 1 || options_.recursive);
  }
}

void Lister::directory(const std::string& path, bool with_header) {
  if (interrupted() || self_.out.broken()) return;
  if (with_header && !self_.json) {
    self_.out.line((anything_printed_ ? "\n" : "") + printable(path, plain_) + ":");
    anything_printed_ = true;
  }
  std::vector<std::string> below;
  const bool attributes = options_.details || self_.json;
  const int rc = session_.list(path, attributes, [&](Session::Listed&& listed) {
    if (!options_.all && listed.name[0] == '.') return true;
    const std::string full = join_path(path, listed.name);
    entry(full, listed.name, listed.stat);
    if (options_.recursive && S_ISDIR(listed.stat.mode)) below.push_back(full);
    return !self_.out.broken() && !interrupted();
  });
  session_.check(rc);
  for (const std::string& child : below) directory(child, true);
}

void Lister::entry(const std::string& path, const std::string& name,
                   const struct skerry_stat& stat) {
  anything_printed_ = true;
  std::string target;
  if (S_ISLNK(stat.mode) && (options_.details || self_.json)) {
    int64_t rc = 0;
    target = session_.read_link(path, &rc);
    if (rc != -ENOENT) session_.check(rc);
  }
  if (self_.json) {
    Json line;
    put_name(line, "path", path);
    put_name(line, "name", base_name(name));
    line.update(stat_json(stat));
    if (S_ISLNK(stat.mode)) put_name(line, "target", target);
    self_.out.json_line(line);
    return;
  }
  std::string text = printable(name, plain_);
  if (options_.slashes && S_ISDIR(stat.mode)) text += "/";
  if (options_.details) {
    const std::string size =
        S_ISCHR(stat.mode) || S_ISBLK(stat.mode)
            ? std::to_string(stat.rdev >> 8) + "," + std::to_string(stat.rdev & 0xFF)
        : options_.human ? human_size(stat.size)
                         : std::to_string(stat.size);
    std::array<char, 512> columns;
    std::snprintf(columns.data(), columns.size(), "%s %3u %-8s %-8s %12s %s ",
                  mode_string(stat.mode).c_str(), stat.nlink, owners_.user(stat.uid).c_str(),
                  owners_.group(stat.gid).c_str(), size.c_str(), listing_time(stat.mtime).c_str());
    text = columns.data() + text;
    if (S_ISLNK(stat.mode)) text += " -> " + printable(target, plain_);
  }
  self_.out.line(text);
}

int run_ls(Invocation& self, const LsOptions& options) {
  int status = 0;
  const auto session = self.open(&status);
  if (!session) return status;
  std::vector<std::string> paths = self.operands;
  if (paths.empty()) paths.push_back("/");
  Lister(self, *session, options).run(paths);
  return self.status();
}

void print_stat(Invocation& self, const std::string& path, const struct skerry_stat& stat,
                const std::string& target) {
  const bool plain = !self.out.terminal();
  std::string name = printable(path, plain);
  if (S_ISLNK(stat.mode)) name += " -> " + printable(target, plain);
  self.out.line("   File: " + name);
  self.out.line(
      "   Type: " + std::string(type_name(stat.mode)) + "  Size: " + std::to_string(stat.size) +
      "  Blocks: " + std::to_string(stat.blocks) + "  IO block: " + std::to_string(stat.blksize));
  self.out.line("  Inode: " + std::to_string(stat.ino) + "  Links: " + std::to_string(stat.nlink) +
                "  Version: " + std::to_string(stat.version));
  self.out.line(" Access: " + octal_mode(stat.mode) + "/" + mode_string(stat.mode) +
                "  Uid: " + std::to_string(stat.uid) + "/" + user_name(stat.uid) +
                "  Gid: " + std::to_string(stat.gid) + "/" + group_name(stat.gid));
  if ((stat.attributes & (SKERRY_ATTR_IMMUTABLE | SKERRY_ATTR_APPEND)) != 0) {
    self.out.line("  Flags:" +
                  std::string((stat.attributes & SKERRY_ATTR_IMMUTABLE) != 0 ? " immutable" : "") +
                  ((stat.attributes & SKERRY_ATTR_APPEND) != 0 ? " append-only" : ""));
  }
  self.out.line("   Read: " + exact_time(stat.atime));
  self.out.line(" Modify: " + exact_time(stat.mtime));
  self.out.line(" Change: " + exact_time(stat.ctime));
  self.out.line("  Birth: " + exact_time(stat.btime));
}

int run_stat(Invocation& self, bool follow) {
  int status = 0;
  const auto session = self.open(&status);
  if (!session) return status;
  if (self.operands.empty()) return self.usage("stat takes at least one PATH");
  for (const std::string& path : self.operands) {
    if (interrupted()) break;
    struct skerry_stat stat = {};
    const int rc = (follow ? skerry_stat : skerry_lstat)(session->volume(), session->context(),
                                                         path.c_str(), &stat);
    if (!session->check(rc)) continue;
    std::string target;
    if (S_ISLNK(stat.mode)) {
      int64_t length = 0;
      target = session->read_link(path, &length);
      if (!session->check(length)) continue;
    }
    if (self.json) {
      Json line;
      put_name(line, "path", path);
      line.update(stat_json(stat));
      if (S_ISLNK(stat.mode)) put_name(line, "target", target);
      self.out.json_line(line);
    } else {
      print_stat(self, path, stat, target);
    }
  }
  return self.status();
}

void cat_file(Invocation& self, const Session& session, const std::string& path,
              std::vector<char>& buffer) {
  skerry_file* file = nullptr;
  if (!session.check(
          skerry_open(session.volume(), session.context(), path.c_str(), O_RDONLY, 0, &file))) {
    return;
  }
  uint64_t offset = 0;
  int64_t n = 0;
  while (!self.out.broken() && !interrupted() &&
         (n = skerry_pread(file, session.context(), buffer.data(), buffer.size(), offset)) > 0) {
    self.out.write({buffer.data(), static_cast<size_t>(n)});
    offset += static_cast<uint64_t>(n);
  }
  session.check(n, path);
  session.check(skerry_close(file, session.context()), path);
}

int run_cat(Invocation& self) {
  int status = 0;
  const auto session = self.open(&status);
  if (!session) return status;
  if (self.operands.empty()) return self.usage("cat takes at least one PATH");
  std::vector<char> buffer(4 << 20);
  for (const std::string& path : self.operands) cat_file(self, *session, path, buffer);
  return self.status();
}

class TreePrinter {
 public:
  TreePrinter(Invocation& self, const Session& session, int depth, bool all)
      : self_(self), session_(session), depth_(depth), all_(all), plain_(!self.out.terminal()) {}

  void run(const std::string& path) {
    struct skerry_stat stat = {};
    if (!session_.check(skerry_stat(session_.volume(), session_.context(), path.c_str(), &stat))) {
      return;
    }
    print("", path, path, stat, 0);
    if (S_ISDIR(stat.mode)) below(path, "", 1);
  }
  void summary() {
    if (self_.json) return;
    self_.out.line("");
    self_.out.line(std::to_string(directories_) + " directories, " + std::to_string(files_) +
                   " files");
  }

 private:
  void below(const std::string& path, const std::string& indent, int level) {
    if (depth_ >= 0 && level > depth_) return;
    // One entry is held back, for the last of a directory is drawn differently.
    std::unique_ptr<Session::Listed> held;
    const auto draw = [&](const Session::Listed& listed, bool last) {
      const std::string full = join_path(path, listed.name);
      print(indent + (last ? "└── " : "├── "), full, listed.name, listed.stat, level);
      if (S_ISDIR(listed.stat.mode)) {
        ++directories_;
        below(full, indent + (last ? "    " : "│   "), level + 1);
      } else {
        ++files_;
      }
    };
    const int rc = session_.list(path, self_.json, [&](Session::Listed&& listed) {
      if (!all_ && listed.name[0] == '.') return true;
      if (held) draw(*held, false);
      held = std::make_unique<Session::Listed>(std::move(listed));
      return !self_.out.broken() && !interrupted();
    });
    session_.check(rc);
    if (held && rc == 0 && !self_.out.broken() && !interrupted()) draw(*held, true);
  }

  void print(const std::string& lead, const std::string& path, const std::string& name,
             const struct skerry_stat& stat, int level) {
    if (self_.json) {
      Json line;
      put_name(line, "path", path);
      line["depth"] = level;
      line.update(stat_json(stat));
      self_.out.json_line(line);
      return;
    }
    std::string text = lead + printable(name, plain_);
    if (S_ISLNK(stat.mode)) {
      int64_t rc = 0;
      text += " -> " + printable(session_.read_link(path, &rc), plain_);
    }
    self_.out.line(text);
  }

  Invocation& self_;
  const Session& session_;
  const int depth_;
  const bool all_;
  const bool plain_;
  uint64_t directories_ = 0, files_ = 0;
};

int run_tree(Invocation& self, int depth, bool all) {
  int status = 0;
  const auto session = self.open(&status);
  if (!session) return status;
  std::vector<std::string> paths = self.operands;
  if (paths.empty()) paths.push_back("/");
  TreePrinter printer(self, *session, depth, all);
  for (const std::string& path : paths) printer.run(path);
  printer.summary();
  return self.status();
}

struct DuOptions {
  bool human = false, summarize = false, all = false;
  int depth = -1;
};

// Sums the lengths of files as `blocks` counts them; a file of several names counts once.
class Usage {
 public:
  Usage(Invocation& self, const Session& session, const DuOptions& options)
      : self_(self), session_(session), options_(options), plain_(!self.out.terminal()) {}

  void run(const std::string& path) {
    struct skerry_stat stat = {};
    if (!session_.check(skerry_lstat(session_.volume(), session_.context(), path.c_str(), &stat))) {
      return;
    }
    if (S_ISDIR(stat.mode)) {
      directory(path, 0);
    } else {
      print(path, count(stat), 1);
    }
  }

 private:
  struct Sum {
    uint64_t bytes = 0, entries = 0;
  };

  uint64_t count(const struct skerry_stat& stat) {
    if (S_ISDIR(stat.mode)) return 0;
    if (stat.nlink > 1 && !seen_.insert(stat.ino).second) return 0;
    return stat.blocks * 512;
  }

  Sum directory(const std::string& path, int level) {
    Sum sum;
    std::vector<std::string> below;
    const int rc = session_.list(path, true, [&](Session::Listed&& listed) {
      ++sum.entries;
      const uint64_t bytes = count(listed.stat);
      sum.bytes += bytes;
      const std::string full = join_path(path, listed.name);
      if (S_ISDIR(listed.stat.mode)) {
        below.push_back(full);
      } else if (options_.all && shown(level + 1)) {
        print(full, bytes, 1);
      }
      return !self_.out.broken() && !interrupted();
    });
    session_.check(rc);
    for (const std::string& child : below) {
      if (self_.out.broken() || interrupted()) break;
      const Sum part = directory(child, level + 1);
      sum.bytes += part.bytes;
      sum.entries += part.entries;
    }
    if (shown(level)) print(path, sum.bytes, sum.entries);
    return sum;
  }

  bool shown(int level) const {
    if (options_.summarize) return level == 0;
    return options_.depth < 0 || level <= options_.depth;
  }

  void print(const std::string& path, uint64_t bytes, uint64_t entries) {
    if (self_.json) {
      Json line;
      put_name(line, "path", path);
      line["bytes"] = bytes;
      line["entries"] = entries;
      self_.out.json_line(line);
    } else {
      self_.out.line((options_.human ? human_size(bytes) : std::to_string(bytes)) + "\t" +
                     printable(path, plain_));
    }
  }

  Invocation& self_;
  const Session& session_;
  const DuOptions& options_;
  const bool plain_;
  std::set<uint64_t> seen_;
};

int run_du(Invocation& self, const DuOptions& options) {
  int status = 0;
  const auto session = self.open(&status);
  if (!session) return status;
  std::vector<std::string> paths = self.operands;
  if (paths.empty()) paths.push_back("/");
  Usage usage(self, *session, options);
  for (const std::string& path : paths) usage.run(path);
  return self.status();
}

}  // namespace

void add_listing_commands(CommandTable& table) {
  const std::string group = "Looking";
  const auto ls = std::make_shared<LsOptions>();
  const auto du = std::make_shared<DuOptions>();
  const auto follow = std::make_shared<bool>(false);
  const auto tree_all = std::make_shared<bool>(false);
  const auto depth = std::make_shared<int>(-1);
  table.push_back({.name = "ls",
                   .group = group,
                   .operands = "[META_URL] [PATH...]",
                   .summary = "List directories, the root by default",
                   .details = "Examples:\n"
                              "  skerry ls -l sqlite:///srv/vol.db /dir\n"
                              "  skerry ls -R --json /dir | jq -r .path\n"
                              "--json prints a line for each entry.",
                   .prints_table = true,
                   .declare =
                       [=](CLI::App& app) {
                         app.add_flag("-l,--long", ls->details, "Modes, owners, sizes, times");
                         app.add_flag("-a,--all", ls->all, "Also names that begin with a dot");
                         app.add_flag("-R,--recursive", ls->recursive, "Also what is below");
                         app.add_flag("-d,--directory", ls->directory, "Directories themselves");
                         app.add_flag("-h,--human-readable", ls->human, "Sizes such as 1.5G");
                         app.add_flag("-n,--numeric", ls->numeric, "Owners as numbers");
                         app.add_flag("-p,--slash", ls->slashes, "A slash after directories");
                       },
                   .run = [=](Invocation& self) { return run_ls(self, *ls); }});
  table.push_back(
      {.name = "stat",
       .group = group,
       .operands = "[META_URL] PATH...",
       .summary = "Show all attributes of files",
       .details = "--json prints a line for each file.",
       .prints_table = true,
       .declare =
           [=](CLI::App& app) { app.add_flag("-L,--dereference", *follow, "Follow symlinks"); },
       .run = [=](Invocation& self) { return run_stat(self, *follow); }});
  table.push_back({.name = "cat",
                   .group = group,
                   .operands = "[META_URL] PATH...",
                   .summary = "Write files to standard output",
                   .run = run_cat});
  table.push_back({.name = "tree",
                   .group = group,
                   .operands = "[META_URL] [PATH...]",
                   .summary = "Draw directories as a tree",
                   .details = "--json prints a line for each entry, with its depth.",
                   .prints_table = true,
                   .declare =
                       [=](CLI::App& app) {
                         app.add_option("--depth", *depth, "Levels to go down")
                             ->type_name("N")
                             ->check(CLI::NonNegativeNumber);
                         app.add_flag("-a,--all", *tree_all, "Also names that begin with a dot");
                       },
                   .run = [=](Invocation& self) { return run_tree(self, *depth, *tree_all); }});
  table.push_back({.name = "du",
                   .group = group,
                   .operands = "[META_URL] [PATH...]",
                   .summary = "Sum the lengths of files by directory",
                   .prints_table = true,
                   .declare =
                       [=](CLI::App& app) {
                         app.add_flag("-s,--summarize", du->summarize,
                                      "Only a total for each PATH");
                         app.add_flag("-a,--all", du->all, "Also files");
                         app.add_flag("-h,--human-readable", du->human, "Sizes such as 1.5G");
                         app.add_option("--depth", du->depth, "Levels to show")
                             ->type_name("N")
                             ->check(CLI::NonNegativeNumber);
                       },
                   .run = [=](Invocation& self) { return run_du(self, *du); }});
}

}  // namespace skerry::cli
