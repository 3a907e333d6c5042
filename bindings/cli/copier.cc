#include "copier.h"

#include <cerrno>

namespace skerry::cli {
namespace {

constexpr size_t kGroupFiles = 512;
constexpr uint64_t kGroupBytes = 32 << 20;
constexpr size_t kDeferred = 4096;
constexpr size_t kThreads = 8;

}  // namespace

TreeCopier::TreeCopier(Tree& from, Tree& to, Mover& mover, bool same_side,
                       const CopyOptions& options, Report& report, Progress& progress)
    : from_(from),
      to_(to),
      mover_(mover),
      same_side_(same_side),
      options_(options),
      report_(report),
      progress_(progress) {}

TreeCopier::~TreeCopier() { drain_group(); }

void TreeCopier::fail(const std::string& sentence) {
  ++totals_.failed;
  report_.failure(sentence);
}

void TreeCopier::fail(const Tree& tree, int rc, const std::string& path) {
  if (rc == -ECANCELED || interrupted()) return;
  fail(tree.explain(rc, path));
}

void TreeCopier::copy(const std::string& source, const std::string& destination) {
  Attributes attributes;
  // As cp(1): a symlink named on the command line is followed unless -r is given.
  const int rc = from_.stat(source, !options_.recursive, &attributes);
  if (rc < 0) return fail(from_, rc, source);
  if (attributes.is_directory() && !options_.recursive) {
    return fail(from_.show(source) + ": is a directory; -r copies it with what it holds");
  }
  destination_ino_ = 0;
  entry(source, destination, attributes, false);
}

void TreeCopier::entry(const std::string& from, const std::string& to, const Attributes& attributes,
                       bool parent_fresh) {
  if (interrupted()) return;
  if (attributes.is_directory()) return directory(from, to, attributes);
  if (options_.recursive && attributes.nlink > 1) {
    const auto [first, is_first] = first_names_.emplace(Key{attributes.device, attributes.ino}, to);
    if (!is_first) {
      links_.push_back({first->second, to, parent_fresh});
      if (links_.size() >= kDeferred) complete_deferred();
      return;
    }
  }
  if (attributes.is_file()) {
    file({from, to, attributes, parent_fresh});
  } else {
    special(from, to, attributes, parent_fresh);
  }
}

void TreeCopier::directory(const std::string& from, const std::string& to,
                           const Attributes& attributes) {
  if (same_side_ && destination_ino_ != 0 && attributes.ino == destination_ino_) {
    return fail(from_.show(from) + ": a directory is not copied into itself");
  }
  int rc = to_.make_directory(to);
  const bool fresh = rc == 0;
  if (rc == -EEXIST) {
    Attributes existing;
    rc = to_.stat(to, true, &existing);
    if (rc == 0 && !existing.is_directory()) {
      return fail(to_.show(to) + ": is in the way of a directory");
    }
  }
  if (rc < 0) return fail(to_, rc, to);
  if (same_side_ && destination_ino_ == 0) {
    Attributes made;
    if (to_.stat(to, true, &made) == 0) {
      if (made.ino == attributes.ino) {
        return fail(from_.show(from) + " and " + to_.show(to) + " are the same directory");
      }
      destination_ino_ = made.ino;
    }
  }
  std::vector<Child> below;
  rc = from_.list(from, [&](Child&& child) {
    if (child.attributes.is_directory()) {
      below.push_back(std::move(child));
    } else {
      entry(join_path(from, child.name), join_path(to, child.name), child.attributes, fresh);
    }
    return !interrupted();
  });
  if (rc < 0) fail(from_, rc, from);
  for (const Child& child : below) {
    entry(join_path(from, child.name), join_path(to, child.name), child.attributes, fresh);
  }
  ++totals_.directories;
  directories_.push_back({from, to, attributes});
  if (directories_.size() >= kDeferred) complete_deferred();
}

void TreeCopier::file(CopyItem item) {
  if (mover_.is_small(item.attributes)) {
    group_bytes_ += item.attributes.size;
    group_.push_back(std::move(item));
    if (group_.size() >= kGroupFiles || group_bytes_ >= kGroupBytes) send_group();
    return;
  }
  if (!item.parent_fresh) {
    Attributes existing;
    const int rc = to_.stat(item.to, false, &existing);
    if (!prepare(item, rc, existing)) return;
  }
  mover_.copy_one(item, [this](uint64_t bytes) {
    totals_.bytes += bytes;
    progress_.add(0, bytes);
  });
  complete_file(item);
  if (item.error.empty() && !item.cancelled) progress_.add(1, 0);
}

bool TreeCopier::prepare(CopyItem& item, int rc, const Attributes& existing) {
  if (rc == -ENOENT) return true;
  if (rc < 0) {
    fail(to_, rc, item.to);
    return false;
  }
  if (same_side_ && existing.ino == item.attributes.ino &&
      existing.device == item.attributes.device) {
    fail(from_.show(item.from) + " and " + to_.show(item.to) + " are the same file");
    return false;
  }
  if (options_.update && existing.same_content(item.attributes)) {
    ++totals_.skipped;
    return false;
  }
  if (existing.is_directory()) {
    fail(to_.show(item.to) + ": a directory is in the way of a file");
    return false;
  }
  if (existing.is_file()) {
    item.existed = true;
    return true;
  }
  rc = to_.remove(item.to);
  if (rc < 0) fail(to_, rc, item.to);
  return rc == 0;
}

bool TreeCopier::clear_way(const std::string& to, bool parent_fresh) {
  if (parent_fresh) return true;
  Attributes existing;
  int rc = to_.stat(to, false, &existing);
  if (rc == -ENOENT) return true;
  if (rc == 0 && existing.is_directory()) {
    fail(to_.show(to) + ": a directory is in the way");
    return false;
  }
  if (rc == 0) rc = to_.remove(to);
  if (rc < 0) fail(to_, rc, to);
  return rc == 0;
}

void TreeCopier::special(const std::string& from, const std::string& to,
                         const Attributes& attributes, bool parent_fresh) {
  if (!clear_way(to, parent_fresh)) return;
  if (attributes.is_symlink()) {
    std::string target;
    int rc = from_.read_link(from, &target);
    if (rc < 0) return fail(from_, rc, from);
    rc = to_.make_symlink(target, to);
    if (rc < 0) return fail(to_, rc, to);
    ++totals_.symlinks;
  } else {
    const int rc = to_.make_node(to, attributes);
    if (rc < 0) return fail(to_, rc, to);
    ++totals_.others;
  }
  const int rc = to_.set_attributes(to, kept(attributes), what_to_set());
  if (rc < 0) fail(to_, rc, to);
}

unsigned TreeCopier::what_to_set() const {
  return kSetMode | kSetTimes | (options_.preserve ? kSetOwner | kSetAccessTime : 0);
}

Attributes TreeCopier::kept(const Attributes& attributes) const {
  Attributes out = attributes;
  // Without the owner the set-id bits of a file would lend another user's rights.
  if (!options_.preserve && !attributes.is_directory()) out.mode &= ~uint32_t{06000};
  return out;
}

int TreeCopier::copy_xattrs(const std::string& from, const Attributes& attributes,
                            const std::string& to, std::string* error) {
  if (attributes.no_xattrs) return 0;
  Xattrs xattrs;
  int rc = from_.get_xattrs(from, &xattrs);
  if (rc < 0) *error = from_.explain(rc, from);
  if (rc < 0 || xattrs.empty()) return rc;
  rc = to_.set_xattrs(to, xattrs);
  if (rc < 0) *error = to_.explain(rc, to);
  return rc;
}

void TreeCopier::complete_file(CopyItem& item) {
  if (item.error.empty() && !item.cancelled) {
    int rc = copy_xattrs(item.from, item.attributes, item.to, &item.error);
    if (rc == 0) {
      unsigned what = what_to_set();
      const Attributes attributes = kept(item.attributes);
      const bool mode_is_set = mover_.sets_mode() && !item.existed && !options_.preserve &&
                               attributes.mode == item.attributes.mode;
      if (mode_is_set) what &= ~kSetMode;
      rc = to_.set_attributes(item.to, attributes, what);
      if (rc < 0) item.error = to_.explain(rc, item.to);
    }
    if (rc == -ECANCELED) item.cancelled = true;
  }
  if (item.cancelled) return;
  if (!item.error.empty()) return fail(item.error);
  ++totals_.files;
}

void TreeCopier::send_group() {
  drain_group();
  if (group_.empty()) return;
  group_bytes_ = 0;
  in_flight_ = std::async(std::launch::async, [this, group = std::exchange(group_, {})]() mutable {
    run_group(std::move(group));
  });
}

void TreeCopier::drain_group() {
  if (in_flight_.valid()) in_flight_.get();
}

void TreeCopier::run_group(std::vector<CopyItem> group) {
  std::vector<CopyItem*> to_check, to_copy;
  std::vector<std::string> paths;
  for (CopyItem& item : group) {
    if (item.parent_fresh) {
      to_copy.push_back(&item);
    } else {
      to_check.push_back(&item);
      paths.push_back(item.to);
    }
  }
  if (!to_check.empty()) {
    std::vector<Attributes> existing;
    std::vector<int> results;
    to_.stat_many(paths, &existing, &results);
    for (size_t i = 0; i < to_check.size(); ++i) {
      if (prepare(*to_check[i], results[i], existing[i])) to_copy.push_back(to_check[i]);
    }
  }
  if (to_copy.empty() || interrupted()) return;
  mover_.copy_group(to_copy);
  parallel_for(to_copy.size(), kThreads, [&](size_t i) { complete_file(*to_copy[i]); });
  for (const CopyItem* item : to_copy) {
    if (!item->error.empty() || item->cancelled) continue;
    totals_.bytes += item->attributes.size;
    progress_.add(1, item->attributes.size);
  }
}

void TreeCopier::hard_link(const Link& link) {
  if (!link.parent_fresh) {
    Attributes target, existing;
    if (to_.stat(link.target, false, &target) == 0 && to_.stat(link.name, false, &existing) == 0 &&
        target.ino == existing.ino && target.device == existing.device) {
      ++totals_.skipped;
      return;
    }
    if (!clear_way(link.name, false)) return;
  }
  const int rc = to_.link(link.target, link.name);
  if (rc < 0) return fail(to_, rc, link.name);
  ++totals_.hard_links;
}

void TreeCopier::complete_directory(const Directory& directory) {
  std::string error;
  int rc = copy_xattrs(directory.from, directory.attributes, directory.to, &error);
  if (rc == 0) {
    rc = to_.set_attributes(directory.to, kept(directory.attributes), what_to_set());
    if (rc < 0) error = to_.explain(rc, directory.to);
  }
  if (rc < 0 && rc != -ECANCELED) fail(error);
}

void TreeCopier::complete_deferred() {
  send_group();
  drain_group();
  if (interrupted()) return;
  // Links before directories: a new name changes its directory's modification time.
  for (const Link& link : std::exchange(links_, {})) hard_link(link);
  const std::vector<Directory> done = std::exchange(directories_, {});
  // One that its owner may not enter would bar the way to those below it: those come last, and
  // children stand before parents.
  const auto closed = [](const Directory& directory) {
    return (directory.attributes.mode & 0700) != 0700;
  };
  parallel_for(done.size(), kThreads, [&](size_t i) {
    if (!interrupted() && !closed(done[i])) complete_directory(done[i]);
  });
  for (const Directory& directory : done) {
    if (!interrupted() && closed(directory)) complete_directory(directory);
  }
}

void TreeCopier::finish() { complete_deferred(); }

}  // namespace skerry::cli
