#include <algorithm>
#include <functional>
#include <memory>
#include <unordered_map>
#include <unordered_set>

#include "meta/ops/common.h"

namespace skerry::meta {

using internal::Change;
using internal::check_directory;
using internal::View;
using internal::Wanted;

namespace {

// Entries and directories in one commit: as many as it takes about kCommitNs for, because others'
// commits may wait for it. Inodes lie in the database by age and names by name, so where the two
// orders differ a larger commit changes fewer pages an entry (SQLite, 300,000 names in no order:
// 22 us an entry with 1,024 at once, 11 with 8,192).
constexpr size_t kFirstBatch = 1024;
constexpr size_t kMaxBatch = 8192;
constexpr TimeNs kCommitNs = 50'000'000;
constexpr size_t kScansAtOnce = 64;            // directories listed by one read
constexpr size_t kMaxOpenDirectories = 16384;  // known and not yet removed, but for one path down
constexpr unsigned kMaxConflicts = 256;        // in a row
constexpr unsigned kMaxLooks = 16;             // at what the name is, when that keeps changing

/// A directory of the tree that is still there.
struct Directory {
  Directory* parent;    // null for the top
  EntryRecord entry;    // as last read
  size_t children = 0;  // subdirectories known and not removed yet
  bool lost = false;    // its entry is not where it was: somebody else removed or moved it
};

/// Removes a tree by rounds: one read lists some directories and looks again at those that were
/// seen empty; one commit removes what was found. A directory becomes ready to be removed in a
/// later round than its last child, because a commit's expectations hold before its mutations.
///
/// What is moved out of the tree meanwhile stays: a commit expects that each directory it removes
/// from, and those above it up to the top, are still where they were.
///
/// A directory is always listed from its beginning: what was listed before is gone, unless others
/// created meanwhile. Of a directory with many subdirectories a page is known at a time.
class TreeRemoval {
 public:
  TreeRemoval(const OpContext& ctx, Meta& meta, const Attributes& parent, const EntryRecord& top)
      : ctx_(ctx), meta_(meta), parent_(parent) {
    add_directory(nullptr, top);
  }

  Status run(const std::function<bool(const RemoveProgress&)>& progress) {
    unsigned conflicts = 0;
    while (!directories_.empty()) {
      SKERRY_TRY(ctx_.check());
      SKERRY_ASSIGN(bool applied, round());
      if (!applied) {
        if (++conflicts > kMaxConflicts) {
          return Error(EBUSY, "gave up after too many conflicting changes");
        }
        // Less at once, so that a change elsewhere in the tree meets fewer of ours.
        batch_ = std::max<size_t>(batch_ / 4, 1);
        if (conflicts > 3) {
          meta_.clock().sleep_ns(static_cast<TimeNs>(meta_.random().next() % 2'000'000));
        }
        continue;
      }
      conflicts = 0;
      if (progress && !progress(progress_)) return Error(ECANCELED, "removal stopped");
    }
    return {};
  }

 private:
  struct Round {
    MetadataCache::Ticket ticket;
    std::vector<Directory*> scanned;
    std::vector<Directory*> doomed;  // taken from the ready ones
    std::vector<EntryRecord> files;
    std::vector<Directory*> emptied;  // that go in this commit
    std::vector<Directory*> gone;     // those, and what somebody else removed or moved
    std::vector<std::pair<Directory*, EntryRecord>> found;  // subdirectories
    std::vector<Directory*> empty;                          // scanned, nothing inside
  };

  void add_directory(Directory* parent, const EntryRecord& entry) {
    auto directory = std::make_unique<Directory>();
    directory->parent = parent;
    directory->entry = entry;
    if (parent != nullptr) ++parent->children;
    scan_.push_back(directory.get());
    directories_.emplace(directory.get(), std::move(directory));
  }

