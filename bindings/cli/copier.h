// Copies trees between two sides: the walk, what is kept, what is skipped, and what is reported.
//
// Small files go in groups: a group is collected while the one before it is on its way, so memory
// is bounded by two groups. Hard links and the attributes of directories wait until the groups they
// depend on are done. The modification time is set last, so a file whose copy was interrupted never
// looks complete to --update.
#ifndef SKERRY_BINDINGS_CLI_COPIER_H_
#define SKERRY_BINDINGS_CLI_COPIER_H_

#include <atomic>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mover.h"
#include "report.h"
#include "tree.h"

namespace skerry::cli {

struct CopyOptions {
  bool recursive = false;
  bool preserve = false;  // owner, group, access time, set-id bits
  bool update = false;    // skip files of equal size and modification time
  bool verbose = false;
};

struct CopyTotals {
  std::atomic<uint64_t> files = 0, directories = 0, symlinks = 0, hard_links = 0, others = 0,
                        bytes = 0, skipped = 0, failed = 0;
};

// One thread drives it.
class TreeCopier {
 public:
  // `same_side`: both trees are one, so a file may be copied onto itself.
  TreeCopier(Tree& from, Tree& to, Mover& mover, bool same_side, const CopyOptions& options,
             Report& report, Progress& progress);
  ~TreeCopier();
  TreeCopier(const TreeCopier&) = delete;
  TreeCopier& operator=(const TreeCopier&) = delete;

  // Copies `source` as `destination`, a name in an existing directory. Failures are reported; the
  // rest goes on.
  void copy(const std::string& source, const std::string& destination);
  // Waits for what is on its way and completes links and directories.
  void finish();
  const CopyTotals& totals() const { return totals_; }

 private:
  using Key = std::pair<uint64_t, uint64_t>;
  struct Directory {
    std::string from, to;
    Attributes attributes;
  };
  struct Link {
    std::string target, name;
    bool parent_fresh;
  };

  void entry(const std::string& from, const std::string& to, const Attributes& attributes,
             bool parent_fresh);
  void directory(const std::string& from, const std::string& to, const Attributes& attributes);
  void file(CopyItem item);
  void special(const std::string& from, const std::string& to, const Attributes& attributes,
               bool parent_fresh);
  void hard_link(const Link& link);
  void complete_directory(const Directory& directory);

  void send_group();
  void run_group(std::vector<CopyItem> group);
  void drain_group();
  void complete_deferred();

  // True if `item` is still to be copied: not equal already, not in the way of a directory.
  bool prepare(CopyItem& item, int rc, const Attributes& existing);
  void complete_file(CopyItem& item);
  // Removes what is no directory and in the way of `to`.
  bool clear_way(const std::string& to, bool parent_fresh);
  int copy_xattrs(const std::string& from, const Attributes& attributes, const std::string& to,
                  std::string* error);
  unsigned what_to_set() const;
  Attributes kept(const Attributes& attributes) const;
  void fail(const Tree& tree, int rc, const std::string& path);
  void fail(const std::string& sentence);

  Tree& from_;
  Tree& to_;
  Mover& mover_;
  const bool same_side_;
  const CopyOptions options_;
  Report& report_;
  Progress& progress_;
  CopyTotals totals_;
  std::vector<CopyItem> group_;
  uint64_t group_bytes_ = 0;
  std::future<void> in_flight_;
  std::map<Key, std::string> first_names_;
  std::vector<Link> links_;
  std::vector<Directory> directories_;
  uint64_t destination_ino_ = 0;  // within one volume: the directory that is being filled
};

}  // namespace skerry::cli

#endif  // SKERRY_BINDINGS_CLI_COPIER_H_
