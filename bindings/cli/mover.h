// Moves the bytes of files, many small ones at once or one large one: up, down, inside a volume.
#ifndef SKERRY_BINDINGS_CLI_MOVER_H_
#define SKERRY_BINDINGS_CLI_MOVER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tree.h"

namespace skerry::cli {

struct CopyItem {
  std::string from, to;
  Attributes attributes;      // of `from`
  bool parent_fresh = false;  // `to` cannot exist: its directory was just made
  bool existed = false;       // `to` was there before; its content is replaced
  std::string error;          // a sentence; empty: fine
  bool cancelled = false;     // stopped by a signal, nothing to say
};

// Thread-safe. A mover creates `to` or replaces its content, with at most the permissions of
// `attributes`; owner and times are the caller's.
class Mover {
 public:
  virtual ~Mover() = default;
  // Files that go with copy_group; the others with copy_one.
  virtual bool is_small(const Attributes& attributes) const = 0;
  virtual void copy_group(const std::vector<CopyItem*>& items) = 0;
  virtual void copy_one(CopyItem& item, const std::function<void(uint64_t)>& moved) = 0;
  // The permissions of a new file are those of `attributes` already.
  virtual bool sets_mode() const = 0;
};

std::unique_ptr<Mover> make_uploader(const Session& session);
std::unique_ptr<Mover> make_downloader(const Session& session);
std::unique_ptr<Mover> make_inside_mover(const Session& session);

// Standard input into a file of the volume, and a file to standard output ("-").
void upload_descriptor(const Session& session, int descriptor, CopyItem& item);
void download_descriptor(const Session& session, int descriptor, CopyItem& item);

// Runs `work(i)` for every i below `count` on up to `threads` threads, the caller's among them.
void parallel_for(size_t count, size_t threads, const std::function<void(size_t)>& work);

}  // namespace skerry::cli

#endif  // SKERRY_BINDINGS_CLI_MOVER_H_