  /// False: the commit met a conflict; what was taken up is listed anew.
  Result<bool> round() {
    Round r;
    take_up(&r);
    SKERRY_TRY(read(&r));
    Change change(meta_);
    const TimeNs now = meta_.now_ns();
    // In the order in which orphans lie.
    std::sort(r.files.begin(), r.files.end(),
              [](const EntryRecord& a, const EntryRecord& b) { return a.attr.ino < b.attr.ino; });
    std::unordered_set<Directory*> expected;
    auto expect_in_place = [&](Directory* directory) {
      for (; directory != nullptr && expected.insert(directory).second;
           directory = directory->parent) {
        change.expect_entry(directory->entry);
      }
    };
    for (const EntryRecord& entry : r.files) {
      Directory* directory = directory_of_.at(entry.parent);
      expect_in_place(directory);
      internal::remove_name(entry, now, false, &change);
      change.touch(directory->entry.attr, now, -1, 0);
    }
    for (Directory* directory : r.emptied) {
      expect_in_place(directory);
      const EntryRecord& entry = directory->entry;
      change.expect(ExpectEmpty{Table::kEntry, entry.attr.ino});
      internal::remove_directory(entry, false, &change);
      change.touch(directory->parent != nullptr ? directory->parent->entry.attr : parent_, now, -1,
                   -1);
    }
    const bool commits = !r.files.empty() || !r.emptied.empty();
    if (commits) {
      const TimeNs began = meta_.clock().monotonic_ns();
      SKERRY_ASSIGN(CommitResult result, change.commit(ctx_));
      if (!result.applied) {
        put_back(r);
        return false;
      }
      const TimeNs took = meta_.clock().monotonic_ns() - began;
      if (took < kCommitNs / 2) batch_ = std::min(batch_ * 2, kMaxBatch);
      if (took > kCommitNs * 2) batch_ = std::max<size_t>(batch_ / 2, 256);
    }
    finish(r);
    return true;
  }

  /// Chooses what this round works on: emptied directories first, then the deepest known ones.
  void take_up(Round* r) {
    while (!ready_.empty() && r->doomed.size() < batch_) {
      r->doomed.push_back(ready_.back());
      ready_.pop_back();
    }
    const size_t scans = directories_.size() > kMaxOpenDirectories ? 1 : kScansAtOnce;
    while (!scan_.empty() && r->scanned.size() < std::min(scans, batch_) &&
           r->doomed.size() < batch_) {
      r->scanned.push_back(scan_.back());
      scan_.pop_back();
    }
  }

  Status read(Round* r) {
    r->ticket = meta_.ticket();
    ReadRequest request;
    request.join = true;
    // The entries of all that this round works on, and of what lies above.
    std::vector<Directory*> looked_at;
    std::unordered_set<Directory*> known;
    auto look_at = [&](Directory* directory) {
      for (; directory != nullptr && known.insert(directory).second;
           directory = directory->parent) {
        request.keys.push_back(entry_key(directory->entry.parent, directory->entry.name));
        looked_at.push_back(directory);
      }
    };
    for (Directory* directory : r->doomed) look_at(directory);
    for (Directory* directory : r->scanned) look_at(directory);
    directory_of_.clear();
    for (Directory* directory : r->scanned) {
      Range range;
      range.table = Table::kEntry;
      range.a = directory->entry.attr.ino;
      const size_t room = batch_ - std::min(batch_, r->doomed.size());
      range.limit = static_cast<uint32_t>(std::max<size_t>(room / r->scanned.size(), 1));
      request.ranges.push_back(range);
      directory_of_[directory->entry.attr.ino] = directory;
    }
    Result<ReadResult> seen = meta_.store().read(ctx_, request);
    if (!seen.ok()) return std::move(seen).error();
    for (size_t i = 0; i < looked_at.size(); ++i) {
      Directory& directory = *looked_at[i];
      auto* entry = seen->records[i] ? &std::get<EntryRecord>(*seen->records[i]) : nullptr;
      directory.lost = entry == nullptr || entry->attr.ino != directory.entry.attr.ino;
      if (!directory.lost) directory.entry = std::move(*entry);
    }
    for (Directory* directory : r->doomed) {
      r->gone.push_back(directory);
      if (in_place(directory)) r->emptied.push_back(directory);
    }
    for (size_t i = 0; i < r->scanned.size(); ++i) {
      SKERRY_TRY(judge_page(r->scanned[i], std::move(seen->pages[i]), r));
    }
    return {};
  }

  /// As of this round's read.
  static bool in_place(const Directory* directory) {
    while (directory != nullptr && !directory->lost) directory = directory->parent;
    return directory == nullptr;
  }

