// A fixed piece of work on a volume that tries everything once, for loops that fail each call of a
// store in turn.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "support/fake_clock.h"
#include "vfs/handle.h"
#include "vfs/namespace.h"
#include "vfs/volume.h"

namespace skerry {

/// What a volume should hold.
struct Tree {
  std::set<std::string> directories;         // without the root
  std::map<std::string, std::string> files;  // path to contents
  std::map<std::string, std::string> links;  // symbolic ones
};

std::string pattern_bytes(size_t length, unsigned seed);

/// A context of root without a deadline.
OpContext fault_context(Clock& clock);

/// Every step is tried until it succeeds, as by a user whose store was away for a while. So where
/// the volume ends up is known exactly, whichever call failed: each step is there, once.
class Workload {
 public:
  using Open = std::function<Result<std::unique_ptr<vfs::Volume>>(const OpContext&)>;

  /// `faulty` tells whether an error may be expected by now, `codes` which. `unit`: a tenth of it
  /// fits a pack, nine of it do not fit two blocks.
  Workload(Clock& clock, size_t unit, Open open, std::function<bool()> faulty, std::set<int> codes)
      : ctx_(fault_context(clock)),
        unit_(unit),
        open_(std::move(open)),
        faulty_(std::move(faulty)),
        codes_(std::move(codes)) {}

  /// Opens, works, closes.
  void run();
  const Tree& expected() const { return tree_; }
  /// Steps that failed at least once.
  unsigned failures() const { return failures_; }

 private:
  /// `done`: what a further try says where the failed one was applied.
  void step(const std::string& what, const std::function<Status()>& body,
            const std::set<int>& done = {});
  std::unique_ptr<vfs::Handle> open_file(const std::string& path, int flags);
  void write(const std::string& path, const std::string& bytes, size_t piece, bool sync);
  void append(const std::string& path, const std::string& bytes);
  void write_batch(const std::map<std::string, std::string>& files);
  void mkdir(const std::string& path);
  void unlink(const std::string& path);
  void rename(const std::string& from, const std::string& to);
  void truncate(const std::string& path, size_t length);
  void check_file(const std::string& path);
  void check_names(const std::string& directory);
  void write_files();
  void change_files();
  void change_names();
  void attributes();
  void unlinked_while_open();

  const OpContext ctx_;
  const size_t unit_;
  const Open open_;
  const std::function<bool()> faulty_;
  const std::set<int> codes_;
  std::unique_ptr<vfs::Volume> volume_;
  Tree tree_;
  unsigned failures_ = 0;
};

/// Everything below the root, read through a volume.
Result<Tree> read_tree(const OpContext& ctx, vfs::Volume& volume);

}  // namespace skerry
