// A volume's metadata in one SQLite file, shared by the processes of one machine.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "meta/store.h"
#include "meta/stores/sqlite/vfs_ofd.h"

namespace skerry::meta {

struct SqliteOptions {
  /// Keeps the answers of commits, so that a request sent again is answered and not applied again.
  /// Off: a commit in this process cannot lose its answer.
  bool record_requests = false;
  unsigned read_connections = 8;
  uint64_t write_cache_bytes = uint64_t{64} << 20;
  uint64_t read_cache_bytes = uint64_t{16} << 20;  // of each reading connection
  int checkpoint_pages = 4000;
  TimeNs lock_timeout_ns = TimeNs{60} * 1'000'000'000;  // for another process's write lock
  sqlite::VfsFaults* faults = nullptr;                  // for tests; outlives the store
};

/// Thread-safe, as every Store. Several stores, on the same file too, work in one process.
///
/// fork(): the parent goes on. In the child the store answers every call with an error; release the
/// pointer to it without destroying it (or call abandon_after_fork(), which makes destroying it
/// safe) and open the database anew.
class SqliteStore final : public Store {
 public:
  using Options = SqliteOptions;

  /// Makes a new database at `path`. EEXIST if a volume is there, EINVAL if something else is.
  /// `clock` outlives the store.
  static Result<std::unique_ptr<Store>> create(const std::string& path, const Options& options,
                                               Clock& clock);
  /// ENOENT if there is no file, EINVAL if it is no volume, ENOTSUP if it is a newer one.
  static Result<std::unique_ptr<Store>> open(const std::string& path, const Options& options,
                                             Clock& clock);
  ~SqliteStore() override;

  std::string describe() const override;
  StoreCapabilities capabilities() const override { return {1, 1, false}; }
  Result<ReadResult> read(const OpContext& ctx, const ReadRequest& request) override;
  Result<CommitResult> commit(const OpContext& ctx, CommitRequest request) override;
  Status sync(const OpContext& ctx) override;
  uint64_t generation() noexcept override;
  Status wait_for_change(const OpContext& ctx, uint64_t seen, TimeNs timeout_ns) override;
  Result<std::vector<EntryRecord>> resolve(const OpContext& ctx, Ino directory,
                                           const std::vector<std::string>& names,
                                           std::optional<AttributeHome>* start) override;

  /// In a forked child: gives up everything inherited without touching it.
  void abandon_after_fork() noexcept;

 private:
  struct Engine;
  explicit SqliteStore(std::unique_ptr<Engine> engine);
  Status usable() const;
  template <typename Body>
  Status with_reader(const OpContext& ctx, Body body);

  std::unique_ptr<Engine> engine_;
  uint64_t forks_;  // fork_count() when opened
};

}  // namespace skerry::meta