  Status judge_page(Directory* directory, RangePage page, Round* r) {
    if (!in_place(directory)) {
      r->gone.push_back(directory);
      return {};
    }
    if (page.records.empty()) {
      r->empty.push_back(directory);
      return {};
    }
    Status allowed = check_access(ctx_, meta_, directory->entry.attr, kRead | kExecute);
    if (!allowed.ok()) {
      if (allowed.error().code() != ESTALE) return allowed;
      r->gone.push_back(directory);  // since, as who wanted to read its ACL found
      return {};
    }
    for (Record& record : page.records) {
      auto& entry = std::get<EntryRecord>(record);
      SKERRY_TRY(check_delete(ctx_, meta_, directory->entry.attr, entry.attr));
      if (entry.attr.is_dir()) {
        r->found.emplace_back(directory, std::move(entry));
        // Two names of one inode are removed one after the other.
      } else if (!entry.linked || linked_inodes_.insert(entry.attr.ino).second) {
        r->files.push_back(std::move(entry));
      }
    }
    return {};
  }

  void put_back(const Round& r) {
    linked_inodes_.clear();
    // A directory that is not empty any more, or is gone, shows when it is listed again.
    scan_.insert(scan_.end(), r.doomed.begin(), r.doomed.end());
    scan_.insert(scan_.end(), r.scanned.begin(), r.scanned.end());
  }

  void finish(Round& r) {
    linked_inodes_.clear();
    for (const EntryRecord& entry : r.files) {
      internal::forget_removed(meta_, r.ticket, entry.parent, entry.name, entry);
    }
    for (const Directory* directory : r.emptied) {
      const EntryRecord& entry = directory->entry;
      internal::forget_removed(meta_, r.ticket, entry.parent, entry.name, entry);
    }
    progress_.entries += r.files.size() + r.emptied.size();
    ready_.insert(ready_.end(), r.empty.begin(), r.empty.end());
    for (auto& [parent, entry] : r.found) add_directory(parent, entry);
    // Those with subdirectories wait for them; the others are listed again at once.
    for (Directory* directory : r.scanned) {
      const bool is_empty = std::find(r.empty.begin(), r.empty.end(), directory) != r.empty.end();
      if (!is_empty && directory->children == 0 && in_place(directory)) scan_.push_back(directory);
    }
    for (Directory* directory : r.gone) {
      Directory* parent = directory->parent;
      directories_.erase(directory);
      if (parent != nullptr && --parent->children == 0) scan_.push_back(parent);
    }
  }

  const OpContext& ctx_;
  Meta& meta_;
  const Attributes parent_;  // of the top's directory
  std::unordered_map<Directory*, std::unique_ptr<Directory>> directories_;
  std::vector<Directory*> scan_;                      // to be listed; the deepest at the end
  std::vector<Directory*> ready_;                     // seen empty
  std::unordered_map<Ino, Directory*> directory_of_;  // of this round's scanned ones
  std::unordered_set<Ino> linked_inodes_;             // in this round's commit
  size_t batch_ = kFirstBatch;
  RemoveProgress progress_;
};

}  // namespace

Status remove_tree(const OpContext& ctx, Meta& meta, Ino dir, std::string_view name,
                   const std::function<bool(const RemoveProgress&)>& progress) {
  SKERRY_TRY(check_name(name));
  Wanted wanted;
  wanted.inodes = {dir};
  wanted.entries = {{dir, name}};
  for (unsigned looks = 1;; ++looks) {
    SKERRY_ASSIGN(View view, look(ctx, meta, wanted, internal::Source::kCacheOrStore));
    SKERRY_TRY(check_directory(ctx, meta, view.inodes[0]));
    if (!view.entries[0]) return Error(ENOENT);
    const EntryRecord& top = *view.entries[0];
    const Attributes& parent = view.inodes[0]->attr;
    SKERRY_TRY(check_delete(ctx, meta, parent, top.attr));
    if (meta.options().read_only) return Error(EROFS, "the volume is open for reading only");
    if (top.attr.is_dir()) return TreeRemoval(ctx, meta, parent, top).run(progress);
    Status removed = unlink(ctx, meta, dir, name);
    // A directory may have taken the name of the file that was seen.
    if (!removed.ok() && removed.error().code() == EISDIR && looks < kMaxLooks) continue;
    SKERRY_TRY(std::move(removed));
    if (progress && !progress({1})) return Error(ECANCELED, "removal stopped");
    return {};
  }
}

}  // namespace skerry::meta
